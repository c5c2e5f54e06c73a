"""Units of wavelengths as astronomers write them."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
from astropy import units as u

from slamjax.errors import SlamError

#: Names that astropy does not know, or takes for something else: its "A" is the ampere.
_NAMES = {
    u.AA: "a aa å ang angstrom angstroms angstroem angstroems ångström ångströms ångstrom ångstroms",
    u.nm: "nm nanometer nanometers nanometre nanometres",
    u.um: "um μm micron microns micrometer micrometers micrometre micrometres",
}
_UNITS = {name: unit for unit, names in _NAMES.items() for name in names.split()}


def length_unit(given: Any, where: str = "") -> u.UnitBase:
    """A unit of length from its name in any usual spelling, or from a unit.

    "A", "Å", "Angstroms", "ANGSTROM", "nm", "microns" and "µm" are understood, as is what astropy knows; a unit of
    ampere, which astropy makes of a file's "A", is an Angstrom.

    Parameters
    ----------
    given : str or astropy unit
    where : str, optional
        Whose unit it is, for the error: "of stars.fits".

    Raises
    ------
    SlamError
        If it is no unit of length.

    Examples
    --------
    >>> length_unit("A"), length_unit("Angstroms"), length_unit("microns")
    (Unit("Angstrom"), Unit("Angstrom"), Unit("um"))
    >>> length_unit("K", "of stars.fits")
    Traceback (most recent call last):
        ...
    slamjax.errors.SlamError: 'K' of stars.fits is not a unit of length; use nm or Angstrom
    """
    text = given if isinstance(given, str) else str(given) if isinstance(given, u.UnrecognizedUnit) else None
    try:
        if text is not None:
            known = _UNITS.get(unicodedata.normalize("NFKC", text).strip().strip("[]()").strip().lower())
            unit = u.Unit(text) if known is None else known
        else:
            unit = u.AA if isinstance(given, u.UnitBase) and given == u.A else u.Unit(given)
        if unit != u.pix:  # numbers of channels, see `slamjax.channels`
            unit.to(u.nm)
    except (ValueError, TypeError, AttributeError, u.UnitConversionError) as error:
        shown = given if isinstance(given, str) else str(given)
        raise SlamError(f"{shown!r} {where}".strip() + " is not a unit of length; use nm or Angstrom") from error
    return unit


def stated_unit(values: Any) -> Any:
    """The unit that a Quantity or a table's column brings with it, None if it states none."""
    if isinstance(values, list | tuple) and values and isinstance(values[0], u.Quantity):
        return values[0].unit
    unit = getattr(values, "unit", None) if isinstance(values, np.ndarray) else None
    return None if unit is None or str(unit) == "" else unit


def in_length_unit(values: Any, unit: Any, where: str = "") -> Any:
    """Lengths as plain numbers in ``unit``; those that state a unit are converted, others are in it already.

    Examples
    --------
    >>> float(in_length_unit(500 * u.nm, "A")), in_length_unit(5000, "A")
    (5000.0, 5000)
    """
    own = stated_unit(values)
    if own is None:
        return values
    numbers = u.Quantity(values).value if isinstance(values, list | tuple) else getattr(values, "value", values)
    factor = length_unit(own, where).to(length_unit(unit, where))
    return numbers if factor == 1 else numbers * float(f"{factor:.12g}")  # astropy's nm has 9.999999999999998 Å
