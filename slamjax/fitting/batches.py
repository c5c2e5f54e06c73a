"""Many problems through one compiled batch: finished ones leave it, waiting ones take their places.

A batch under vmap runs until its slowest member is done. So the batch is advanced a few steps at a time; between two
visits the host fills the places of those that have finished, at the end of one part of the stars with the first ones of
the next. Shapes stay static. Accelerators have batches of three sizes, and the stars' spectra. A CPU has one size, and
works through its rows in blocks of a few stars, whose intermediate results stay in its cache: of so many blocks as are
filled, and all of one shape, so that a star's result does not depend on how many others there are.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from slamjax._util.batching import fill_up, map_blocks, power_of_two_above
from slamjax._util.jit import compiled
from slamjax.fitting.prior import StarPrior
from slamjax.fitting.problem import Minimiser, Problem, Status, Summary
from slamjax.fitting.starts import BLOCK

#: Batches are full, an eighth, or a sixty-fourth: the tail of slow stars does not pay for empty places.
_SHRINK = 8
#: A batch that would have many empty places is divided into at most so many of the next smaller size.
_PIECES = 4
#: Problems, in units of a batch, that are worked on beside those of the oldest part: while its slowest stars converge,
#: about as many are done.
_HIDDEN = 16


@dataclass(frozen=True, eq=False)
class Starts:
    """Problems of N stars.

    Attributes
    ----------
    x : (M, L) starting points in scaled labels; problem k is about star k mod N, so the best starts go first
    flux, ivar : (N, P) spectra, in the unit and the precision of the device
    factorised : (N, ...) what takes long of each star's Σ⁻¹, see `slamjax.noise.Noise.factorised`
    prior : what a prior has of each star, if there is one
    """

    x: np.ndarray
    flux: np.ndarray
    ivar: np.ndarray
    factorised: Any = None
    prior: StarPrior | None = None

    @property
    def stars(self) -> tuple[np.ndarray, np.ndarray, Any, StarPrior | None]:
        """All that problems of a star share, a pytree of arrays of N rows."""
        return self.flux, self.ivar, self.factorised, self.prior


@dataclass(eq=False)
class _Part:
    """Problems of one part that is being worked on: where its stars' spectra lie, and how far each problem is.

    A star's starts are worked on one after the other, so that which of them are given up does not depend on other
    stars. ``waiting`` has the rows that may begin, best starts, second starts, …; ``n_ended`` counts those done.
    ``star`` are rows of ``stars``, or of the window on an accelerator, where the part has place ``place``.
    """

    x: np.ndarray
    star: np.ndarray
    n_stars: int
    place: int
    stars: Any = None
    states: Any = None
    n_ended: int = 0
    active: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))
    waiting: list[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        none = np.empty(0, dtype=int)
        self.waiting = [np.arange(self.n_stars), *[none] * (len(self.x) // self.n_stars - 1)]

    @property
    def n_first_waiting(self) -> int:
        """Stars whose best start is not begun."""
        return len(self.waiting[0])

    @property
    def is_done(self) -> bool:
        return self.n_ended == len(self.x)

    def take(self, rank: int, count: int) -> np.ndarray:
        """At most ``count`` of the waiting rows of a rank."""
        taken, self.waiting[rank] = np.split(self.waiting[rank], [count])
        return taken

    def end(self, rows: np.ndarray) -> None:
        """These are done; the next starts of their stars may begin."""
        self.n_ended += rows.size
        self.active = np.setdiff1d(self.active, rows)
        for rank in range(1, len(self.waiting)):
            following = rows[rows // self.n_stars == rank - 1] + self.n_stars
            self.waiting[rank] = np.concatenate([self.waiting[rank], following])


class _Window:
    """Spectra of the parts that are being worked on: with each part, or on the device in arrays of one shape.

    ``sizes`` are those of the batches, ``block`` is that of the blocks in them, 0 for none.
    """

    def __init__(self, first: Starts, n_places: int, slots: int) -> None:
        self.n_places, self.free = n_places, list(range(n_places))
        self.block = block_size()
        if self.block:
            self.rows, self.sizes = sys.maxsize, [max(slots, self.block)]
            return
        self.rows = padded_rows(len(first.flux), slots)
        self.sizes = _batch_sizes(slots, n_places * len(first.flux))
        if n_places > 1:
            self.stars = _everywhere(_empty(first.stars, self.rows * n_places))

    def put(self, starts: Starts) -> _Part:
        """The part at a free place; `free` must have one, and ``rows`` at least its stars."""
        place, n = self.free.pop(0), len(starts.flux)
        star = (np.arange(len(starts.x)) % n).astype(np.int32)
        if self.block:
            return _Part(starts.x, star, n, place, starts.stars)
        padded = jax.tree_util.tree_map(
            lambda a: np.pad(a, ((0, self.rows - n), *[(0, 0)] * (a.ndim - 1))), starts.stars
        )
        arrays = _everywhere(padded)
        self.stars = arrays if self.n_places == 1 else _put(self.stars, arrays, place * self.rows)
        return _Part(starts.x, place * self.rows + star, n, place)

    def stars_of(self, part: _Part, rows: np.ndarray) -> Any:
        """The spectra of problems on the host, or their rows on the device."""
        star = part.star[rows]
        return star if part.stars is None else jax.tree_util.tree_map(lambda a: a[star], part.stars)

    def on_device(self, stars: Any) -> Any:
        """A batch of `stars_of`, on the device."""
        return _spread(stars) if self.block else _take(self.stars, _spread(stars))


def block_size() -> int:
    """Stars that are worked on together: those of a block on one CPU; 0 where a whole batch is."""
    return BLOCK if jax.default_backend() == "cpu" and len(jax.local_devices()) == 1 else 0


def minimise(
    minimiser: Minimiser,
    problem: Problem,
    parts: Iterable[Starts],
    slots: int,
    *,
    one_part: bool = False,
    finished: Callable[[int], None] | None = None,
) -> Iterator[Summary]:
    """Minimise all problems, part by part; yields each part's stacked summaries, as NumPy arrays, in order.

    Parameters
    ----------
    parts : iterable of Starts
        Drawn when there is room: the slow stars of one part share their batches with the first ones of the next.
    slots : places in a batch
    one_part : whether there is one part only
    finished : called, after each visit, with the number of problems done
    """
    source = iter(parts)
    running: deque[_Part] = deque()
    window: _Window | None = None
    upcoming: Starts | None = None
    exhausted, done = False, 0
    while True:
        busy = sum(part.active.size + part.n_first_waiting for part in running)
        has_room = window is None or bool(window.free and busy < window.sizes[0])
        if upcoming is None and has_room and not exhausted:
            upcoming = next(source, None)
            exhausted = upcoming is None
        if upcoming is not None and not running and (window is None or len(upcoming.flux) > window.rows):
            n_places = 1 if one_part else 1 + -(-_HIDDEN * slots // len(upcoming.x))
            window = _Window(upcoming, n_places, slots)
        if window is None:
            return
        if upcoming is not None and has_room and len(upcoming.flux) <= window.rows:
            running.append(window.put(upcoming))
            upcoming = None
            continue
        if not running:
            return
        batch = _Batch(minimiser, problem, window)
        batch.visit(running)
        if finished is not None:
            finished(done + sum(part.n_ended for part in running))
        while running and running[0].is_done:
            part = running.popleft()
            window.free.append(part.place)
            done += len(part.x)
            yield batch.summaries(part)


def padded_rows(n: int, slots: int) -> int:
    """Rows that n spectra take on the device: few different shapes, little memory wasted."""
    return power_of_two_above(n) if n < slots else -(-n // slots) * slots


@dataclass(frozen=True, eq=False)
class _Batch:
    """Compiled functions on the problems of several parts, in batches of few sizes."""

    minimiser: Minimiser
    problem: Problem
    window: _Window

    @property
    def sizes(self) -> list[int]:
        return self.window.sizes

    def visit(self, running: Iterable[_Part]) -> None:
        """Begin waiting problems where there are places, and advance all by a few steps."""
        fresh = _next_problems(list(running), self.sizes[0])
        for part, rows, begun in self._call(_init, fresh, lambda part, rows: part.x[rows]):
            if part.states is None:
                part.states = _empty(begun, len(part.x))
            _store(part.states, begun, rows)
            part.active = np.concatenate([part.active, rows])
        active = [(part, part.active) for part in running]
        for part, rows, states in self._call(_advance, active, _states_of):
            _store(part.states, states, rows)
        for part in running:
            still = part.active[part.states.status[part.active] == Status.RUNNING]
            given_up = still[self.minimiser.redundant(part.states, still, part.n_stars)]
            part.states.status[given_up] = Status.REDUNDANT
            part.end(part.active[part.states.status[part.active] != Status.RUNNING])

    def summaries(self, part: _Part) -> Summary:
        """Of all problems of a part."""
        out: Any = None
        for start in range(0, len(part.x), self.sizes[0]):
            rows = np.arange(start, min(len(part.x), start + self.sizes[0]))
            for _, _, summary in self._call(_summarise, [(part, rows)], _states_of):
                out = _empty(summary, len(part.x)) if out is None else out
                _store(out, summary, rows)
        return out

    def _call(
        self,
        function: Any,
        problems: list[tuple[_Part, np.ndarray]],
        states_of: Callable[[_Part, np.ndarray], Any],
    ) -> list[tuple[_Part, np.ndarray, Any]]:
        """``function`` of the given rows of each part, in batches with few empty places."""
        problems = [(part, rows) for part, rows in problems if rows.size]
        if not problems:
            return []
        given = [(states_of(part, rows), self.window.stars_of(part, rows)) for part, rows in problems]
        joined = jax.tree_util.tree_map(lambda *each: np.concatenate(each), *given)
        outs = []
        for rows, size in _split(sum(rows.size for _, rows in problems), self.sizes):
            padded = fill_up(rows, size)
            states, stars = jax.tree_util.tree_map(lambda a, padded=padded: a[padded], joined)
            stars = self.window.on_device(stars)
            out = function(self.minimiser, self.window.block, self.problem, _spread(states), stars, rows.size)
            outs.append(jax.tree_util.tree_map(lambda a, n=rows.size: np.asarray(a)[:n], out))
        out = jax.tree_util.tree_map(lambda *each: np.concatenate(each), *outs)
        edges = np.cumsum([0, *(rows.size for _, rows in problems)])
        return [
            (part, rows, jax.tree_util.tree_map(lambda a, at=slice(*edges[k : k + 2]): a[at], out))
            for k, (part, rows) in enumerate(problems)
        ]


def _split(count: int, sizes: list[int]) -> list[tuple[np.ndarray, int]]:
    """Which of ``count`` problems go into a batch together, and its size: few empty places, and few batches."""
    batches, begin = [], 0
    while begin < count:
        left = count - begin
        size = min((s for s in sizes if s >= left), default=sizes[0])
        size = max((s for s in sizes if s < size and -(-left // s) <= _PIECES), default=size)
        batches.append((np.arange(begin, min(count, begin + size)), size))
        begin += size
    return batches


def _next_problems(running: list[_Part], slots: int) -> list[tuple[_Part, np.ndarray]]:
    """Rows of each part that fill the free places: best starts of all parts first, then second ones, …."""
    free = slots - sum(part.active.size for part in running)
    fresh: list[list[np.ndarray]] = [[] for _ in running]
    for rank in range(max((len(part.waiting) for part in running), default=0)):
        for part, rows in zip(running, fresh, strict=True):
            rows.append(part.take(rank, free))
            free -= rows[-1].size
    return [(part, np.concatenate(rows)) for part, rows in zip(running, fresh, strict=True)]


def _states_of(part: _Part, rows: np.ndarray) -> Any:
    return jax.tree_util.tree_map(lambda a: a[rows], part.states)


def _batch_sizes(slots: int, m: int) -> list[int]:
    """The allowed batch sizes, largest first, each a multiple of the number of devices."""
    devices = len(jax.local_devices())
    largest = min(slots, power_of_two_above(m))
    sizes = {max(1, largest // _SHRINK**k) for k in range(3)}
    return sorted({-(-size // devices) * devices for size in sizes}, reverse=True)


def _empty(like: Any, rows: int) -> Any:
    """Zeros of so many rows, otherwise of the same shapes."""
    return jax.tree_util.tree_map(lambda a: np.zeros((rows, *a.shape[1:]), a.dtype), like)


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


@compiled
def _put(stars: Any, arrays: Any, row: Any) -> Any:
    """The window with a part's stars from a row on."""
    put = partial(jax.lax.dynamic_update_slice_in_dim, start_index=row, axis=0)
    return jax.tree_util.tree_map(put, stars, arrays)


