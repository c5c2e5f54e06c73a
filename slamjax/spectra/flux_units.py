"""Units of flux as they are stated with an array or in a file."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from astropy import units as u
from astropy.units.function import FunctionUnitBase

from slamjax.errors import SlamError


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
