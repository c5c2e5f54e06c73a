"""From one wavelength grid to another, flux conserved, variances and bad pixels carried along.

A pixel holds the mean flux density between its edges, so the integral of the flux is known at the edges. A cubic spline
through it, taken at the edges of the new pixels, gives their means: sums over whole old pixels stay, and finer pixels
than the old ones get a smooth spectrum instead of steps.

Neighbouring new pixels share old ones, and so their errors go along with each other. A new pixel's variance here is

    var' = ∫ var d dλ / D²        d, D: widths of the old and the new pixel, the integral over the new one

so that means over several pixels get their right errors as if pixels were independent (it is the sum over a row of
their covariance, not its diagonal, which would count what is known twice on a finer grid).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline

#: A new pixel of which good old ones cover less than this part is bad.
LEAST_COVERED = 0.5
#: Spectra whose splines are in memory at once.
_BLOCK = 256

Rows = Float[np.ndarray, "star pixel"]
NewRows = Float[np.ndarray, "star new_pixel"]


def pixel_edges(wave: Float[np.ndarray, " pixel"]) -> Float[np.ndarray, " edge"]:
    """(P + 1,) midway between pixel centres, the outermost as far out as their neighbours are in."""
    wave = np.asarray(wave, float)
    middle = (wave[1:] + wave[:-1]) / 2
    return np.concatenate([[2 * wave[0] - middle[0]], middle, [2 * wave[-1] - middle[-1]]])


def resample(
    wave: Float[np.ndarray, " pixel"], flux: Rows, ivar: Rows, edges: Float[np.ndarray, "*star new_edge"]
) -> tuple[NewRows, NewRows]:
    """Flux and ivar (N, P') between new pixel edges; pixels with ``ivar`` 0 have no part in it.

    Parameters
    ----------
    wave : (P,) rising, P > 1
    flux, ivar : (N, P)
    edges : (P' + 1,) for all spectra, or (N, P' + 1), a row for each; rising, in the unit of ``wave``
    """
    flux, ivar, edges = np.asarray(flux), np.asarray(ivar), np.asarray(edges, float)
    out = np.empty((2, len(flux), edges.shape[-1] - 1), np.result_type(flux.dtype, ivar.dtype))
    for start in range(0, len(flux), _BLOCK):
        rows = slice(start, start + _BLOCK)
        its = edges if edges.ndim == 1 else edges[rows]
        out[0, rows], out[1, rows] = _some(np.asarray(wave, float), flux[rows], ivar[rows], its)
    return out[0], out[1]


def _some(wave: np.ndarray, flux: np.ndarray, ivar: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    good = ivar > 0
    old = pixel_edges(wave)
    width = np.diff(old)
    variance = variances(ivar)
    inside = np.clip(edges, old[0], old[-1])
    spline = CubicSpline(old, _integral(_filled(wave, flux, good) * width), axis=1)
    covered = _between(old, _integral(good * width), inside)
    spread = _between(old, _integral(variance * width**2), inside)
    if edges.ndim == 1:
        total = np.diff(spline(inside), axis=1)
    else:
        pieces = (CubicSpline.construct_fast(spline.c[:, :, n], old) for n in range(len(flux)))
        total = np.stack([np.diff(piece(row)) for piece, row in zip(pieces, inside, strict=True)])
    sound = covered >= LEAST_COVERED * np.diff(edges)
    length = np.where(sound, np.diff(inside), 1)
    some = np.where(sound, covered, 1)
    return np.where(sound, total / length, 0), inverse_variances(np.where(sound, spread, 0) / some**2, sound)


def variances(ivar: np.ndarray) -> np.ndarray:
    """1 / ivar, 0 for bad pixels and for those that state no error."""
    good = ivar > 0
    return np.where(good, 1 / np.where(good, ivar, 1).astype(float), 0)


def inverse_variances(variance: np.ndarray, good: np.ndarray) -> np.ndarray:
    """ivar of `variances`: 0 for bad pixels, infinite where no error is stated."""
    stated = variance > 0
    return np.where(good, np.where(stated, 1 / np.where(stated, variance, 1), np.inf), 0)


def _integral(parts: np.ndarray) -> np.ndarray:
    """(N, P + 1) cumulative sums from 0 on."""
    return np.concatenate([np.zeros((len(parts), 1)), np.cumsum(parts, axis=1)], axis=1)


def _between(old: np.ndarray, integral: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """What a piecewise linear integral gains from edge to edge, (N, P')."""
    at = np.clip(np.searchsorted(old, edges, side="right") - 1, 0, len(old) - 2)
    part = (edges - old[at]) / (old[at + 1] - old[at])
    low, high = _take(integral, at), _take(integral, at + 1)
    return np.diff(low + part * (high - low), axis=1)


def _take(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    return values[:, at] if at.ndim == 1 else np.take_along_axis(values, at, axis=1)


def _filled(wave: np.ndarray, flux: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Bad pixels on the line between their good neighbours: a spline must not see what they hold."""
    filled = np.where(good, flux, 0).astype(float)
    for row in np.flatnonzero(~good.all(axis=1) & good.any(axis=1)):
        bad = ~good[row]
        filled[row, bad] = np.interp(wave[bad], wave[~bad], filled[row, ~bad])
    return filled
