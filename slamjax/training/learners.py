"""Emulators that can be learnt, behind one call: one SVR a pixel, or one polynomial a pixel."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from slamjax.emulators.base import Emulator
from slamjax.emulators.polynomial import PolynomialEmulator, exponents_of, monomials
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.training.data import ScaledStars
from slamjax.training.label_masks import NO_LABEL
from slamjax.training.noise_calibration import HeldOut, joint_score
from slamjax.training.ridge import fit_polynomials
from slamjax.training.search import Candidate, Ridge, ridge_candidates, svr_candidates
from slamjax.training.specs import SVR, Polynomial, SearchSpec
from slamjax.training.svr.pixel import Report, SvrSettings
from slamjax.training.svr.pixels import export_fits, export_held_out, fit_pixels
from slamjax.training.svr.shared_kernel import chosen_solver
from slamjax.typing import Progress


@dataclass(frozen=True, eq=False)
class Learnt:
    """An emulator and what its training tells of it.

    Attributes
    ----------
    exact : in float64 on the host
    held_out : every star beside the emulator that had not seen it
    status, n_train, best : (P,) "trained" or why not; good stars; place of the chosen hyper-parameters, -1 for none
    scores : (P, K) mean squared error of held-out stars for each, in scaled flux
    columns : further columns of the table of pixels
    report : what the solver has to tell
    """

    exact: Emulator | None
    held_out: HeldOut | None
    status: np.ndarray
    n_train: np.ndarray
    best: np.ndarray
    scores: np.ndarray
    columns: dict[str, np.ndarray]
    report: dict[str, Any]


class Learner(Protocol):
    """A kind of emulator with the hyper-parameters (K) to choose from."""

    @property
    def candidates(self) -> Sequence[Any]: ...
    @property
    def min_stars(self) -> int: ...
    def only(self, number: int) -> Self: ...
    def learn(self, scaled: ScaledStars, on_progress: Progress | None) -> Learnt: ...


@dataclass(frozen=True)
class SvrLearner:
    """One SVR a pixel."""

    candidates: tuple[Candidate, ...]
    settings: SvrSettings
    n_jobs: int

    @property
    def min_stars(self) -> int:
        return self.settings.min_stars

    def only(self, number: int) -> SvrLearner:
        return dataclasses.replace(self, candidates=(self.candidates[number],))

    def learn(self, scaled: ScaledStars, on_progress: Progress | None) -> Learnt:
        fits, report = fit_pixels(scaled, self.candidates, self.settings, self.n_jobs, on_progress)
        best = np.array([fit.best for fit in fits])
        some = bool(np.any(best >= 0))
        return Learnt(
            exact=export_fits(scaled, fits, self.candidates, self.settings) if some else None,
            held_out=export_held_out(scaled, fits, self.candidates, self.settings) if some else None,
            status=np.array([fit.status for fit in fits]),
            n_train=np.array([fit.n_train for fit in fits]),
            best=best,
            scores=np.stack([fit.scores for fit in fits]),
            columns={"n_support": np.array([int(np.count_nonzero(fit.dual)) for fit in fits])},
            report=vars(report),
        )


@dataclass(frozen=True)
class PolynomialLearner:
    """One polynomial a pixel."""

    candidates: tuple[Ridge, ...]
    degree: int
    min_stars: int

    def only(self, number: int) -> PolynomialLearner:
        return dataclasses.replace(self, candidates=(self.candidates[number],))

    def learn(self, scaled: ScaledStars, on_progress: Progress | None) -> Learnt:
        n_labels, n_pix = scaled.x.shape[1], scaled.y.shape[1]
        exponents = exponents_of(n_labels, self.degree)
        terms = np.asarray(monomials(scaled.x, exponents))
        ridges = np.array([one.ridge for one in self.candidates])
        fold, n_fold, n_terms = scaled.fold, scaled.n_folds, len(exponents)
        status, n_train = np.full(n_pix, NO_LABEL, dtype="U64"), np.count_nonzero(scaled.weight, axis=0)
        best, scores = np.full(n_pix, -1), np.full((n_pix, len(ridges)), np.nan)
        basis, intercept = np.zeros((n_fold + 1, n_terms, n_pix)), np.full((n_fold + 1, n_pix), np.nan)
        predicted, done = np.full(scaled.y.shape, np.nan), 0
        for labels, pixels in scaled.label_groups():
            kept = np.array([all(k in labels for k, power in enumerate(one) if power) for one in exponents])
            if kept.any():
                parts = scaled.y[:, pixels], scaled.weight[:, pixels]
                got = fit_polynomials(terms[:, kept], *parts, fold, ridges, self.min_stars)
                status[pixels], best[pixels], scores[pixels] = got.status, got.best, got.scores
                predicted[:, pixels] = got.held_out
                every = np.concatenate([got.basis[None], got.fold_basis])
                basis[np.ix_(np.arange(n_fold + 1), np.flatnonzero(kept), pixels)] = every
                intercept[:, pixels] = np.concatenate([got.intercept[None], got.fold_intercept])
            done += len(pixels)
            if on_progress is not None:
                on_progress(done, n_pix)
        emulators = [
            PolynomialEmulator(scaled.scaling, a, b, scaled.flux_mean, scaled.flux_scale, exponents)
            for a, b in zip(basis, intercept, strict=True)
        ]
        trained = best >= 0
        residual = scaled.flux_scale * (scaled.y - predicted)
        return Learnt(
            exact=emulators[0] if trained.any() else None,
            held_out=HeldOut(scaled.x, residual, scaled.ivar, fold, tuple(emulators[1:])) if trained.any() else None,
            status=status,
            n_train=n_train,
            best=best,
            scores=scores,
            columns={"n_terms": np.count_nonzero(basis[0], axis=0)},
            report=vars(Report("least squares", columns=int(trained.sum()) * (len(ridges) * n_fold + 1))),
        )


def learn_jointly(
    learner: Learner,
    scaled: ScaledStars,
    training_labels: TrainingLabels,
    seed: int,
    on_progress: Progress | None,
) -> tuple[Learnt, np.ndarray]:
    """What is learnt with the one combination that serves all pixels best together, and every combination's score."""
    many = len(learner.candidates)
    scores, chosen, every = np.full(many, -np.inf), None, []
    for number in range(many):

        def told(done: int, total: int, number: int = number) -> None:
            if on_progress is not None:
                on_progress(number * total + done, many * total)

        learnt = learner.only(number).learn(scaled, told)
        every.append(learnt.scores[:, 0])
        report = learnt.report if chosen is None else _added(chosen.report, learnt.report)
        if learnt.exact is not None and learnt.held_out is not None:
            scores[number] = joint_score(learnt.exact, training_labels, learnt.held_out, seed=seed)
        if chosen is None or scores[number] > scores[:number].max():
            chosen = learnt
        chosen = dataclasses.replace(chosen, report=report)
    assert chosen is not None
    best = np.where(chosen.best >= 0, int(np.argmax(scores)), -1)
    return dataclasses.replace(chosen, best=best, scores=np.stack(every, axis=1)), scores


