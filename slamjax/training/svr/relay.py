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
#: Stars up to which they are handed over, and columns per star from which eigenvectors are worth their time.
_MOST_STARS, _COLUMNS_PER_STAR = 3000, 0.02


class Relay:
    """A solver that improves columns by `Smo` for a while, then by `DenseSplitting`, then by `Smo` to the end.

    Splitting takes columns with more coefficients between their bounds than at them: where flux is noisy most are at
    their bounds, where SMO leaves them alone, and splitting takes very many steps.
    """

    def __init__(self, kernel: np.ndarray, n_jobs: int, max_iter: int) -> None:
        self.patient = Smo(kernel, n_jobs, max_iter)
        self.quick = copy.copy(self.patient)
        self.quick.max_iter = min(max_iter, int(_SOON * len(kernel) ** 2))
        self.splitting = DenseSplitting(kernel, n_jobs)

    def improve(
        self, duals: Duals, beta: np.ndarray, gradient: np.ndarray, verdict: Verdict, tol: float, sweep: int
    ) -> np.ndarray:
        """β (M, n), improved."""
        n_stars = len(duals.kernel)
        splits = n_stars <= _MOST_STARS and len(duals) >= _COLUMNS_PER_STAR * n_stars
        if sweep == 0 and splits:
            return self.quick.improve(duals, beta, gradient, verdict, tol, sweep)
        free = (beta != 0) & (np.abs(beta) < duals.box)
        chosen = free.sum(axis=1) > ((beta != 0) & ~free).sum(axis=1)
        if sweep != 1 or not splits or chosen.sum() < _COLUMNS_PER_STAR * n_stars:
            return self.patient.improve(duals, beta, gradient, verdict, tol, sweep)
        improved = np.empty_like(beta)
        for solver, part in ((self.splitting, chosen), (self.patient, ~chosen)):
            if part.any():
                given = duals[part], beta[part], gradient[part], verdict[part], tol, sweep
                improved[part] = solver.improve(*given)
        return improved
