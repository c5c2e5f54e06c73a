"""Widths of line-spread functions: one for all pixels, or one for each."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from astropy import units as u
from jaxtyping import Float

from slamjax.errors import SlamError
from slamjax.spectra.length_units import in_length_unit

#: Full width at half maximum of a Gaussian over its standard deviation.
FWHM = float(2 * np.sqrt(2 * np.log(2)))
#: Full width at half maximum of all pixels, or of each.
LineSpread: TypeAlias = float | Float[np.ndarray, " pixel"]


def checked_fwhm(given: Any, unit: u.UnitBase, n_pix: int, source: str) -> LineSpread | None:
    """A float, or an array (n_pix,) of widths above 0, in ``unit``, to which a Quantity is converted; None for None.

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
    if not np.all(np.isfinite(widths) & (widths > 0)):
        raise SlamError(f"fwhm of {source} is {given}; give a width above 0, or leave it out")
    if widths.ndim == 0:
        return float(widths)
    if widths.shape != (n_pix,):
        raise SlamError(f"fwhm of {source} has shape {widths.shape}; give one width, or one for each of {n_pix} pixels")
    return widths


def same_fwhm(one: LineSpread | None, other: LineSpread | None) -> bool:
    """Whether two widths, or widths of the same pixels, agree."""
    if one is None or other is None:
        return one is other
    return bool(np.allclose(one, other, rtol=1e-6, atol=0))


def describe_fwhm(fwhm: LineSpread) -> str:
    """A width, or the smallest and the largest one, in words.

    Examples
    --------
    >>> describe_fwhm(2.5), describe_fwhm(np.array([2.5, 2.5, 3.9]))
    ('2.5', '2.5 to 3.9')
    """
    low, high = np.min(fwhm), np.max(fwhm)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def fwhm_at(
    fwhm: LineSpread | None, wave: Float[np.ndarray, " pixel"], new: Float[np.ndarray, " new_pixel"], scale: float
) -> float | Float[np.ndarray, " new_pixel"] | None:
    """Widths at pixels ``new``, in a unit of which the old one, that of ``wave`` and ``fwhm``, is ``scale``.

    Examples
    --------
    >>> import numpy as np
    >>> fwhm_at(np.array([0.2, 0.4]), np.array([400.0, 500.0]), np.array([4500.0]), 10.0)
    array([3.])
    """
    if fwhm is None:
        return None
    return np.interp(new, wave * scale, fwhm * scale) if isinstance(fwhm, np.ndarray) else float(fwhm * scale)
