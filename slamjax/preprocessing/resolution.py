"""A lower resolution: spectra of one survey blurred to what another resolves."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from astropy import units as u
from scipy.sparse import csr_array

from slamjax.errors import SlamError, SlamWarning
from slamjax.preprocessing.steps import check_unit
from slamjax.spectra.resampling import LEAST_COVERED, inverse_variances, pixel_edges, variances
from slamjax.spectra.spectra import Spectra

#: Full width at half maximum over standard deviation of a Gaussian.
_FWHM = 2 * np.sqrt(2 * np.log(2))
#: Spectra that are this part blurrier than wanted are so by rounding.
_SLACK = 0.01
_REACH = 5.0  # standard deviations


@dataclass(frozen=True)
class MatchResolution:
    """Blur to a line spread of full width ``fwhm`` by a Gaussian of √(fwhm² − own²).

    Of the spectra's own width the table must tell (``FWHM``). Blurred pixels go along with each other; their variance
    is such that means over several have their right errors, as `slamjax.spectra.resampling` has it.
    """

    fwhm: float
    unit: str = "nm"
    name: ClassVar[str] = "match_resolution"

    def __post_init__(self) -> None:
        check_unit(self.unit)
        if not (np.isfinite(self.fwhm) and self.fwhm > 0):
            raise SlamError(f"the line spread to match has a width of {self.fwhm}; give one above 0")

    def __call__(self, spectra: Spectra) -> Spectra:
        wanted = self.fwhm * u.Unit(self.unit).to(spectra.wave_unit)
        if spectra.fwhm is None:
            warnings.warn(
                f"{spectra.source} does not tell its line spread; it is taken as it is, not blurred to {self.fwhm:g} "
                f"{self.unit} (tell it by --fwhm, or Spectra.stated)",
                SlamWarning,
                stacklevel=2,
            )
            return spectra
        if spectra.fwhm > (1 + _SLACK) * wanted:
            warnings.warn(
                f"{spectra.source} has lines of {spectra.fwhm:g} {spectra.wave_unit}, wider than the {wanted:g} to "
                "match: they cannot be sharpened and stay as they are (a free broadening would take it up)",
                SlamWarning,
                stacklevel=2,
            )
            return spectra
        square = wanted**2 - spectra.fwhm**2
        blurred = spectra if square <= (_SLACK * wanted) ** 2 else _blurred(spectra, np.sqrt(square) / _FWHM)
        return dataclasses.replace(blurred, fwhm=wanted)

    def __str__(self) -> str:
        return f"line spread of {self.fwhm:g} {self.unit}"


def _blurred(spectra: Spectra, sigma: float) -> Spectra:
    """Convolved with a Gaussian of ``sigma`` in the unit of ``wave``; bad pixels have no part in it."""
    blur = _matrix(spectra.wave, sigma)
    good = spectra.good
    covered = (blur @ good.T.astype(float)).T
    sound = covered >= LEAST_COVERED
    some = np.where(sound, covered, 1)
    flux = (blur @ np.where(good, spectra.flux, 0).T.astype(float)).T / some
    ivar = inverse_variances((blur @ variances(spectra.ivar).T).T / some**2, sound)
    dtype = spectra.flux.dtype
    return spectra.with_arrays(flux.astype(dtype), ivar.astype(spectra.ivar.dtype))


def _matrix(wave: np.ndarray, sigma: float) -> csr_array:
    """(P, P) rows of a normalised Gaussian about each pixel, cut where nothing is left of it."""
    width = np.diff(pixel_edges(wave)) if wave.size > 1 else np.ones(1)
    first = np.searchsorted(wave, wave - _REACH * sigma)
    last = np.searchsorted(wave, wave + _REACH * sigma, side="right")
    counts = last - first
    start = np.concatenate([[0], np.cumsum(counts)])
    columns = np.arange(start[-1]) - np.repeat(start[:-1] - first, counts)
    rows = np.repeat(np.arange(wave.size), counts)
    values = np.exp(-0.5 * np.square((wave[columns] - wave[rows]) / sigma)) * width[columns]
    total = np.bincount(rows, values, minlength=wave.size)
    return csr_array((values / total[rows], columns, start), shape=(wave.size, wave.size))
