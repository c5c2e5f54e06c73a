"""Several spectra of one star, whose photon noise is their own and whose emulator error is the star's.

Visit k of a star at rest is f + e + n_k. The emulator's error e ~ N(0, diag(s²) + V Vᵀ) is the same in all of them,
the photon noise n_k ~ N(0, diag(a σ_k²) + S_k W Wᵀ S_k) is not: more visits help against the latter only. Over all
pixels of all visits

    Σ = D + U Uᵀ,   D = diag(a σ_k²) + s² 1 1ᵀ (visits of one pixel),   U = [1 ⊗ V, S_1 W ⊕ … ⊕ S_K W].

D is inverted pixel by pixel. With the weights w_k = 1 / (a σ_k²), W = Σ w_k and the weighted mean r̄ of a pixel's
visits, rᵀD⁻¹r = Σ_k w_k (r_k − r̄)² + r̄² / (1/W + s²) (Sherman & Morrison 1950): no difference of large numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from slamjax.noise.models import DiagonalNoise, LowRankNoise, Noise
from slamjax.typing import AnyArray, Scalar

#: Photon variances are at least this fraction of s²: below it, visits are as good as identical.
_LEAST = 1e-4
_einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)

#: Rows of pixels that all visits have, and rows that only one visit has.
Full = Float[Array, "row visit pixel"]
Local = Float[Array, "visit local pixel"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class VisitsInverseCovariance:
    """Σ⁻¹ of the visits of one star.

    Attributes
    ----------
    weight : (K, P) w_k, 0 at bad pixels
    mean_weight : (P,) 1 / (1/W + s²), of the mean of the visits
    photon : (K, P) σ_k
    inverse : (F, F) L⁻¹ of I + UᵀD⁻¹U = L Lᵀ
    factors, photon_factors : V and W
    model_variance : (P,) s²
    """

    weight: Float[AnyArray, "visit pixel"]
    mean_weight: Float[AnyArray, " pixel"]
    photon: Float[AnyArray, "visit pixel"]
    inverse: Float[Array, "factor factor"]
    factors: Float[AnyArray, "pixel model_factor"]
    photon_factors: Float[AnyArray, "pixel photon_factor"]
    model_variance: Float[AnyArray, " pixel"]

    @property
    def share(self) -> Float[Array, "visit pixel"]:
        """w_k / W: what each visit is of the mean."""
        return _shares(self.weight)

    def gram(self, full: Full, local: Local) -> Float[Array, "row row"]:
        """R Σ⁻¹ Rᵀ of the rows ``full``, and behind them those of each visit."""
        full, local = (jnp.where(self.weight[:, None] > 0, each, 0) for each in (jnp.swapaxes(full, 0, 1), local))
        n_full, n_all = full.shape[1], full.shape[1] + local.shape[0] * local.shape[1]
        share = self.share
        mean_full, mean_local = _einsum("kp,kip->ip", share, full), share[:, None] * local
        about = full - mean_full
        means = jnp.concatenate([mean_full, mean_local.reshape(n_all - n_full, local.shape[2])])

        gram = jnp.zeros((n_all, n_all), full.dtype)
        weighted = self.weight[:, None] * about
        gram = gram.at[:n_full, :n_full].set(_einsum("kip,kjp->ij", weighted, about))
        cross = _einsum("kip,kmp->ikm", weighted, local).reshape(n_full, n_all - n_full)
        gram = gram.at[:n_full, n_full:].set(cross).at[n_full:, :n_full].set(cross.T)
        own = _einsum("kip,kjp->kij", self.weight[:, None] * local, local)
        total = jnp.sum(self.weight, axis=0)
        shared = _einsum("kip,ljp->kilj", total * mean_local, mean_local)
        visit = jnp.arange(local.shape[0])
        # the pairs of one visit lose what moves its mean; those of two have nothing else
        block = (-shared).at[visit, :, visit].add(own)
        gram = gram.at[n_full:, n_full:].set(block.reshape(n_all - n_full, n_all - n_full))
        gram = gram + _einsum("ip,p,jp->ij", means, self.mean_weight, means)
        t = self._projected(about, local, means)
        return gram - _einsum("if,jf->ij", t, t)

    def _projected(self, about: Array, local: Local, means: Float[Array, "row pixel"]) -> Float[Array, "row factor"]:
        """L⁻¹UᵀD⁻¹R."""
        along = _einsum("ip,p,pf->if", means, self.mean_weight, self.factors)
        n_visits, n_full = about.shape[:2]
        # D⁻¹r at visit k is w_k (r_k − r̄) + (w_k / W) mean_weight r̄
        of_mean = self.share[:, None] * (self.mean_weight * means)
        weighted = self.weight[:, None]
        parts = [weighted * about + of_mean[:, :n_full]]
        for visit in range(n_visits if local.shape[1] else 0):
            k = n_full + visit * local.shape[1]
            row = slice(k, k + local.shape[1])
            rows = jnp.zeros((n_visits, *local.shape[1:]), local.dtype).at[visit].set(local[visit])
            parts.append(weighted * (rows - means[row]) + of_mean[:, row])
        rows = jnp.concatenate(parts, axis=1) * self.photon[:, None]
        across = _einsum("kip,pf->ikf", rows, self.photon_factors)
        across = across.reshape(means.shape[0], n_visits * self.photon_factors.shape[1])
        return _einsum("if,gf->ig", jnp.concatenate([along, across], axis=1), self.inverse)

    def logdet(self) -> Scalar:
        """ln |Σ| over the good pixels."""
        counts = self.weight > 0
        own = -jnp.sum(jnp.where(counts, jnp.log(jnp.where(counts, self.weight, 1)), 0))
        total = jnp.sum(self.weight, axis=0)
        common = jnp.sum(jnp.where(total > 0, jnp.log1p(jnp.where(total > 0, self.model_variance, 0) * total), 0))
        return own + common - 2 * jnp.sum(jnp.log(jnp.diagonal(self.inverse)))


def visits_inverse_covariance(
    noise: Noise, ivar: Float[AnyArray, "visit pixel"], inverse: Float[Array, "factor factor"] | None = None
) -> VisitsInverseCovariance:
    """Σ⁻¹ of the visits of a star with these photon errors; ``inverse`` is computed unless `factorised` gave it."""
    weight, mean_weight, photon = _weights(noise, ivar)
    inverse = _factorised(noise, ivar) if inverse is None else inverse
    variance: Any = noise.model_variance  # type: ignore[attr-defined]
    return VisitsInverseCovariance(weight, mean_weight, photon, inverse, *_factors(noise), variance)


def factorised(noise: Noise, ivar: Float[AnyArray, "visit pixel"]) -> Float[Array, "factor factor"] | None:
    """L⁻¹ of I + UᵀD⁻¹U = L Lᵀ, which takes long and is kept with each star; None where U has no columns."""
    return _factorised(noise, ivar) if rank(noise, ivar.shape[0]) else None


def _factorised(noise: Noise, ivar: Float[AnyArray, "visit pixel"]) -> Float[Array, "factor factor"]:
    weight, mean_weight, photon = _weights(noise, ivar)
    v, w = _factors(noise)
    n_visits, n_photon = weight.shape[0], w.shape[1]
    share = _shares(weight)
    top = _einsum("pi,p,pj->ij", v, mean_weight, v)
    cross = _einsum("pi,p,kp,pj->ikj", v, mean_weight, share * photon, w).reshape(v.shape[1], n_visits * n_photon)
    own = _einsum("pi,kp,pj->kij", w, weight * jnp.square(photon), w)
    total = jnp.sum(weight, axis=0)
    # what the weighted mean takes away, and what its own weight gives back
    shared = _einsum("pi,kp,lp,pj->kilj", w, share * photon, share * photon * (mean_weight - total), w)
    visit = jnp.arange(n_visits)
    corner = shared.at[visit, :, visit].add(own).reshape(n_visits * n_photon, n_visits * n_photon)
    whole = jnp.concatenate([jnp.concatenate([top, cross], axis=1), jnp.concatenate([cross.T, corner], axis=1)])
    lower = jnp.linalg.cholesky(whole + jnp.eye(whole.shape[0], dtype=whole.dtype))
    return jax.scipy.linalg.solve_triangular(lower, jnp.eye(whole.shape[0], dtype=whole.dtype), lower=True)


def variance_shares(noise: Noise, ivar: Float[AnyArray, "visit pixel"]) -> Float[Array, " 2"]:
    """Expected χ² by the emulator's error and by photon noise, correlations between pixels aside."""
    weight, mean_weight, _ = _weights(noise, ivar)
    variance: Any = jnp.asarray(noise.model_variance)  # type: ignore[attr-defined]
    model = jnp.sum(jnp.where(mean_weight > 0, variance, 0) * mean_weight)
    return jnp.stack([model, jnp.sum(weight > 0) - model])


