"""Tables as FITS extensions with all their units, those that the FITS standard lacks (dex) included."""

from __future__ import annotations

import warnings

from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from astropy.units.function import FunctionUnitBase


def table_to_hdu(table: Table, name: str) -> fits.BinTableHDU:
    """The table as a FITS extension; a dimensionless Quantity gets an empty TUNIT, a column without a unit none."""
    plain, others = table.copy(), {}
    for column in table.colnames:
        unit = getattr(table[column], "unit", None)
        if unit is not None and not _in_fits(unit):
            others[column] = str(unit)
            plain[column] = getattr(table[column], "value", table[column])
            plain[column].unit = None
    hdu = fits.table_to_hdu(plain)
    for column, unit in others.items():
        hdu.columns[column].unit = unit
    hdu.name = name
    return hdu


def hdu_to_table(hdu: fits.BinTableHDU) -> Table:
    """The table of a FITS extension; units are parsed as astropy writes them, not only as FITS does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", u.UnitsWarning)  # units outside the FITS standard
        table = Table.read(hdu, mask_invalid=False)  # NaN may be a result: it is not masked
    for column in table.columns.values():
        if isinstance(column.unit, u.UnrecognizedUnit):
            column.unit = u.Unit(str(column.unit), parse_strict="silent")
    return table


def _in_fits(unit: u.UnitBase | FunctionUnitBase) -> bool:
    try:
        unit.to_string("fits")
    except ValueError:
        return False
    return True
