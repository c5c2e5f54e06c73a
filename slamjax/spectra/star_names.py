"""What to call a star: in titles of figures and in short tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from slamjax.spectra.columns import plain_column
from slamjax.spectra.identifiers import identifier_columns

#: Columns of text that are no names, though every star may have its own.
_NO_NAMES = ("problem", "sampler", "survey", "flag_names")


def naming_column(columns: Mapping[str, Any]) -> str | None:
    """The column that names stars: a text among the identifiers, the file, or a number among the identifiers.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.spectra.star_names import naming_column
    >>> naming_column({"source_id": np.array([17, 23]), "apogee_id": np.array(["2M01", "2M02"])})
    'apogee_id'
    """
    plain = {
        name: values
        for name, values in ((name, np.asarray(plain_column(column))) for name, column in columns.items())
        if values.ndim == 1 and values.dtype.kind in "iuSU" and name not in _NO_NAMES
    }
    known = identifier_columns(plain)
    texts = [name for name in known if plain[name].dtype.kind in "SU" and name != "file"]
    return next(iter([*texts, *(["file"] if "file" in plain else []), *known]), None)


def star_name(columns: Mapping[str, Any], index: int) -> str:
    """The name of the star in a place of these columns; its row, if it has no name."""
    (name,) = star_names(columns, [index])
    return name


def star_names(columns: Mapping[str, Any], places: Iterable[int]) -> list[str]:
    """The same of several stars."""
    naming = naming_column(columns)
    names = None if naming is None else plain_column(columns[naming])
    rows = columns.get("row")
    return [
        ("" if names is None else str(names[place]).strip()) or f"row {place if rows is None else rows[place]}"
        for place in places
    ]