def make_learner(
    emulator: SVR | Polynomial, scaled: ScaledStars, search: SearchSpec, min_stars: int | None, seed: int
) -> Learner:
    """The learner of an emulator, with the hyper-parameters that the search tries."""
    n_stars, n_labels = scaled.x.shape
    if isinstance(emulator, Polynomial):
        per_coefficient = 2 * (1 + len(exponents_of(n_labels, emulator.degree)))
        needed = max(10, 2 * search.folds, per_coefficient) if min_stars is None else min_stars
        return PolynomialLearner(ridge_candidates(emulator, search, seed), emulator.degree, needed)
    candidates = svr_candidates(emulator, scaled.x, search, seed)
    settings = SvrSettings(
        kernel=emulator.kernel,
        degree=emulator.degree,
        coef0=float(emulator.coef0),
        tol=emulator.tol,
        max_iter=emulator.max_iter,
        min_stars=max(10, 2 * search.folds, 5 * n_labels) if min_stars is None else min_stars,
    )
    columns = scaled.y.shape[1] * (len(candidates) * search.folds + 1)
    settings = dataclasses.replace(settings, solver=chosen_solver(emulator.solver, emulator.kernel, columns, n_stars))
    return SvrLearner(candidates, settings, emulator.n_jobs)


def _added(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return vars(Report(**first) + Report(**second))
