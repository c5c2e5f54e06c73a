"""Metadata of survey files as the columns of a table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.table import Table
from jaxtyping import Float

from slamjax.io.surveys.base import SurveySpectra


def metadata_table(
    names: Sequence[str], results: Sequence[SurveySpectra | str], ivar: Float[np.ndarray, "star pixel"]
) -> Table:
    """One row per spectrum, one column per name of metadata; NaN, "" or (identifiers) 0 if a file lacks it.

    Parameters
    ----------
    names : names of the files
    results : the spectra of each file, or the reason why it gives none
    ivar : (N, P) of all spectra; files without a spectrum have one row
    """
    counts = [len(result) if isinstance(result, SurveySpectra) else 1 for result in results]
    metadata = [result.metadata if isinstance(result, SurveySpectra) else {"problem": result} for result in results]
    good = np.any(ivar > 0, axis=1)
    problem = _column("problem", [file.get("problem", "") for file in metadata], counts)
    table = Table(
        {
            "file": np.repeat(_file_names(names), counts),
            "problem": np.where(good | (problem != ""), problem, "no good pixel"),
        }
    )
    for name in dict.fromkeys(name for file in metadata for name in file):
        if name != "problem":
            table[name] = _column(name, [file.get(name) for file in metadata], counts)
    return table


def _file_names(names: Sequence[str]) -> list[str]:
    """Names without folders; with them where only they tell two files apart."""
    short = [os.path.basename(name) for name in names]
    paths: dict[str, set[str]] = {}
    for name, path in zip(short, names, strict=True):
        paths.setdefault(name, set()).add(path)
    return [name if len(paths[name]) == 1 else path for name, path in zip(short, names, strict=True)]


def _column(name: str, values: Sequence[Any], counts: Sequence[int]) -> np.ndarray:
    """A column of all rows, from one value per file, one per row of a file, or None."""
    given = [np.asarray(value) for value in values if value is not None]
    kinds = {value.dtype.kind for value in given}
    missing: Any
    dtype: Any
    if kinds & set("USO"):
        missing, dtype = "", str
    elif kinds <= {"b"}:
        missing, dtype = False, bool
    elif kinds <= set("iu") and (len(given) == len(values) or name.endswith("id")):
        missing, dtype = 0, np.int64  # an identifier must stay exact
    else:
        missing, dtype = np.nan, float
    columns = [
        np.broadcast_to(np.asarray(missing if value is None else value), (count,)).astype(dtype)
        for value, count in zip(values, counts, strict=True)
    ]
    return np.concatenate(columns)
