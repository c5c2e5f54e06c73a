"""Labels of a catalogue joined to spectra, so that survey files can train."""

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
    """The spectra with the catalogue's columns in their table; rows keep their order and number.

    Parameters
    ----------
    spectra : Spectra
    catalog : Table or path
        Any table that astropy reads (CSV, ECSV, FITS, ...), a row a star.
    on : str
        A column of both that says which row belongs to which spectrum. Spectra that the catalogue does not have get
        NaN, or an empty text, and a warning tells how many; a column of both is taken from the catalogue.

    Raises
    ------
    SlamError
        If ``on`` is no column of both, the catalogue has a star twice, or no spectrum is found in it.
    """
    source = "the catalogue" if isinstance(catalog, Table) else str(catalog)
    table = catalog if isinstance(catalog, Table) else _read(catalog)
    for where, names in ((source, table.colnames), (spectra.source, spectra.table.colnames)):
        if on not in names:
            raise SlamError(f"{where} has no column {on!r} to join on; it has {', '.join(names) or 'none'}")
    keys = _keys(table[on])
    place = {key: row for row, key in enumerate(keys)}
    if len(place) < len(keys):
        twice = next(key for row, key in enumerate(keys) if place[key] != row)
        raise SlamError(f"{source} has {twice} more than once in column {on!r}; keep one row for each")
    rows = np.array([place.get(key, -1) for key in _keys(spectra.table[on])])
    if not np.any(rows >= 0):
        raise SlamError(f"{source} has none of the {len(spectra)} spectra in its column {on!r}")
    if np.any(rows < 0):
        warnings.warn(
            f"{int(np.sum(rows < 0))} of {len(rows)} spectra are not in {source}; their labels are NaN",
            SlamWarning,
            stacklevel=2,
        )
    out = spectra.table.copy()
    for name in table.colnames:
        if name != on:
            out[name] = _taken(table[name], rows)
            out[name].unit = table[name].unit
    return replace(spectra, table=out)


def _taken(column: Any, rows: np.ndarray) -> np.ndarray:
    """The column's values at these rows; missing ones are NaN or empty."""
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
    except Exception as error:  # astropy's formats raise what they like
        raise SlamError(f"{source} cannot be read as a table ({error}); give CSV, ECSV or FITS") from error
