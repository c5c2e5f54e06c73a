"""Tables as FITS extensions with all their units, those that the FITS standard lacks (dex) included."""

from __future__ import annotations

import os
import warnings
from typing import BinaryIO

from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from astropy.units.function import FunctionUnitBase

from slamjax._util.files import atomic_path


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


def write_hdus(hdus: fits.HDUList, path: str | os.PathLike[str]) -> None:
    """Write a FITS file with checksums; it appears whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        hdus.writeto(_Stream(file), checksum=True)


class _Stream:
    """A file of which astropy does not know that it is one.

    For a file it tries a memory map in the temporary folder, which may be full or read-only where the output is not.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.write, self.seek, self.tell, self.flush = file.write, file.seek, file.tell, file.flush


def _in_fits(unit: u.UnitBase | FunctionUnitBase) -> bool:
    try:
        unit.to_string("fits")
    except ValueError:
        return False
    return True
