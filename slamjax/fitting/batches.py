"""Many problems through one compiled batch: finished ones leave it, waiting ones take their places.

A batch under vmap runs until its slowest member is done. So the batch is advanced a few steps at a time; between two
visits the host fills the places of those that have finished. Shapes stay static: three batch sizes, three compilations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from slamjax._util.jit import compiled
from slamjax.fitting.problem import Minimiser, Problem, Status, Summary

#: Batches are full, an eighth, or a sixty-fourth: the tail of slow stars does not pay for empty places.
_SHRINK = 8


def minimise(
    minimiser: Minimiser,
    problem: Problem,
    x: np.ndarray,
    flux: np.ndarray,
    ivar: np.ndarray,
    slots: int,
    finished: Callable[[int], None] | None = None,
) -> Summary:
    """Minimise every problem and return their stacked summaries, as NumPy arrays.

    Parameters
    ----------
    x : (M, L) starting points in scaled labels; problem k is about star k mod N, so first starts go first
    flux, ivar : (N, P) spectra, in the device's precision
    slots : places in the batch
    finished : told, after each visit, how many problems are done
    """
    m, n_stars = len(x), len(flux)
    star = np.arange(m, dtype=np.int32) % n_stars
    spectra = _everywhere((flux, ivar))
    sizes = _batch_sizes(slots, m)
    states: Any = None
    waiting = 0
    active = np.empty(0, dtype=int)
    while waiting < m or active.size:
        fresh = np.arange(waiting, min(m, waiting + sizes[0] - active.size))
        if fresh.size:
            begun = _call(_init, minimiser, problem, (x, star), spectra, fresh, sizes)
            if states is None:
                states = jax.tree_util.tree_map(lambda a: np.zeros((m, *a.shape[1:]), a.dtype), begun)
            _store(states, begun, fresh)
            waiting += fresh.size
        active = np.concatenate([active, fresh])
        _store(states, _call(_advance, minimiser, problem, (states, star), spectra, active, sizes), active)
        active = active[states.status[active] == Status.RUNNING]
        given_up = active[minimiser.redundant(states, active, n_stars)]
        states.status[given_up] = Status.REDUNDANT
        active = np.setdiff1d(active, given_up)
        if finished is not None:
            finished(waiting - active.size)
    summaries: Any = None
    for start in range(0, m, sizes[0]):
        rows = np.arange(start, min(m, start + sizes[0]))
        part = _call(_summarise, minimiser, problem, (states, star), spectra, rows, sizes)
        if summaries is None:
            summaries = jax.tree_util.tree_map(lambda a: np.zeros((m, *a.shape[1:]), a.dtype), part)
        _store(summaries, part, rows)
    return summaries


def _batch_sizes(slots: int, m: int) -> list[int]:
    """The allowed batch sizes, largest first, each a multiple of the number of devices."""
    devices = len(jax.local_devices())
    largest = min(slots, 1 << max(0, (m - 1).bit_length()))
    sizes = {max(1, largest // _SHRINK**k) for k in range(3)}
    return sorted({-(-size // devices) * devices for size in sizes}, reverse=True)


def _call(
    function: Any,
    minimiser: Minimiser,
    problem: Problem,
    given: tuple[Any, ...],
    spectra: tuple[Any, Any],
    rows: np.ndarray,
    sizes: list[int],
) -> Any:
    """``function`` for the problems ``rows``, in the smallest batch that holds them; NumPy arrays of those rows."""
    size = min(s for s in sizes if s >= rows.size)
    padded = np.concatenate([rows, np.full(size - rows.size, rows[0])])
    batch = _spread(jax.tree_util.tree_map(lambda a: a[padded], given))
    out = function(minimiser, problem, *batch, *spectra)
    return jax.tree_util.tree_map(lambda a: np.asarray(a)[: rows.size], out)


def _spread(batch: Any) -> Any:
    """Put a batch on the devices, divided along the stars where there are several."""
    devices = jax.local_devices()
    if len(devices) == 1:
        return jax.tree_util.tree_map(jnp.asarray, batch)
    sharding = NamedSharding(Mesh(np.array(devices), ("star",)), PartitionSpec("star"))
    return jax.tree_util.tree_map(lambda a: jax.device_put(a, sharding), batch)


def _everywhere(arrays: Any) -> Any:
    """Put arrays on every device whole: problems of one star may come to lie on several."""
    devices = jax.local_devices()
    if len(devices) == 1:
        return jax.tree_util.tree_map(jnp.asarray, arrays)
    return jax.device_put(arrays, NamedSharding(Mesh(np.array(devices), ("star",)), PartitionSpec()))


def _store(target: Any, values: Any, rows: np.ndarray) -> None:
    for into, part in zip(jax.tree_util.tree_leaves(target), jax.tree_util.tree_leaves(values), strict=True):
        into[rows] = part


@partial(compiled, static_argnums=0)
def _init(minimiser: Minimiser, problem: Problem, x: Any, star: Any, flux: Any, ivar: Any) -> Any:
    return jax.vmap(partial(minimiser.init, problem))(x, flux[star], ivar[star])


@partial(compiled, static_argnums=0)
def _advance(minimiser: Minimiser, problem: Problem, state: Any, star: Any, flux: Any, ivar: Any) -> Any:
    return jax.vmap(partial(minimiser.advance, problem))(state, flux[star], ivar[star])


@partial(compiled, static_argnums=0)
def _summarise(minimiser: Minimiser, problem: Problem, state: Any, star: Any, flux: Any, ivar: Any) -> Summary:
    return jax.vmap(partial(minimiser.summary, problem))(state, flux[star], ivar[star])
