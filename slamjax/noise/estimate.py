"""Estimation of a noise model from the residuals of held-out stars."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
from jaxtyping import Float

from slamjax.noise.models import LowRankNoise
from slamjax.noise.residuals import (
    MEDIAN_SQUARE,
    ROUNDS,
    TAIL,
    Residuals,
    in_units,
    principal_components,
    whitened_chi2,
)

#: The emulator's variance of a pixel is at least this part of its squared spread where a floor is set.
_LEAST_SEEN = 0.05
#: Information on an element of Q, in squared units of the pixels' spread, below which it cannot be told from M.
_LEAST_SPREAD = 10.0


def model_variance(residual: np.ndarray, variance: np.ndarray) -> Float[np.ndarray, " pixel"]:
    """s²_λ: robust estimate, from residuals of held-out stars, of the variance beyond photon noise.

    The s² ≥ 0 for which the median of r_i² / (v_i + s²) is m = 0.455, that of a squared standard normal variable.
    Half of the stars have r_i² > m (v_i + s²), that is r_i² / m − v_i > s²: so s² is the median of r_i² / m − v_i,
    or 0. With a mean, or a likelihood, a few outliers would set the errors of all stars.

    Parameters
    ----------
    residual : (N, P) array
        Observed minus predicted flux of held-out stars; NaN where there is none.
    variance : (N, P) array
        Photon variance 1/ivar; 0 where errors are not stated, so that s² includes the photon noise.

    Returns
    -------
    (P,) array; 0 where the photon noise explains the residuals, NaN for a pixel without residuals.
    """
    excess = np.square(residual) / MEDIAN_SQUARE - variance
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a pixel without residuals is NaN, as promised
        return np.maximum(np.nanmedian(np.where(np.isfinite(excess), excess, np.nan), axis=0), 0.0)


def low_rank(residual: np.ndarray, variance: np.ndarray, *, rank: int, photon_rank: int, floor: float) -> LowRankNoise:
    """Σ = diag(a σ² + s²) + V Vᵀ + S W Wᵀ S from the residuals of held-out stars, photon noise learnt.

    Residuals are measured in units of each pixel's robust spread. The expectation of z zᵀ is M + τ² Q, with τ² a star's
    mean photon variance: M and Q by weighted least squares over the stars, V and W as their leading principal
    components, the remaining diagonals as s² and a. Stars have the weights of a multivariate Student-t distribution
    (EM; Lange, Little & Taylor 1989, JASA 84, 881), so that outliers do not dominate the covariance.

    ``floor`` times each pixel's variance is added to s² and to a, each for its own part. Oversampled spectra have
    directions in which residuals hardly vary. The likelihood would give them the largest weight, but in these
    directions the response of an emulator of separately trained pixels to the labels is as much its own error as real,
    so they carry little information.

    Parameters
    ----------
    residual : (N, P) array
        Observed minus predicted flux; NaN where there is none.
    variance : (N, P) array
        Photon variance 1/ivar, 0 where errors are not stated.
    rank, photon_rank : int
        Columns of V and W; columns that the residuals do not support are zero.
    floor : float
        Fraction of a pixel's variance that is independent of all other pixels.

    Raises
    ------
    SlamError
        If fewer than ten stars have residuals.
    """
    given = in_units(residual, variance)
    stated = bool(given.photon.max() > 0)
    unit = _low_rank_in_units(given, rank, photon_rank if stated else 0, floor)
    noise = given.to_flux(unit, rank, photon_rank)
    return noise if stated else dataclasses.replace(noise, photon_scale=np.ones(residual.shape[1]))


def _low_rank_in_units(given: Residuals, rank: int, photon_rank: int, floor: float) -> LowRankNoise:
    """`low_rank` of residuals in units of their spread; columns without support are left out."""
    z, tau2 = given.z, given.tau2
    shape = np.sqrt(given.photon.sum(axis=0) / tau2.sum()) if photon_rank else np.ones(z.shape[1])
    shape = np.maximum(shape, 1e-3)
    basis = principal_components(z)
    coordinates = z @ basis
    square = np.sum(np.square(z), axis=1)
    weight = np.median(square) / np.maximum(square, 1e-30)
    for _ in range(ROUNDS):
        fixed, scaled = _moment_weights(tau2, photon_rank > 0)
        factors, rest = _leading(z, coordinates, basis, weight * fixed, rank)
        photon_factors, photon_rest = _leading(z, coordinates, basis, weight * scaled, photon_rank)
        photon_factors, photon_rest = photon_factors / shape[:, None], photon_rest / np.square(shape)
        if photon_rank and not scaled.any():  # all that is independent may be photon noise, up to what is stated
            photon_rest = np.minimum(rest / (np.square(shape) * np.mean(tau2)), 1.0)
            rest = rest - photon_rest * np.square(shape) * np.mean(tau2)
        seen, seen_photon = (np.maximum(each @ np.square(z), 0.0) for each in (weight * fixed, weight * scaled))
        least, least_photon = floor * np.maximum(seen, _LEAST_SEEN), floor * seen_photon / np.square(shape)
        noise = LowRankNoise(rest + least, factors, photon_rest + least_photon, photon_factors)
        chi2 = whitened_chi2(noise, z, given.ivar)
        weight = (TAIL + z.shape[1]) / (TAIL + chi2 * z.shape[1] / max(float(np.median(chi2)), 1e-30))
    return noise


def _moment_weights(tau2: np.ndarray, scaled: bool) -> tuple[np.ndarray, np.ndarray]:
    """Weights c, d of the stars for which Σ c z zᵀ and Σ d z zᵀ estimate M and Q of E[z zᵀ] = M + τ² Q.

    Least squares, each star weighted by the inverse square of its expected variance.
    """
    n = tau2.size
    a = 1 / np.square(0.3 + tau2)
    s0, s1, s2 = a.sum(), a @ tau2, a @ np.square(tau2)
    determinant = s0 * s2 - s1**2
    if not scaled or determinant <= _LEAST_SPREAD * s0:  # nearly equal photon noise: M and Q cannot be separated
        return np.full(n, 1 / n), np.zeros(n)
    return a * (s2 - s1 * tau2) / determinant, a * (s0 * tau2 - s1) / determinant


def _leading(
    z: np.ndarray, coordinates: np.ndarray, basis: np.ndarray, weight: np.ndarray, rank: int
) -> tuple[np.ndarray, np.ndarray]:
    """Leading positive components (P, ≤ rank) of Σ w z zᵀ, and the remaining diagonal."""
    value, vector = np.linalg.eigh((coordinates * weight[:, None]).T @ coordinates)
    value, vector = value[::-1][:rank], vector[:, ::-1][:, :rank]
    positive = value > 0
    factors = basis @ (vector[:, positive] * np.sqrt(value[positive]))
    return factors, np.maximum(weight @ np.square(z) - np.sum(np.square(factors), axis=1), 0.0)
