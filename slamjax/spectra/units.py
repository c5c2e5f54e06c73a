"""Units of labels: those of a table's columns, and those that a model was trained in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy import units as u
from astropy.units.function import FunctionUnitBase
from jaxtyping import Float

from slamjax.errors import SlamError
from slamjax.spectra.spectra import Spectra


def check_units(names: Sequence[str], units: Sequence[str], spectra: Spectra) -> None:
    """Raise SlamError if a label column is in a unit that cannot be converted to the model's; called before a fit."""
    for name, unit in zip(names, units, strict=True):
        if name in spectra.table.colnames:
            given, wanted = known_unit(spectra.table[name].unit), known_unit(unit)
            if given is not None and wanted is not None and not given.is_equivalent(wanted):
                raise SlamError(
                    f"column {name!r} of {spectra.source} is in {given}, the model's label in {wanted}; "
                    "convert or drop it"
                )


def known_unit(unit: object) -> u.UnitBase | FunctionUnitBase | None:
    """The unit, if astropy knows it; None for an empty one and for text such as ``log(cm.s**-2)`` in catalogues."""
    if unit is None or unit == "":
        return None
    parsed = u.Unit(str(unit) if isinstance(unit, u.UnrecognizedUnit) else unit, parse_strict="silent")
    return None if isinstance(parsed, u.UnrecognizedUnit) else parsed


def label_unit(unit: object) -> u.UnitBase:
    """The unit of a label's columns: dimensionless if it is empty or unknown to astropy, dex for any ``dex(...)``.

    A logarithm of a physical unit, such as ``dex(cm / s2)``, becomes plain dex (likewise mag), because astropy's
    function quantities can be neither divided by their errors nor passed to ``np.abs``.

    Examples
    --------
    >>> label_unit("K"), label_unit("dex(cm / s2)"), label_unit("log(cm.s**-2)")
    (Unit("K"), Unit("dex"), Unit(dimensionless))
    """
    known = known_unit(unit)
    return u.dimensionless_unscaled if known is None else getattr(known, "function_unit", known)


def with_unit(values: Float[np.ndarray, "*shape"], unit: object) -> u.Quantity:
    """Values of a label as a Quantity in its `label_unit`."""
    return np.asarray(values) * label_unit(unit)
