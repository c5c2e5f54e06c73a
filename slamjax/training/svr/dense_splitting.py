"""Columns of a kernel matrix by operator splitting in float64: for large C and small ε on flux with little noise.

There hundreds of coefficients are between their bounds and coupled by an ill-conditioned K, so that steps of two
coefficients at a time are very many. Here a step is

    f ← ridge regression of t = v + 2u;  v ← v + α (f − v − u);  u ← clip(y − v, beyond ε, up to c/ρ);  β = ρ u

as in `slamjax.training.svr.splitting`, with the eigenvectors of the centred kernel matrix as features: two matrix
products for all columns, whatever their C, ε and step size ρ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from slamjax.training.svr.dual import Duals, Verdict

#: Over-relaxation; ρ in units of C at the start; steps after which ρ is adapted, to which balance of squares, and how
#: much at most.
_RELAXED, _FIRST, _BALANCE, _LARGEST = 1.6, 3.0, 256.0, 5.0
_ADAPTED = (5, 10, 20, 30, 45, 60, 80, 110, 150, 200)
#: Steps between judgements, and at most.
_JUDGED, _MOST_STEPS = 25, 300
#: Directions of K below this part of the largest change nothing in float64.
_CUT = 1e-13
_TINY = 1e-30
#: A star's weight in the ridge regression is its mean weight over the columns, at least this and at most its inverse.
_LEAST_WEIGHT = 0.01
#: Columns per task of a thread.
_TOGETHER = 64


class DenseSplitting:
    """Columns that share one kernel matrix, on ``n_jobs`` threads."""

    def __init__(self, kernel: Float[np.ndarray, "n n"], n_jobs: int) -> None:
        self.kernel, self.n_jobs = kernel, n_jobs
        self.kept: _Spectrum | None = None

    def improve(
        self, duals: Duals, beta: np.ndarray, gradient: np.ndarray, verdict: Verdict, tol: float, sweep: int
    ) -> np.ndarray:
        """β (M, n) to a KKT violation of ``tol``, or as near to it as the largest number of steps leads."""
        typical = np.maximum(duals.box.mean(axis=1, keepdims=True), _TINY)
        scale = np.clip((duals.box / typical).mean(axis=0), _LEAST_WEIGHT, 1 / _LEAST_WEIGHT)
        with threadpool_limits(1, user_api="blas"):
            if self.kept is None or not np.allclose(self.kept.scale, scale, rtol=0.1):
                self.kept = _Spectrum.of(self.kernel, scale)
            tasks = [slice(start, start + _TOGETHER) for start in range(0, len(duals), _TOGETHER)]
            parts = Parallel(n_jobs=self.n_jobs, prefer="threads")(
                delayed(_solve)(duals[columns], self.kept, tol) for columns in tasks
            )
        return np.concatenate(parts)


@dataclass(frozen=True)
class _Spectrum:
    """The ridge regression of stars with weights s: v of t, with shares ρλ/(ρλ + 1) of directions.

    ``into`` and ``out_of`` (n, R): from t to directions, and back to f.
    """

    scale: np.ndarray
    variance: np.ndarray
    into: np.ndarray
    out_of: np.ndarray

    @classmethod
    def of(cls, kernel: Float[np.ndarray, "n n"], scale: Float[np.ndarray, " n"]) -> _Spectrum:
        share, root = scale / scale.sum(), np.sqrt(scale)
        centred = kernel - share @ kernel
        centred = root[:, None] * (centred - (centred @ share)[:, None]) * root
        variance, direction = np.linalg.eigh(centred)
        kept = variance > _CUT * variance[-1]
        direction = direction[:, kept]
        return cls(
            scale, variance[kept], root[:, None] * direction, np.ascontiguousarray((direction / root[:, None]).T)
        )

    def fit(self, target: np.ndarray, level: np.ndarray, rho: np.ndarray) -> np.ndarray:
        """f (M, n) of targets (M, n), whose weighted means are ``level`` (M, 1)."""
        scaled = rho * self.variance
        return ((target @ self.into) * (scaled / (scaled + 1))) @ self.out_of + level


def _solve(duals: Duals, spectrum: _Spectrum, tol: float) -> np.ndarray:
    scale, share = spectrum.scale, spectrum.scale / spectrum.scale.sum()
    found, left = np.zeros_like(duals.y), np.arange(len(duals))
    rho = _FIRST * np.maximum(duals.box.mean(axis=1), _TINY)[:, None]
    v, u = np.zeros_like(duals.y), _excess(duals.y, duals, rho * scale)
    for step in range(1, _MOST_STEPS + 1):
        target, before = v + 2 * u, v + u
        level = (target @ share)[:, None]
        change = spectrum.fit(target, level, rho) - before
        v = v + _RELAXED * change
        u = _excess(duals.y - v, duals, rho * scale)
        if step in _ADAPTED:
            apart = (np.square(change) @ scale) / np.maximum(np.square(before - level) @ scale, _TINY)
            moved = (np.square(v + u - before) @ scale) / np.maximum(np.square(u) @ scale, _TINY)
            factor = np.clip((_BALANCE * apart / np.maximum(moved, _TINY)) ** 0.25, 1 / _LARGEST, _LARGEST)[:, None]
            v, u, rho = v + u - u / factor, u / factor, rho * factor
        if step % _JUDGED:
            continue
        # a clipped step means a coefficient at its bound, exactly
        at_bound = np.abs(u) * (1 + 1e-12) * (rho * scale) >= duals.box
        beta = duals.feasible(np.where(at_bound, np.sign(u) * duals.box, u * (rho * scale)))
        going = duals.judge(beta, duals.gradient(beta)).violation > tol
        found[left] = beta
        if not going.any():
            break
        duals, left, rho, v, u = duals[going], left[going], rho[going], v[going], u[going]
    return found


def _excess(residual: np.ndarray, duals: Duals, rho: np.ndarray) -> np.ndarray:
    """What residuals exceed ε by, up to c / ρ."""
    epsilon, limit = duals.epsilon[:, None], duals.box / rho
    residual = residual - np.clip(residual, -epsilon, epsilon)
    return np.clip(residual, -limit, limit)
