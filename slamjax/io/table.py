"""slamjax's own table of spectra, FITS or Parquet.

FITS has the HDU SPECTRA, one row per star, and the HDU WAVELENGTH, one column with its unit.

SPECTRA holds the vector columns ``flux`` and ``ivar`` or ``flux_error`` (neither if errors are unknown) beside labels
and metadata. The unit (TUNIT) of ``flux`` is empty for a dimensionless one and left out where it is not known; errors
without a unit are in that of the flux. The header of WAVELENGTH has ``WAVEMED`` (air or vacuum), ``FRAME`` (rest or
observed) and, if known, ``FWHM`` in the column's unit. A line spread that depends on wavelength is a column ``fwhm``
beside the wavelengths; if each star has its own (NaN: unknown), ``fwhm`` is a vector column of SPECTRA in the unit of
the wavelengths. `slamjax.io.list_columns` describes Parquet.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Column, Table

from slamjax._util.files import existing_file
from slamjax.errors import SlamError
from slamjax.io.fits_files import open_fits
from slamjax.io.fits_tables import hdu_of_rows, hdu_to_table, table_to_hdu, write_hdus
from slamjax.io.list_assembly import BadRows
from slamjax.io.parquet import SUFFIXES as PARQUET_SUFFIXES
from slamjax.io.parquet import count_parquet, is_parquet, read_parquet
from slamjax.io.parquet_writing import write_parquet
from slamjax.spectra.columns import plain_column
from slamjax.spectra.covariance import refuse_covariance
from slamjax.spectra.flux_units import flux_unit
from slamjax.spectra.spectra import Spectra

_VECTORS = ("flux", "ivar", "flux_error")
#: Columns of errors, and the arguments of Spectra that take them.
_ERRORS = {"ivar": "ivar", "flux_error": "error"}


def count_rows(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Number of spectra in a slamjax table, and bytes per spectrum in a FITS file, or of Parquet in memory."""
    source = existing_file(path)
    if is_parquet(source):
        return count_parquet(source)
    try:
        with open_fits(source) as hdus:
            header = hdus["SPECTRA"].header
            return int(header["NAXIS2"]), int(header["NAXIS1"])
    except SlamError:
        raise
    except Exception as error:  # of a damaged file astropy raises errors of many types
        raise SlamError(f"{source} cannot be read as a FITS table with HDU SPECTRA ({error})") from error


