"""Tables of labels and metadata, from what users have: astropy tables, DataFrames, dictionaries of columns."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from astropy.table import MaskedColumn, Table

from slamjax.errors import SlamError


def as_table(given: Any, name: str) -> Table:
    """An astropy table of what may be one already, a pandas DataFrame, a mapping of columns, or a structured array.

    Columns of an astropy table are shared, not copied. Of a DataFrame, missing values are masked, dates become ISO
    text, and an index that has a name becomes a column.

    Parameters
    ----------
    given : Table, DataFrame, mapping of str to column, or structured array
    name : str
        What the table is, for the error: "the catalogue".

    Raises
    ------
    SlamError
        If it is no table.

    Examples
    --------
    >>> as_table({"teff": [4800.0, 5200.0]}, "the table").colnames
    ['teff']
    """
    if is_dataframe(given):
        return _from_dataframe(given, name)
    try:
        return Table(given, copy=False)
    except (ValueError, TypeError, KeyError) as error:
        kind = type(given).__name__
        raise SlamError(f"{name} is a {kind} that makes no table ({error}); give a Table or a DataFrame") from error


def is_dataframe(given: Any) -> bool:
    """Whether it is a DataFrame of pandas, which is not imported for that."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(given, pandas.DataFrame)


def _from_dataframe(frame: Any, name: str) -> Table:
    if any(level is not None for level in frame.index.names):
        frame = frame.reset_index()
    names = [str(column) for column in frame.columns]
    repeated = next((column for column in names if names.count(column) > 1), None)
    if repeated is not None:
        raise SlamError(f"{name} has more than one column {repeated!r}; keep one")
    frame = frame.set_axis(names, axis=1)
    dates = [column for column in names if frame[column].dtype.kind in "mM"]
    table = Table.from_pandas(frame.astype(dict.fromkeys(dates, "str")) if dates else frame)
    for column in names:
        if table[column].dtype == object:
            _name_text(table, column)
    return table


def _name_text(table: Table, name: str) -> None:
    """Make a column of Python strings one of text; others stay as they are."""
    mask = np.asarray(getattr(table[name], "mask", np.zeros(len(table), bool)))
    values = np.where(mask, "", np.asarray(table[name], object))
    if all(isinstance(value, str) for value in values):
        table[name] = MaskedColumn(values.astype(str), mask=mask)
