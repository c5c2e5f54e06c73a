"""Estimation of a noise model from the residuals of held-out stars."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from slamjax._util.jit import compiled
from slamjax.errors import SlamError
from slamjax.noise.models import LowRankNoise

#: Degrees of freedom of the Student-t distribution whose weights keep outliers from dominating the covariance.
_TAIL = 8.0
#: Iterations of reweighting; the weights change little after the second.
_ROUNDS = 3
#: The covariance is estimated from at most this many principal components of the residuals.
_MOST_COMPONENTS = 400
#: Median of the square of a standard normal variable.
_MEDIAN_SQUARE = 0.45493642


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
    excess = np.square(residual) / _MEDIAN_SQUARE - variance
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a pixel without residuals is NaN, as promised
        return np.maximum(np.nanmedian(np.where(np.isfinite(excess), excess, np.nan), axis=0), 0.0)


def low_rank(residual: np.ndarray, variance: np.ndarray, *, rank: int, photon_rank: int, floor: float) -> LowRankNoise:
    """Σ = diag(a σ² + s²) + V Vᵀ + S W Wᵀ S from the residuals of held-out stars.

    Residuals are measured in units of each pixel's robust spread. The expectation of z zᵀ is M + τ² Q, with τ² a star's
    mean photon variance: M and Q by weighted least squares over the stars, V and W as their leading principal
    components, the remaining diagonals as s² and a. Stars have the weights of a multivariate Student-t distribution
    (EM; Lange, Little & Taylor 1989, JASA 84, 881), so that outliers do not dominate the covariance.

    ``floor`` times each pixel's squared spread is added to s². Oversampled spectra have directions in which residuals
    hardly vary. The likelihood would give them the largest weight, but in these directions the response of an emulator
    of separately trained pixels to the labels is as much its own error as real, so they carry little information.

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
    known = np.isfinite(residual) & np.isfinite(variance)
    stars, pixels = np.flatnonzero(known.any(axis=1)), np.flatnonzero(known.any(axis=0))
    if stars.size < 10:
        raise SlamError(f"{stars.size} stars have residuals; a noise model needs at least 10, better hundreds")
    used = np.ix_(stars, pixels)
    known, given = known[used], residual[used]
    spread = np.sqrt(np.nanmedian(np.where(known, np.square(given), np.nan), axis=0) / _MEDIAN_SQUARE)
    spread = np.maximum(spread, 1e-6 * spread.max() + 1e-30)
    photon = np.where(known, variance[used], 0.0) / np.square(spread)
    # the good pixels of a star represent its missing ones, which would otherwise dilute the covariance
    share = known.sum(axis=1) / pixels.size
    z = np.where(known, given / spread, 0.0) / np.sqrt(share)[:, None]
    unit = _low_rank_in_units(z, photon, known, rank, photon_rank if photon.max() > 0 else 0, floor)

    model_variance = np.full(residual.shape[1], np.inf)
    model_variance[pixels] = unit.model_variance * np.square(spread)
    factors = np.zeros((residual.shape[1], rank))
    factors[pixels, : unit.factors.shape[1]] = unit.factors * spread[:, None]
    photon_scale = np.ones(residual.shape[1])
    photon_factors = np.zeros((residual.shape[1], photon_rank))
    if photon.max() > 0:
        photon_scale[pixels] = unit.photon_scale
        photon_factors[pixels, : unit.photon_factors.shape[1]] = unit.photon_factors
    return LowRankNoise(model_variance, factors, photon_scale, photon_factors)


def _low_rank_in_units(
    z: np.ndarray, photon: np.ndarray, known: np.ndarray, rank: int, photon_rank: int, floor: float
) -> LowRankNoise:
    """`low_rank` of residuals z in units of their spread; columns without support are left out."""
    tau2 = photon.sum(axis=1) / known.sum(axis=1)
    shape = np.sqrt(photon.sum(axis=0) / tau2.sum()) if photon_rank else np.ones(z.shape[1])
    shape = np.maximum(shape, 1e-3)
    with np.errstate(divide="ignore"):
        ivar = np.where(known, 1 / photon, 0.0)
    basis = _principal_components(z)
    coordinates = z @ basis
    square = np.sum(np.square(z), axis=1)
    weight = np.median(square) / np.maximum(square, 1e-30)
    for _ in range(_ROUNDS):
        fixed, scaled = _moment_weights(tau2, photon_rank > 0)
        factors, rest = _leading(z, coordinates, basis, weight * fixed, rank)
        photon_factors, photon_rest = _leading(z, coordinates, basis, weight * scaled, photon_rank)
        photon_factors, photon_rest = photon_factors / shape[:, None], photon_rest / np.square(shape)
        noise = LowRankNoise(rest + floor, factors, photon_rest, photon_factors)
        chi2 = _chi2(noise, z, ivar)
        weight = (_TAIL + z.shape[1]) / (_TAIL + chi2 * z.shape[1] / max(float(np.median(chi2)), 1e-30))
    return noise


def _principal_components(z: np.ndarray) -> np.ndarray:
    """(P, R) orthonormal leading directions of the rows of z, from the smaller of the two Gram matrices."""
    n = min(*z.shape, _MOST_COMPONENTS)
    if z.shape[1] <= z.shape[0]:
        return np.linalg.eigh(z.T @ z)[1][:, ::-1][:, :n]
    value, vector = np.linalg.eigh(z @ z.T)
    value, vector = value[::-1][:n], vector[:, ::-1][:, :n]
    sound = value > 1e-10 * value[0]
    return z.T @ (vector[:, sound] / np.sqrt(value[sound]))


def _moment_weights(tau2: np.ndarray, scaled: bool) -> tuple[np.ndarray, np.ndarray]:
    """Weights c, d of the stars for which Σ c z zᵀ and Σ d z zᵀ estimate M and Q of E[z zᵀ] = M + τ² Q.

    Least squares, each star weighted by the inverse square of its expected variance.
    """
    n = tau2.size
    a = 1 / np.square(0.3 + tau2)
    s0, s1, s2 = a.sum(), a @ tau2, a @ np.square(tau2)
    determinant = s0 * s2 - s1**2
    if not scaled or determinant <= 1e-12 * s0 * s2:  # equal photon noise: M and Q cannot be separated
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


@compiled
def _chi2_of(noise: LowRankNoise, z: jax.Array, ivar: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(noise.inverse_covariance(ivar).whiten(z)), axis=-1)


def _chi2(noise: LowRankNoise, z: np.ndarray, ivar: np.ndarray) -> np.ndarray:
    """(N,) zᵀΣ⁻¹z."""
    device = noise.on_device()
    blocks = [
        _chi2_of(device, jnp.asarray(z[i : i + 256]), jnp.asarray(ivar[i : i + 256])) for i in range(0, len(z), 256)
    ]
    return np.concatenate([np.asarray(block, float) for block in blocks])
