"""Label tables as files: FITS, with the meaning of every flag in the header, ECSV or CSV."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from slamjax._util.files import atomic_path, existing_file, existing_text
from slamjax.errors import SlamError
from slamjax.flags import FLAG_MEANINGS, Flag
from slamjax.io.fits_files import open_fits
from slamjax.io.fits_tables import hdu_to_table, table_to_hdu, write_hdus
from slamjax.io.label_arrow import is_label_dataset, read_label_parquet
from slamjax.io.label_table import LabelTable
from slamjax.io.parquet import is_parquet
from slamjax.spectra.units import with_unit

#: How an ECSV file begins.
_ECSV = b"# %ECSV"


def write_labels(table: Table, path: str | os.PathLike[str]) -> None:
    """Write a label table as FITS, with the meaning of every flag in the header; `read_labels` reads it back.

    A name ending in ``.ecsv`` gives ECSV, which `read_labels` reads as well; one in ``.csv`` gives CSV without units,
    with the covariance in columns of numbers (`LabelTable.flat`). The file appears whole or not at all.

    Parameters
    ----------
    table : QTable
        Of `slamjax.fit` or `slamjax.Posterior.table`.
    path : path

    Raises
    ------
    SlamError
        If no file can be written there.

    Examples
    --------
    >>> import os, tempfile
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> import slamjax
    >>> table = QTable({"teff": [4500.0] * u.K, "fe_h": [-0.2] * u.dex, "flags": [0]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "labels.fits")
    ...     slamjax.write_labels(table, path)
    ...     slamjax.read_labels(path)["fe_h"]
    <Quantity [-0.2] dex>
    """
    kind = Path(path).suffix.lower()
    if kind in (".csv", ".ecsv"):
        with atomic_path(path) as temporary:
            LabelTable(table, copy=False).write(temporary, format=f"ascii{kind}", overwrite=True)
        return
    write_hdus(fits.HDUList([fits.PrimaryHDU(), label_sheet(table)]), path)


def label_sheet(table: Table) -> fits.BinTableHDU:
    """The FITS extension of a label table."""
    plain = table.copy()
    plain.meta.clear()
    for name in plain.colnames:
        if plain[name].dtype.kind == "U":  # FITS holds ASCII only; a label table must not fail for a star's name
            text = np.asarray(plain[name]).astype(str)
            plain[name] = np.char.encode(text, "ascii", "replace").astype(f"S{text.dtype.itemsize // 4}")
    sheet = table_to_hdu(plain, "LABELS")
    sheet.header["LABELS"] = (table.meta.get("labels", ""), "labels, in the order of cov")
    for flag in Flag:
        sheet.header.add_comment(f"flags & {int(flag)}: {flag.name}: {FLAG_MEANINGS[flag]}")
    return sheet


def read_labels(path: str | os.PathLike[str]) -> LabelTable:
    """Read a label table, FITS, ECSV or Parquet, that `write_labels` or ``slamjax fit`` has written.

    Parameters
    ----------
    path : path

    Returns
    -------
    LabelTable
        With the same columns, units and types.

    Raises
    ------
    SlamError
        If the file is missing, is neither FITS nor ECSV nor Parquet, or holds no label table.

    Examples
    --------
    >>> import os, tempfile
    >>> import astropy.units as u
    >>> from astropy.table import QTable
    >>> import slamjax
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "labels.fits")
    ...     slamjax.write_labels(QTable({"teff": [4500.0] * u.K, "flags": [4]}), path)
    ...     labels = slamjax.read_labels(path)
    >>> labels["teff"].unit, slamjax.flag_names(labels["flags"][0])
    (Unit("K"), 'AT_BOUND')
    """
    if is_label_dataset(Path(path)):
        return read_label_parquet(Path(path))
    source = existing_file(path)
    if is_parquet(source):
        return read_label_parquet(source)
    with source.open("rb") as file:
        is_ecsv = file.read(len(_ECSV)) == _ECSV
    if is_ecsv:
        return _read_ecsv(source)
    if source.suffix.lower() == ".csv":
        raise SlamError(
            f"{source} is CSV, which states no units and no covariance matrices; read it with "
            "astropy.table.Table.read, or write .fits or .ecsv"
        )
    try:
        with open_fits(source) as hdus:
            if "LABELS" not in hdus:
                raise SlamError(f"{source} has no HDU LABELS; it is not a table that slamjax fit has written")
            header = hdus["LABELS"].header
            plain = hdu_to_table(hdus["LABELS"])
        table = LabelTable(meta={"labels": header.get("LABELS", "")})
        for number, name in enumerate(plain.colnames, start=1):
            column = plain[name].astype(plain[name].dtype.newbyteorder("="))  # FITS is big-endian, JAX takes native
            table[name] = with_unit(column, column.unit) if f"TUNIT{number}" in header else column
    except SlamError:
        raise
    except Exception as error:  # of a damaged file astropy raises errors of many types
        raise SlamError(f"{source} cannot be read as FITS ({error}); is it complete?") from error
    return table


def _read_ecsv(source: Path) -> LabelTable:
    existing_text(source)
    try:
        table = LabelTable.read(source, format="ascii.ecsv")
    except Exception as error:  # astropy's readers raise exceptions of many types
        raise SlamError(f"{source} cannot be read as ECSV ({error}); is it complete?") from error
    if "labels" not in table.meta:
        raise SlamError(f"{source} does not name its labels; it is not a table that slamjax fit has written")
    return table
