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


def map_padded(
    function: Callable[..., Any],
    arrays: tuple[Any, ...],
    size: int,
    least: int | None = None,
    *,
    counted: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> Any:
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
    counted : bool
        Whether the function also takes the number of rows that are wanted, for `map_blocks`.
    report : callable, optional
        Called with (rows done, rows in all).

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
        out = function(*block, rows.size) if counted else function(*block)
        parts.append(jax.tree_util.tree_map(lambda a, count=rows.size: np.asarray(a)[:count], out))
        if report is not None:
            report(start + rows.size, n)
    if len(parts) == 1:
        return parts[0]
    return jax.tree_util.tree_map(lambda *each: np.concatenate(each), *parts)


def map_blocks(function: Callable[[Any], Any], arrays: Any, size: int, count: Any) -> Any:
    """``function`` of blocks of ``size`` rows, one after the other, inside a compiled function.

    Parameters
    ----------
    function : callable
        Maps a pytree of arrays of ``size`` rows to another, each row from its own row. Its shape is the same for every
        block, so what becomes of a row does not depend on the number of rows.
    arrays : pytree
        Leaves have N rows.
    size : int
    count : traced integer
        Rows that matter; the blocks behind them are not computed, and are 0.

    Returns
    -------
    pytree of arrays with N rows
    """
    n = len(jax.tree_util.tree_leaves(arrays)[0])

    def in_blocks(a: Any) -> Any:
        return jnp.pad(a, [(0, -n % size), *[(0, 0)] * (a.ndim - 1)]).reshape(-1, size, *a.shape[1:])

    blocks = jax.tree_util.tree_map(in_blocks, arrays)

    def of_block(k: Any) -> Any:
        return function(jax.tree_util.tree_map(lambda a: a[k], blocks))

    out = jax.tree_util.tree_map(lambda a: jnp.zeros((-(-n // size), *a.shape), a.dtype), jax.eval_shape(of_block, 0))

    def step(k: Any, out: Any) -> Any:
        return jax.tree_util.tree_map(lambda into, values: into.at[k].set(values), out, of_block(k))

    out = jax.lax.fori_loop(0, (count + size - 1) // size, step, out)
    return jax.tree_util.tree_map(lambda a: a.reshape(-1, *a.shape[2:])[:n], out)