def read_table(path: str | os.PathLike[str], rows: slice | None = None, *, bad_rows: BadRows = "raise") -> Spectra:
    """Read a slamjax table, FITS or Parquet, or some of its rows.

    Parameters
    ----------
    path : path
    rows : slice, optional
        If its step is 1, only these rows are read from the disk.
    bad_rows : "raise" or "flag"
        What a row of Parquet is whose lists have another length than the wavelengths: an error, or a row without a good
        pixel whose column ``problem`` says so.

    Returns
    -------
    Spectra

    Raises
    ------
    SlamError
        If the file is missing, is neither FITS nor Parquet, or lacks an HDU or a column; the message names it.

    Examples
    --------
    >>> import os, tempfile
    >>> import slamjax
    >>> train, _ = slamjax.datasets.load_xp_giants()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "stars.fits")
    ...     slamjax.write_table(train[:10], path)
    ...     some = slamjax.read_table(path, rows=slice(2, 5))
    >>> len(some), some.wave_unit, some.frame
    (3, Unit("nm"), 'observed')
    """
    source = existing_file(path)
    if is_parquet(source):
        return read_parquet(source, rows, bad_rows=bad_rows)
    try:
        with open_fits(source) as hdus:
            sheet, waves = _sheets(hdus, source)
            wave = np.asarray(waves.data["wavelength"], dtype=np.float64)
            numbers = np.arange(int(sheet.header["NAXIS2"]))
            if rows is not None:
                sheet, numbers = hdu_of_rows(sheet, numbers[rows], source), numbers[rows]
            table = hdu_to_table(sheet)
            comments = [str(line) for line in hdus[0].header.get("COMMENT", [])]
            grid: dict[str, Any] = {
                "wave_unit": waves.columns["wavelength"].unit,
                "medium": _keyword(waves.header, "WAVEMED"),
                "frame": _keyword(waves.header, "FRAME"),
                "flux_unit": _flux_unit(sheet, source),
                "fwhm": waves.data["fwhm"] if "fwhm" in waves.columns.names else waves.header.get("FWHM"),
            }
    except SlamError:
        raise
    except Exception as error:  # of a damaged file astropy raises errors of many types
        raise SlamError(f"{source} cannot be read as a FITS table ({error}); is it complete?") from error
    if "flux" not in table.colnames:
        raise SlamError(f"HDU SPECTRA of {source} has no column 'flux'; it has: {', '.join(table.colnames)}")
    flux = plain_column(table["flux"])
    if flux.ndim == 1 and wave.size == 1:
        flux = flux[:, None]
    stated = next((name for name in _ERRORS if name in table.colnames), None)
    errors: Any = {} if stated is None else {_ERRORS[stated]: table[stated]}
    if "fwhm" in table.colnames and table["fwhm"].ndim == 2:
        grid["fwhm"] = plain_column(table["fwhm"])
        table.remove_column("fwhm")
    table.remove_columns([name for name in _VECTORS if name in table.colnames])
    table.meta.clear()
    if comments:
        table.meta["comments"] = comments
    return Spectra(
        wave=wave,
        flux=flux,
        table=_native_table(table),
        rows=numbers,
        source=str(source),
        **grid,
        **errors,
    )


def write_table(spectra: Spectra, path: str | os.PathLike[str]) -> None:
    """Write spectra as a table that `read_table` reads back unchanged; the file appears whole or not at all.

    A name ending in ``.parquet`` (or ``.pq``) gives Parquet, with ``flux`` and ``ivar`` as columns of lists, for
    pandas, Dask and LSDB; others give FITS.

    Parameters
    ----------
    spectra : Spectra
    path : path

    Raises
    ------
    SlamError
        If the table has columns that the format cannot hold or that are named ``flux``, ``ivar`` or ``flux_error``, or
        no file can be written there.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from astropy.table import Table
    >>> import slamjax
    >>> labels = Table({"teff": [4800.0, 5200.0]})
    >>> wave = np.linspace(400, 700, 4)
    >>> spectra = slamjax.Spectra(wave, np.ones((2, 4)), table=labels, wave_unit="nm", medium="vacuum")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "stars.fits")
    ...     slamjax.write_table(spectra, path)
    ...     slamjax.read_table(path)
    Spectra(2 x 4 pixels, 400-700 nm vacuum, unknown frame, table: teff)
    """
    if Path(path).suffix.lower() in PARQUET_SUFFIXES:
        write_parquet(spectra, path)  # which takes parts, too, and looks at each
        return
    refuse_covariance(spectra, "the table format")
    table = _storable(spectra.table.copy(), spectra.source)
    for name in (*_VECTORS, "fwhm") if spectra.has_own_line_spreads else _VECTORS:
        if name in table.colnames:
            raise SlamError(
                f"the table of {spectra.source} has a column {name!r}, which is kept for the spectra; rename it"
            )
    comments = table.meta.pop("comments", [])
    table.meta.clear()
    table["flux"] = Column(spectra.flux, unit=spectra.flux_unit)
    if spectra.has_own_line_spreads:
        table["fwhm"] = Column(np.asarray(spectra.fwhm), unit=spectra.wave_unit)
    if not np.all(np.isposinf(spectra.ivar)):
        table["ivar"] = spectra.ivar
    unit = spectra.wave_unit.to_string("fits")
    columns = [fits.Column("wavelength", "D", unit=unit, array=spectra.wave)]
    if isinstance(spectra.fwhm, np.ndarray) and not spectra.has_own_line_spreads:
        columns.append(fits.Column("fwhm", "D", unit=unit, array=spectra.fwhm))
    waves = fits.BinTableHDU.from_columns(columns, name="WAVELENGTH")
    waves.header["WAVEMED"] = (spectra.medium, "medium of the wavelengths")
    waves.header["FRAME"] = (spectra.frame, "rest or observed")
    if isinstance(spectra.fwhm, float):
        waves.header["FWHM"] = (spectra.fwhm, "line-spread width, unit of wavelength")
    primary = fits.PrimaryHDU()
    for line in comments:
        primary.header.add_comment(line)
    write_hdus(fits.HDUList([primary, table_to_hdu(table, "SPECTRA"), waves]), path)


