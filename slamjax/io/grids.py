"""One wavelength grid for spectra of one survey: pieces of a common grid are placed, others are resampled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slamjax.errors import SlamError
from slamjax.io.surveys.base import SurveySpectra
from slamjax.spectra.resampling import pixel_edges, resample

#: log10 of wavelength from pixel to pixel of LAMOST's low resolution, SDSS and BOSS, which start where they like.
_STEP = 1e-4
#: How far from a pixel's place in such a grid, in pixels, a wavelength may lie: rounding in files, no more.
_OFF = 0.02
#: Steps that are this many times the median one are gaps between detectors.
_GAP = 10.0
#: apStar's grid, which apVisit files are brought to (APOGEE DR17, apStar data model).
_APSTAR = 10 ** (4.179 + 6e-6 * np.arange(8575))


def common_grid(pieces: Sequence[SurveySpectra]) -> np.ndarray:
    """(P,) Å: what all pieces can be placed on; raises SlamError where they have none in common."""
    first = pieces[0].wave
    surveys = sorted({piece.survey for piece in pieces})
    if surveys == ["lamost-mrs"]:
        return _filled(pieces)
    if all(piece.wave.shape == first.shape and np.allclose(piece.wave, first, rtol=1e-8) for piece in pieces):
        return _APSTAR if pieces[0].survey == "apogee" and len(first) != len(_APSTAR) else first
    places = [_places(piece.wave) for piece in pieces]
    if all(place is not None for place in places):
        low = min(place[0] for place in places if place is not None)
        high = max(place[-1] for place in places if place is not None)
        return 10 ** (_STEP * np.arange(low, high + 1))
    if surveys == ["apogee"]:
        return _APSTAR
    raise SlamError(
        f"these spectra ({', '.join(surveys)}) have no grid in common; give the wavelengths to bring them to (wave)"
    )


def place(piece: SurveySpectra, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flux and ivar (N, P) on ``wave``: moved where the pixels are the same, else resampled; the rest is bad."""
    if np.array_equal(piece.wave, wave):
        return piece.flux, piece.ivar
    flux, ivar = np.zeros((2, len(piece), len(wave)))
    edges = pixel_edges(wave)
    inside = np.flatnonzero((piece.wave >= edges[0]) & (piece.wave < edges[-1]))
    at = np.searchsorted(edges[1:-1], piece.wave[inside])
    same = np.abs(wave[at] - piece.wave[inside]) < _OFF * np.gradient(wave)[at]
    neighbours = np.diff(at) == 1
    if same.all() and (neighbours.all() or np.all(neighbours | _gaps(piece.wave)[inside[:-1]])):
        flux[:, at], ivar[:, at] = piece.flux[:, inside], piece.ivar[:, inside]
        return flux, ivar
    # detectors one by one: a pixel must not reach over the gap between two
    for part in np.split(np.arange(len(piece.wave)), np.flatnonzero(_gaps(piece.wave)) + 1):
        if len(part) > 1:
            new_flux, new_ivar = resample(piece.wave[part], piece.flux[:, part], piece.ivar[:, part], edges)
            flux, ivar = np.where(new_ivar > 0, new_flux, flux), np.where(new_ivar > 0, new_ivar, ivar)
    return flux, ivar


def _gaps(wave: np.ndarray) -> np.ndarray:
    """(P - 1,) whether a gap follows a pixel."""
    step = np.diff(wave)
    return step > _GAP * np.median(step)


def _filled(pieces: Sequence[SurveySpectra]) -> np.ndarray:
    """Multiples of the arms' own step in log10 over all that they cover, the gap between the arms too.

    The step is the mean one of each arm, for single ones are rounded in files, to three digits.
    """
    steps = [
        (np.log10(part[-1]) - np.log10(part[0])) / (len(part) - 1)
        for piece in pieces
        for part in np.split(piece.wave, np.flatnonzero(_gaps(piece.wave)) + 1)
        if len(part) > 1
    ]
    step = float(f"{np.median(steps):.3g}")
    low, high = min(piece.wave[0] for piece in pieces), max(piece.wave[-1] for piece in pieces)
    return 10 ** (step * np.arange(round(np.log10(low) / step), round(np.log10(high) / step) + 1))


def _places(wave: np.ndarray) -> np.ndarray | None:
    """Places in the grid of `_STEP`, if the wavelengths are pixels of it."""
    place = np.log10(wave) / _STEP
    rounded = np.round(place)
    return rounded.astype(int) if np.abs(place - rounded).max() < _OFF and np.all(np.diff(rounded) == 1) else None
