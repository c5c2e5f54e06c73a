"""Label tables as FITS files, with the meaning of every flag in the header."""

from __future__ import annotations

import os

import numpy as np
from astropy.io import fits
from astropy.table import QTable, Table

from slamjax._util.files import atomic_path, existing_file
from slamjax.errors import SlamError
from slamjax.flags import FLAG_MEANINGS, Flag
from slamjax.io.fits_tables import hdu_to_table, table_to_hdu
from slamjax.spectra.units import with_unit


def write_labels(table: Table, path: str | os.PathLike[str]) -> None:
    """Write a label table as FITS, with the meaning of every flag in the header; `read_labels` reads it back.

    The file appears whole or not at all.

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
    plain = table.copy()
    plain.meta.clear()
    for name in plain.colnames:
        if plain[name].dtype.kind == "U":  # FITS holds ASCII only; a label table must not fail for a star's name
            plain[name] = np.char.encode(np.asarray(plain[name]).astype(str), "ascii", "replace")
    sheet = table_to_hdu(plain, "LABELS")
    sheet.header["LABELS"] = (table.meta.get("labels", ""), "labels, in the order of cov")
    for flag in Flag:
        sheet.header.add_comment(f"flags & {int(flag)}: {flag.name}: {FLAG_MEANINGS[flag]}")
    with atomic_path(path) as temporary:
        fits.HDUList([fits.PrimaryHDU(), sheet]).writeto(temporary, overwrite=True, checksum=True)


def read_labels(path: str | os.PathLike[str]) -> QTable:
    """Read a label table that `write_labels` or ``slamjax fit`` has written.

    Parameters
    ----------
    path : path

    Returns
    -------
    QTable
        With the same columns, units and types.

    Raises
    ------
    SlamError
        If the file is missing, is not FITS, or holds no label table.

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
    source = existing_file(path)
    try:
        with fits.open(source, memmap=False) as hdus:
            if "LABELS" not in hdus:
                raise SlamError(f"{source} has no HDU LABELS; it is not a table that slamjax fit has written")
            header = hdus["LABELS"].header
            plain = hdu_to_table(hdus["LABELS"])
    except OSError as error:
        raise SlamError(f"{source} cannot be read as FITS ({error}); is it complete?") from error
    table = QTable(meta={"labels": header.get("LABELS", "")})
    for number, name in enumerate(plain.colnames, start=1):
        column = plain[name].astype(plain[name].dtype.newbyteorder("="))  # FITS is big-endian, JAX takes native
        table[name] = with_unit(column, column.unit) if f"TUNIT{number}" in header else column
    return table
