"""Units of label columns: what a table states, and what a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy import units as u
from jaxtyping import Float

from slamjax.errors import SlamError
from slamjax.spectra.spectra import Spectra


def check_units(names: Sequence[str], units: Sequence[str], spectra: Spectra) -> None:
    """Raise if the input's labels are in units that cannot be those of the model; asked before a fit, not after it."""
    for name, unit in zip(names, units, strict=True):
        if name in spectra.table.colnames:
            own, wanted = known_unit(spectra.table[name].unit), known_unit(unit)
            if own is not None and wanted is not None and not own.is_equivalent(wanted):
                raise SlamError(
                    f"column {name!r} of {spectra.source} is in {own}, the model's label in {wanted}; "
                    "convert or drop it"
                )


def known_unit(text: object) -> u.UnitBase | None:
    """A unit that astropy knows; catalogues also write such as ``log(cm.s**-2)``, which is kept as text elsewhere."""
    if text is None or text == "":
        return None
    unit = u.Unit(str(text) if isinstance(text, u.UnrecognizedUnit) else text, parse_strict="silent")
    return None if isinstance(unit, u.UnrecognizedUnit) else unit


def label_unit(text: object) -> u.UnitBase:
    """The unit of a label's columns: dimensionless where it is empty or unknown to astropy, dex for any ``dex(...)``.

    A logarithm of a physical unit, such as ``dex(cm / s2)``, becomes plain dex (likewise mag), because astropy's
    function quantities can be neither divided by their errors nor passed to ``np.abs``.
    """
    known = known_unit(text)
    return u.dimensionless_unscaled if known is None else getattr(known, "function_unit", known)


def with_unit(values: Float[np.ndarray, "*shape"], unit: object) -> u.Quantity:
    """Values of a label as a Quantity in its `label_unit`."""
    return np.asarray(values) * label_unit(unit)
