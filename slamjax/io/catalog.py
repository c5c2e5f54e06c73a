"""Labels of a catalogue joined to spectra, so that survey files can train a model."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from astropy.table import Table

from slamjax._util.files import existing_file
from slamjax.errors import SlamError, SlamWarning
from slamjax.spectra.spectra import Spectra


def join_labels(spectra: Spectra, catalog: Table | str | os.PathLike[str], on: str = "file") -> Spectra:
    """The spectra with a catalogue's columns added to their table; number and order of rows stay.

    Parameters
    ----------
    spectra : Spectra
    catalog : Table or path
        Any table that astropy reads (CSV, ECSV, FITS, ...), one row per star.
    on : str
        Column of both tables that matches rows to spectra. Spectra that are not in the catalogue get NaN or empty
        strings, with a warning. If both tables have another column of the same name, that of the catalogue is taken.

    Returns
    -------
    Spectra

    Raises
    ------
    SlamError
        If one of the tables lacks the column ``on``, the catalogue has a star twice, or no spectrum is in it.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import Table
    >>> import slamjax
    >>> wave, files = np.arange(500.0, 503.0), {"file": ["a.fits", "b.fits"]}
    >>> spectra = slamjax.Spectra(wave, np.ones((2, 3)), table=files, wave_unit="nm")
    >>> catalog = Table({"file": ["b.fits", "a.fits"], "teff": [5000.0, 4000.0]})
    >>> slamjax.join_labels(spectra, catalog).values("teff")
    array([4000., 5000.])
    """
    source = "the catalogue" if isinstance(catalog, Table) else str(catalog)
    table = catalog if isinstance(catalog, Table) else _read(catalog)
    for where, names in ((source, table.colnames), (spectra.source, spectra.table.colnames)):
        if on not in names:
            raise SlamError(f"{where} has no column {on!r} to join on; it has {', '.join(names) or 'none'}")
    keys = _keys(table[on])
    row_of = {key: row for row, key in enumerate(keys)}
    if len(row_of) < len(keys):
        repeated = next(key for row, key in enumerate(keys) if row_of[key] != row)
        raise SlamError(f"{source} has {repeated} more than once in column {on!r}; keep one row for each")
    rows = np.array([row_of.get(key, -1) for key in _keys(spectra.table[on])])
    if not np.any(rows >= 0):
        raise SlamError(f"{source} has none of the {len(spectra)} spectra in its column {on!r}")
    if np.any(rows < 0):
        warnings.warn(
            f"{int(np.sum(rows < 0))} of {len(rows)} spectra are not in {source}; their labels are NaN",
            SlamWarning,
            stacklevel=2,
        )
    joined = spectra.table.copy()
    for name in table.colnames:
        if name != on:
            joined[name] = _take(table[name], rows)
            joined[name].unit = table[name].unit
    return replace(spectra, table=joined)


def _take(column: Any, rows: np.ndarray) -> np.ndarray:
    """The column's values in these rows; NaN or "" if masked or if the row is negative."""
    known = (rows >= 0) & ~np.asarray(getattr(column, "mask", np.zeros(len(column), bool)))[rows]
    values = np.asarray(column.filled() if hasattr(column, "filled") else column)[rows]
    if values.dtype.kind in "SUO":
        return np.where(known, values.astype(str), "")
    if known.all():
        return values
    return np.where(known, values.astype(float), np.nan)


def _keys(column: Any) -> list[str]:
    return [str(value).strip() for value in np.asarray(column).astype(str)]


def _read(path: str | os.PathLike[str]) -> Table:
    source = existing_file(path)
    try:
        if source.suffix.lower() == ".csv":
            return Table.read(source, format="ascii.csv", comment="#")
        return Table.read(source)
    except Exception as error:  # astropy's readers raise exceptions of many types
        raise SlamError(f"{source} cannot be read as a table ({error}); give CSV, ECSV or FITS") from error
