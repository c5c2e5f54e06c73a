"""Which columns of a table identify stars, and which rows are spectra of the same star."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

#: Names of columns that identify stars even if most stars have several spectra.
_ID_NAME = re.compile(r"(^|_)(id|name|star|source|target|object|obj)(_|$)|id$")
#: Names of columns that say where or when a spectrum was taken, not of which star.
_NO_ID_NAME = re.compile(r"fib|plate|spid|mjd|field|ccd|row|index|night|plan|tile|run|split")
#: Shares of distinct values from which a column identifies stars: named like an identifier, and any other text.
_DISTINCT_NAMED, _DISTINCT_TEXT = 0.3, 0.9


def identifier_columns(columns: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the columns that identify stars.

    These are string or integer columns named like an identifier (``source_id``, ``name``) of which at least three in
    ten values are distinct, so that several visits of a star may be listed, and other string columns of which nine in
    ten are.

    Parameters
    ----------
    columns : mapping of str to (N,) array
    """
    shares: dict[str, float] = {}
    for name, column in columns.items():
        named = bool(_ID_NAME.search(name.lower()))
        is_candidate = column.dtype.kind in "SU" or (column.dtype.kind in "iu" and named)
        if len(column) == 0 or _NO_ID_NAME.search(name.lower()) or not is_candidate:
            continue
        known = column[is_known(column)]
        if len(known) <= 0.5 * len(column) or _is_count(column):
            continue
        share = len(np.unique(known)) / len(known)
        if share >= (_DISTINCT_NAMED if named else _DISTINCT_TEXT):
            shares[name] = share
    # a column that separates far fewer stars than another is no identifier
    return [name for name, share in shares.items() if share >= 0.5 * max(shares.values())]


def star_groups(columns: Mapping[str, np.ndarray], n_rows: int) -> Int[np.ndarray, " star"]:
    """(N,) a number per row, equal for rows that share a value of any identifier, directly or through other rows."""
    left: list[np.ndarray] = []
    right: list[np.ndarray] = []
    for name in identifier_columns(columns):
        values = np.unique(columns[name], return_inverse=True)[1]
        rows = np.flatnonzero(is_known(columns[name]))
        first = np.zeros(n_rows, dtype=int)  # the first row with each value
        first[values[rows[::-1]]] = rows[::-1]
        left.append(rows)
        right.append(first[values[rows]])
    if not left:
        return np.arange(n_rows)
    edges = np.concatenate(left), np.concatenate(right)
    graph = coo_array((np.ones(len(edges[0]), dtype=bool), edges), shape=(n_rows, n_rows))
    return connected_components(graph, directed=False)[1]


def is_known(column: np.ndarray) -> Bool[np.ndarray, " row"]:
    """Which identifiers are given: neither empty, nor 0, nor a negative sentinel."""
    if column.dtype.kind in "iu":
        return column > 0
    stripped = np.char.lower(np.char.strip(column.astype(str)))
    return ~np.isin(stripped, ["", "none", "nan", "n/a", "-"])


def _is_count(column: np.ndarray) -> bool:
    """Whether a column only numbers the rows of its table, as another table's column would too."""
    return column.dtype.kind in "iu" and len(column) > 1 and bool(np.all(np.diff(column.astype(np.int64)) == 1))
