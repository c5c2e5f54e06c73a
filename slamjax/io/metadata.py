"""What files say of their spectra, as the columns of a table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.table import Table

from slamjax.io.surveys.base import SurveySpectra


def table_of(names: Sequence[str], found: Sequence[SurveySpectra | str], ivar: np.ndarray) -> Table:
    """A row a spectrum, a column a fact; where a file lacks one: NaN, an empty text, 0 for an identifier.

    ``found`` are pieces of some spectra each, or why a file gave none; ``ivar`` (N, P) is that of all.
    """
    counts = [len(piece) if isinstance(piece, SurveySpectra) else 1 for piece in found]
    facts = [piece.facts if isinstance(piece, SurveySpectra) else {"problem": piece} for piece in found]
    good = np.any(ivar > 0, axis=1)
    problem = _column("problem", [one.get("problem", "") for one in facts], counts)
    files = np.repeat([os.path.basename(name) for name in names], counts)
    table = Table({"file": files, "problem": np.where(good | (problem != ""), problem, "no good pixel")})
    for name in dict.fromkeys(name for one in facts for name in one):
        if name != "problem":
            table[name] = _column(name, [one.get(name) for one in facts], counts)
    return table


def _column(name: str, values: Sequence[Any], counts: Sequence[int]) -> np.ndarray:
    """Values for all rows; of each file one value, one a row, or None."""
    known = [np.asarray(value) for value in values if value is not None]
    kinds = {value.dtype.kind for value in known}
    if kinds & set("USO"):
        missing: Any = ""
        dtype: Any = str
    elif kinds <= {"b"}:
        missing, dtype = False, bool
    elif kinds <= set("iu") and (len(known) == len(values) or name.endswith("id")):
        missing, dtype = 0, np.int64  # an identifier must stay exact
    else:
        missing, dtype = np.nan, float
    parts = [
        np.broadcast_to(np.asarray(missing if value is None else value), (count,)).astype(dtype)
        for value, count in zip(values, counts, strict=True)
    ]
    return np.concatenate(parts)
