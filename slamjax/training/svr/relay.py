"""Two solvers in turn: pairs of coefficients first, all of them together for columns that these do not finish soon."""

from __future__ import annotations

import copy

import numpy as np

from slamjax.training.svr.dense_splitting import DenseSplitting
from slamjax.training.svr.dual import Duals, Verdict
from slamjax.training.svr.smo import Smo

#: Steps after which columns are handed over, in units of the square of the number of stars: what they have then cost is
#: about what they cost at once by splitting.
_SOON = 0.1
#: Columns of a sample, and the part of it that must be handed over for all to be split at once.
_SAMPLE, _NEARLY_ALL = 16, 0.8
#: A column is handed over if it misses the tolerance by this factor, which rounding in float32 does not explain.
_MISSED = 2.0
#: Stars up to which they are handed over, and columns per star from which eigenvectors are worth their time.
_MOST_STARS, _COLUMNS_PER_STAR = 3000, 0.02


class Relay:
    """A solver that improves columns by `Smo` for a while, then by `DenseSplitting`, then by `Smo` to the end.

    Splitting takes columns with more coefficients between their bounds than at them: where flux is noisy most are at
    their bounds, where SMO leaves them alone, and splitting takes very many steps. If it would take nearly all of a
    sample of the columns, it takes all columns at once.
    """

    def __init__(self, kernel: np.ndarray, n_jobs: int, max_iter: int) -> None:
        self.patient = Smo(kernel, n_jobs, max_iter)
        self.quick = copy.copy(self.patient)
        self.quick.max_iter = min(max_iter, int(_SOON * len(kernel) ** 2))
        self.splitting = DenseSplitting(kernel, n_jobs)
        self.at_once = False

    def improve(
        self, duals: Duals, beta: np.ndarray, gradient: np.ndarray, verdict: Verdict, tol: float, sweep: int
    ) -> np.ndarray:
        """β (M, n), improved."""
        n_stars = len(duals.kernel)
        splits = n_stars <= _MOST_STARS and len(duals) >= _COLUMNS_PER_STAR * n_stars
        if sweep == 0:
            self.at_once = splits and len(duals) > 2 * _SAMPLE and self._all_hard(duals, beta, gradient, verdict, tol)
            first = self.splitting if self.at_once else self.quick if splits else self.patient
            return first.improve(duals, beta, gradient, verdict, tol, sweep)
        chosen = _mostly_free(duals, beta)
        if sweep != 1 or self.at_once or not splits or chosen.sum() < _COLUMNS_PER_STAR * n_stars:
            return self.patient.improve(duals, beta, gradient, verdict, tol, sweep)
        improved = np.empty_like(beta)
        for solver, part in ((self.splitting, chosen), (self.patient, ~chosen)):
            if part.any():
                given = duals[part], beta[part], gradient[part], verdict[part], tol, sweep
                improved[part] = solver.improve(*given)
        return improved

    def _all_hard(self, duals: Duals, beta: np.ndarray, gradient: np.ndarray, verdict: Verdict, tol: float) -> bool:
        """Whether nearly all columns of a sample would be handed over."""
        some = np.linspace(0, len(duals) - 1, _SAMPLE).astype(int)
        tried = duals[some]
        found = tried.feasible(self.quick.improve(tried, beta[some], gradient[some], verdict[some], tol, 0))
        unfinished = tried.judge(found, tried.gradient(found)).violation > _MISSED * tol
        return bool(np.mean(unfinished & _mostly_free(tried, found)) > _NEARLY_ALL)


def _mostly_free(duals: Duals, beta: np.ndarray) -> np.ndarray:
    """(M,) bool: columns with more coefficients between their bounds than at them."""
    free = (beta != 0) & (np.abs(beta) < duals.box)
    return free.sum(axis=1) > ((beta != 0) & ~free).sum(axis=1)
