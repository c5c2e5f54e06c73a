"""Σ⁻¹ of a star, made once per star and used many times: products of rows of pixels, ln |Σ|, whitened residuals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from slamjax.typing import AnyArray, Flux

Rows = Float[Array, "*batch row pixel"]
Whitened = Float[Array, "*batch pixel"]
# a GPU's and TPU's default for float32 products loses the digits that the difference of two squares needs
_einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


class InverseCovariance(Protocol):
    """Σ⁻¹ of one star, or of a batch of stars."""

    @property
    def weight(self) -> Float[AnyArray, "*batch pixel"]:
        """1 over the part of Σ that is independent from pixel to pixel; 0 at bad pixels."""
        ...

    def gram(self, rows: Rows) -> Float[Array, "*batch row row"]:
        """R Σ⁻¹ Rᵀ."""
        ...

    def logdet(self) -> Float[Array, "*batch"]:
        """ln |Σ| over the good pixels."""
        ...

    def whiten(self, residual: Flux) -> Whitened:
        """z with zᵀz = rᵀΣ⁻¹r, and of unit covariance if r has covariance Σ; 0 at bad pixels."""
        ...

    def apart(self, residual: Flux) -> tuple[Float[Array, "*batch factor"], Whitened]:
        """The most probable factors c of r, and D^-½ (r − U c), for Σ = D + U Uᵀ; their squares add up to rᵀΣ⁻¹r."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class DiagonalInverseCovariance:
    """Σ⁻¹ = diag(w)."""

    weight: Float[AnyArray, "*batch pixel"]

    def gram(self, rows: Rows) -> Float[Array, "*batch row row"]:
        weight = self.weight[..., None, :]
        whitened = _sound(rows, weight) * jnp.sqrt(weight)
        return _einsum("...ip,...jp->...ij", whitened, whitened)

    def logdet(self) -> Float[Array, "*batch"]:
        return -jnp.sum(_log_positive(self.weight), axis=-1)

    def whiten(self, residual: Flux) -> Whitened:
        return _sound(residual, self.weight) * jnp.sqrt(self.weight)

    def apart(self, residual: Flux) -> tuple[Float[Array, "*batch factor"], Whitened]:
        whitened = self.whiten(residual)
        return whitened[..., :0], whitened


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LowRankInverseCovariance:
    """Σ⁻¹ = D⁻¹ − D⁻¹U A⁻¹ UᵀD⁻¹, A = I + UᵀD⁻¹U = L Lᵀ, U = [V, S W] (Woodbury 1950).

    Attributes
    ----------
    weight : diagonal of D⁻¹
    photon : the star's photon standard deviations, diagonal of S
    inverse, whitener : L⁻¹ and (Lᵀ + I)⁻¹ L⁻¹
        So that residuals need matrix products only: these are faster than triangular solves, and concurrent LAPACK
        calls of a batch in a compiled function can deadlock (jaxlib 0.10).
    factors, photon_factors : V and W, shared by all stars
    """

    weight: Float[AnyArray, "*batch pixel"]
    photon: Float[AnyArray, "*batch pixel"]
    inverse: Float[Array, "*batch factor factor"]
    whitener: Float[Array, "*batch factor factor"]
    factors: Float[AnyArray, "pixel model_factor"]
    photon_factors: Float[AnyArray, "pixel photon_factor"]

    def _project(self, weighted: Rows) -> Float[Array, "*batch row factor"]:
        """Uᵀ of rows of pixels, without forming each star's U."""
        along = _einsum("...rp,pk->...rk", weighted, self.factors)
        across = _einsum("...rp,pk->...rk", weighted * self.photon[..., None, :], self.photon_factors)
        return jnp.concatenate([along, across], axis=-1)

    def _whitened_factors(self, weighted: Rows) -> Float[Array, "*batch row factor"]:
        """L⁻¹Uᵀ of rows of pixels."""
        return _einsum("...rk,...jk->...rj", self._project(weighted), self.inverse)

    def gram(self, rows: Rows) -> Float[Array, "*batch row row"]:
        weight = self.weight[..., None, :]
        sound = _sound(rows, weight)
        weighted = sound * weight
        t = self._whitened_factors(weighted)
        return _einsum("...ip,...jp->...ij", weighted, sound) - _einsum("...ik,...jk->...ij", t, t)

    def logdet(self) -> Float[Array, "*batch"]:
        diagonal = jnp.diagonal(self.inverse, axis1=-2, axis2=-1)
        return -2 * jnp.sum(jnp.log(diagonal), axis=-1) - jnp.sum(_log_positive(self.weight), axis=-1)

    def whiten(self, residual: Flux) -> Whitened:
        """z = D^-½ (r − U (Lᵀ + I)⁻¹ L⁻¹ UᵀD⁻¹ r), zᵀz = rᵀΣ⁻¹r."""
        sound = _sound(residual, self.weight)
        projected = self._project((sound * self.weight)[..., None, :])
        return self._without(sound, _einsum("...rk,...jk->...rj", projected, self.whitener)[..., 0, :])

    def apart(self, residual: Flux) -> tuple[Float[Array, "*batch factor"], Whitened]:
        """c = A⁻¹UᵀD⁻¹ r, and D^-½ (r − U c)."""
        sound = _sound(residual, self.weight)
        t = self._whitened_factors((sound * self.weight)[..., None, :])
        c = _einsum("...rk,...kj->...rj", t, self.inverse)[..., 0, :]
        return c, self._without(sound, c)

    def _without(self, sound: Flux, c: Float[Array, "*batch factor"]) -> Whitened:
        """D^-½ (r − U c)."""
        n_model = self.factors.shape[-1]
        common = _einsum("...k,pk->...p", c[..., :n_model], self.factors)
        photon = _einsum("...k,pk->...p", c[..., n_model:], self.photon_factors) * self.photon
        return jnp.sqrt(self.weight) * (sound - common - photon)


def _sound(rows: Any, weight: Any) -> Any:
    """Rows with 0 at pixels that do not count: 0 · NaN is NaN, and untrained pixels predict NaN."""
    return jnp.where(weight > 0, rows, 0)


def _log_positive(weight: AnyArray) -> Array:
    return jnp.where(weight > 0, jnp.log(jnp.where(weight > 0, weight, 1)), 0)
