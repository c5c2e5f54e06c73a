"""Stars whose photon noise has a covariance of its own, C, such as that of Gaia XP coefficients.

Σ = C + diag(s²) + V Vᵀ, with s² and V those of the noise model. Σ = L Lᵀ is factorised on the host, in float64, once
per star; the device gets W = L⁻¹, so that χ² and information are sums of squares of W R: float32 loses no digits in a
difference, and no LAPACK is called within a fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from slamjax.typing import AnyArray, Flux, Ivar

Rows = Float[Array, "*batch row pixel"]
_einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class DenseErrors:
    """Errors of stars with covariances of their own; they take the place of ``ivar`` (..., P).

    Attributes
    ----------
    ivar : (..., P) 1 over the diagonal of C; 0 at bad pixels
    whitener : (..., P, P) W; rows and columns of bad pixels are 0
    """

    ivar: Float[AnyArray, "*batch pixel"]
    whitener: Float[AnyArray, "*batch pixel pixel"]

    def with_photons(self, s2: Any, factors: Any, factor: Any) -> DenseErrors:
        """Errors of stars with C over ``factor``, to first order in ln ``factor``, of a single star.

        W C Wᵀ = 1 − W (diag(s²) + V Vᵀ) Wᵀ = K, and W of Σ − ε C is (1 + ε K / 2) W.
        """
        scale = jnp.sqrt(jnp.where(jnp.isfinite(s2), s2, 0))
        emulator = jnp.concatenate([self.whitener * scale, _matmul(self.whitener, factors)], axis=-1)
        photons = jnp.eye(self.ivar.shape[-1], dtype=self.ivar.dtype) - _matmul(emulator, emulator.T)
        moved = self.whitener + 0.5 * (factor - 1) * _matmul(photons, self.whitener)
        return DenseErrors(self.ivar * factor, moved)


#: Errors of one star, or of a batch: of independent pixels, or with a covariance.
Errors: TypeAlias = Ivar | DenseErrors


def whiteners(
    covariance: Float[np.ndarray, "star pixel pixel"],
    ivar: Float[np.ndarray, "star pixel"],
    s2: Float[np.ndarray, " pixel"],
    factors: Float[np.ndarray, "pixel factor"],
) -> Float[np.ndarray, "star pixel pixel"]:
    """W of stars with these covariances, in float64; pixels with ivar = 0 or infinite s² are as if absent.

    Absent pixels get a variance of 1 and no covariances, so that all stars have matrices of one shape.
    """
    good = (ivar > 0) & np.isfinite(s2)
    s2, factors = np.where(np.isfinite(s2), s2, 0).astype(float), np.asarray(factors, float)
    total = covariance + (factors @ factors.T + np.diag(s2))
    absent = ~(good[:, :, None] & good[:, None, :]) if not good.all() else None
    if absent is not None:
        total[absent] = 0
        np.einsum("npp->np", total)[~good] = 1
    # standard errors of one: coefficients differ by orders of magnitude
    error = np.sqrt(np.einsum("npp->np", total))
    total /= error[:, :, None]
    total /= error[:, None, :]
    lower = np.linalg.cholesky(total)
    inverse = np.tril(np.linalg.solve(lower, np.broadcast_to(np.eye(len(s2)), lower.shape)))
    inverse /= error[:, None, :]
    if absent is not None:
        inverse[absent] = 0
    return inverse


def dense_chi2(
    residual: Float[np.ndarray, "star pixel"],
    covariance: Float[np.ndarray, "star pixel pixel"],
    s2: Float[np.ndarray, " pixel"],
    factors: Float[np.ndarray, "pixel factor"],
    good: Bool[np.ndarray, "star pixel"],
) -> Float[np.ndarray, " star"]:
    """(N,) rᵀΣ⁻¹r over the good pixels, on the host, in float64."""
    white = whiteners(covariance, good.astype(float), s2, factors)
    return np.sum(np.square(np.einsum("nqp,np->nq", white, np.where(good, residual, 0))), axis=1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class DenseInverseCovariance:
    """Σ⁻¹ = WᵀW.

    Attributes
    ----------
    weight : 1 over the diagonal of Σ; 0 at bad pixels
    whitener : W
    factors : V
    """

    weight: Float[AnyArray, "*batch pixel"]
    whitener: Float[AnyArray, "*batch pixel pixel"]
    factors: Float[AnyArray, "pixel factor"]

    def gram(self, rows: Rows) -> Float[Array, "*batch row row"]:
        sound = jnp.where(self.weight[..., None, :] > 0, rows, 0)
        whitened = _einsum("...rp,...qp->...rq", sound, self.whitener)
        return _einsum("...iq,...jq->...ij", whitened, whitened)

    def logdet(self) -> Float[Array, "*batch"]:
        diagonal = jnp.diagonal(self.whitener, axis1=-2, axis2=-1)
        return -2 * jnp.sum(jnp.where(diagonal > 0, jnp.log(jnp.where(diagonal > 0, diagonal, 1)), 0), axis=-1)

    def whiten(self, residual: Flux) -> Float[Array, "*batch pixel"]:
        sound = jnp.where(self.weight > 0, residual, 0)
        return _einsum("...p,...qp->...q", sound, self.whitener)

    def apart(self, residual: Flux) -> tuple[Float[Array, "*batch factor"], Float[Array, "*batch pixel"]]:
        """c = VᵀΣ⁻¹ r, and z with zᵀz = (r − V c)ᵀ M⁻¹ (r − V c), M = Σ − V Vᵀ.

        With B = W V and z₀ = W r: c = Bᵀz₀, and z = z₀ − B (1 + R)⁻¹ c where RᵀR = 1 − BᵀB.
        """
        b, root = self._reduced()
        white = self.whiten(residual)
        c = _einsum("...pk,...p->...k", b, white)
        eye = jnp.eye(root.shape[-1], dtype=root.dtype)
        step = jax.scipy.linalg.solve_triangular(root + eye, c[..., None], lower=False)
        return c, white - _einsum("...pk,...k->...p", b, step[..., 0])

    def independent_share(self, s2: Any) -> Float[Array, "*batch"]:
        """tr(M⁻¹ diag(s²)): the part of the pixels' χ² that is s²'s, of M = C + diag(s²)."""
        b, root = self._reduced()
        scale = jnp.sqrt(jnp.where(self.weight > 0, s2, 0))
        own = self.whitener * scale[..., None, :]
        # M⁻¹ = WᵀW + Q Qᵀ with Q = Wᵀ B R⁻¹
        along = _einsum("...pk,...pq->...kq", b, own)
        more = jax.scipy.linalg.solve_triangular(jnp.swapaxes(root, -1, -2), along, lower=True)
        return jnp.sum(jnp.square(own), axis=(-2, -1)) + jnp.sum(jnp.square(more), axis=(-2, -1))

    def _reduced(self) -> tuple[Array, Array]:
        """B, and the upper triangle R with RᵀR = 1 − BᵀB."""
        b = _einsum("...qp,pk->...qk", self.whitener, self.factors)
        eye = jnp.eye(b.shape[-1], dtype=b.dtype)
        left = eye - _einsum("...qi,...qj->...ij", b, b)
        # where the emulator's error is thousands of times the photons', rounding may leave less than nothing
        least = 8 * jnp.finfo(b.dtype).eps
        return b, jnp.swapaxes(jnp.linalg.cholesky(left + least * eye), -1, -2)


def _matmul(one: Any, other: Any) -> Array:
    return jnp.matmul(one, other, precision=jax.lax.Precision.HIGHEST)


def draw(key: Array, errors: DenseErrors) -> Flux:
    """Noise drawn from N(0, Σ); 0 at bad pixels."""
    good = jnp.diagonal(errors.whitener, axis1=-2, axis2=-1) > 0
    normal = jnp.where(good, jax.random.normal(key, good.shape, errors.whitener.dtype), 0)
    filled = errors.whitener + jnp.eye(good.shape[-1], dtype=errors.whitener.dtype) * ~good[..., None, :]
    return jax.scipy.linalg.solve_triangular(filled, normal[..., None], lower=True)[..., 0]
