"""Checks of the arguments of Spectra; after them, no array is checked again."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table
from jaxtyping import Float

from slamjax.errors import SlamError, SlamWarning

MEDIA = ("vacuum", "air", "unknown")
FRAMES = ("rest", "observed", "unknown")


def checked_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of Spectra, checked and with bad pixels marked.

    Raises
    ------
    SlamError
        Naming the field, its value and what to give instead.
    """
    source = given["source"]
    wave = _checked_wave(given["wave"], source)
    flux = np.atleast_2d(_float_array(given["flux"], "flux", source))
    if flux.ndim != 2 or flux.shape[1] != wave.size:
        raise SlamError(
            f"flux of {source} has shape {flux.shape} but there are {wave.size} wavelengths; give (N, {wave.size})"
        )
    flux, ivar = with_bad_pixels(flux, _checked_ivar(given["ivar"], flux, source))
    n = len(flux)
    rows = np.arange(n) if given["rows"] is None else np.asarray(given["rows"], dtype=np.int64)
    if rows.shape != (n,):
        raise SlamError(f"rows of {source} has shape {rows.shape} but there are {n} spectra; they must agree")
    for name, allowed in (("medium", MEDIA), ("frame", FRAMES)):
        if given[name] not in allowed:
            raise SlamError(f"{name} of {source} is {given[name]!r}; it is one of {', '.join(allowed)}")
    # a Quantity knows its unit better than a default does
    unit = getattr(given["wave"], "unit", None)
    return {
        "wave": wave,
        "flux": flux,
        "ivar": ivar,
        "table": _checked_table(given["table"], n, source),
        "rows": rows,
        "wave_unit": _checked_unit(given["wave_unit"] if unit is None else unit, source),
    }


def with_bad_pixels(
    flux: Float[np.ndarray, "star pixel"], ivar: Float[np.ndarray, "star pixel"]
) -> tuple[Float[np.ndarray, "star pixel"], Float[np.ndarray, "star pixel"]]:
    """Flux and ivar with ivar = 0 where the flux is not finite or the ivar not positive, and flux = 0 for NaN."""
    bad = ~np.isfinite(flux) | ~(ivar > 0)
    return np.where(np.isfinite(flux), flux, flux.dtype.type(0)), np.where(bad, ivar.dtype.type(0), ivar)


def _checked_wave(given: Any, source: str) -> Float[np.ndarray, " pixel"]:
    wave = _float_array(given, "wave", source).astype(np.float64)
    if wave.ndim != 1 or wave.size == 0:
        raise SlamError(f"wave of {source} has shape {wave.shape}; give one wavelength per pixel, shape (P,)")
    if not np.all(np.isfinite(wave)) or np.any(np.diff(wave) <= 0):
        wrong = np.flatnonzero(~(np.diff(wave) > 0) | ~np.isfinite(wave[1:]))
        pixel = int(wrong[0]) if wrong.size else 0
        raise SlamError(
            f"the wavelengths of {source} do not increase at pixel {pixel}; sort them and drop repeated ones"
        )
    return wave


def _checked_ivar(given: Any, flux: np.ndarray, source: str) -> Float[np.ndarray, "star pixel"]:
    """The inverse variances; infinite where none are given."""
    if given is None:
        return np.full_like(flux, np.inf)
    ivar = np.atleast_2d(_float_array(given, "ivar", source))
    if ivar.shape != flux.shape:
        raise SlamError(f"ivar of {source} has shape {ivar.shape} but flux has {flux.shape}; they must agree")
    negative = ivar < 0
    if negative.any():
        warnings.warn(
            f"{source}: {int(negative.sum())} negative inverse variances (first in row {np.nonzero(negative)[0][0]}) "
            "are treated as bad pixels",
            SlamWarning,
            stacklevel=5,
        )
    return ivar


def _checked_table(given: Any, n: int, source: str) -> Table:
    table = Table() if given is None else Table(given, copy=False)
    if not table.colnames:
        return Table({"id": np.arange(n)})
    if len(table) != n:
        raise SlamError(f"the table of {source} has {len(table)} rows but there are {n} spectra; they must agree")
    return table


def _checked_unit(given: Any, source: str) -> u.UnitBase:
    try:
        unit = u.Unit(given)
        unit.to(u.nm)
    except (ValueError, TypeError, u.UnitConversionError) as error:
        raise SlamError(f"{given!r} of {source} is not a unit of length; use nm or Angstrom") from error
    return unit


def _float_array(values: Any, name: str, source: str) -> np.ndarray:
    try:
        array = np.asarray(values)
        if array.dtype != np.float32:
            array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise SlamError(f"{name} of {source} is not an array of numbers: {error}") from error
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
