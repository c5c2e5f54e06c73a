"""A common wavelength grid of spectra of one survey: parts of one grid are copied to it, others are resampled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from slamjax.errors import SlamError
from slamjax.io.surveys.base import SurveySpectra
from slamjax.spectra.line_spread import fwhm_at
from slamjax.spectra.resampling import pixel_edges, resample

#: Step in log10 λ of LAMOST's low resolution, SDSS and BOSS, whose spectra start at different pixels of one grid.
_STEP = 1e-4
#: Fraction of a pixel by which a wavelength may differ from its place in the grid, by rounding in files.
_TOLERANCE = 0.02
#: Steps larger than the median one by this factor are gaps between detectors.
_GAP = 10.0
#: apStar's grid, to which apVisit files are resampled (APOGEE DR17, apStar data model).
_APSTAR = 10 ** (4.179 + 6e-6 * np.arange(8575))


def common_grid(spectra: Sequence[SurveySpectra]) -> Float[np.ndarray, " pixel"]:
    """(P,) Å: the grid on which all spectra can be placed.

    Raises
    ------
    SlamError
        If there is none.
    """
    first = spectra[0].wave
    surveys = sorted({one.survey for one in spectra})
    if surveys == ["lamost-mrs"]:
        return _grid_of_arms(spectra)
    if all(one.wave.shape == first.shape and np.allclose(one.wave, first, rtol=1e-8) for one in spectra):
        return _APSTAR if spectra[0].survey == "apogee" and len(first) != len(_APSTAR) else first
    pixels = [_log_pixels(one.wave) for one in spectra]
    on_grid = [one for one in pixels if one is not None]
    if len(on_grid) == len(pixels):
        return 10 ** (_STEP * np.arange(min(one[0] for one in on_grid), max(one[-1] for one in on_grid) + 1))
    if surveys == ["apogee"]:
        return _APSTAR
    raise SlamError(
        f"these spectra ({', '.join(surveys)}) have no grid in common; give the wavelengths to bring them to (wave)"
    )


def place(
    spectra: SurveySpectra, wave: Float[np.ndarray, " pixel"]
) -> tuple[Float[np.ndarray, "star pixel"], Float[np.ndarray, "star pixel"]]:
    """Flux and ivar (N, P) on ``wave``: copied if the pixels are the same, else resampled; other pixels are bad."""
    if np.array_equal(spectra.wave, wave):
        return spectra.flux, spectra.ivar
    flux, ivar = np.zeros((2, len(spectra), len(wave)))
    edges = pixel_edges(wave)
    inside = np.flatnonzero((spectra.wave >= edges[0]) & (spectra.wave < edges[-1]))
    pixels = np.searchsorted(edges[1:-1], spectra.wave[inside])
    same = np.abs(wave[pixels] - spectra.wave[inside]) < _TOLERANCE * np.gradient(wave)[pixels]
    neighbours = np.diff(pixels) == 1
    if same.all() and (neighbours.all() or np.all(neighbours | _gaps(spectra.wave)[inside[:-1]])):
        flux[:, pixels], ivar[:, pixels] = spectra.flux[:, inside], spectra.ivar[:, inside]
        return flux, ivar
    for arm in _arms(spectra.wave):  # one by one: a pixel must not extend over the gap between two detectors
        new_flux, new_ivar = resample(spectra.wave[arm], spectra.flux[:, arm], spectra.ivar[:, arm], edges)
        flux, ivar = np.where(new_ivar > 0, new_flux, flux), np.where(new_ivar > 0, new_ivar, ivar)
    return flux, ivar


def line_spreads(
    results: Sequence[SurveySpectra | str], wave: Float[np.ndarray, " pixel"]
) -> Float[np.ndarray, "*star pixel"] | None:
    """Line spread in Å at ``wave``: of each row (N, P) where it was measured for each spectrum, else one for all (P,).

    A row is NaN where a file, or a part of it that lacks ``wave``, does not state it. One for all is the median of the
    files'; None if not all of them state it.
    """
    spectra = [one for one in results if isinstance(one, SurveySpectra)]
    if any(one.fwhm is not None and one.fwhm.ndim == 2 for one in spectra):
        return np.concatenate([_rows_of_line_spread(one, wave) for one in results])
    known = [(one.wave, one.fwhm) for one in spectra if one.fwhm is not None]
    if len(known) < len(spectra):
        return None
    return np.median([np.interp(wave, at, fwhm) for at, fwhm in known], axis=0)


def _rows_of_line_spread(one: SurveySpectra | str, wave: np.ndarray) -> np.ndarray:
    """(N, P) of one file."""
    if isinstance(one, str) or one.fwhm is None:
        return np.full((1 if isinstance(one, str) else len(one), len(wave)), np.nan)
    edges = pixel_edges(one.wave)
    rows = np.asarray(fwhm_at(np.broadcast_to(one.fwhm, one.flux.shape), one.wave, wave, 1.0))
    return np.where((wave >= edges[0]) & (wave <= edges[-1]), rows, np.nan)


def _gaps(wave: np.ndarray) -> np.ndarray:
    """(P - 1,) whether a gap follows the pixel."""
    step = np.diff(wave)
    return step > _GAP * np.median(step)


def _arms(wave: np.ndarray) -> list[np.ndarray]:
    """Indices of the pixels between gaps, without single pixels."""
    arms = np.split(np.arange(len(wave)), np.flatnonzero(_gaps(wave)) + 1)
    return [arm for arm in arms if len(arm) > 1]


def _grid_of_arms(spectra: Sequence[SurveySpectra]) -> np.ndarray:
    """Uniform in log10 λ over all arms and the gap between them.

    The step is the mean one of each arm, rounded to three digits, because single steps are rounded in files.
    """
    steps = [
        (np.log10(wave[-1]) - np.log10(wave[0])) / (len(wave) - 1)
        for wave in (one.wave[arm] for one in spectra for arm in _arms(one.wave))
    ]
    step = float(f"{np.median(steps):.3g}")
    low, high = min(one.wave[0] for one in spectra), max(one.wave[-1] for one in spectra)
    return 10 ** (step * np.arange(round(np.log10(low) / step), round(np.log10(high) / step) + 1))


def _log_pixels(wave: np.ndarray) -> np.ndarray | None:
    """Pixel numbers in the grid of step `_STEP`, or None if the wavelengths are not on it."""
    steps = np.log10(wave) / _STEP
    pixels = np.round(steps)
    on_grid = np.abs(steps - pixels).max() < _TOLERANCE and np.all(np.diff(pixels) == 1)
    return pixels.astype(int) if on_grid else None