def _sheets(hdus: fits.HDUList, source: Path) -> tuple[fits.BinTableHDU, fits.BinTableHDU]:
    """The HDUs SPECTRA and WAVELENGTH; raises SlamError if one is missing or has no wavelengths."""
    names = [hdu.name for hdu in hdus]
    for name in ("SPECTRA", "WAVELENGTH"):
        if name not in names:
            raise SlamError(f"{source} has no HDU {name}; it has {', '.join(names)}")
    for name in ("SPECTRA", "WAVELENGTH"):
        if not isinstance(hdus[name], fits.BinTableHDU):
            raise SlamError(f"HDU {name} of {source} is not a table; it holds a {type(hdus[name]).__name__}")
    columns = hdus["WAVELENGTH"].columns
    if "wavelength" not in columns.names:
        raise SlamError(f"HDU WAVELENGTH of {source} has no column 'wavelength'; it has {columns.names}")
    if columns["wavelength"].unit is None:
        raise SlamError(f"column 'wavelength' of {source} states no unit; set its TUNIT to nm or Angstrom")
    return hdus["SPECTRA"], hdus["WAVELENGTH"]


def _flux_unit(sheet: fits.BinTableHDU, source: Path) -> u.UnitBase | None:
    """The unit of flux; astropy's columns do not tell an empty TUNIT, which is dimensionless, from none."""
    names = [name.lower() for name in sheet.columns.names]
    text = sheet.header.get(f"TUNIT{names.index('flux') + 1}") if "flux" in names else None
    return flux_unit(text, f"of {source}")


def _keyword(header: fits.Header, name: str) -> Any:
    """A keyword's value in lower case, "unknown" if it is missing; Spectra checks it."""
    return str(header.get(name, "")).strip().lower() or "unknown"


def _storable(table: Table, source: str) -> Table:
    """The table with signed bytes widened; raises SlamError for values that FITS cannot hold."""
    for name in table.colnames:
        column = table[name]
        if column.dtype == np.int8:  # FITS bytes have no sign: astropy would write booleans
            table[name] = column.astype(np.int16)
        elif column.dtype.kind == "U":
            values = np.asarray(column).astype(str)
            ascii_only = np.char.str_len(np.char.encode(values, "ascii", "ignore")) == np.char.str_len(values)
            if not np.all(ascii_only):
                row = int(np.flatnonzero(~ascii_only)[0])
                raise SlamError(
                    f"column {name!r} of {source} has {values[row]!r} in row {row}; FITS holds ASCII text only"
                )
        elif column.dtype.kind not in "biufS":
            raise SlamError(
                f"column {name!r} of {source} holds {column.dtype} values, which FITS cannot; convert or drop it"
            )
    return table


def _native_table(table: Table) -> Table:
    """Columns in native byte order, strings as str, missing floats as NaN."""
    native = Table(meta=table.meta)
    for name in table.colnames:
        column = table[name]
        if column.dtype.kind == "S":
            native[name] = np.char.decode(np.asarray(column), "utf-8", "replace")
            continue
        unit = column.unit
        if column.dtype.kind == "f" and hasattr(column, "filled"):
            column = column.filled(np.nan)
        native[name] = column.astype(column.dtype.newbyteorder("="))
        native[name].unit = unit
    return native