def rank(noise: Noise, n_visits: int) -> int:
    """Columns of U."""
    v, w = _factors(noise)
    return int(v.shape[1] + n_visits * w.shape[1])


def _shares(weight: Any) -> Array:
    total = jnp.sum(weight, axis=0)
    return weight / jnp.where(total > 0, total, 1)


def _weights(noise: Noise, ivar: Any) -> tuple[Array, Array, Array]:
    """w_k, 1 / (1/W + s²) and σ_k."""
    variance: Any = jnp.asarray(noise.model_variance)  # type: ignore[attr-defined]
    scale = noise.photon_scale if isinstance(noise, LowRankNoise) else 1.0
    counts = (ivar > 0) & jnp.isfinite(variance)
    photon = jnp.where(counts, scale / jnp.where(counts, ivar, 1), 1)
    weight = jnp.where(counts, 1 / jnp.maximum(photon, _LEAST * jnp.where(counts, variance, 1)), 0)
    total = jnp.sum(weight, axis=0)
    mean_weight = total / (1 + jnp.where(total > 0, variance, 0) * total)
    stated = (ivar > 0) & jnp.isfinite(ivar)
    return weight, mean_weight, jnp.where(stated, 1 / jnp.sqrt(jnp.where(stated, ivar, 1)), 0)


def _factors(noise: Noise) -> tuple[Any, Any]:
    if isinstance(noise, LowRankNoise):
        return noise.factors, noise.photon_factors
    assert isinstance(noise, DiagonalNoise)
    none = jnp.zeros((jnp.shape(noise.model_variance)[0], 0), jnp.asarray(noise.model_variance).dtype)
    return none, none
