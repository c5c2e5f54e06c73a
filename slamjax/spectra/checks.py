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
from slamjax.spectra.covariance import are_correlated, checked_covariance, inverse_variances
from slamjax.spectra.flux_units import flux_unit as as_flux_unit
from slamjax.spectra.flux_units import stated_flux_unit
from slamjax.spectra.length_units import in_length_unit, length_unit, stated_unit
from slamjax.spectra.line_spread import checked_fwhm
from slamjax.spectra.tables import as_table

MEDIA = ("vacuum", "air", "unknown")
FRAMES = ("rest", "observed", "unknown")
#: Factors of units that are 1 but for rounding.
_ROUNDING = 1e-12
#: Inverse variances below this are kept in float64.
_FLOAT32_MIN = 1e-30


def checked_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of Spectra, checked and with bad pixels marked.

    Raises
    ------
    SlamError
        Naming the field, its value and what to give instead.
    """
    source = given["source"]
    unit = _checked_unit(given["wave"], given["wave_unit"], source)
    wave = _checked_wave(in_length_unit(given["wave"], unit), source)
    own_unit, flux_unit = _flux_units(given, source)
    flux = np.atleast_2d(_float_array(given["flux"], "flux", source))
    if flux.ndim != 2 or flux.shape[1] != wave.size:
        raise SlamError(
            f"flux of {source} has shape {flux.shape} but there are {wave.size} wavelengths; give (N, {wave.size})"
        )
    ivar = _checked_ivar(given, flux, own_unit, flux_unit)
    if own_unit is not None and own_unit != flux_unit:
        flux = flux.astype(float) * float(own_unit.to(flux_unit))
    flux, ivar = with_bad_pixels(flux, ivar)
    covariance = given["covariance"]
    if covariance is not None:
        if given["error"] is not None or own_unit != flux_unit:
            raise SlamError(f"{source} has covariances; give them without error, and flux and flux_unit in one unit")
        covariance, good = checked_covariance(covariance, flux.shape, ivar > 0, source)
        ivar = inverse_variances(covariance, good, float)
        covariance = covariance if are_correlated(covariance) else None
    n = len(flux)
    rows = np.arange(n) if given["rows"] is None else np.asarray(given["rows"], dtype=np.int64)
    if rows.shape != (n,):
        raise SlamError(f"rows of {source} has shape {rows.shape} but there are {n} spectra; they must agree")
    for name, allowed in (("medium", MEDIA), ("frame", FRAMES)):
        if given[name] not in allowed:
            raise SlamError(f"{name} of {source} is {given[name]!r}; it is one of {', '.join(allowed)}")
    return {
        "wave": wave,
        "flux": flux,
        "ivar": ivar,
        "table": _checked_table(given["table"], n, source),
        "wave_unit": unit,
        "medium": given["medium"],
        "frame": given["frame"],
        "fwhm": checked_fwhm(given["fwhm"], unit, flux.shape, source),
        "flux_unit": flux_unit,
        "covariance": covariance,
        "rows": rows,
        "source": source,
        "selection": given["selection"],
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


def _flux_units(given: Mapping[str, Any], source: str) -> tuple[u.UnitBase | None, u.UnitBase | None]:
    """The unit in which flux is given, and that in which it is kept: what is asked for, else its own."""
    own, wanted = stated_flux_unit(given["flux"], f"of {source}"), as_flux_unit(given["flux_unit"], f"of {source}")
    if given["flux_unit"] is not None and wanted is None:
        raise SlamError(f"{given['flux_unit']!r} is not a unit of flux of {source}; use one that astropy knows")
    if own is None or wanted is None:
        known = wanted if own is None else own
        return known, known
    if not own.is_equivalent(wanted):
        raise SlamError(f"flux of {source} is in {own}, which is not {wanted}; leave flux_unit out, or convert it")
    return own, wanted


def _checked_ivar(
    given: Mapping[str, Any], flux: np.ndarray, own_unit: u.UnitBase | None, flux_unit: u.UnitBase | None
) -> Float[np.ndarray, "star pixel"]:
    """The inverse variances, from those or from standard errors; infinite where neither is given.

    They are in ``flux_unit``; those that state no unit are given in the unit in which flux is given, ``own_unit``.
    """
    source = given["source"]
    if given["ivar"] is not None and given["error"] is not None:
        raise SlamError(f"ivar and error of {source} are both given; give the one that is known")
    name, power = ("ivar", -2) if given["error"] is None else ("error", 1)
    if given[name] is None:
        return np.full_like(flux, np.inf)
    values = np.atleast_2d(_float_array(given[name], name, source))
    if values.shape != flux.shape:
        raise SlamError(f"{name} of {source} has shape {values.shape} but flux has {flux.shape}; they must agree")
    stated = stated_flux_unit(given[name])
    if stated is None and own_unit is not None:
        stated = own_unit**power
    factor = 1.0 if flux_unit is None or stated is None else _factor(name, source, stated, flux_unit, power)
    if factor != 1:
        values = values.astype(float) * factor
    _warn_negative(values, "inverse variances" if name == "ivar" else "flux errors", source)
    return values if name == "ivar" else _ivar_of_error(values, flux.dtype)


def _ivar_of_error(error: Float[np.ndarray, "star pixel"], dtype: Any) -> Float[np.ndarray, "star pixel"]:
    """Inverse variances of standard errors; an error that is not finite or not positive marks a bad pixel.

    They are in float32 where the flux is (``dtype``) and where float32 can hold them: variances of fluxes in W m⁻²
    nm⁻¹ are beyond its range.
    """
    bad = ~(np.isfinite(error) & (error > 0))
    with np.errstate(over="ignore", divide="ignore"):
        ivar = np.where(bad, 0.0, 1.0 / np.square(np.where(bad, 1.0, error.astype(np.float64))))
        single = ivar.astype(np.float32)
    safe = dtype == np.float32 and np.all(np.isfinite(single)) and not np.any((single < _FLOAT32_MIN) & ~bad)
    return single if safe else ivar


def _warn_negative(values: np.ndarray, name: str, source: str) -> None:
    negative = values < 0
    if negative.any():
        warnings.warn(
            f"{source}: {int(negative.sum())} negative {name} (first in row {np.nonzero(negative)[0][0]}) "
            "are treated as bad pixels",
            SlamWarning,
            stacklevel=5,
        )


def _factor(name: str, source: str, own: u.UnitBase, of_flux: u.UnitBase, power: int) -> float:
    """What brings ivar or error to the unit of the flux."""
    try:
        factor = float(own.to(of_flux**power))
        return 1.0 if abs(factor - 1) < _ROUNDING else factor
    except u.UnitConversionError as error:
        raise SlamError(f"{name} of {source} is in {own}, but flux in {of_flux}; convert one of them") from error


def _checked_table(given: Any, n: int, source: str) -> Table:
    table = Table() if given is None else as_table(given, f"the table of {source}")
    if not table.colnames:
        return Table({"id": np.arange(n)})
    if len(table) != n:
        raise SlamError(f"the table of {source} has {len(table)} rows but there are {n} spectra; they must agree")
    return table


def _checked_unit(wave: Any, unit: Any, source: str) -> u.UnitBase:
    """The unit that is asked for, else that of the wavelengths."""
    given = stated_unit(wave) if unit is None else unit
    if given is None:
        raise SlamError(
            f'the wavelengths of {source} have no unit; give wave_unit="Angstrom", wave_unit="nm" or a Quantity'
        )
    return length_unit(given, f"of {source}")


def _float_array(values: Any, name: str, source: str) -> np.ndarray:
    """Plain floats; NaN where the values are masked."""
    try:
        if isinstance(values, list | tuple) and values and isinstance(values[0], u.Quantity):
            values = u.Quantity(values)
        mask = getattr(values, "mask", None) if isinstance(values, np.ndarray) else None
        array = np.asarray(getattr(values, "unmasked", values))
        if array.dtype == object and array.ndim == 1 and array.size and np.ndim(array[0]):
            array = np.stack([np.asarray(row, float) for row in array])  # a column of a DataFrame that holds spectra
        if array.dtype.newbyteorder("=") != np.float32:
            array = array.astype(np.float64)
        if mask is not None and np.any(mask):
            array = np.where(np.asarray(mask), array.dtype.type(np.nan), array)
    except (TypeError, ValueError, u.UnitConversionError) as error:
        raise SlamError(f"{name} of {source} is not an array of numbers: {error}") from error
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
