"""slamjax's own FITS table: HDU SPECTRA, a row a star; HDU WAVELENGTH, one column with its unit.

SPECTRA holds the vector columns ``flux`` and one of ``ivar`` and ``flux_error`` (neither where errors are
unknown) beside the labels and metadata. WAVELENGTH's header says ``WAVEMED`` (air or vacuum), ``FRAME`` (rest or
observed) and, where known, ``FWHM`` in the column's unit.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Table

from slamjax._util.files import atomic_path, existing_file
from slamjax.errors import SlamError, SlamWarning
from slamjax.io.fits_tables import hdu_to_table, table_to_hdu
from slamjax.spectra.spectra import Spectra

_VECTORS = ("flux", "ivar", "flux_error")


def count_rows(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Spectra in a slamjax FITS table, and bytes that each of them takes in the file."""
    source = existing_file(path)
    try:
        header = fits.getheader(source, "SPECTRA")
        return int(header["NAXIS2"]), int(header["NAXIS1"])
    except (OSError, KeyError, ValueError) as error:
        raise SlamError(f"{source} cannot be read as a FITS table with HDU SPECTRA ({error})") from error


def read_table(path: str | os.PathLike[str], rows: slice | None = None) -> Spectra:
    """Read a slamjax FITS table, or some of its rows.

    Parameters
    ----------
    path : path
    rows : slice, optional
        Neighbouring rows: only these are read from the disk.

    Raises
    ------
    SlamError
        If the file is missing, is not FITS, or lacks an HDU or a column; the message names it.
    """
    source = existing_file(path)
    try:
        with fits.open(source, memmap=False) as hdus:
            names = [hdu.name for hdu in hdus]
            for needed in ("SPECTRA", "WAVELENGTH"):
                if needed not in names:
                    raise SlamError(f"{source} has no HDU {needed}; it has {', '.join(names)}")
            waves = hdus["WAVELENGTH"]
            for name in ("SPECTRA", "WAVELENGTH"):
                if not isinstance(hdus[name], fits.BinTableHDU):
                    raise SlamError(f"HDU {name} of {source} is not a table; it holds a {type(hdus[name]).__name__}")
            if "wavelength" not in waves.columns.names:
                raise SlamError(f"HDU WAVELENGTH of {source} has no column 'wavelength'; it has {waves.columns.names}")
            wave = np.asarray(waves.data["wavelength"], dtype=np.float64)
            unit = waves.columns["wavelength"].unit
            if unit is None:
                raise SlamError(f"column 'wavelength' of {source} states no unit; set its TUNIT to nm or Angstrom")
            header = waves.header
            sheet = hdus["SPECTRA"]
            numbers = np.arange(int(sheet.header["NAXIS2"]))
            if rows is not None:
                sheet, numbers = _part(sheet, numbers[rows], source), numbers[rows]
            table = hdu_to_table(sheet)
            comments = [str(line) for line in hdus[0].header.get("COMMENT", [])]
    except SlamError:
        raise
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise SlamError(f"{source} cannot be read as a FITS table ({error}); is it complete?") from error
    if "flux" not in table.colnames:
        raise SlamError(f"HDU SPECTRA of {source} has no column 'flux'; it has: {', '.join(table.colnames)}")
    flux = _native(table["flux"])
    if flux.ndim == 1 and wave.size == 1:
        flux = flux[:, None]
    ivar = _read_ivar(table, flux, str(source))
    table.remove_columns([name for name in _VECTORS if name in table.colnames])
    table.meta.clear()
    if comments:
        table.meta["comments"] = comments
    return Spectra(
        wave=wave,
        flux=flux,
        ivar=ivar,  # type: ignore[arg-type]
        table=_native_table(table),
        wave_unit=unit,
        medium=_word(header, "WAVEMED"),
        frame=_word(header, "FRAME"),
        fwhm=header.get("FWHM"),
        rows=numbers,
        source=str(source),
    )


