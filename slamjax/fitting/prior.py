"""The prior of one star's labels inside a fit: its value, slope and curvature."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from slamjax._util.linalg import convex_part
from slamjax.emulators.scaling import LabelScaling
from slamjax.forward.label_density import LabelDensity
from slamjax.typing import LogPrior, Scalar

Parameters = Float[Array, " parameter"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StarPrior:
    """What a prior has of each star: arrays of N rows, or of one star.

    Attributes
    ----------
    weight : (N,) factor of ln p beside −χ²/2: the star's noise scale, by which χ² is too large
    value, inverse_variance : (N, L) labels that are known from elsewhere; 0 for a label that is not
    """

    weight: Float[Array, "*star"]
    value: Float[Array, "*star label"]
    inverse_variance: Float[Array, "*star label"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Prior:
    """ln p = Σ ln densities − ½ Σ_k (ℓ_k − v_k)² / σ_k², of physical labels ℓ.

    Attributes
    ----------
    densities : of the training stars
    functions : ln p of labels (L,)
    star : what is one star's own; None where all stars are meant
    """

    densities: tuple[LabelDensity, ...]
    functions: tuple[LogPrior, ...] = field(metadata={"static": True})
    star: StarPrior | None = None

    def of_star(self, star: StarPrior) -> Prior:
        """The prior of one star."""
        return dataclasses.replace(self, star=star)

    def log_density(self, labels: Float[Array, " label"]) -> Scalar:
        """ln p of a star's labels (L,), up to a constant."""
        assert self.star is not None
        total = -0.5 * jnp.sum(self.star.inverse_variance * jnp.square(labels - self.star.value))
        total = sum((density(labels) for density in self.densities), start=total)
        return sum((function(labels) for function in self.functions), start=total)

    def cost(self, scaling: LabelScaling, x: Parameters) -> Scalar:
        """−w ln p at parameters x (V,), which begin with the scaled labels."""
        assert self.star is not None
        return -self.star.weight * self.log_density(scaling.inverse(x[: scaling.n_labels]))

    def information(self, scaling: LabelScaling, x: Parameters) -> Float[Array, "row row"]:
        """What the prior adds to `slamjax.emulators.base.Standardised.information`, (V + 1, V + 1).

        −2w ln p, w times the slope of ln p, and w times the curvature of −ln p where that is positive.
        """

        def slope(x: Parameters) -> tuple[Parameters, tuple[Scalar, Parameters]]:
            value, slope = jax.value_and_grad(lambda x: self.cost(scaling, x))(x)
            return slope, (value, slope)

        curvature, (value, down) = jax.jacfwd(slope, has_aux=True)(x)
        gram = jnp.zeros((x.size + 1, x.size + 1), x.dtype).at[0, 0].set(2 * value)
        gram = gram.at[0, 1:].set(-down).at[1:, 0].set(-down)
        return gram.at[1:, 1:].set(convex_part(curvature))
