"""Tables as FITS extensions with all their units, those that the FITS standard lacks (dex) included."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
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


def hdu_of_rows(sheet: fits.BinTableHDU, rows: np.ndarray, source: Path) -> fits.BinTableHDU:
    """A table of neighbouring rows, read without the others; astropy would copy the whole table."""
    with source.open("rb") as file:
        is_plain = file.read(6) == b"SIMPLE"
        has_lists = any(column.format.lstrip("0123456789")[0] in "PQ" for column in sheet.columns)
        if not is_plain or has_lists or np.any(np.diff(rows) != 1):  # compressed, variable-length vectors, a step
            return fits.BinTableHDU(sheet.data[rows], header=sheet.header)
        header, first = sheet.header.copy(), int(rows[0]) if rows.size else 0
        for keyword in ("CHECKSUM", "DATASUM"):
            header.remove(keyword, ignore_missing=True)
        header["NAXIS2"] = len(rows)
        size = header["NAXIS1"]
        file.seek(sheet.fileinfo()["datLoc"] + first * size)
        data = file.read(len(rows) * size)
    if len(data) < len(rows) * size:
        raise OSError("the file ends before its table does")
    return fits.BinTableHDU.fromstring(header.tostring().encode() + data + bytes(-len(data) % 2880))


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