def write_table(spectra: Spectra, path: str | os.PathLike[str]) -> None:
    """Write spectra so that `read_table` gives exactly them back; the file appears whole or not at all."""
    table = _storable(spectra.table.copy(), spectra.source)
    for name in _VECTORS:
        if name in table.colnames:
            raise SlamError(
                f"the table of {spectra.source} has a column {name!r}, which is kept for the spectra; rename it"
            )
    comments = table.meta.pop("comments", [])
    table.meta.clear()
    table["flux"] = spectra.flux
    if not np.all(np.isposinf(spectra.ivar)):
        table["ivar"] = spectra.ivar
    sheet = table_to_hdu(table, "SPECTRA")
    column = fits.Column("wavelength", "D", unit=u.Unit(spectra.wave_unit).to_string("fits"), array=spectra.wave)
    waves = fits.BinTableHDU.from_columns([column], name="WAVELENGTH")
    waves.header["WAVEMED"] = (spectra.medium, "where wavelengths are measured")
    waves.header["FRAME"] = (spectra.frame, "rest or observed")
    if spectra.fwhm is not None:
        waves.header["FWHM"] = (spectra.fwhm, "line-spread width, unit of wavelength")
    primary = fits.PrimaryHDU()
    for line in comments:
        primary.header.add_comment(line)
    with atomic_path(path) as temporary:
        fits.HDUList([primary, sheet, waves]).writeto(temporary, overwrite=True, checksum=True)


def _part(sheet: fits.BinTableHDU, rows: np.ndarray, source: Path) -> fits.BinTableHDU:
    """Some neighbouring rows of a table, nothing else of which is read; astropy would map and copy all of it."""
    with source.open("rb") as file:
        plain = file.read(6) == b"SIMPLE"
        lists = any(column.format.lstrip("0123456789")[0] in "PQ" for column in sheet.columns)
        if not plain or lists or np.any(np.diff(rows) != 1):  # compressed, vectors of any length, rows apart
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


def _read_ivar(table: Table, flux: np.ndarray, source: str) -> np.ndarray | None:
    if "ivar" in table.colnames:
        return _native(table["ivar"])
    if "flux_error" not in table.colnames:
        return None
    error = _native(table["flux_error"])
    if error.shape != flux.shape:
        raise SlamError(f"flux_error of {source} has shape {error.shape} but flux has {flux.shape}; they must agree")
    bad = ~(np.isfinite(error) & (error > 0))
    if np.any(error < 0):
        warnings.warn(
            f"{source}: {int((error < 0).sum())} negative flux errors (first in row {np.nonzero(error < 0)[0][0]}) "
            "are taken as bad pixels",
            SlamWarning,
            stacklevel=3,
        )
    ivar = np.where(bad, 0.0, 1.0 / np.where(bad, 1.0, error.astype(np.float64)) ** 2)
    # float32 halves the memory, but fluxes in W m-2 nm-1 have variances beyond its range
    with np.errstate(over="ignore"):
        single = ivar.astype(np.float32)
    safe = flux.dtype == np.float32 and np.all(np.isfinite(single)) and not np.any((single < 1e-30) & ~bad)
    return single if safe else ivar


def _word(header: fits.Header, keyword: str) -> Any:
    """A keyword's value in lower case, "unknown" where it is not given; Spectra tells if it is none it knows."""
    return str(header.get(keyword, "")).strip().lower() or "unknown"


def _storable(table: Table, source: str) -> Table:
    """The table with what FITS cannot hold made wider, or told."""
    for name in table.colnames:
        column = table[name]
        if column.dtype == np.int8:  # FITS bytes have no sign: astropy would write truth values
            table[name] = column.astype(np.int16)
        elif column.dtype.kind == "U":
            values = np.asarray(column).astype(str)
            plain = np.char.str_len(np.char.encode(values, "ascii", "ignore")) == np.char.str_len(values)
            if not np.all(plain):
                row = int(np.flatnonzero(~plain)[0])
                raise SlamError(
                    f"column {name!r} of {source} has {values[row]!r} in row {row}; FITS holds ASCII text only"
                )
        elif column.dtype.kind not in "biufS":
            raise SlamError(
                f"column {name!r} of {source} holds {column.dtype} values, which FITS cannot; convert or drop it"
            )
    return table


def _native(column: Any) -> np.ndarray:
    values = np.asarray(column.filled(np.nan) if hasattr(column, "filled") else column)
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def _native_table(table: Table) -> Table:
    """Columns in native byte order, strings as str, missing floats as NaN."""
    out = Table(meta=table.meta)
    for name in table.colnames:
        column = table[name]
        if column.dtype.kind == "S":
            column = np.char.decode(np.asarray(column), "utf-8", "replace")
            out[name] = column
            continue
        if column.dtype.kind == "f" and hasattr(column, "filled"):
            unit = column.unit
            out[name] = column.filled(np.nan).astype(column.dtype.newbyteorder("="))
            out[name].unit = unit
            continue
        out[name] = column if column.dtype.isnative else column.astype(column.dtype.newbyteorder("="))
    return out
