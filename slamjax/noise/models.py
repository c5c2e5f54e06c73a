"""How far spectra lie from the emulator: photon noise and the emulator's own error.

A noise model is a small pytree. Everything about a star's Σ⁻¹ is in an `InverseCovariance`, made once per star and
used many times: weighted products of rows of pixels, ln |Σ|, whitened residuals. The fitter, the likelihood and the
sampler know nothing else of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax.typing import AnyArray, Flux, Ivar

Rows = Float[Array, "*batch row pixel"]
Whitened = Float[Array, "*batch pixel"]
# a GPU's and TPU's default for float32 products loses the digits that the difference of two squares needs
_einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


def ivar_in_unit(ivar: np.ndarray, unit: float) -> np.ndarray:
    """ivar of flux measured in ``unit``, in the device's precision.

    A stated error stays stated: beyond what float32 holds it is as small as float32 can say.
    """
    dtype = jax.dtypes.canonicalize_dtype(float)
    with np.errstate(over="ignore"):
        scaled = np.asarray(ivar, np.float64) * unit**2
    limit = float(jnp.finfo(dtype).max) / 4
    return np.where(np.isfinite(scaled), np.minimum(scaled, limit), scaled).astype(dtype)


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


class Noise(Protocol):
    """What every noise model offers; ``ivar`` is one star's (P,), or a batch's (..., P)."""

    def weights(self, ivar: Ivar) -> Ivar:
        """Inverse variances of pixels taken one by one, to compare templates by; 0 for a pixel that does not count."""
        ...

    def in_unit(self, unit: float) -> Any:
        """The same noise of flux measured in ``unit``."""
        ...

    def on_device(self) -> Any:
        """The same noise with JAX arrays of the default precision."""
        ...

    def inverse_covariance(self, ivar: Ivar) -> InverseCovariance:
        """Σ⁻¹ of stars with these photon errors."""
        ...

    def draw(self, key: Array, ivar: Ivar) -> Flux:
        """Noise drawn from N(0, Σ); 0 at bad pixels."""
        ...


@partial(jax.tree_util.register_dataclass, data_fields=["weight"], meta_fields=[])
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


@partial(jax.tree_util.register_dataclass, data_fields=["model_variance"], meta_fields=[])
@dataclass(frozen=True, eq=False)
class DiagonalNoise:
    """Σ = diag(1/ivar_λ + s²_λ): pixels independent of each other (Zhang, Liu & Deng 2020, eq. 7).

    A pixel counts in full or not at all: ivar = 0 gives weight 0, ivar = inf (error not stated) gives 1/s². A pixel
    that the model does not know has s² = inf, hence weight 0 too.
    """

    model_variance: Float[AnyArray, " pixel"]

    def weights(self, ivar: Ivar) -> Ivar:
        """Diagonal of Σ⁻¹."""
        return 1 / (1 / ivar + self.model_variance)

    def inverse_covariance(self, ivar: Ivar) -> DiagonalInverseCovariance:
        """Σ⁻¹ of stars with these photon errors."""
        return DiagonalInverseCovariance(self.weights(ivar))

    def draw(self, key: Array, ivar: Ivar) -> Flux:
        """Noise drawn from N(0, Σ); 0 at bad pixels."""
        weight = self.weights(ivar)
        deviation = jnp.where(weight > 0, 1 / jnp.sqrt(jnp.where(weight > 0, weight, 1)), 0)
        return deviation * jax.random.normal(key, jnp.shape(weight), deviation.dtype)

    def in_unit(self, unit: float) -> DiagonalNoise:
        """The same noise of flux measured in ``unit``."""
        return DiagonalNoise(np.asarray(self.model_variance) / unit**2)

    def on_device(self) -> DiagonalNoise:
        return jax.tree_util.tree_map(jnp.asarray, self)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["weight", "photon", "inverse", "whitener", "factors", "photon_factors"],
    meta_fields=[],
)
@dataclass(frozen=True, eq=False)
class LowRankInverseCovariance:
    """Σ⁻¹ = D⁻¹ − D⁻¹U A⁻¹ UᵀD⁻¹, A = I + UᵀD⁻¹U = L Lᵀ, U = [V, S W] (Woodbury 1950).

    Attributes
    ----------
    weight : diagonal of D⁻¹
    photon : the star's photon standard deviations, diagonal of S
    inverse, whitener : L⁻¹ and (Lᵀ + I)⁻¹ L⁻¹
        Nothing but matrix products is left to do for a residual. They are faster than triangular solves, and LAPACK
        calls of a batch that run side by side in a compiled function can wait for each other for ever (jaxlib 0.10).
    factors, photon_factors : V and W, the same for all stars
    """

    weight: Float[AnyArray, "*batch pixel"]
    photon: Float[AnyArray, "*batch pixel"]
    inverse: Float[Array, "*batch factor factor"]
    whitener: Float[Array, "*batch factor factor"]
    factors: Float[AnyArray, "pixel model_factor"]
    photon_factors: Float[AnyArray, "pixel photon_factor"]

    def _project(self, weighted: Rows) -> Float[Array, "*batch row factor"]:
        """Uᵀ of rows of pixels, without U of each star ever being made."""
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
        c = _einsum("...rk,...jk->...rj", projected, self.whitener)[..., 0, :]
        n_model = self.factors.shape[-1]
        common = _einsum("...k,pk->...p", c[..., :n_model], self.factors)
        own = _einsum("...k,pk->...p", c[..., n_model:], self.photon_factors) * self.photon
        return jnp.sqrt(self.weight) * (sound - common - own)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["model_variance", "factors", "photon_scale", "photon_factors"],
    meta_fields=[],
)
@dataclass(frozen=True, eq=False)
class LowRankNoise:
    """Σ = diag(a σ² + s²) + V Vᵀ + S W Wᵀ S, with S = diag(σ) and σ² = 1/ivar the star's photon variances.

    V holds how the emulator's error, and all else that is the same for bright and faint stars, goes together along
    the spectrum; W how photon noise does; a corrects errors that are stated too large or too small. A bad pixel, or
    one that the model does not know (s² = inf), is as good as deleted; a pixel without a stated error has σ = 0.

    Attributes
    ----------
    model_variance : (P,) s²
    factors : (P, K) V
    photon_scale : (P,) a
    photon_factors : (P, M) W
    """

    model_variance: Float[AnyArray, " pixel"]
    factors: Float[AnyArray, "pixel model_factor"]
    photon_scale: Float[AnyArray, " pixel"]
    photon_factors: Float[AnyArray, "pixel photon_factor"]

    @property
    def rank(self) -> int:
        return self.factors.shape[-1] + self.photon_factors.shape[-1]

    def weights(self, ivar: Ivar) -> Ivar:
        """1 over the diagonal of Σ."""
        own = self.photon_scale + jnp.sum(jnp.square(self.photon_factors), axis=-1)
        return 1 / (own / ivar + self.model_variance + jnp.sum(jnp.square(self.factors), axis=-1))

    def _diagonal(self, ivar: Ivar) -> tuple[AnyArray, Array]:
        """D⁻¹ and σ."""
        weight = 1 / (self.photon_scale / ivar + self.model_variance)
        stated = (ivar > 0) & jnp.isfinite(ivar)
        return weight, jnp.where(stated, 1 / jnp.sqrt(jnp.where(stated, ivar, 1)), 0)

    def inverse_covariance(self, ivar: Ivar) -> LowRankInverseCovariance:
        """Σ⁻¹ of stars with these photon errors."""
        weight, photon = self._diagonal(ivar)
        v, w = self.factors, self.photon_factors
        cross = _einsum("pi,...p,pj->...ij", v, weight * photon, w)
        top = jnp.concatenate([_einsum("pi,...p,pj->...ij", v, weight, v), cross], axis=-1)
        own = _einsum("pi,...p,pj->...ij", w, weight * jnp.square(photon), w)
        bottom = jnp.concatenate([jnp.swapaxes(cross, -1, -2), own], axis=-1)
        capacitance = jnp.concatenate([top, bottom], axis=-2) + jnp.eye(self.rank, dtype=weight.dtype)
        lower = jnp.linalg.cholesky(capacitance)
        eye = jnp.broadcast_to(jnp.eye(self.rank, dtype=lower.dtype), lower.shape)
        inverse = jax.scipy.linalg.solve_triangular(lower, eye, lower=True)
        whitener = jax.scipy.linalg.solve_triangular(jnp.swapaxes(lower, -1, -2) + eye, inverse, lower=False)
        return LowRankInverseCovariance(weight, photon, inverse, whitener, v, w)

    def draw(self, key: Array, ivar: Ivar) -> Flux:
        """Noise drawn from N(0, Σ); 0 at bad pixels."""
        weight, photon = self._diagonal(ivar)
        keys = jax.random.split(key, 3)
        shape = jnp.shape(weight)
        deviation = jnp.where(weight > 0, 1 / jnp.sqrt(jnp.where(weight > 0, weight, 1)), 0)
        one = deviation * jax.random.normal(keys[0], shape, weight.dtype)
        along = jax.random.normal(keys[1], (*shape[:-1], self.factors.shape[-1]), weight.dtype)
        across = jax.random.normal(keys[2], (*shape[:-1], self.photon_factors.shape[-1]), weight.dtype)
        common = _einsum("...k,pk->...p", along, self.factors)
        own = _einsum("...k,pk->...p", across, self.photon_factors) * photon
        return one + jnp.where(weight > 0, common + own, 0)

    def in_unit(self, unit: float) -> LowRankNoise:
        """The same noise of flux measured in ``unit``."""
        return LowRankNoise(
            np.asarray(self.model_variance) / unit**2,
            np.asarray(self.factors) / unit,
            self.photon_scale,
            self.photon_factors,
        )

    def inflated(self, factor: float) -> LowRankNoise:
        """Σ times ``factor``."""
        root = np.sqrt(factor)
        return LowRankNoise(
            np.asarray(self.model_variance) * factor,
            np.asarray(self.factors) * root,
            np.asarray(self.photon_scale) * factor,
            np.asarray(self.photon_factors) * root,
        )

    def on_device(self) -> LowRankNoise:
        return jax.tree_util.tree_map(jnp.asarray, self)


def _sound(rows: Any, weight: Any) -> Any:
    """Rows without the pixels that do not count: 0 · NaN is NaN, and untrained pixels predict NaN."""
    return jnp.where(weight > 0, rows, 0)


def _log_positive(weight: AnyArray) -> Array:
    return jnp.where(weight > 0, jnp.log(jnp.where(weight > 0, weight, 1)), 0)
