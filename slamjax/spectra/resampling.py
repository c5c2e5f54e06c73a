"""Resampling to another wavelength grid: flux is conserved, variances and bad pixels are propagated.

A pixel holds the mean flux density between its edges, so the integral of the flux is known at the edges. A cubic spline
through this integral, evaluated at the edges of the new pixels, gives their means: sums over whole old pixels are
conserved, and pixels finer than the old ones get a smooth spectrum instead of steps.

Neighbouring new pixels share old ones, so their errors are correlated. The variance of a new pixel is

    var' = ∫ var d dλ / D²        d, D: widths of the old and the new pixel; the integral is over the new pixel

which gives means over several pixels their right errors if pixels are treated as independent: it is the row sum of the
covariance matrix, not its diagonal, which would count shared information twice on a finer grid.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.interpolate import CubicSpline

#: A new pixel is bad if good old pixels cover less than this fraction of it.
MIN_COVERAGE = 0.5
#: Spectra whose splines are in memory at once.
_BLOCK = 256

Rows = Float[np.ndarray, "star pixel"]
NewRows = Float[np.ndarray, "star new_pixel"]


def pixel_edges(wave: Float[np.ndarray, " pixel"]) -> Float[np.ndarray, " edge"]:
    """(P + 1,) midpoints between pixel centres; the outermost pixels are symmetric about their centres.

    Examples
    --------
    >>> pixel_edges(np.array([1.0, 2.0, 4.0]))
    array([0.5, 1.5, 3. , 5. ])
    """
    wave = np.asarray(wave, float)
    middle = (wave[1:] + wave[:-1]) / 2
    return np.concatenate([[2 * wave[0] - middle[0]], middle, [2 * wave[-1] - middle[-1]]])


def resample(
    wave: Float[np.ndarray, " pixel"], flux: Rows, ivar: Rows, edges: Float[np.ndarray, "*star new_edge"]
) -> tuple[NewRows, NewRows]:
    """Flux and ivar between new pixel edges; pixels with ``ivar = 0`` are left out.

    Parameters
    ----------
    wave : (P,) increasing, P > 1
    flux, ivar : (N, P)
    edges : (P' + 1,) for all spectra, or (N, P' + 1), one row per spectrum; increasing, in the unit of ``wave``

    Returns
    -------
    flux, ivar : (N, P')
    """
    flux, ivar, edges = np.asarray(flux), np.asarray(ivar), np.asarray(edges, float)
    out = np.empty((2, len(flux), edges.shape[-1] - 1), np.result_type(flux.dtype, ivar.dtype))
    for start in range(0, len(flux), _BLOCK):
        rows = slice(start, start + _BLOCK)
        new = edges if edges.ndim == 1 else edges[rows]
        out[0, rows], out[1, rows] = _resample_block(np.asarray(wave, float), flux[rows], ivar[rows], new)
    return out[0], out[1]


def _resample_block(
    wave: np.ndarray, flux: np.ndarray, ivar: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    good = ivar > 0
    old = pixel_edges(wave)
    width = np.diff(old)
    inside = np.clip(edges, old[0], old[-1])
    spline = CubicSpline(old, _cumulative(_interpolate_bad(wave, flux, good) * width), axis=1)
    covered = _between(old, _cumulative(good * width), inside)
    spread = _between(old, _cumulative(variances(ivar) * width**2), inside)
    if edges.ndim == 1:
        total = np.diff(spline(inside), axis=1)
    else:
        splines = (CubicSpline.construct_fast(spline.c[:, :, n], old) for n in range(len(flux)))
        total = np.stack([np.diff(one(row)) for one, row in zip(splines, inside, strict=True)])
    valid = covered >= MIN_COVERAGE * np.diff(edges)
    length = np.where(valid, np.diff(inside), 1)
    covered = np.where(valid, covered, 1)
    return np.where(valid, total / length, 0), inverse_variances(np.where(valid, spread, 0) / covered**2, valid)


def variances(ivar: Float[np.ndarray, "star pixel"]) -> Float[np.ndarray, "star pixel"]:
    """1 / ivar; 0 for bad pixels and for pixels without a known error (ivar infinite)."""
    good = ivar > 0
    return np.where(good, 1 / np.where(good, ivar, 1).astype(float), 0)


def inverse_variances(
    variance: Float[np.ndarray, "star pixel"], good: Bool[np.ndarray, "star pixel"]
) -> Float[np.ndarray, "star pixel"]:
    """The inverse of `variances`: 0 for bad pixels, infinite where the variance is 0."""
    known = variance > 0
    return np.where(good, np.where(known, 1 / np.where(known, variance, 1), np.inf), 0)


def _cumulative(values: np.ndarray) -> np.ndarray:
    """(N, P + 1) cumulative sums, starting with 0."""
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)


def _between(old: np.ndarray, integral: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(N, P') differences, from edge to edge, of a piecewise linear integral given at the old edges."""
    pixel = np.clip(np.searchsorted(old, edges, side="right") - 1, 0, len(old) - 2)
    fraction = (edges - old[pixel]) / (old[pixel + 1] - old[pixel])
    low, high = _take(integral, pixel), _take(integral, pixel + 1)
    return np.diff(low + fraction * (high - low), axis=1)


def _take(values: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    return values[:, pixel] if pixel.ndim == 1 else np.take_along_axis(values, pixel, axis=1)


def _interpolate_bad(wave: np.ndarray, flux: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Flux with bad pixels interpolated linearly, so that their values do not affect the spline."""
    filled = np.where(good, flux, 0).astype(float)
    for row in np.flatnonzero(~good.all(axis=1) & good.any(axis=1)):
        bad = ~good[row]
        filled[row, bad] = np.interp(wave[bad], wave[~bad], filled[row, ~bad])
    return filled
