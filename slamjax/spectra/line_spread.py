"""Widths of line-spread functions: one for all pixels, one for each, or one for each pixel of each spectrum."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from astropy import units as u
from jaxtyping import Float

from slamjax._util.constants import FWHM as FWHM
from slamjax.errors import SlamError
from slamjax.spectra.length_units import in_length_unit

#: Fraction of a pixel by which rounding moves it.
_SAME = 1e-6
#: Full width at half maximum of all pixels, of each, or of each pixel of each spectrum (NaN: unknown).
LineSpread: TypeAlias = float | Float[np.ndarray, " pixel"] | Float[np.ndarray, "star pixel"]


def checked_fwhm(given: Any, unit: u.UnitBase, shape: tuple[int, int], source: str) -> LineSpread | None:
    """Widths above 0 in ``unit``, to which a Quantity is converted; None for None.

    A float, an array (P,), or one of the spectra's ``shape`` (N, P), in which NaN marks a width that is not known.

    Raises
    ------
    SlamError
        If a width is not above 0, or there is not one for each pixel.
    """
    if given is None:
        return None
    try:
        widths = np.asarray(in_length_unit(given, unit, f"of the line spread of {source}"), float)
    except (TypeError, ValueError) as error:
        if isinstance(error, SlamError):
            raise
        widths = np.asarray(np.nan)
    own = widths.ndim == 2
    if not np.all((np.isfinite(widths) & (widths > 0)) | (np.isnan(widths) & own)):
        raise SlamError(f"fwhm of {source} is {given}; give a width above 0, or leave it out")
    if widths.ndim == 0:
        return float(widths)
    if widths.shape not in (shape, shape[1:]):
        raise SlamError(
            f"fwhm of {source} has shape {widths.shape}; give one width, one for each of {shape[1]} pixels, or one for "
            f"each pixel of each spectrum, {shape}"
        )
    return widths


def are_own(fwhm: LineSpread | None) -> bool:
    """Whether each spectrum has widths of its own."""
    return isinstance(fwhm, np.ndarray) and fwhm.ndim == 2


def common_fwhm(fwhm: LineSpread | None, wave: Float[np.ndarray, " pixel"]) -> float | np.ndarray | None:
    """One line spread for all: of spectra that have their own, the median, interpolated where it is not known.

    Examples
    --------
    >>> own = np.array([[2.0, np.nan, 4.0], [3.0, np.nan, 4.0], [4.0, np.nan, np.nan]])
    >>> common_fwhm(own, np.array([400.0, 500.0, 600.0]))
    array([3. , 3.5, 4. ])
    """
    if not are_own(fwhm):
        return fwhm
    known = np.isfinite(fwhm).any(axis=0)  # type: ignore[arg-type]
    if not known.any():
        return None
    middle = np.nanmedian(np.asarray(fwhm)[:, known], axis=0)
    return np.interp(wave, wave[known], middle)


def same_fwhm(one: LineSpread | None, other: LineSpread | None) -> bool:
    """Whether two widths, or widths of the same pixels, agree."""
    if one is None or other is None:
        return one is other
    return bool(np.allclose(one, other, rtol=1e-6, atol=0, equal_nan=True))


def describe_fwhm(fwhm: LineSpread) -> str:
    """A width, or the smallest and the largest one, in words.

    Examples
    --------
    >>> describe_fwhm(2.5), describe_fwhm(np.array([2.5, 2.5, 3.9]))
    ('2.5', '2.5 to 3.9')
    """
    if np.all(np.isnan(fwhm)):
        return "unknown"
    low, high = np.nanmin(fwhm), np.nanmax(fwhm)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def fwhm_at(
    fwhm: LineSpread | None, wave: Float[np.ndarray, " pixel"], new: Float[np.ndarray, " new_pixel"], scale: float
) -> float | Float[np.ndarray, "*star new_pixel"] | None:
    """Widths at pixels ``new``, in a unit of which the old one, that of ``wave`` and ``fwhm``, is ``scale``.

    Linear in between, and held beyond the ends. Between a known and an unknown width (NaN) it is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> fwhm_at(np.array([0.2, 0.4]), np.array([400.0, 500.0]), np.array([4500.0]), 10.0)
    array([3.])
    """
    if fwhm is None:
        return None
    if not isinstance(fwhm, np.ndarray):
        return float(fwhm * scale)
    if fwhm.ndim == 1:
        return np.interp(new, wave * scale, fwhm * scale)
    place = np.interp(new, wave * scale, np.arange(wave.size))
    place = np.where(np.abs(place - np.round(place)) < _SAME, np.round(place), place)
    low = np.minimum(place.astype(int), max(wave.size - 2, 0))
    part, high = place - low, np.minimum(low + 1, wave.size - 1)
    # a pixel itself does not need its neighbour
    between = (1 - part) * fwhm[:, low] + part * np.where(part > 0, fwhm[:, high], 0)
    return scale * np.where(part < 1, between, fwhm[:, high])
