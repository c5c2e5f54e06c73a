"""Columns of astropy tables as plain NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float


def plain_column(column: Any) -> np.ndarray:
    """A column in native byte order; masked: NaN for a float, 0 for an integer, "" for a string."""
    mask = getattr(column, "mask", None)
    values = np.asarray(getattr(column, "unmasked", column))
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if mask is None or not np.any(mask):
        return values
    if values.dtype.kind in "iub":
        return np.where(mask, 0, values)  # an identifier must stay an exact integer; 0 reads as "not given"
    return np.where(mask, np.nan if values.dtype.kind == "f" else "", values)


def float_column(column: Any) -> Float[np.ndarray, " row"]:
    """A column as float64, NaN where it is masked; raises TypeError or ValueError if it holds no numbers."""
    if np.ndim(column) != 1:
        raise TypeError("vectors are no single numbers")
    return float_values(column)


def float_values(column: Any) -> Float[np.ndarray, ...]:
    """The same of values of any shape."""
    mask = getattr(column, "mask", None)
    if np.asarray(column).dtype.kind == "c":
        raise TypeError("complex numbers are no labels")
    return np.where(False if mask is None else np.asarray(mask), np.nan, plain_column(column).astype(float))
