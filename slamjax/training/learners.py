"""Learners: one SVR per pixel or one polynomial per pixel, behind one protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self

import numpy as np

from slamjax.emulators.base import Emulator
from slamjax.emulators.polynomial import PolynomialEmulator, exponents_of, monomials
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.training.data import ScaledStars
from slamjax.training.held_out import HeldOut
from slamjax.training.label_masks import NO_LABEL
from slamjax.training.noise_learning import joint_score
from slamjax.training.ridge import fit_polynomials
from slamjax.training.search import Candidate, Ridge, ridge_candidates, svr_candidates
from slamjax.training.specs import SVR, Polynomial, SearchSpec
from slamjax.training.svr.pixel import Report, SvrSettings
from slamjax.training.svr.pixels import export_fits, export_held_out, fit_pixels
from slamjax.training.svr.shared_kernel import chosen_solver
from slamjax.training.svr.spread import fit_pixels_by
from slamjax.typing import Progress


@dataclass(frozen=True, eq=False)
class Learnt:
    """An emulator, and what its training says about each pixel.

    Attributes
    ----------
    emulator : in float64 on the host; None if no pixel could be trained
    held_out : every star with the emulator of the fold that had not seen it
    status, n_train, best : (P,) "trained" or why not; good stars; index of the chosen hyper-parameters, -1 for none
    scores : (P, K) mean squared error of held-out stars for each candidate, in scaled flux
    columns : further columns of the table of pixels
    report : of the solver
    """

    emulator: Emulator | None
    held_out: HeldOut | None
    status: np.ndarray
    n_train: np.ndarray
    best: np.ndarray
    scores: np.ndarray
    columns: dict[str, np.ndarray]
    report: dict[str, Any]


class Learner(Protocol):
    """A kind of emulator with the hyper-parameters (K) to choose among."""

    @property
    def candidates(self) -> Sequence[Any]: ...
    @property
    def min_stars(self) -> int: ...
    def only(self, number: int) -> Self: ...
    def learn(self, scaled: ScaledStars, on_progress: Progress | None) -> Learnt: ...


@dataclass(frozen=True)
class SvrLearner:
    """One SVR per pixel, by the workers of a Dask client where there is one."""

    candidates: tuple[Candidate, ...]
    settings: SvrSettings
    n_jobs: int
    client: Any = None

    @property
    def min_stars(self) -> int:
        return self.settings.min_stars

    def only(self, number: int) -> SvrLearner:
        return dataclasses.replace(self, candidates=(self.candidates[number],))

    def learn(self, scaled: ScaledStars, on_progress: Progress | None) -> Learnt:
        fit = fit_pixels if self.client is None else partial(fit_pixels_by, self.client)
        fits, report = fit(scaled, self.candidates, self.settings, self.n_jobs, on_progress)
        trained = bool(np.any(fits.best >= 0))
        return Learnt(
            emulator=export_fits(scaled, fits, self.candidates, self.settings) if trained else None,
            held_out=export_held_out(scaled, fits, self.candidates, self.settings) if trained else None,
            status=fits.status,
            n_train=fits.n_train,
            best=fits.best,
            scores=fits.scores,
            columns={"n_support": np.count_nonzero(fits.dual, axis=0)},
            report=vars(report),
        )


@dataclass(frozen=True)
class PolynomialLearner:
    """One polynomial per pixel."""

    candidates: tuple[Ridge, ...]
    degree: int
    min_stars: int

    def only(self, number: int) -> PolynomialLearner:
        return dataclasses.replace(self, candidates=(self.candidates[number],))

    def learn(self, scaled: ScaledStars, on_progress: Progress | None) -> Learnt:
        n_labels, n_pix = scaled.x.shape[1], scaled.y.shape[1]
        exponents = exponents_of(n_labels, self.degree)
        terms = np.asarray(monomials(scaled.x, exponents))
        ridges = np.array([candidate.ridge for candidate in self.candidates])
        n_fold, n_terms = scaled.n_folds, len(exponents)
        status, n_train = np.full(n_pix, NO_LABEL, dtype="U64"), np.count_nonzero(scaled.weight, axis=0)
        best, scores = np.full(n_pix, -1), np.full((n_pix, len(ridges)), np.nan)
        # of all stars, then of all but those of each fold
        basis, intercept = np.zeros((n_fold + 1, n_terms, n_pix)), np.full((n_fold + 1, n_pix), np.nan)
        predicted, done = np.full(scaled.y.shape, np.nan), 0
        for labels, pixels in scaled.label_groups():
            kept = np.array([all(k in labels for k, power in enumerate(powers) if power) for powers in exponents])
            if kept.any():
                flux, weight = scaled.y[:, pixels], scaled.weight[:, pixels]
                fits = fit_polynomials(terms[:, kept], flux, weight, scaled.fold, ridges, self.min_stars)
                status[pixels], best[pixels], scores[pixels] = fits.status, fits.best, fits.scores
                predicted[:, pixels] = fits.held_out
                basis[np.ix_(np.arange(n_fold + 1), np.flatnonzero(kept), pixels)] = np.concatenate(
                    [fits.basis[None], fits.fold_basis]
                )
                intercept[:, pixels] = np.concatenate([fits.intercept[None], fits.fold_intercept])
            done += len(pixels)
            if on_progress is not None:
                on_progress(done, n_pix)
        emulators = [
            PolynomialEmulator(scaled.scaling, a, b, scaled.flux_mean, scaled.flux_scale, exponents)
            for a, b in zip(basis, intercept, strict=True)
        ]
        trained = best >= 0
        residual = scaled.flux_scale * (scaled.y - predicted)
        held_out = HeldOut(
            scaled.x, residual, scaled.ivar, scaled.fold, tuple(emulators[1:]), covariance=scaled.covariance
        )
        return Learnt(
            emulator=emulators[0] if trained.any() else None,
            held_out=held_out if trained.any() else None,
            status=status,
            n_train=n_train,
            best=best,
            scores=scores,
            columns={"n_terms": np.count_nonzero(basis[0], axis=0)},
            report=vars(Report("least squares", columns=int(trained.sum()) * (len(ridges) * n_fold + 1))),
        )


def make_learner(
    emulator: SVR | Polynomial,
    scaled: ScaledStars,
    search: SearchSpec,
    min_stars: int | None,
    seed: int,
    client: Any = None,
) -> Learner:
    """The learner of an emulator, with the hyper-parameters that the search tries."""
    n_stars, n_labels = scaled.x.shape
    if isinstance(emulator, Polynomial):
        per_coefficient = 2 * (1 + len(exponents_of(n_labels, emulator.degree)))
        needed = max(10, 2 * search.folds, per_coefficient) if min_stars is None else min_stars
        return PolynomialLearner(ridge_candidates(emulator, search, seed), emulator.degree, needed)
    candidates = svr_candidates(emulator, scaled.x, search, seed)
    n_columns = scaled.y.shape[1] * (len(candidates) * search.folds + 1)
    settings = SvrSettings(
        kernel=emulator.kernel,
        degree=emulator.degree,
        coef0=float(emulator.coef0),
        tol=emulator.tol,
        max_iter=emulator.max_iter,
        min_stars=max(10, 2 * search.folds, 5 * n_labels) if min_stars is None else min_stars,
        solver=chosen_solver(emulator.solver, emulator.kernel, n_columns, n_stars),
        n_inducing=emulator.n_inducing,
        seed=seed,
    )
    return SvrLearner(candidates, settings, emulator.n_jobs, client)


def learn_jointly(
    learner: Learner,
    scaled: ScaledStars,
    training_labels: TrainingLabels,
    seed: int,
    on_progress: Progress | None,
) -> tuple[Learnt, np.ndarray]:
    """Learn with each candidate for all pixels; the one with the best `joint_score`, and (K,) all scores."""
    n_candidates = len(learner.candidates)
    scores, best, cv_scores = np.full(n_candidates, -np.inf), None, []
    for number in range(n_candidates):

        def step(done: int, total: int, number: int = number) -> None:
            if on_progress is not None:
                on_progress(number * total + done, n_candidates * total)

        learnt = learner.only(number).learn(scaled, step)
        cv_scores.append(learnt.scores[:, 0])
        report = learnt.report if best is None else vars(Report(**best.report) + Report(**learnt.report))
        if learnt.emulator is not None and learnt.held_out is not None:
            held_out = learnt.held_out.judged_by(scaled.reference, scaled.label_error).drawn(seed)
            scores[number] = joint_score(learnt.emulator, training_labels, held_out, seed=seed)
        if best is None or scores[number] > scores[:number].max():
            best = learnt
        best = dataclasses.replace(best, report=report)
    assert best is not None
    chosen = np.where(best.best >= 0, int(np.argmax(scores)), -1)
    return dataclasses.replace(best, best=chosen, scores=np.stack(cv_scores, axis=1)), scores
