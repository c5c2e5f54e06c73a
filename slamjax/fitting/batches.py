"""Many problems through one compiled batch: finished ones leave it, waiting ones take their places.

A batch under vmap runs until its slowest member is done. So the batch is advanced a few steps at a time; between two
visits the host fills the places of those that have finished, at the end of one part of the stars with the first ones of
the next. Shapes stay static. Accelerators have batches of three sizes. A CPU has one size, and works through it in
blocks of a few problems, whose intermediate results stay in its cache, as many as are filled; one such batch on each of
its cores. All blocks have one shape, so that a star's result does not depend on how many others there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from slamjax._util.batching import fill_up, map_blocks
from slamjax._util.jit import compiled
from slamjax._util.together import together
from slamjax.fitting.prior import StarPrior
from slamjax.fitting.problem import Minimiser, Problem, Status, Summary
from slamjax.fitting.window import Window

#: Problems, in units of a batch, that are worked on beside those of the oldest part: while its slowest stars converge,
#: about as many are done.
_HIDDEN = 16


@dataclass(frozen=True, eq=False)
class Starts:
    """Problems of N stars.

    Attributes
    ----------
    x : (M, L) starting points in scaled labels; problem k is about star k mod N, so the best starts go first
    flux, ivar : (N, P) spectra, in the unit and the precision of the device; where stars have covariances of their
        own, ivar is `slamjax.noise.dense.DenseErrors`
    factorised : (N, ...) what takes long of each star's Σ⁻¹, see `slamjax.noise.Noise.factorised`
    prior : what a prior has of each star, if there is one
    line_spread : (N, P) σ of the Gaussians by which predictions are convolved for each star, if stars have their own
    """

    x: np.ndarray
    flux: np.ndarray
    ivar: Any
    factorised: Any = None
    prior: StarPrior | None = None
    line_spread: np.ndarray | None = None

    @property
    def stars(self) -> StarRows:
        """What problems of a star share."""
        return StarRows(self.flux, self.ivar, self.factorised, self.prior, self.line_spread)


class StarRows(NamedTuple):
    """What problems of a star share, of N stars or of one; see `Starts`."""

    flux: Any
    ivar: Any
    factorised: Any
    prior: StarPrior | None
    line_spread: Any = None


@dataclass(eq=False)
class _Part:
    """Problems of one part that is being worked on, and how far each of them is.

    A star's starts are worked on one after the other, so that which of them are given up does not depend on other
    stars. ``waiting`` has the rows that may begin, best starts, second starts, …; ``n_ended`` counts those done.
    ``place`` is that of a problem in the window while it is ``active``.
    """

    starts: Starts
    states: Any = None
    summary: Any = None
    n_ended: int = 0
    active: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))
    place: np.ndarray = field(init=False)
    waiting: list[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        none = np.empty(0, dtype=int)
        self.place = np.zeros(self.n, np.int32)
        self.waiting = [np.arange(self.n_stars), *[none] * (self.n // self.n_stars - 1)]

    @property
    def n(self) -> int:
        """Problems."""
        return len(self.starts.x)

    @property
    def n_stars(self) -> int:
        return len(self.starts.flux)

    @property
    def n_first_waiting(self) -> int:
        """Stars whose best start is not begun."""
        return len(self.waiting[0])

    @property
    def is_done(self) -> bool:
        return self.n_ended == self.n

    def stars_of(self, rows: np.ndarray) -> Any:
        """What each problem has of its star."""
        return jax.tree_util.tree_map(lambda a: a[rows % self.n_stars], self.starts.stars)

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


#: Rows of a part.
_Rows = list[tuple[_Part, np.ndarray]]


def minimise(
    minimiser: Minimiser,
    problem: Problem,
    parts: Iterable[Starts],
    slots: int,
    finished: Callable[[int], None] | None = None,
) -> Iterator[Summary]:
    """Minimise all problems, part by part; yields each part's stacked summaries, as NumPy arrays, in order.

    Parameters
    ----------
    parts : iterable of Starts
        Drawn when there is room: the slow stars of one part share their batches with the first ones of the next.
    slots : places in a batch
    finished : called, after each visit, with the number of problems done
    """
    source = iter(parts)
    running: deque[_Part] = deque()
    batch: _Batch | None = None
    exhausted, done = False, 0
    while True:
        busy = sum(part.active.size + part.n_first_waiting for part in running)
        hidden = sum(part.n for part in running) - (running[0].n if running else 0)
        if not exhausted and (batch is None or (busy < batch.window.slots and hidden < _HIDDEN * slots)):
            upcoming = next(source, None)
            exhausted = upcoming is None
            if upcoming is not None:
                batch = _Batch(minimiser, problem, Window(upcoming.stars, slots)) if batch is None else batch
                running.append(_Part(upcoming))
            continue
        if batch is None or not running:
            return
        batch.visit(running)
        if finished is not None:
            finished(done + sum(part.n_ended for part in running))
        while running and running[0].is_done:
            part = running.popleft()
            done += part.n
            yield part.summary


@dataclass(frozen=True, eq=False)
class _Batch:
    """Compiled functions on the problems of several parts."""

    minimiser: Minimiser
    problem: Problem
    window: Window

    def visit(self, running: Iterable[_Part]) -> None:
        """Begin waiting problems where there are places, advance all by a few steps, and end those that are done."""
        fresh = [(part, rows) for part, rows in _next_problems(list(running), self.window.slots) if rows.size]
        for part, rows in fresh:
            part.place[rows] = self.window.enter(part.stars_of(rows))
            part.active = np.concatenate([part.active, rows])
        self._call(_init, fresh, "states", lambda part, rows: part.starts.x[rows])
        self._call(_advance, [(part, part.active) for part in running], "states", _states_of)
        ended = []
        for part in running:
            still = part.active[part.states.status[part.active] == Status.RUNNING]
            given_up = still[self.minimiser.redundant(part.states, still, part.n_stars)]
            part.states.status[given_up] = Status.REDUNDANT
            ended.append((part, part.active[part.states.status[part.active] != Status.RUNNING]))
        self._call(_summarise, ended, "summary", _states_of)
        for part, rows in ended:
            part.end(rows)
            self.window.leave(part.place[rows])

    def _call(self, function: Any, problems: _Rows, into: str, given: Callable[[_Part, np.ndarray], Any]) -> None:
        """``function`` of the given rows of each part, in batches with few empty places, into a field of the parts."""
        problems = [(part, rows) for part, rows in problems if rows.size]
        if not problems:
            return
        place = np.concatenate([part.place[rows] for part, rows in problems])
        joined = _joined([given(part, rows) for part, rows in problems])
        window, calls = self.window, []
        batches = window.split(place.size)
        for rows, size in batches:
            filled = fill_up(rows, size)
            states = jax.tree_util.tree_map(lambda a, filled=filled: a[filled], joined)
            spread = window.spread((states, place[filled]))
            calls.append((self.minimiser, window.block, self.problem, *spread, window.stars, rows.size))
        # programs of several devices must reach them all in one order
        results = together(function, calls) if window.block else [function(*call) for call in calls]
        outs = [
            jax.tree_util.tree_map(lambda a, n=rows.size: np.asarray(a)[:n], out)
            for out, (rows, _) in zip(results, batches, strict=True)
        ]
        out, begin = _joined(outs), 0
        for part, rows in problems:
            values = jax.tree_util.tree_map(lambda a, at=slice(begin, begin + rows.size): a[at], out)
            if getattr(part, into) is None:
                setattr(part, into, _empty(values, part.n))
            _store(getattr(part, into), values, rows)
            begin += rows.size


def _joined(trees: list[Any]) -> Any:
    return trees[0] if len(trees) == 1 else jax.tree_util.tree_map(lambda *each: np.concatenate(each), *trees)


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


def _empty(like: Any, rows: int) -> Any:
    """Zeros of so many rows, otherwise of the same shapes."""
    return jax.tree_util.tree_map(lambda a: np.zeros((rows, *a.shape[1:]), a.dtype), like)


def _store(target: Any, values: Any, rows: np.ndarray) -> None:
    for into, part in zip(jax.tree_util.tree_leaves(target), jax.tree_util.tree_leaves(values), strict=True):
        into[rows] = part


@partial(compiled, static_argnames=("minimiser", "block"), one_thread=True)
def _init(minimiser: Minimiser, block: int, problem: Problem, x: Any, place: Any, stars: Any, count: Any) -> Any:
    return _of_each(minimiser.init, block, problem, x, place, stars, count)


@partial(compiled, static_argnames=("minimiser", "block"), one_thread=True)
def _advance(
    minimiser: Minimiser, block: int, problem: Problem, states: Any, place: Any, stars: Any, count: Any
) -> Any:
    return _of_each(minimiser.advance, block, problem, states, place, stars, count)


@partial(compiled, static_argnames=("minimiser", "block"), one_thread=True)
def _summarise(
    minimiser: Minimiser, block: int, problem: Problem, states: Any, place: Any, stars: Any, count: Any
) -> Any:
    return _of_each(minimiser.summary, block, problem, states, place, stars, count)


def _of_each(
    function: Callable[..., Any], block: int, problem: Problem, states: Any, place: Any, stars: Any, count: Any
) -> Any:
    """``function`` of each problem, with the spectrum and the prior at its place; in blocks, of ``count`` problems."""

    def of_one(state: Any, star: StarRows) -> Any:
        inv_cov = problem.noise.inverse_covariance(star.ivar, star.factorised)
        return function(problem.of_star(star.prior, star.line_spread), state, star.flux, inv_cov)

    def of_rows(given: Any) -> Any:
        state, place = given
        return jax.vmap(of_one)(state, jax.tree_util.tree_map(lambda a: a[place], stars))

    return map_blocks(of_rows, (states, place), block, count) if block else of_rows((states, place))
