"""Columns of one kernel matrix: the solver improves them, the exact matrix judges them, scikit-learn finishes."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from slamjax.errors import SlamError
from slamjax.training.search import Candidate
from slamjax.training.specs import SolverName
from slamjax.training.svr.dual import Duals, Verdict
from slamjax.training.svr.kernel_matrix import kernel_between
from slamjax.training.svr.pixel import Report, SvrSettings

#: Columns times stars from which "auto" takes the batched solver: below, loading it takes longer.
_WORTHWHILE = 100_000
#: More stars than this are trained by inducing stars, unless told otherwise (benchmarks/training/many_stars.py).
_MANY = 5000
#: Times that a solver continues from the exact gradient.
_SWEEPS = 6
#: Solvers aim below the tolerance by this factor, so that rounding does not lift columns above it.
_AIM = 0.9
#: Steps per star of a column in a sweep: far more than any has needed.
_STEPS_PER_STAR = 2000
#: GiB of kernel matrices that are kept for the next pixels.
_KEPT_MATRICES = 1.0


class Solver(Protocol):
    """Improves feasible β (M, n) of columns that share a kernel matrix, given their gradients and verdicts."""

    def improve(
        self, duals: Duals, beta: np.ndarray, gradient: np.ndarray, verdict: Verdict, tol: float, sweep: int
    ) -> np.ndarray: ...


def chosen_solver(
    solver: SolverName, kernel: str, n_columns: int, n_stars: int
) -> Literal["batched", "inducing", "sklearn"]:
    """What "auto" stands for.

    Inducing stars where there are many stars; else the batched solver where numba is installed and the problem is worth
    its start.

    Raises SlamError if the batched solver is asked for and numba is missing, or inducing stars for a sigmoid.
    """
    if kernel == "sigmoid" and solver == "inducing":
        raise SlamError(
            "solver='inducing' needs a positive definite kernel, which sigmoid is not; use solver='sklearn'"
        )
    if kernel == "sigmoid" or solver == "sklearn":
        return "sklearn"
    if solver == "inducing" or (solver == "auto" and n_stars > _MANY):
        return "inducing"
    if solver == "batched":
        if not compiled_here():
            raise SlamError("solver='batched' needs numba; install it by: pip install \"slamjax[fast]\"")
        return "batched"
    return "batched" if compiled_here() and n_columns * n_stars >= _WORTHWHILE else "sklearn"


def compiled_here() -> bool:
    """Whether numba is installed (``pip install "slamjax[fast]"``)."""
    return importlib.util.find_spec("numba") is not None


def make_solver(kernel: np.ndarray, settings: SvrSettings, n_jobs: int) -> Solver:
    """Compiled solvers: one, if the number of its steps is limited."""
    from slamjax.training.svr.relay import Relay  # numba is loaded where it is needed
    from slamjax.training.svr.smo import Smo

    if settings.max_iter >= 0:
        return Smo(kernel, n_jobs, settings.max_iter)
    return Relay(kernel, n_jobs, _STEPS_PER_STAR * max(len(kernel), 500))


class Matrices:
    """Kernel matrices (N, N) of all training stars; those of the last few γ are kept."""

    def __init__(self, x: np.ndarray, settings: SvrSettings) -> None:
        self.x, self.settings = x, settings
        self.kept: dict[float, np.ndarray] = {}

    def at(self, gamma: float) -> np.ndarray:
        if gamma not in self.kept:
            size = 8 * len(self.x) ** 2 / 2**30
            while self.kept and size * (len(self.kept) + 1) > _KEPT_MATRICES:
                del self.kept[next(iter(self.kept))]
            self.kept[gamma] = kernel_between(self.x, self.x, gamma, self.settings)
        return self.kept[gamma]


@dataclass(frozen=True)
class Solution:
    """β (M, n) feasible, intercepts (M,), and which columns ran out of iterations (M,)."""

    beta: np.ndarray
    intercept: np.ndarray
    exhausted: np.ndarray
    report: Report


class SharedKernel:
    """The columns of one γ and of the stars in ``rows`` (N,) bool, of labels (N, L) and kernel matrix (N, N)."""

    def __init__(self, x: np.ndarray, rows: np.ndarray, kernel: np.ndarray, settings: SvrSettings, n_jobs: int) -> None:
        self.x, self.rows, self.settings = x[rows], rows, settings
        self.kernel = kernel if rows.all() else kernel[np.ix_(rows, rows)]
        self.solver = make_solver(self.kernel, settings, n_jobs)

    def solve(self, y: np.ndarray, weight: np.ndarray, candidate: Candidate, tol: float) -> Solution:
        """Solve the columns of pixels y and weights (M, N) to a KKT violation of at most ``tol``."""
        box = candidate.C * weight[:, self.rows]
        duals = Duals(self.kernel, y[:, self.rows], box, np.full(len(y), candidate.epsilon))
        limited = self.settings.max_iter >= 0
        beta, gradient, verdict = solve_columns(duals, self.solver, tol, sweeps=1 if limited else _SWEEPS)
        missed = np.flatnonzero(~(verdict.violation <= tol))
        exhausted = np.zeros(len(duals), bool)
        if limited:
            exhausted[missed] = True
        elif missed.size:
            machine = replace(self.settings, tol=tol).svr(candidate)
            for k in missed:
                beta[k], exhausted[k] = self._by_sklearn(machine, duals.y[k], box[k])
            beta[missed] = duals[missed].feasible(beta[missed])
            gradient[missed] = duals[missed].gradient(beta[missed])
            verdict = duals.judge(beta, gradient)
        gap = verdict.gap / np.maximum(np.abs(verdict.objective), 1e-12)
        report = Report(
            "batched",
            columns=len(duals),
            by_sklearn=0 if limited else int(missed.size),
            violation=float(verdict.violation.max(initial=0)),
            gap=float(gap.max(initial=0)),
        )
        return Solution(beta, verdict.intercept, exhausted, report)

    def _by_sklearn(self, machine: Any, y: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, bool]:
        used = np.flatnonzero(box > 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it is in the pixel's status
            machine.fit(self.x[used], y[used], sample_weight=box[used] / machine.C)
        beta = np.zeros(len(box))
        beta[used[machine.support_]] = machine.dual_coef_[0]
        return beta, bool(machine.fit_status_)


def solve_columns(
    duals: Duals, solver: Solver, tol: float, *, sweeps: int = _SWEEPS
) -> tuple[np.ndarray, np.ndarray, Verdict]:
    """Feasible β (M, n) by a solver, their exact gradients and verdicts; some columns may miss ``tol``."""
    beta, gradient = np.zeros_like(duals.y), -duals.y
    verdict = duals.judge(beta, gradient)
    for sweep in range(sweeps):
        left = np.flatnonzero(~(verdict.violation <= tol))  # finished columns cost nothing
        if left.size == 0:
            break
        unfinished = duals[left]
        improved = solver.improve(unfinished, beta[left], gradient[left], verdict[left], _AIM * tol, sweep)
        # at a bound in the solver's precision means at the bound
        at_bound = np.abs(improved) >= unfinished.box.astype(np.float32)
        improved = np.where(at_bound, np.sign(improved) * unfinished.box, improved)
        beta[left] = unfinished.feasible(improved)
        gradient[left] = unfinished.gradient(beta[left])
        verdict = duals.judge(beta, gradient)
    return beta, gradient, verdict
