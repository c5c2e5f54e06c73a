"""Residuals of held-out stars in units of each pixel's spread: what covariances are estimated from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax.errors import SlamError
from slamjax.noise.models import LowRankNoise

#: Degrees of freedom of the Student-t distribution whose weights keep outliers from dominating the covariance.
TAIL = 8.0
#: Iterations of reweighting; the weights change little after the second.
ROUNDS = 3
#: Median of the square of a standard normal variable.
MEDIAN_SQUARE = 0.45493642
#: Groups of stars of like brightness, and how many stars each has at least.
_GROUPS, _SMALLEST_GROUP = 8, 20
#: The covariance is estimated from at most this many principal components of the residuals.
MOST_COMPONENTS = 400


@dataclass(frozen=True, eq=False)
class Residuals:
    """Residuals of N stars in units of each pixel's robust spread, without stars and pixels that have none.

    Attributes
    ----------
    z : (N, P) residuals, 0 where there is none
        The good pixels of a star represent its missing ones, which would otherwise dilute the covariance.
    photon : (N, P) photon variance, 0 where there is no residual
    known : (N, P) bool
    spread : (P,) in flux units
    pixels : (P,) which these are of all
    n_all : number of all pixels
    """

    z: np.ndarray
    photon: np.ndarray
    known: np.ndarray
    spread: np.ndarray
    pixels: np.ndarray
    n_all: int

    @property
    def share(self) -> np.ndarray:
        """(N,) fraction of good pixels."""
        return self.known.sum(axis=1) / self.known.shape[1]

    @property
    def ivar(self) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.where(self.known, 1 / self.photon, 0.0)

    @property
    def tau2(self) -> np.ndarray:
        """(N,) mean photon variance."""
        return self.photon.sum(axis=1) / self.known.sum(axis=1)

    def to_flux(self, unit: LowRankNoise, rank: int, photon_rank: int) -> LowRankNoise:
        """A noise of all pixels in flux units; untrained pixels have infinite s²."""
        variance, scale = np.full(self.n_all, np.inf), np.ones(self.n_all)
        variance[self.pixels] = unit.model_variance * np.square(self.spread)
        scale[self.pixels] = unit.photon_scale
        factors, photon_factors = np.zeros((self.n_all, rank)), np.zeros((self.n_all, photon_rank))
        factors[self.pixels, : unit.factors.shape[1]] = unit.factors * self.spread[:, None]
        photon_factors[self.pixels, : unit.photon_factors.shape[1]] = unit.photon_factors
        return LowRankNoise(variance, factors, scale, photon_factors)


def in_units(residual: np.ndarray, variance: np.ndarray) -> Residuals:
    known = np.isfinite(residual) & np.isfinite(variance)
    stars, pixels = np.flatnonzero(known.any(axis=1)), np.flatnonzero(known.any(axis=0))
    if stars.size < 10:
        raise SlamError(f"{stars.size} stars have residuals; a noise model needs at least 10, better hundreds")
    used = np.ix_(stars, pixels)
    known, given = known[used], residual[used]
    spread = np.sqrt(np.nanmedian(np.where(known, np.square(given), np.nan), axis=0) / MEDIAN_SQUARE)
    spread = np.maximum(spread, 1e-6 * spread.max() + 1e-30)
    photon = np.where(known, variance[used], 0.0) / np.square(spread)
    share = known.sum(axis=1) / pixels.size
    z = np.where(known, given / spread, 0.0) / np.sqrt(share)[:, None]
    return Residuals(z, photon, known, spread, pixels, residual.shape[1])


def principal_components(z: np.ndarray) -> np.ndarray:
    """(P, R) orthonormal leading directions of the rows of z, from the smaller of the two Gram matrices."""
    n = min(*z.shape, MOST_COMPONENTS)
    if z.shape[1] <= z.shape[0]:
        return np.linalg.eigh(z.T @ z)[1][:, ::-1][:, :n]
    value, vector = np.linalg.eigh(z @ z.T)
    value, vector = value[::-1][:n], vector[:, ::-1][:, :n]
    sound = value > 1e-10 * value[0]
    return z.T @ (vector[:, sound] / np.sqrt(value[sound]))


def typical_of_like_stars(values: np.ndarray, tau2: np.ndarray) -> np.ndarray:
    """(N,) the median of positive ``values`` among stars of like mean photon variance ``tau2``."""
    n_groups = max(min(_GROUPS, len(values) // _SMALLEST_GROUP), 1)
    group = np.argsort(np.argsort(tau2)) * n_groups // len(values)
    logs = np.log(np.maximum([tau2, values], 1e-30))
    middle = np.array([np.median(logs[:, group == k], axis=1) for k in range(n_groups)])
    return np.exp(np.interp(logs[0], middle[:, 0], middle[:, 1]))


@compiled
def _chi2_of(noise: LowRankNoise, z: jax.Array, ivar: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(noise.inverse_covariance(ivar).whiten(z)), axis=-1)


def whitened_chi2(noise: LowRankNoise, z: np.ndarray, ivar: np.ndarray) -> np.ndarray:
    """(N,) zᵀΣ⁻¹z."""
    device = noise.on_device()
    chi2 = map_padded(partial(_chi2_of, device), (np.asarray(z), np.asarray(ivar)), 256, least=32)
    return np.asarray(chi2, float)
