"""Columns of one kernel matrix, solved: a solver improves them, the exact matrix judges, scikit-learn finishes."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import pairwise_kernels

from slamjax.errors import SlamError
from slamjax.training.search import Candidate
from slamjax.training.specs import SolverName
from slamjax.training.svr.dual import Duals, Verdict
from slamjax.training.svr.pixel import Report, SvrSettings

#: Columns times stars from which "auto" takes the batched solver: below, the time to load it is what is seen.
_WORTHWHILE = 100_000
#: Times that a solver is given the exact gradient and asked to go on.
_SWEEPS = 5
#: Solvers aim below the tolerance by this factor: rounding must not put columns back above it.
_AIM = 0.9
#: Steps of a column in a sweep, a star: far beyond what any has needed.
_STEPS_A_STAR = 2000
#: GiB of kernel matrices that are kept for the next pixels.
_KEPT_MATRICES = 1.0


class Solver(Protocol):
    """Improves columns that share a kernel matrix: feasible β (M, n), their gradients, how good they are."""

    def improve(
        self, duals: Duals, beta: np.ndarray, gradient: np.ndarray, verdict: Verdict, tol: float, sweep: int
    ) -> np.ndarray: ...


def chosen_solver(solver: SolverName, kernel: str, n_columns: int, n_stars: int) -> Literal["batched", "sklearn"]:
    """What "auto" stands for: the batched solver where numba is installed and the problem is worth its start.

    Raises SlamError if the batched solver is asked for and numba is missing.
    """
    if kernel == "sigmoid" or solver == "sklearn":  # a sigmoid's matrix is not positive definite
        return "sklearn"
    if solver == "batched":
        if not compiled_here():
            raise SlamError("solver='batched' needs numba; install it by: pip install \"slamjax[fast]\"")
        return "batched"
    return "batched" if compiled_here() and n_columns * n_stars >= _WORTHWHILE else "sklearn"


def compiled_here() -> bool:
    """Whether numba is installed (``pip install "slamjax[fast]"``)."""
    return importlib.util.find_spec("numba") is not None


def make_solver(kernel: np.ndarray, settings: SvrSettings, n_jobs: int) -> Solver:
    """The compiled solver."""
    from slamjax.training.svr.smo import Smo  # numba is loaded where it is needed

    limit = _STEPS_A_STAR * max(len(kernel), 500) if settings.max_iter < 0 else settings.max_iter
    return Smo(kernel, n_jobs, limit)


class Matrices:
    """Kernel matrices (N, N) of all training stars; the last few γ are kept."""

    def __init__(self, x: np.ndarray, settings: SvrSettings) -> None:
        self.x, self.settings = x, settings
        self.kept: dict[float, np.ndarray] = {}

    def of(self, gamma: float) -> np.ndarray:
        if gamma not in self.kept:
            size = 8 * len(self.x) ** 2 / 2**30
            while self.kept and size * (len(self.kept) + 1) > _KEPT_MATRICES:
                del self.kept[next(iter(self.kept))]
            kind = self.settings.kernel
            more: dict[str, Any] = {} if kind == "linear" else {"gamma": gamma}
            if kind == "poly":
                more |= {"degree": self.settings.degree, "coef0": self.settings.coef0}
            self.kept[gamma] = pairwise_kernels(self.x, metric=kind, **more)
        return self.kept[gamma]


@dataclass(frozen=True)
class Solution:
    """β (M, n) feasible, intercepts (M,), and which columns ran out of iterations (M,)."""

    beta: np.ndarray
    intercept: np.ndarray
    exhausted: np.ndarray
    report: Report


class SharedKernel:
    """The columns of one γ and one set of stars: ``rows`` (N,) of labels x (N, L) and kernel matrix (N, N)."""

    def __init__(self, x: np.ndarray, rows: np.ndarray, kernel: np.ndarray, settings: SvrSettings, n_jobs: int) -> None:
        self.x, self.rows, self.settings = x[rows], rows, settings
        self.kernel = kernel if rows.all() else kernel[np.ix_(rows, rows)]
        self.solver = make_solver(self.kernel, settings, n_jobs)

    def solve(self, y: np.ndarray, weight: np.ndarray, candidate: Candidate, tol: float) -> Solution:
        """The columns of pixels y and weights (M, N), each to a violation of at most ``tol``."""
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
            warnings.simplefilter("ignore", ConvergenceWarning)  # the pixel's status tells
            machine.fit(self.x[used], y[used], sample_weight=box[used] / machine.C)
        beta = np.zeros(len(box))
        beta[used[machine.support_]] = machine.dual_coef_[0]
        return beta, bool(machine.fit_status_)


def solve_columns(
    duals: Duals, solver: Solver, tol: float, *, sweeps: int = _SWEEPS
) -> tuple[np.ndarray, np.ndarray, Verdict]:
    """Feasible β (M, n) by a solver, their exact gradients, and how good they are; some may miss ``tol``."""
    beta, gradient = np.zeros_like(duals.y), -duals.y
    verdict = duals.judge(beta, gradient)
    for sweep in range(sweeps):
        left = np.flatnonzero(~(verdict.violation <= tol))  # finished columns cost nothing
        if left.size == 0:
            break
        some = duals[left]
        found = solver.improve(some, beta[left], gradient[left], verdict[left], _AIM * tol, sweep)
        # what a solver of less precision left at a bound is at the bound
        found = np.where(np.abs(found) >= some.box.astype(np.float32), np.sign(found) * some.box, found)
        beta[left] = some.feasible(found)
        gradient[left] = some.gradient(beta[left])
        verdict = duals.judge(beta, gradient)
    return beta, gradient, verdict
