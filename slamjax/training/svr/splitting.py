"""Many ε-SVRs in one space of features, by operator splitting.

    min_{w, b} ½ |w|² + Σ_i C c_i max(|y_i − φ_iᵀw − b| − ε, 0)

The alternating direction method of multipliers with f_i = φ_iᵀw + b as its second variable, over-relaxed, in the form
of Douglas & Rachford (Eckstein & Bertsekas 1992, Math. Program. 55, 293). A step is a pass over the stars: two matrix
products that all pixels share, a ridge regression, whose matrix is diagonal in its eigenvectors whatever a pixel's step
size ρ, and two clips. Stars weigh in the ridge regression by their mean weight over the pixels. ρ balances what changes
between steps against what is not yet equal. Solutions are judged by the duality gap; β = ρ s u is within its bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from threadpoolctl import threadpool_limits

#: Stars that are treated together: their numbers stay in the cache.
TILE = 1024
#: Over-relaxation; ρ in units of C at the start; steps after which ρ is adapted, and the largest factor.
_RELAXED, _FIRST = 1.6, 3.0
_ADAPTED, _LARGEST = (5, 10, 20, 30, 45, 60, 80, 110, 150, 200, 260, 330, 400), 5.0
#: Steps between judgements, and at most.
_JUDGED, MOST_STEPS = 10, 1000
_TINY = 1e-30


@dataclass(frozen=True)
class Ridge:
    """The shared ridge regression of some stars: their total weight, mean features, and centred Gram matrix."""

    total: float
    mean: Float[np.ndarray, " feature"]
    variance: Float[np.ndarray, " feature"]
    direction: Float[np.ndarray, "feature feature"]

    @classmethod
    def of(cls, moments: Sequence[tuple[float, np.ndarray, np.ndarray]]) -> Ridge:
        """From Σs, Σsφ and Σsφφᵀ of each part of the stars."""
        total = float(sum(part[0] for part in moments))
        first = np.sum([part[1] for part in moments], axis=0)
        second = np.sum([part[2] for part in moments], axis=0)
        mean = first / total
        variance, direction = np.linalg.eigh(second - np.outer(first, mean))
        return cls(total, mean, np.maximum(variance, 0), direction)

    def solve(self, rho: np.ndarray, weighted: np.ndarray, product: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """w (R, M) and b (M,) of min ½|w|² + ½ρ Σ s (t − φᵀw − b)², from Σ s t and Σ s t φ."""
        level = weighted / self.total
        turned = self.direction.T @ (product - np.outer(self.mean, weighted))
        w = self.direction @ (turned * rho / (rho * self.variance[:, None] + 1))
        return w, level - self.mean @ w


@dataclass
class Columns:
    """M pixels on their way to the optimum, of all stars.

    Attributes
    ----------
    y, ratio : flux, and c / s
    v, u : the iterate, and the step from it to f
    rho : (M,) step sizes
    """

    y: Float[np.ndarray, "star pixel"]
    ratio: Float[np.ndarray, "star pixel"]
    v: Float[np.ndarray, "star pixel"]
    u: Float[np.ndarray, "star pixel"]
    rho: Float[np.ndarray, " pixel"]

    @classmethod
    def start(cls, y: np.ndarray, ratio: np.ndarray, C: float, epsilon: float) -> Columns:
        rho = np.full(y.shape[1], _FIRST * C)
        columns = cls(y, ratio, np.zeros_like(y), np.empty_like(y), rho)
        limit = (C / rho).astype(y.dtype)
        for tile in (slice(k, k + TILE) for k in range(0, len(y), TILE)):
            columns.u[tile] = _excess(y[tile].copy(), y.dtype.type(epsilon), ratio[tile] * limit)
        return columns

    def __getitem__(self, chosen: np.ndarray) -> Columns:
        return Columns(*(np.ascontiguousarray(part[..., chosen]) for part in vars(self).values()))

    def put(self, places: np.ndarray, part: Columns) -> None:
        """The iterate of some of the pixels."""
        self.v[:, places], self.u[:, places], self.rho[places] = part.v, part.u, part.rho

    def rescale(self, factor: np.ndarray) -> None:
        """Other step sizes at the same f and β."""
        for tile in (slice(k, k + TILE) for k in range(0, len(self.y), TILE)):
            self.v[tile] += self.u[tile]
            self.u[tile] /= factor.astype(self.u.dtype)
            self.v[tile] -= self.u[tile]
        self.rho *= factor

    def copy(self) -> Columns:
        """With an iterate of its own."""
        return Columns(self.y, self.ratio, self.v.copy(), self.u.copy(), self.rho.copy())


@dataclass(frozen=True)
class Solved:
    """Coefficients, intercepts, relative duality gaps and steps."""

    w: Float[np.ndarray, "feature pixel"]
    b: Float[np.ndarray, " pixel"]
    gap: Float[np.ndarray, " pixel"]
    steps: np.ndarray


class Swept(NamedTuple):
    """Sums over the stars after a step, (M,) but for ``product`` (R, M) and ``signs`` (2, M).

    Attributes
    ----------
    weighted, product : Σ s t and Σ s t φ of the next ridge regression
    apart, spread, moved, size : squares of what the fit is from f, of f, of how far f has moved, and of u
    signs : of positive and of negative s u
    """

    weighted: np.ndarray
    product: np.ndarray
    apart: np.ndarray = np.empty(0)
    spread: np.ndarray = np.empty(0)
    moved: np.ndarray = np.empty(0)
    size: np.ndarray = np.empty(0)
    signs: np.ndarray = np.empty(0)

    @property
    def balance(self) -> np.ndarray:
        """What is not yet equal over what changes, both relative; larger than 1: ρ is too small."""
        apart = self.apart / np.maximum(self.spread, _TINY)
        return apart / np.maximum(self.moved / np.maximum(self.size, _TINY), _TINY)


def _excess(residual: np.ndarray, epsilon: Any, limit: np.ndarray) -> np.ndarray:
    """What residuals exceed ε by, up to the limit. Both arrays are overwritten."""
    residual -= np.clip(residual, -epsilon, epsilon)
    np.minimum(residual, limit, out=residual)
    return np.maximum(residual, np.negative(limit, out=limit), out=residual)


class FeatureStars:
    """Features of all stars, in parts (folds) that may be left out; every part is consecutive."""

    def __init__(
        self,
        features: Float[np.ndarray, "star feature"],
        scale: Float[np.ndarray, " star"],
        parts: Sequence[slice],
        n_jobs: int,
    ) -> None:
        self.features, self.scale, self.parts, self.n_jobs = (
            features,
            scale.astype(features.dtype)[:, None],
            parts,
            n_jobs,
        )
        self.tiles = [
            [slice(k, min(k + TILE, part.stop)) for k in range(part.start, part.stop, TILE)] for part in parts
        ]
        self._moments = [self._moment(tiles) for tiles in self.tiles]

    def _moment(self, tiles: list[slice]) -> tuple[float, np.ndarray, np.ndarray]:
        n_features = self.features.shape[1]
        total, first, second = 0.0, np.zeros(n_features), np.zeros((n_features, n_features))
        for tile in tiles:
            features, scale = self.features[tile].astype(float), self.scale[tile].astype(float)
            weighted = scale * features
            total, first, second = (
                total + float(scale.sum()),
                first + weighted.sum(axis=0),
                second + weighted.T @ features,
            )
        return total, first, second

    def solve(
        self, columns: Columns, C: float, epsilon: float, tol: float, most_steps: int, without: int | None = None
    ) -> tuple[Solved, Columns]:
        """The optimum for all stars but those of one part, to a relative duality gap of ``tol``; last iterate."""
        kept = [k for k in range(len(self.parts)) if k != without]
        tiles = [tile for k in kept for tile in self.tiles[k]]
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(self.n_jobs) as pool:
            ridge = Ridge.of([self._moments[k] for k in kept])
            return _Run(self, tiles, ridge, pool, C, epsilon).to(columns, tol, most_steps)

    def predict(self, part: int, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        """φᵀw + b of one part."""
        return self.features[self.parts[part]] @ w.astype(self.features.dtype) + b.astype(self.features.dtype)


@dataclass(frozen=True)
class _Run:
    """Steps of some stars, shared among threads."""

    stars: FeatureStars
    tiles: list[slice]
    ridge: Ridge
    pool: ThreadPoolExecutor
    C: float
    epsilon: float

    def to(self, columns: Columns, tol: float, most_steps: int) -> tuple[Solved, Columns]:
        n_features, n_pix = self.stars.features.shape[1], columns.y.shape[1]
        solved = Solved(np.zeros((n_features, n_pix)), np.zeros(n_pix), np.full(n_pix, np.inf), np.zeros(n_pix, int))
        active, left, whole = np.arange(n_pix), columns, columns
        w, b = self.ridge.solve(left.rho, *self._total(self._first, left)[:2])
        for step in range(1, most_steps + 1):
            judged = step % _JUDGED == 0 or step == most_steps
            swept = Swept(*self._total(self._step, left, w, b, judged or step in _ADAPTED))
            weighted, product = swept.weighted, swept.product
            if step in _ADAPTED:
                factor = np.clip(swept.balance**0.25, 1 / _LARGEST, _LARGEST)
                left.rescale(factor)
                weighted, product = self._total(self._first, left)[:2]
            w, b = self.ridge.solve(left.rho, weighted, product)
            if not judged:
                continue
            gap = self._gap(left, w, b, swept.signs)
            solved.w[:, active], solved.b[active], solved.gap[active], solved.steps[active] = w, b, gap, step
            going = gap > tol
            if not going.all():  # what is finished must not depend on pixels that go on
                if left is not whole:
                    whole.put(active, left)
                left, active, w, b = left[going], active[going], w[:, going], b[going]
            if not active.size:
                break
        if left is not whole:
            whole.put(active, left)
        return solved, whole

    def _total(self, work: Any, columns: Columns, *given: Any) -> list[np.ndarray]:
        """Sums over the tiles of what ``work`` makes of each."""
        n = self.stars.n_jobs

        def some(first: int) -> list[np.ndarray] | None:
            total: list[np.ndarray] | None = None
            for tile in self.tiles[first::n]:
                found = work(columns, tile, *given)
                total = found if total is None else [a + b for a, b in zip(total, found, strict=True)]
            return total

        parts = [part for part in self.pool.map(some, range(n)) if part is not None]
        return [np.sum(values, axis=0) for values in zip(*parts, strict=True)]

    def _first(self, columns: Columns, tile: slice) -> list[np.ndarray]:
        return self._targets(tile, columns.v[tile] + 2 * columns.u[tile])

    def _targets(self, tile: slice, target: np.ndarray) -> list[np.ndarray]:
        target *= self.stars.scale[tile]
        return [target.sum(axis=0, dtype=float), (self.stars.features[tile].T @ target).astype(float)]

    def _step(self, columns: Columns, tile: slice, w: np.ndarray, b: np.ndarray, told: bool) -> list[np.ndarray]:
        """A step of some stars; sums of squares and signs only if they are ``told``."""
        dtype, scale = columns.y.dtype, self.stars.scale[tile]
        v, u, level = columns.v[tile], columns.u[tile], b.astype(dtype)
        before = v + u
        change = self.stars.features[tile] @ w.astype(dtype)
        change += level
        change -= before
        told_of = [_square(scale, change), _square(scale, before - level)] if told else []
        change *= dtype.type(_RELAXED)
        v += change
        limit = columns.ratio[tile] * (self.C / columns.rho).astype(dtype)
        u[...] = _excess(columns.y[tile] - v, dtype.type(self.epsilon), limit)
        after = v + u
        if told:
            signs = [(scale * np.maximum(sign * u, 0)).sum(axis=0, dtype=float) for sign in (1, -1)]
            told_of += [_square(scale, after - before), _square(scale, u), np.stack(signs)]
        after += u
        return [*self._targets(tile, after), *told_of]

    def _gap(self, columns: Columns, w: np.ndarray, b: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """Primal minus dual objective, over the primal one, with β shrunk on one side so that its sum is zero."""
        up, down = np.minimum(1, signs[::-1] / np.maximum(signs, 1e-30))
        loss, gain, product = self._total(self._judge, columns, w, b, up * columns.rho, down * columns.rho)
        primal = 0.5 * np.square(w).sum(axis=0) + loss
        dual = gain - 0.5 * np.square(product).sum(axis=0)
        return (primal - dual) / np.maximum(primal, 1e-12)

    def _judge(
        self, columns: Columns, tile: slice, w: np.ndarray, b: np.ndarray, up: np.ndarray, down: np.ndarray
    ) -> list[np.ndarray]:
        dtype, y, scale = columns.y.dtype, columns.y[tile], self.stars.scale[tile]
        residual = np.abs(y - self.stars.features[tile] @ w.astype(dtype) - b.astype(dtype))
        over = np.maximum(residual - dtype.type(self.epsilon), 0) * (columns.ratio[tile] * scale)
        u = columns.u[tile]
        beta = u * scale * np.where(u > 0, up.astype(dtype), down.astype(dtype))
        gain = (y * beta - dtype.type(self.epsilon) * np.abs(beta)).sum(axis=0, dtype=float)
        return [self.C * over.sum(axis=0, dtype=float), gain, (self.stars.features[tile].T @ beta).astype(float)]


def _square(scale: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Σ s x² of each pixel."""
    return (scale[:, 0] @ np.square(values)).astype(float)