@compiled
def _take(stars: Any, star: Any) -> Any:
    return jax.tree_util.tree_map(lambda a: a[star], stars)


@partial(compiled, static_argnames=("minimiser", "block"))
def _init(minimiser: Minimiser, block: int, problem: Problem, x: Any, stars: Any, count: Any) -> Any:
    return _of_each(minimiser.init, block, problem, x, stars, count)


@partial(compiled, static_argnames=("minimiser", "block"))
def _advance(minimiser: Minimiser, block: int, problem: Problem, states: Any, stars: Any, count: Any) -> Any:
    return _of_each(minimiser.advance, block, problem, states, stars, count)


@partial(compiled, static_argnames=("minimiser", "block"))
def _summarise(minimiser: Minimiser, block: int, problem: Problem, states: Any, stars: Any, count: Any) -> Summary:
    return _of_each(minimiser.summary, block, problem, states, stars, count)


def _of_each(function: Callable[..., Any], block: int, problem: Problem, states: Any, stars: Any, count: Any) -> Any:
    """``function`` of each problem, with the spectrum and the prior of its star; in blocks, of ``count`` of them."""

    def of_one(state: Any, flux: Any, ivar: Any, factorised: Any, prior: StarPrior | None) -> Any:
        inv_cov = problem.noise.inverse_covariance(ivar, factorised)
        return function(problem.of_star(prior), state, flux, inv_cov)

    def of_rows(given: Any) -> Any:
        return jax.vmap(of_one)(given[0], *given[1])

    return map_blocks(of_rows, (states, stars), block, count) if block else of_rows((states, stars))
