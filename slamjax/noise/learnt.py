"""Estimation of noise where the residuals themselves say how photon noise differs from the stated errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slamjax.noise.models import LowRankNoise
from slamjax.noise.residuals import (
    ROUNDS,
    TAIL,
    Residuals,
    in_units,
    principal_components,
    typical_of_like_stars,
    whitened_chi2,
)

#: The emulator's variance of a pixel is at least this part of its squared spread where a floor is set.
_LEAST_SEEN = 0.05
#: Information on an element of Q, in squared units of the pixels' spread, below which it cannot be told from M.
_LEAST_SPREAD = 10.0
#: Floor with which stars are weighted.
_FLOOR = 0.2


@dataclass(frozen=True, eq=False)
class LearntPhotons:
    """Both parts of Σ = diag(a σ² + s²) + V Vᵀ + S W Wᵀ S, of any rank, from residuals of held-out stars.

    Residuals are measured in units of each pixel's robust spread. The expectation of z zᵀ is M + τ² Q, with τ² a star's
    mean photon variance: M and Q by weighted least squares over the stars, V and W as their leading principal
    components, the remaining diagonals as s² and a. Stars have the weights of a multivariate Student-t distribution
    (EM; Lange, Little & Taylor 1989, JASA 84, 881), so that outliers do not dominate the covariance. A star is an
    outlier among stars of like brightness: weights by all stars' χ² would take from faint stars what Q is known by.

    Attributes
    ----------
    given : residuals in units of each pixel's spread
    factors, photon_factors : (P, ≤ K) V and W in these units; components without support are left out
    seen, photon_seen : (P,) variances of which these and the diagonals are parts
    """

    given: Residuals
    factors: np.ndarray
    photon_factors: np.ndarray
    seen: np.ndarray
    photon_seen: np.ndarray

    @classmethod
    def estimate(cls, residual: np.ndarray, variance: np.ndarray, rank: int) -> LearntPhotons:
        """From residuals (N, P), NaN where there is none, and stated photon variances (N, P).

        Raises
        ------
        SlamError
            If fewer than ten stars have residuals.
        """
        given = in_units(residual, variance)
        z, tau2 = given.z, given.tau2
        shape = np.maximum(np.sqrt(given.photon.sum(axis=0) / tau2.sum()), 1e-3)
        basis = principal_components(z)
        coordinates = z @ basis
        square = np.sum(np.square(z), axis=1)
        weight = typical_of_like_stars(square, tau2) / np.maximum(square, 1e-30)
        fixed, scaled = _moment_weights(tau2)
        for _ in range(ROUNDS):
            seen, photon_seen = (np.maximum(each @ np.square(z), 0.0) for each in (weight * fixed, weight * scaled))
            factors = _leading(coordinates, basis, weight * fixed, rank)
            if not scaled.any():  # all that is independent may be photon noise, up to what is stated
                photon_seen = np.minimum(_rest(seen, factors) / np.mean(tau2), np.square(shape))
                seen = seen - photon_seen * np.mean(tau2)
            photon_factors = _leading(coordinates, basis, weight * scaled, rank) / shape[:, None]
            found = cls(given, factors, photon_factors, seen, photon_seen / np.square(shape))
            chi2 = whitened_chi2(found._in_units(rank, _FLOOR), z, given.ivar)
            unlike = chi2 / typical_of_like_stars(chi2, tau2)
            weight = (TAIL + z.shape[1]) / (TAIL + z.shape[1] * unlike)
        return found

    def noise(self, rank: int, floor: float) -> LowRankNoise:
        """Σ with the first ``rank`` columns of V and of W.

        ``floor`` times each pixel's variance is added to s² and to a, each for its own part. Oversampled spectra have
        directions in which residuals hardly vary. The likelihood would give them the largest weight, but in these
        directions the response of an emulator of separately trained pixels to the labels is as much its own error as
        real, so they carry little information.
        """
        return self.given.to_flux(self._in_units(rank, floor), rank, rank)

    def _in_units(self, rank: int, floor: float) -> LowRankNoise:
        factors, photon_factors = self.factors[:, :rank], self.photon_factors[:, :rank]
        return LowRankNoise(
            _rest(self.seen, factors) + floor * np.maximum(self.seen, _LEAST_SEEN),
            factors,
            _rest(self.photon_seen, photon_factors) + floor * self.photon_seen,
            photon_factors,
        )


def _rest(seen: np.ndarray, factors: np.ndarray) -> np.ndarray:
    return np.maximum(seen - np.sum(np.square(factors), axis=1), 0.0)


def _moment_weights(tau2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights c, d of the stars for which Σ c z zᵀ and Σ d z zᵀ estimate M and Q of E[z zᵀ] = M + τ² Q.

    Least squares, each star weighted by the inverse square of its expected variance.
    """
    n = tau2.size
    a = 1 / np.square(0.3 + tau2)
    s0, s1, s2 = a.sum(), a @ tau2, a @ np.square(tau2)
    determinant = s0 * s2 - s1**2
    if determinant <= _LEAST_SPREAD * s0:  # nearly equal photon noise: M and Q cannot be separated
        return np.full(n, 1 / n), np.zeros(n)
    return a * (s2 - s1 * tau2) / determinant, a * (s0 * tau2 - s1) / determinant


def _leading(coordinates: np.ndarray, basis: np.ndarray, weight: np.ndarray, rank: int) -> np.ndarray:
    """Leading positive components (P, ≤ rank) of Σ w z zᵀ."""
    value, vector = np.linalg.eigh((coordinates * weight[:, None]).T @ coordinates)
    value, vector = value[::-1][:rank], vector[:, ::-1][:, :rank]
    positive = value > 0
    return basis @ (vector[:, positive] * np.sqrt(value[positive]))
