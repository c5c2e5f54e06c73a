"""Physical labels as a space that NumPyro moves in by scaled labels, where a step of 1 suits every label."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from numpyro.distributions import constraints
from numpyro.distributions.transforms import Transform, biject_to

from slamjax.emulators.scaling import LabelScaling
from slamjax.forward.label_density import Density, log_volume
from slamjax.typing import Labels, ScaledLabels


class LabelSpace(constraints.Constraint):
    """Physical labels: any number, or any positive one where the scaling takes a logarithm."""

    event_dim = 1

    def __init__(self, scaling: LabelScaling) -> None:
        self.scaling = scaling

    def __call__(self, x: Any) -> Any:
        return jnp.all(jnp.isfinite(x) & (~jnp.asarray(self.scaling.log) | (x > 0)), axis=-1)

    def feasible_like(self, prototype: Any) -> Any:
        return jnp.broadcast_to(self.scaling.inverse(jnp.zeros(self.scaling.n_labels)), jnp.shape(prototype))

    def tree_flatten(self) -> Any:
        return (self.scaling,), (("scaling",), {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelSpace) and self.scaling is other.scaling

    def __hash__(self) -> int:
        return id(self.scaling)


class ScaledToPhysical(Transform):
    """Scaled labels x to physical ones: the coordinates in which NumPyro samples a `LabelSpace`."""

    domain = constraints.real_vector

    def __init__(self, scaling: LabelScaling) -> None:
        self.scaling = scaling

    @property
    def codomain(self) -> LabelSpace:
        return LabelSpace(self.scaling)

    def __call__(self, x: ScaledLabels) -> Labels:
        return self.scaling.inverse(jnp.asarray(x))

    def _inverse(self, y: Labels) -> ScaledLabels:
        return self.scaling(jnp.asarray(y))

    def log_abs_det_jacobian(self, x: ScaledLabels, y: Labels, intermediates: Any = None) -> Density:
        return log_volume(self.scaling, jnp.asarray(x))

    def tree_flatten(self) -> Any:
        return (self.scaling,), (("scaling",), {})


@biject_to.register(LabelSpace)
def _to_label_space(constraint: LabelSpace) -> ScaledToPhysical:
    return ScaledToPhysical(constraint.scaling)
