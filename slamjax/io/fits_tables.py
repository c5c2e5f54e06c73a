"""Tables as FITS extensions with all their units, those that the FITS standard lacks (dex) included."""

from __future__ import annotations

import os
import warnings
from typing import Any, BinaryIO

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
        try:
            hdus.writeto(_Stream(file), checksum=True)
        except _NotWritten as error:
            raise error.cause from error


class _NotWritten(Exception):
    """An OSError, as astropy lets it pass."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _Stream:
    """A file of which astropy does not know that it is one.

    For a file it tries a memory map in the temporary folder, which may be full or read-only where the output is not.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def flush(self) -> None:
        """Buffers are written as the file is closed."""

    def write(self, content: Any) -> int:
        try:
            return self._file.write(content)
        except OSError as error:
            raise _NotWritten(error) from error


def _in_fits(unit: u.UnitBase | FunctionUnitBase) -> bool:
    try:
        unit.to_string("fits")
    except ValueError:
        return False
    return True
