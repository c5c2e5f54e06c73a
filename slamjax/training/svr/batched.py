"""All pixels' SVRs at once: every pixel, C and ε is a column of one kernel matrix per γ and fold.

The result is that of `slamjax.training.svr.pixel.fit_pixel`, by the same rules and folds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from slamjax.training.search import Candidate
from slamjax.training.svr.pixel import PixelFit, Report, SvrSettings, no_fit, unusable
from slamjax.training.svr.shared_kernel import Matrices, SharedKernel
from slamjax.typing import Progress

#: GiB of coefficients of all candidates and folds in memory at a time.
_KEPT_COEFFICIENTS = 0.5
#: Parts of the tolerance to which SVRs are solved: in cross-validation, whose predictions become residuals, and of all
#: stars, which are few.
_FOLDS, _FINAL = 0.5, 0.1


@dataclass(frozen=True)
class Stars:
    """The training stars: x (N, L), y and weights (N, P), and the fold that holds each star out."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    fold: np.ndarray

    @property
    def n_folds(self) -> int:
        return int(self.fold.max()) + 1


@dataclass(frozen=True)
class _CrossValidation:
    """Cross-validation of every candidate (K) in every fold (F), for M pixels.

    beta (K, F, M, N), intercept (K, F, M), held-out predictions (K, M, N), scores (K, M), exhausted (K, M).
    """

    beta: np.ndarray
    intercept: np.ndarray
    predicted: np.ndarray
    scores: np.ndarray
    exhausted: np.ndarray


def fit_pixels_together(
    stars: Stars, candidates: Sequence[Candidate], settings: SvrSettings, n_jobs: int, on_progress: Progress | None
) -> tuple[list[PixelFit], Report]:
    """Cross-validate every candidate and fit the best one to all good stars, for every pixel."""
    n_stars, n_pix = stars.y.shape
    matrices = Matrices(stars.x, settings)
    bytes_per_pixel = 8 * n_stars * (len(candidates) + 1) * (stars.n_folds + 4)
    n_chunk = int(np.clip(_KEPT_COEFFICIENTS * 2**30 / bytes_per_pixel, 16, 2048))
    fits: list[PixelFit] = []
    report = Report("batched")
    for start in range(0, n_pix, n_chunk):
        pixels = slice(start, min(n_pix, start + n_chunk))

        def step(part: float, pixels: slice = pixels) -> None:
            if on_progress is not None:
                on_progress(pixels.start + int(part * (pixels.stop - pixels.start)), n_pix)

        chunk = replace(stars, y=stars.y[:, pixels], weight=stars.weight[:, pixels])
        columns = zip(chunk.y.T, chunk.weight.T, strict=True)
        reasons = [unusable(y, weight, stars.fold, settings.min_stars) for y, weight in columns]
        trainable = np.array([not reason for reason in reasons])
        trained: list[PixelFit] = []
        if trainable.any():
            members = replace(chunk, y=chunk.y[:, trainable], weight=chunk.weight[:, trainable])
            trained, chunk_report = _fit_chunk(members, candidates, settings, matrices, n_jobs, step)
            report += chunk_report
        solved = iter(trained)
        for pixel, reason in enumerate(reasons):
            n_train = int(np.count_nonzero(chunk.weight[:, pixel]))
            nothing = no_fit(n_train, n_stars, stars.n_folds, len(candidates))
            fits.append(replace(nothing, status=reason) if reason else next(solved))
        step(1.0)
    return fits, report


def _fit_chunk(
    stars: Stars,
    candidates: Sequence[Candidate],
    settings: SvrSettings,
    matrices: Matrices,
    n_jobs: int,
    step: Callable[[float], None],
) -> tuple[list[PixelFit], Report]:
    """The fits of pixels that can be trained."""
    # a pixel is a row from here on
    y, weight = np.ascontiguousarray(stars.y.T), np.ascontiguousarray(stars.weight.T)
    share = stars.n_folds / (stars.n_folds + 1)
    validated, report = _cross_validate(
        stars, y, weight, candidates, settings, matrices, n_jobs, lambda part: step(part * share)
    )
    best = np.argmin(validated.scores, axis=0)
    dual, intercept, exhausted = np.zeros_like(y), np.zeros(len(y)), validated.exhausted[best, np.arange(len(y))]
    everyone = np.ones(len(stars.x), bool)
    for k in np.unique(best):
        members = best == k
        shared = SharedKernel(stars.x, everyone, matrices.at(candidates[k].gamma), settings, n_jobs)
        solution = shared.solve(y[members], weight[members], candidates[k], _FINAL * settings.tol)
        dual[members], intercept[members] = solution.beta, solution.intercept
        exhausted[members] |= solution.exhausted
        report += solution.report
    fits = []
    for pixel, k in enumerate(best):
        n_train = int(np.count_nonzero(weight[pixel]))
        finite = np.isfinite(intercept[pixel]) and np.isfinite(dual[pixel]).all()
        if not (finite and np.isfinite(validated.scores[:, pixel]).all()):
            nothing = no_fit(n_train, len(stars.x), stars.n_folds, len(candidates))
            fits.append(replace(nothing, status="SVR diverged"))
            continue
        fits.append(
            PixelFit(
                status="trained, out of iterations" if exhausted[pixel] else "trained",
                n_train=n_train,
                dual=dual[pixel],
                intercept=float(intercept[pixel]),
                best=int(k),
                scores=validated.scores[:, pixel],
                held_out=np.where(weight[pixel] > 0, validated.predicted[k, pixel], np.nan),
                fold_dual=validated.beta[k, :, pixel],
                fold_intercept=validated.intercept[k, :, pixel],
            )
        )
    return fits, report


def _cross_validate(
    stars: Stars,
    y: np.ndarray,
    weight: np.ndarray,
    candidates: Sequence[Candidate],
    settings: SvrSettings,
    matrices: Matrices,
    n_jobs: int,
    step: Callable[[float], None],
) -> tuple[_CrossValidation, Report]:
    """Every candidate fitted to the stars outside each fold; scores are mean squared errors, as in `fit_pixel`."""
    (m, n), folds, n_candidates = y.shape, stars.n_folds, len(candidates)
    validated = _CrossValidation(
        beta=np.zeros((n_candidates, folds, m, n)),
        intercept=np.zeros((n_candidates, folds, m)),
        predicted=np.zeros((n_candidates, m, n)),
        scores=np.zeros((n_candidates, m)),
        exhausted=np.zeros((n_candidates, m), bool),
    )
    report, done = Report("batched"), 0
    for gamma in dict.fromkeys(candidate.gamma for candidate in candidates):
        kernel = matrices.at(gamma)
        for number in range(folds):
            out = stars.fold == number
            shared = SharedKernel(stars.x, ~out, kernel, settings, n_jobs)
            across, used = kernel[np.ix_(~out, out)], weight[:, out]
            for k in (k for k, candidate in enumerate(candidates) if candidate.gamma == gamma):
                solution = shared.solve(y, weight, candidates[k], _FOLDS * settings.tol)
                guess = solution.beta @ across + solution.intercept[:, None]
                validated.beta[k, number][:, ~out], validated.intercept[k, number] = solution.beta, solution.intercept
                validated.predicted[k][:, out] = guess
                validated.scores[k] += (used * np.square(guess - y[:, out])).sum(axis=1) / used.sum(axis=1) / folds
                validated.exhausted[k] |= solution.exhausted
                report += solution.report
                done += 1
                step(done / (n_candidates * folds))
    return validated, report
