"""Rows through a compiled function in blocks of one shape, so that it compiles once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def fill_up(rows: np.ndarray, size: int) -> np.ndarray:
    """``size`` row numbers: the given ones, then copies of the first."""
    return np.concatenate([rows, np.full(size - rows.size, rows[0])])


def power_of_two_below(n: int) -> int:
    """The largest power of two that is at most n."""
    return 1 << (n.bit_length() - 1)


def power_of_two_above(n: int) -> int:
    """The smallest power of two that is at least n."""
    return 1 << max(0, (n - 1).bit_length())


def map_padded(function: Callable[..., Any], arrays: tuple[Any, ...], size: int, least: int | None = None) -> Any:
    """``function`` of all rows, block by block; every block has the same shape.

    Parameters
    ----------
    function : callable
        Compiled; maps arrays of B rows to a pytree of arrays of B rows, each from its own row.
    arrays : tuple of pytrees
        Arguments whose leaves have N rows, N at least 1.
    size : int
        Rows per block. A block that is not full is filled up with copies of its first row.
    least : int, optional
        Blocks that are not full are filled up to a power of two between this and ``size``, instead of to ``size``: less
        work for a few more compilations.

    Returns
    -------
    pytree of NumPy arrays with N rows
    """
    n = len(jax.tree_util.tree_leaves(arrays)[0])
    parts = []
    for start in range(0, n, size):
        rows = np.arange(start, min(n, start + size))
        target = size if least is None else min(size, max(least, power_of_two_above(rows.size)))
        filled = fill_up(rows, target)
        block = jax.tree_util.tree_map(lambda a, filled=filled: jnp.asarray(a[filled]), arrays)
        out = function(*block)
        parts.append(jax.tree_util.tree_map(lambda a, count=rows.size: np.asarray(a)[:count], out))
    if len(parts) == 1:
        return parts[0]
    return jax.tree_util.tree_map(lambda *each: np.concatenate(each), *parts)
