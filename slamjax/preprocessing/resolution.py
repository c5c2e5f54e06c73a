"""Lower resolution: spectra of one survey blurred to the line spread of another."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.sparse import csr_array

from slamjax.errors import SlamError, SlamWarning
from slamjax.preprocessing.steps import check_length_unit
from slamjax.spectra.length_units import length_unit
from slamjax.spectra.resampling import MIN_COVERAGE, inverse_variances, pixel_edges, variances
from slamjax.spectra.spectra import Spectra

#: Full width at half maximum of a Gaussian over its standard deviation.
_FWHM = 2 * np.sqrt(2 * np.log(2))
#: Relative difference of widths that counts as rounding.
_TOLERANCE = 0.01
#: Standard deviations at which the Gaussian is cut off.
_CUTOFF = 5.0


@dataclass(frozen=True)
class MatchResolution:
    """Blur to a line spread of full width ``fwhm`` by a Gaussian of √(fwhm² − fwhm_spectra²).

    The spectra must state their own width (``Spectra.fwhm``); otherwise a warning is given and they stay as they are,
    and so do spectra with wider lines. Blurred pixels are correlated; their variances are such that means over several
    pixels have their right errors, as in `slamjax.spectra.resampling`.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum, in ``unit``.
    unit : str

    Raises
    ------
    SlamError
        If the width is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax import Spectra
    >>> from slamjax.preprocessing import MatchResolution
    >>> sharp = Spectra(np.linspace(400, 410, 101), np.ones((1, 101)), wave_unit="nm", fwhm=0.2)
    >>> MatchResolution(0.5)(sharp).fwhm
    0.5
    """

    fwhm: float
    unit: str = "nm"
    name: ClassVar[str] = "match_resolution"

    def __post_init__(self) -> None:
        check_length_unit(self.unit)
        if not (np.isfinite(self.fwhm) and self.fwhm > 0):
            raise SlamError(f"the line spread to match has a width of {self.fwhm}; give one above 0")

    def __call__(self, spectra: Spectra) -> Spectra:
        target = self.fwhm * length_unit(self.unit).to(spectra.wave_unit)
        if spectra.fwhm is None:
            warnings.warn(
                f"{spectra.source} does not state its line spread and is not blurred to {self.fwhm:g} {self.unit}; "
                "state it with --fwhm or Spectra.with_metadata(fwhm=...)",
                SlamWarning,
                stacklevel=2,
            )
            return spectra
        if spectra.fwhm > (1 + _TOLERANCE) * target:
            warnings.warn(
                f"{spectra.source} has a line spread of {spectra.fwhm:g} {spectra.wave_unit}, wider than the "
                f"{target:g} to match: it cannot be sharpened and stays as it is (a free sigma_v in the fit takes up "
                "the difference)",
                SlamWarning,
                stacklevel=2,
            )
            return spectra
        square = target**2 - spectra.fwhm**2
        blurred = spectra if square <= (_TOLERANCE * target) ** 2 else _blur(spectra, np.sqrt(square) / _FWHM)
        return dataclasses.replace(blurred, fwhm=target)

    def __str__(self) -> str:
        return f"line spread of {self.fwhm:g} {self.unit}"


def _blur(spectra: Spectra, sigma: float) -> Spectra:
    """Spectra convolved with a Gaussian of ``sigma`` in the unit of ``wave``, without their bad pixels."""
    kernel = _gaussian_kernel(spectra.wave, sigma)
    good = spectra.good
    covered = (kernel @ good.T.astype(float)).T
    valid = covered >= MIN_COVERAGE
    covered = np.where(valid, covered, 1)
    flux = (kernel @ np.where(good, spectra.flux, 0).T.astype(float)).T / covered
    ivar = inverse_variances((kernel @ variances(spectra.ivar).T).T / covered**2, valid)
    return spectra.with_arrays(flux.astype(spectra.flux.dtype), ivar.astype(spectra.ivar.dtype))


def _gaussian_kernel(wave: np.ndarray, sigma: float) -> csr_array:
    """(P, P) normalised Gaussians about each pixel, cut off at `_CUTOFF`."""
    width = np.diff(pixel_edges(wave)) if wave.size > 1 else np.ones(1)
    first = np.searchsorted(wave, wave - _CUTOFF * sigma)
    last = np.searchsorted(wave, wave + _CUTOFF * sigma, side="right")
    counts = last - first
    start = np.concatenate([[0], np.cumsum(counts)])
    columns = np.arange(start[-1]) - np.repeat(start[:-1] - first, counts)
    rows = np.repeat(np.arange(wave.size), counts)
    values = np.exp(-0.5 * np.square((wave[columns] - wave[rows]) / sigma)) * width[columns]
    total = np.bincount(rows, values, minlength=wave.size)
    return csr_array((values / total[rows], columns, start), shape=(wave.size, wave.size))
