"""One pixel: its SVR by scikit-learn, with hyper-parameters by cross-validation and held-out predictions.

    min_β ½ βᵀKβ − yᵀβ + ε‖β‖₁   subject to   1ᵀβ = 0,  |β_i| ≤ C c_i

with β = α − α* and c_i a star's weight in this pixel (Smola & Schölkopf 2004, Stat. Comput. 14, 199).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.svm import SVR

from slamjax.training.search import Candidate
from slamjax.training.specs import SolverName


@dataclass(frozen=True)
class SvrSettings:
    """Settings of all pixels; ``solver`` is not "auto" here. Inducing stars are drawn by ``seed``."""

    kernel: str
    degree: int
    coef0: float
    tol: float
    max_iter: int
    min_stars: int
    solver: SolverName = "sklearn"
    n_inducing: int = 1000
    seed: int = 0

    def svr(self, candidate: Candidate) -> SVR:
        return SVR(
            kernel=self.kernel,
            degree=self.degree,
            coef0=self.coef0,
            tol=self.tol,
            max_iter=self.max_iter,
            cache_size=500,
            **vars(candidate),
        )


@dataclass(frozen=True)
class Report:
    """Columns that were solved, how many by scikit-learn, the largest KKT violation and relative duality gap left.

    ``inducing``: stars that all sums are over; 0: any training star. Such columns are judged by the gap alone.
    """

    solver: str
    columns: int = 0
    by_sklearn: int = 0
    violation: float = 0.0
    gap: float = 0.0
    inducing: int = 0

    def __add__(self, other: Report) -> Report:
        return Report(
            self.solver,
            self.columns + other.columns,
            self.by_sklearn + other.by_sklearn,
            max(self.violation, other.violation),
            max(self.gap, other.gap),
            max(self.inducing, other.inducing),
        )


@dataclass(frozen=True)
class PixelFit:
    """The SVR of one pixel.

    Attributes
    ----------
    status, n_train : "trained" or why not; number of good stars
    dual, intercept : (N,) coefficients, zero where a star is no support vector; NaN where not trained
    best : index of the chosen candidate, -1 for none
    scores : (K,) mean squared error of each candidate
    held_out : (N,) prediction for each star by the fit that had not seen it, in scaled flux; NaN for unused stars
    fold_dual, fold_intercept : (F, N) and (F,) the fits that had not seen fold f
    """

    status: str
    n_train: int
    dual: np.ndarray
    intercept: float
    best: int
    scores: np.ndarray
    held_out: np.ndarray
    fold_dual: np.ndarray
    fold_intercept: np.ndarray


def no_fit(n_train: int, n: int, n_folds: int, n_candidates: int) -> PixelFit:
    """A pixel without an SVR."""
    return PixelFit(
        "", n_train, np.zeros(n), np.nan, -1, np.full(n_candidates, np.nan), np.full(n, np.nan),
        np.zeros((n_folds, n)), np.full(n_folds, np.nan),
    )  # fmt: skip


def unusable(y: np.ndarray, weight: np.ndarray, fold: np.ndarray, min_stars: int) -> str:
    """Why a pixel cannot be trained; empty if it can."""
    rows = np.flatnonzero(weight > 0)
    folds = [fold[rows] == number for number in range(int(fold.max()) + 1)]
    enough = rows.size >= min_stars and all(out.any() and (~out).sum() >= min_stars / 2 for out in folds)
    if not enough:
        return "too few stars"
    return "" if np.ptp(y[rows]) > 0 else "constant flux"


def fit_pixel(
    x: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    fold: np.ndarray,
    candidates: Sequence[Candidate],
    settings: SvrSettings,
) -> PixelFit:
    """Cross-validate every candidate and fit the best one to all good stars.

    Parameters
    ----------
    x : (N, L) scaled labels
    y : (N,) scaled flux
    weight : (N,) 0 leaves a star out
        Its row is removed: with a zero ``sample_weight`` scikit-learn numbers support vectors within the reduced set.
    fold : (N,) number of the fold that holds a star out
    """
    n = len(y)
    rows = np.flatnonzero(weight > 0)
    folds = [fold[rows] == number for number in range(int(fold.max()) + 1)]
    nothing = no_fit(rows.size, n, len(folds), len(candidates))
    reason = unusable(y, weight, fold, settings.min_stars)
    if reason:
        return replace(nothing, status=reason)
    xs, ys, ws = np.ascontiguousarray(x[rows]), y[rows], np.ascontiguousarray(weight[rows])

    scores = np.empty(len(candidates))
    best, best_prediction = -1, np.empty(0)
    best_exhausted, best_machines = False, []
    for number, candidate in enumerate(candidates):
        prediction = np.empty(rows.size)
        machines = []
        errors, exhausted = [], False
        for out in folds:
            machine = settings.svr(candidate).fit(xs[~out], ys[~out], sample_weight=ws[~out])
            machines.append(machine)
            exhausted |= machine.fit_status_ != 0
            prediction[out] = machine.predict(xs[out])
            errors.append(np.average(np.square(prediction[out] - ys[out]), weights=ws[out]))
        scores[number] = np.mean(errors)
        if best < 0 or scores[number] < scores[best]:
            best, best_prediction, best_exhausted, best_machines = number, prediction, exhausted, machines
    machine = settings.svr(candidates[best]).fit(xs, ys, sample_weight=ws)
    exhausted = best_exhausted or machine.fit_status_ != 0
    dual = np.zeros(n)
    dual[rows[machine.support_]] = machine.dual_coef_[0]
    fold_dual = np.zeros((len(folds), n))
    for row, out, fold_machine in zip(fold_dual, folds, best_machines, strict=True):
        row[rows[~out][fold_machine.support_]] = fold_machine.dual_coef_[0]
    fold_intercept = np.array([fold_machine.intercept_[0] for fold_machine in best_machines])
    held_out = np.full(n, np.nan)
    held_out[rows] = best_prediction
    intercept = float(machine.intercept_[0])
    if not (np.isfinite(intercept) and np.all(np.isfinite(dual)) and np.all(np.isfinite(scores))):
        return replace(nothing, status="SVR diverged")
    status = "trained, out of iterations" if exhausted else "trained"
    return PixelFit(status, rows.size, dual, intercept, best, scores, held_out, fold_dual, fold_intercept)
