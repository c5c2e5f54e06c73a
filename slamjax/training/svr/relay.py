"""Two solvers in turn: pairs of coefficients first, all of them together for columns that these do not finish soon."""

from __future__ import annotations

import copy

import numpy as np

from slamjax.training.svr.dense_splitting import DenseSplitting
from slamjax.training.svr.dual import Duals, Verdict
from slamjax.training.svr.smo import Smo

#: Steps per star after which columns are handed over: they have then cost as much as they would have at once.
_SOON = 60
#: Stars up to which they are handed over, and columns per star from which eigenvectors are worth their time.
_MOST_STARS, _COLUMNS_PER_STAR = 3000, 0.02


class Relay:
    """A solver that improves columns by `Smo` for a while, then by `DenseSplitting`, then by `Smo` to the end."""

    def __init__(self, kernel: np.ndarray, n_jobs: int, max_iter: int) -> None:
        self.patient = Smo(kernel, n_jobs, max_iter)
        self.quick = copy.copy(self.patient)
        self.quick.max_iter = min(max_iter, _SOON * len(kernel))
        self.splitting = DenseSplitting(kernel, n_jobs)

    def improve(
        self, duals: Duals, beta: np.ndarray, gradient: np.ndarray, verdict: Verdict, tol: float, sweep: int
    ) -> np.ndarray:
        """β (M, n), improved."""
        n_stars = len(duals.kernel)
        splits = n_stars <= _MOST_STARS and len(duals) >= _COLUMNS_PER_STAR * n_stars
        if sweep == 1 and splits:
            return self.splitting.improve(duals, beta, gradient, verdict, tol, sweep)
        solver = self.quick if sweep == 0 and splits else self.patient
        return solver.improve(duals, beta, gradient, verdict, tol, sweep)
