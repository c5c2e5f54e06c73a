"""Lower resolution: spectra of one survey blurred to the line spread of another."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array

from slamjax.errors import SlamError, SlamWarning
from slamjax.preprocessing.steps import set_lengths
from slamjax.spectra.length_units import length_unit
from slamjax.spectra.line_spread import FWHM, LineSpread
from slamjax.spectra.resampling import MIN_COVERAGE, inverse_variances, pixel_edges, variances
from slamjax.spectra.spectra import Spectra

#: Relative difference of widths that counts as rounding.
_TOLERANCE = 0.01
#: Standard deviations at which the Gaussian is cut off.
_CUTOFF = 5.0
#: Spectra with widths of their own that are blurred together: limits memory.
_BLOCK = 256


@dataclass(frozen=True)
class MatchResolution:
    """Blur to a line spread of full width ``fwhm`` by a Gaussian of √(fwhm² − fwhm_spectra²).

    The spectra must state their own width (``Spectra.fwhm``); otherwise a warning is given and they stay as they are,
    and so do pixels with wider lines. Blurred pixels are correlated; their variances are such that means over several
    pixels have their right errors, as in `slamjax.spectra.resampling`.

    Parameters
    ----------
    fwhm : float or Quantity
        Full width at half maximum, in ``unit``.
    unit : str
        Needed unless a Quantity brings it.

    Raises
    ------
    SlamError
        If the width is not positive, or has no unit.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax import Spectra
    >>> from slamjax.preprocessing import MatchResolution
    >>> sharp = Spectra(np.linspace(400, 410, 101), np.ones((1, 101)), wave_unit="nm", fwhm=0.2)
    >>> MatchResolution(0.5, "nm")(sharp).fwhm
    0.5
    """

    fwhm: float
    unit: str = ""
    name: ClassVar[str] = "match_resolution"

    def __post_init__(self) -> None:
        set_lengths(self, "fwhm")
        if not (np.isfinite(self.fwhm) and self.fwhm > 0):
            raise SlamError(f"the line spread to match has a width of {self.fwhm}; give one above 0")

    def __call__(self, spectra: Spectra) -> Spectra:
        if spectra.fwhm is None:
            warnings.warn(
                f"{spectra.source} does not state its line spread and is not blurred to {self.fwhm:g} {self.unit}; "
                "state it with --fwhm or Spectra.with_metadata(fwhm=...)",
                SlamWarning,
                stacklevel=2,
            )
            return spectra
        target = self.fwhm * length_unit(self.unit).to(spectra.wave_unit)
        widest = np.max(np.nan_to_num(spectra.fwhm))
        wider = widest > (1 + _TOLERANCE) * target
        if wider:
            warnings.warn(
                f"{spectra.source} has a line spread of {widest:g} {spectra.wave_unit}, wider than the "
                f"{target:g} to match: it cannot be sharpened and stays as wide (models follow: fits broaden what "
                "they predict)",
                SlamWarning,
                stacklevel=2,
            )
        return blur_to(spectra, target)

    def __str__(self) -> str:
        return f"line spread of {self.fwhm:g} {self.unit}"


def blur_to(spectra: Spectra, target: LineSpread) -> Spectra:
    """Spectra of a known line spread, blurred to ``target`` in the unit of ``wave``; wider ones stay as wide.

    So do pixels of unknown widths.
    """
    assert spectra.fwhm is not None
    sigma = extra_sigma(spectra.fwhm, target)
    blurred = spectra
    if np.any(sigma > 0):
        blurred = _blur_each(spectra, np.asarray(sigma)) if np.ndim(sigma) == 2 else _blur(spectra, sigma)
    return dataclasses.replace(blurred, fwhm=np.maximum(spectra.fwhm, target))


def extra_sigma(fwhm: LineSpread, target: LineSpread) -> LineSpread:
    """Standard deviation of the Gaussian that widens ``fwhm`` to ``target``; 0 where it is as wide or wider.

    So it is where a width is unknown (NaN).
    """
    square = np.square(target) - np.square(fwhm)
    return np.sqrt(np.where(square > np.square(_TOLERANCE * np.asarray(target)), square, 0)) / FWHM


def _blur(spectra: Spectra, sigma: LineSpread) -> Spectra:
    """Spectra convolved with a Gaussian of ``sigma`` in the unit of ``wave``, without their bad pixels."""
    kernel = gaussian_kernel(spectra.wave, sigma)
    good = spectra.good
    covered = (kernel @ good.T.astype(float)).T
    valid = covered >= MIN_COVERAGE
    covered = np.where(valid, covered, 1)
    flux = (kernel @ np.where(good, spectra.flux, 0).T.astype(float)).T / covered
    ivar = inverse_variances((kernel @ variances(spectra.ivar).T).T / covered**2, valid)
    return spectra.with_arrays(flux.astype(spectra.flux.dtype), ivar.astype(spectra.ivar.dtype))


def _blur_each(spectra: Spectra, sigma: Float[np.ndarray, "star pixel"]) -> Spectra:
    """`_blur` with widths of each spectrum: the same sums, neighbour by neighbour."""
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(spectra), _BLOCK)]
    flux, ivar = zip(*(_blurred_block(spectra[rows], sigma[rows]) for rows in blocks), strict=True)
    return spectra.with_arrays(np.concatenate(flux), np.concatenate(ivar))


def _blurred_block(spectra: Spectra, sigma: Float[np.ndarray, "star pixel"]) -> tuple[np.ndarray, np.ndarray]:
    """Flux and ivar."""
    wave, good = spectra.wave, spectra.good
    width = np.diff(pixel_edges(wave)) if wave.size > 1 else np.ones(1)
    scale = np.maximum(sigma, 1e-9 * width)
    reach = _CUTOFF * sigma.max(axis=0)
    at = np.arange(wave.size)
    farthest = max(
        int(np.max(at - np.searchsorted(wave, wave - reach))),
        int(np.max(np.searchsorted(wave, wave + reach, side="right") - 1 - at)),
    )
    seen = np.stack([good, np.where(good, spectra.flux, 0), variances(spectra.ivar)]).astype(float)
    sums, total = np.zeros(seen.shape), np.zeros(sigma.shape)
    for step in range(-farthest, farthest + 1):
        to = slice(max(0, -step), wave.size - max(0, step))
        other = slice(max(0, step), wave.size - max(0, -step))
        away = (wave[other] - wave[to]) / scale[:, to]
        weight = np.where(np.abs(away) <= _CUTOFF, np.exp(-0.5 * np.square(away)) * width[other], 0)
        sums[:, :, to] += weight * seen[:, :, other]
        total[:, to] += weight
    covered, flux, variance = sums / total
    valid = covered >= MIN_COVERAGE
    covered = np.where(valid, covered, 1)
    ivar = inverse_variances(variance / covered**2, valid)
    return (flux / covered).astype(spectra.flux.dtype), ivar.astype(spectra.ivar.dtype)


def gaussian_kernel(wave: Float[np.ndarray, " pixel"], sigma: LineSpread) -> csr_array:
    """(P, P) normalised Gaussians about each pixel, of its own ``sigma`` if it has one, cut off at `_CUTOFF`."""
    width = np.diff(pixel_edges(wave)) if wave.size > 1 else np.ones(1)
    first = np.searchsorted(wave, wave - _CUTOFF * sigma)
    last = np.searchsorted(wave, wave + _CUTOFF * sigma, side="right")
    counts = last - first
    start = np.concatenate([[0], np.cumsum(counts)])
    columns = np.arange(start[-1]) - np.repeat(start[:-1] - first, counts)
    rows = np.repeat(np.arange(wave.size), counts)
    scale = np.maximum(np.broadcast_to(sigma, wave.shape), 1e-9 * width)[rows]  # a width of 0: the pixel itself
    values = np.exp(-0.5 * np.square((wave[columns] - wave[rows]) / scale)) * width[columns]
    total = np.bincount(rows, values, minlength=wave.size)
    return csr_array((values / total[rows], columns, start), shape=(wave.size, wave.size))
