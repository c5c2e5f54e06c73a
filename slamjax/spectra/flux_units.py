"""Units of flux: what is stated with an array or in a file, and conversions between them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units as u
from astropy.units.function import FunctionUnitBase
from jaxtyping import Float

from slamjax.errors import SlamError

if TYPE_CHECKING:
    from slamjax.spectra.spectra import Spectra


def flux_unit(given: Any, where: str = "") -> u.UnitBase | None:
    """A unit of flux from its name or from a unit; None for None, and for text that astropy does not know.

    An ampere, which astropy makes of "erg/s/cm2/A", is an Angstrom.

    Parameters
    ----------
    given : str, astropy unit or None
    where : str, optional
        Whose unit it is, for the error: "of stars.fits".

    Raises
    ------
    SlamError
        If it is logarithmic, such as magnitudes.

    Examples
    --------
    >>> flux_unit("erg/s/cm2/A")
    Unit("erg / (Angstrom s cm2)")
    >>> flux_unit("counts of Anna") is None
    True
    """
    if given is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", u.UnitsWarning)  # of several slashes
            unit = u.Unit(str(given) if isinstance(given, u.UnrecognizedUnit) else given, parse_strict="silent")
    except (ValueError, TypeError) as error:
        raise SlamError(f"{given!r} {where}".strip() + " is not a unit of flux; use one that astropy knows") from error
    if isinstance(unit, u.UnrecognizedUnit):
        return None
    if isinstance(unit, FunctionUnitBase) or unit in (u.mag, u.dex, u.dB):
        raise SlamError(f"flux {where}".strip() + f" is in {unit}; convert it to a linear unit")
    power = dict(zip(unit.bases, unit.powers, strict=True)).get(u.A, 0)
    return unit * (u.AA / u.A) ** power if power else unit


def stated_flux_unit(values: Any, where: str = "") -> u.UnitBase | None:
    """The unit that a Quantity, a list of them or a table's column brings with it, None if it states none."""
    if isinstance(values, list | tuple) and values and isinstance(values[0], u.Quantity):
        return flux_unit(values[0].unit, where)
    return flux_unit(getattr(values, "unit", None), where) if isinstance(values, np.ndarray) else None


def describe_flux_unit(unit: u.UnitBase | str | None) -> str:
    """A unit of flux in words.

    Examples
    --------
    >>> describe_flux_unit(u.Jy), describe_flux_unit(""), describe_flux_unit(None)
    ('in Jy', 'dimensionless', 'unit not stated')
    """
    if unit is None:
        return "unit not stated"
    return f"in {unit}" if str(unit) else "dimensionless"


def in_flux_unit(spectra: Spectra, unit: str | None, wanted_by: str) -> Spectra:
    """The spectra in another unit of flux: converted if both units are stated, else as they are.

    Flux per wavelength, per frequency and in photons are converted into each other. No pixel is touched where the
    units are the same.

    Parameters
    ----------
    spectra : Spectra
    unit : str
        "" is dimensionless, None not stated.
    wanted_by : str
        Whose unit it is, for the error: "the model was trained on flux".

    Raises
    ------
    SlamError
        If the units cannot be converted into each other.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax import Spectra
    >>> spectra = Spectra([400.0, 500.0], np.ones((1, 2)) * u.mJy, wave_unit="nm")
    >>> in_flux_unit(spectra, "Jy", "the model was trained on flux").flux
    array([[0.001, 0.001]])
    """
    wanted, given = flux_unit(unit), spectra.flux_unit
    if wanted is None or given is None or given == wanted:
        return spectra
    try:
        factor = _factor(given, wanted, spectra.wave * spectra.wave_unit)
    except u.UnitConversionError as error:
        raise SlamError(
            f"flux of {spectra.source} is {describe_flux_unit(given)}, but {wanted_by} {describe_flux_unit(wanted)}; "
            "convert it, or train with a continuum in the recipe"
        ) from error
    flux, ivar = spectra.flux.astype(float) * factor, spectra.ivar.astype(float) / np.square(factor)
    return spectra.with_arrays(flux, ivar, flux_unit=wanted)


def _factor(given: u.UnitBase, wanted: u.UnitBase, wave: u.Quantity) -> float | Float[np.ndarray, " pixel"]:
    if given.is_equivalent(wanted):
        return float(given.to(wanted))
    return np.asarray((np.ones(wave.shape) * given).to_value(wanted, u.spectral_density(wave)))
