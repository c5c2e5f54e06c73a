"""All pixels' SVRs at once: one kernel matrix for each γ and fold, and every pixel, C and ε a column of it.

What `slamjax.training.svr.pixel.fit_pixel` gives, by the same rules and folds, with a solver that shares what
pixels share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from slamjax.training.search import Candidate
from slamjax.training.svr.pixel import PixelFit, Report, SvrSettings, no_fit, unusable
from slamjax.training.svr.shared_kernel import Matrices, SharedKernel
from slamjax.typing import Progress

#: Coefficients of all candidates and folds that are kept at the same time, in GiB.
_KEPT_COEFFICIENTS = 0.5
#: Parts of the tolerance that machines are solved to: those of cross-validation, for their predictions are held-out
#: residuals, and those that are kept, for they are few and their objective shows it.
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
class _Tried:
    """Every candidate (K) in every fold (F), for M pixels: what cross-validation found.

    beta (K, F, M, N), intercept (K, F, M), predicted (K, M, N) out of fold, scores (K, M), exhausted (K, M).
    """

    beta: np.ndarray
    intercept: np.ndarray
    predicted: np.ndarray
    scores: np.ndarray
    exhausted: np.ndarray


def fit_pixels_together(
    stars: Stars, found: Sequence[Candidate], settings: SvrSettings, n_jobs: int, on_progress: Progress | None
) -> tuple[list[PixelFit], Report]:
    """Cross-validate every candidate, fit the best to all good stars, for every pixel."""
    n_stars, n_pix = stars.y.shape
    matrices = Matrices(stars.x, settings)
    one = 8 * n_stars * (len(found) + 1) * (stars.n_folds + 4)
    step = int(np.clip(_KEPT_COEFFICIENTS * 2**30 / one, 16, 2048))
    fits: list[PixelFit] = []
    report = Report("batched")
    for start in range(0, n_pix, step):
        some = slice(start, min(n_pix, start + step))

        def told(part: float, some: slice = some) -> None:
            if on_progress is not None:
                on_progress(some.start + int(part * (some.stop - some.start)), n_pix)

        chunk = replace(stars, y=stars.y[:, some], weight=stars.weight[:, some])
        pixels = zip(chunk.y.T, chunk.weight.T, strict=True)
        reasons = [unusable(y, weight, stars.fold, settings.min_stars) for y, weight in pixels]
        sound = np.array([not reason for reason in reasons])
        trained: list[PixelFit] = []
        if sound.any():
            trainable = replace(chunk, y=chunk.y[:, sound], weight=chunk.weight[:, sound])
            trained, more = _fit_chunk(trainable, found, settings, matrices, n_jobs, told)
            report += more
        solved = iter(trained)
        for pixel, reason in enumerate(reasons):
            n_train = int(np.count_nonzero(chunk.weight[:, pixel]))
            nothing = no_fit(n_train, n_stars, stars.n_folds, len(found))
            fits.append(replace(nothing, status=reason) if reason else next(solved))
        told(1.0)
    return fits, report


def _fit_chunk(
    stars: Stars,
    found: Sequence[Candidate],
    settings: SvrSettings,
    matrices: Matrices,
    n_jobs: int,
    told: Callable[[float], None],
) -> tuple[list[PixelFit], Report]:
    """The fits of pixels that can all be trained."""
    # a pixel is a row from here on
    y, weight = np.ascontiguousarray(stars.y.T), np.ascontiguousarray(stars.weight.T)
    share = stars.n_folds / (stars.n_folds + 1)
    tried, report = _cross_validate(stars, y, weight, found, settings, matrices, n_jobs, lambda p: told(p * share))
    best = np.argmin(tried.scores, axis=0)
    dual, intercept, exhausted = np.zeros_like(y), np.zeros(len(y)), tried.exhausted[best, np.arange(len(y))]
    everyone = np.ones(len(stars.x), bool)
    for k in np.unique(best):
        mine = best == k
        shared = SharedKernel(stars.x, everyone, matrices.of(found[k].gamma), settings, n_jobs)
        solution = shared.solve(y[mine], weight[mine], found[k], _FINAL * settings.tol)
        dual[mine], intercept[mine] = solution.beta, solution.intercept
        exhausted[mine] |= solution.exhausted
        report += solution.report
    fits = []
    for pixel, k in enumerate(best):
        n_train = int(np.count_nonzero(weight[pixel]))
        finite = np.isfinite(intercept[pixel]) and np.isfinite(dual[pixel]).all()
        if not (finite and np.isfinite(tried.scores[:, pixel]).all()):
            nothing = no_fit(n_train, len(stars.x), stars.n_folds, len(found))
            fits.append(replace(nothing, status="SVR diverged"))
            continue
        fits.append(
            PixelFit(
                status="trained, out of iterations" if exhausted[pixel] else "trained",
                n_train=n_train,
                dual=dual[pixel],
                intercept=float(intercept[pixel]),
                best=int(k),
                scores=tried.scores[:, pixel],
                held_out=np.where(weight[pixel] > 0, tried.predicted[k, pixel], np.nan),
                fold_dual=tried.beta[k, :, pixel],
                fold_intercept=tried.intercept[k, :, pixel],
            )
        )
    return fits, report


def _cross_validate(
    stars: Stars,
    y: np.ndarray,
    weight: np.ndarray,
    found: Sequence[Candidate],
    settings: SvrSettings,
    matrices: Matrices,
    n_jobs: int,
    told: Callable[[float], None],
) -> tuple[_Tried, Report]:
    """Every candidate for every fold's other stars; scores are mean squared errors, as `fit_pixel` has them."""
    (m, n), folds, many = y.shape, stars.n_folds, len(found)
    tried = _Tried(
        np.zeros((many, folds, m, n)), np.zeros((many, folds, m)), np.zeros((many, m, n)), np.zeros((many, m)),
        np.zeros((many, m), bool),
    )  # fmt: skip
    report, done = Report("batched"), 0
    for gamma in dict.fromkeys(candidate.gamma for candidate in found):
        kernel = matrices.of(gamma)
        for number in range(folds):
            out = stars.fold == number
            shared = SharedKernel(stars.x, ~out, kernel, settings, n_jobs)
            across, used = kernel[np.ix_(~out, out)], weight[:, out]
            for k in (k for k, candidate in enumerate(found) if candidate.gamma == gamma):
                solution = shared.solve(y, weight, found[k], _FOLDS * settings.tol)
                guess = solution.beta @ across + solution.intercept[:, None]
                tried.beta[k, number][:, ~out], tried.intercept[k, number] = solution.beta, solution.intercept
                tried.predicted[k][:, out] = guess
                tried.scores[k] += (used * np.square(guess - y[:, out])).sum(axis=1) / used.sum(axis=1) / folds
                tried.exhausted[k] |= solution.exhausted
                report += solution.report
                done += 1
                told(done / (many * folds))
    return tried, report
