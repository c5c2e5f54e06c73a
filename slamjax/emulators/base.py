"""The protocol of every emulator, and what the emulators of standardised flux share.

f_λ(ℓ) = μ_λ + s_λ [ g_λ(x) + b_λ ],  x = (t(ℓ) − m) / w,  with g a sum per pixel.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax.emulators.scaling import LabelScaling
from slamjax.noise.inverse_covariance import InverseCovariance
from slamjax.typing import AnyArray, Flux, Jacobian, Labels, PixelMask, Scalar, ScaledLabels

# TF32 and bfloat16 passes, a GPU's and TPU's default for float32 products, lose the digits promised here
PRECISION = jax.lax.Precision.HIGHEST
Arrays = Mapping[str, np.ndarray]
Gram = Float[Array, "*batch row row"]
_COMMON = ("intercept", "flux_mean", "flux_scale")


class Emulator(Protocol):
    """A pure function from labels to flux, an immutable pytree: all that fits, samplers and model files know of it.

    Attributes
    ----------
    kind : name of the emulator's kind in model files
    scaling : how labels become x
    intercept : (P,) NaN at pixels that were not trained
    flux_mean, flux_scale : (P,) in flux units
    basis : (R, P) or None
        Where the flux is a sum of R components, ``components``, the scaled flux of each.
    is_compressed : whether ``basis`` approximates an emulator of many more terms
    is_compressible : whether it is a kernel expansion of each pixel, see `slamjax.emulators.compression`
    n_terms, n_groups : terms in each sum, and separate sums: what memory is estimated from
    name, description : for people, such as "quadratic" and "polynomial of the labels of degree 2 (quadratic)"
    """

    kind: ClassVar[str]

    @property
    def scaling(self) -> LabelScaling: ...
    @property
    def intercept(self) -> Float[AnyArray, " pixel"]: ...
    @property
    def flux_mean(self) -> Float[AnyArray, " pixel"]: ...
    @property
    def flux_scale(self) -> Float[AnyArray, " pixel"]: ...
    @property
    def basis(self) -> Float[AnyArray, "component pixel"] | None: ...
    @property
    def is_compressed(self) -> bool: ...
    @property
    def is_compressible(self) -> bool: ...
    @property
    def n_labels(self) -> int: ...
    @property
    def n_pix(self) -> int: ...
    @property
    def n_terms(self) -> int: ...
    @property
    def n_groups(self) -> int: ...
    @property
    def trained(self) -> PixelMask: ...
    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...

    def __call__(self, labels: Labels | list[Any] | tuple[Any, ...]) -> Flux: ...
    def at(self, x: ScaledLabels) -> Flux: ...
    def at_with_jacobian(self, x: ScaledLabels) -> tuple[Flux, Jacobian]: ...
    def residual_and_jacobian(self, x: ScaledLabels, flux: Flux | Scalar) -> Float[Array, "*batch row pixel"]: ...
    def information(self, inv_cov: InverseCovariance, x: ScaledLabels, flux: Flux | Scalar) -> Gram: ...
    def components(self, x: ScaledLabels) -> Float[Array, "*batch component"]: ...
    def flux_unit(self) -> float: ...
    def in_unit(self, unit: float) -> Self: ...
    def padded(self) -> Self: ...
    def on_device(self) -> Self: ...
    def to_arrays(self) -> tuple[dict[str, Any], dict[str, Any]]: ...
    @classmethod
    def from_arrays(cls, arrays: Arrays, header: Mapping[str, Any], scaling: LabelScaling) -> Self: ...


class Standardised(ABC):
    """Flux, Jacobian, units and precision from the sums of scaled flux; subclasses are frozen dataclasses."""

    kind: ClassVar[str]
    scaling: LabelScaling
    intercept: Float[AnyArray, " pixel"]
    flux_mean: Float[AnyArray, " pixel"]
    flux_scale: Float[AnyArray, " pixel"]

    @abstractmethod
    def sums(self, x: ScaledLabels) -> Float[Array, "*batch pixel"]:
        """g(x) of each pixel."""

    @abstractmethod
    def rows(self, x: ScaledLabels) -> Float[Array, "*batch row pixel"]:
        """g(x) and below it ∂g/∂x₁ … ∂g/∂x_L, (..., L + 1, P)."""

    @property
    def is_compressed(self) -> bool:
        return False

    @property
    def is_compressible(self) -> bool:
        return False

    @property
    def n_labels(self) -> int:
        return self.scaling.n_labels

    @property
    def n_pix(self) -> int:
        return self.intercept.shape[-1]

    @property
    def trained(self) -> PixelMask:
        """(P,) bool: pixels that were trained."""
        return jnp.isfinite(self.intercept)

    def __call__(self, labels: Labels | list[Any] | tuple[Any, ...]) -> Flux:
        """Predicted flux (..., P) at labels (..., L) in physical units; float32 unless JAX runs in float64."""
        return _evaluate(self, self._scaled(labels))

    def at(self, x: ScaledLabels) -> Flux:
        """Predicted flux (..., P) at scaled labels x (..., L)."""
        return self._to_flux(self.sums(x))

    def at_with_jacobian(self, x: ScaledLabels) -> tuple[Flux, Jacobian]:
        """Flux (..., P) and its derivatives (..., L, P) with respect to the scaled labels x (..., L)."""
        rows = self.rows(x)
        return self._to_flux(rows[..., 0, :]), rows[..., 1:, :] * self.flux_scale

    def residual_and_jacobian(self, x: ScaledLabels, flux: Flux | Scalar) -> Float[Array, "*batch row pixel"]:
        """Rows [flux − f(x); ∂f/∂x₁; …] (..., L + 1, P), by one matrix product and one pass over its result."""
        constant = self.flux_mean + self.flux_scale * self.intercept
        first = jnp.arange(x.shape[-1] + 1)[:, None] == 0
        rows = self.rows(x) * self.flux_scale
        return jnp.where(first, (flux - constant)[..., None, :] - rows, rows)

    def information(self, inv_cov: InverseCovariance, x: ScaledLabels, flux: Flux | Scalar) -> Gram:
        """G = R Σ⁻¹ Rᵀ for the rows R = [r; J₁; …; J_L] at scaled labels x: all that a Gauss-Newton step needs.

        G[0, 0] is χ², G[0, 1:] = J Σ⁻¹ r is minus half its gradient, and G[1:, 1:] = J Σ⁻¹ Jᵀ is the Fisher
        information.
        """
        return inv_cov.gram(self.residual_and_jacobian(x, flux))

    def _scaled(self, labels: Labels | list[Any] | tuple[Any, ...]) -> ScaledLabels:
        if isinstance(labels, list | tuple):
            traced = any(isinstance(value, jax.core.Tracer) for value in labels)
            labels = jnp.stack([jnp.asarray(v) for v in labels], axis=-1) if traced else np.asarray(labels, float)
        shape = jnp.shape(labels)
        if not shape or shape[-1] != self.n_labels:
            raise ValueError(f"labels have shape {shape}; their last axis must hold the {self.n_labels} labels")
        return jnp.asarray(self.scaling(labels), dtype=self.intercept.dtype)

    def _to_flux(self, sums: Array) -> Flux:
        return self.flux_mean + self.flux_scale * (sums + self.intercept)

    def flux_unit(self) -> float:
        """A unit of flux near the training stars' spread, a power of two; see `slamjax.forward.scaled`."""
        scale = np.asarray(self.flux_scale)[np.isfinite(np.asarray(self.intercept))]
        return float(2.0 ** np.round(np.log2(np.median(scale))))

    def in_unit(self, unit: float) -> Self:
        """The same emulator of flux measured in ``unit``."""
        return self._with(flux_mean=np.asarray(self.flux_mean) / unit, flux_scale=np.asarray(self.flux_scale) / unit)

    def padded(self) -> Self:
        """The same emulator with arrays of a size that many models share, so that they share compiled programs."""
        return self

    def on_device(self) -> Self:
        """The same emulator with its arrays as JAX arrays of the default precision."""
        device: Self = jax.tree_util.tree_map(jnp.asarray, self)
        # the scaling stays exact on the host, where NumPy labels meet it before they are rounded
        return device._with(scaling=self.scaling)

    def common_arrays(self) -> dict[str, Any]:
        """Arrays of model files that all kinds share."""
        return {name: getattr(self, name) for name in _COMMON}

    @staticmethod
    def common_fields(arrays: Arrays) -> dict[str, np.ndarray]:
        """Fields from `common_arrays`."""
        return {name: arrays[name] for name in _COMMON}

    def _with(self, **fields: Any) -> Self:
        return dataclasses.replace(self, **fields)  # type: ignore[type-var]


@jax.jit
def _evaluate(emulator: Any, x: ScaledLabels) -> Flux:
    return emulator.at(x)
