"""All pixels' SVRs: each with settings of its own, or all with the ones that serve labels best."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning

from slamjax.domain import Domain
from slamjax.emulator import KernelEmulator
from slamjax.scaling import LabelScaling
from slamjax.training.batched import Stars, fit_pixels_together
from slamjax.training.calibration import HeldOut, joint_score
from slamjax.training.export import assemble, kernel_key
from slamjax.training.search import Candidate
from slamjax.training.svr import PixelFit, Report, SvrSettings, fit_pixel
from slamjax.typing import Progress


@dataclass(frozen=True)
class Scaled:
    """The training stars as the SVRs take them: labels x (N, L), flux y and weights (N, P), and the way back."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    scaling: LabelScaling
    flux_mean: np.ndarray
    flux_scale: np.ndarray
    ivar: np.ndarray

    def emulator(self, fits: Sequence[PixelFit], found: Sequence[Candidate], settings: SvrSettings) -> KernelEmulator:
        dual = np.stack([fit.dual for fit in fits], axis=1)
        intercept = np.array([fit.intercept for fit in fits])
        return self._assembled(dual, intercept, fits, found, settings)

    def held_out(
        self, fits: Sequence[PixelFit], fold: np.ndarray, found: Sequence[Candidate], settings: SvrSettings
    ) -> HeldOut:
        """Every star beside the emulator that had not seen it."""
        predicted = np.stack([fit.held_out for fit in fits], axis=1)
        emulators = tuple(
            self._assembled(
                np.stack([fit.fold_dual[number] for fit in fits], axis=1),
                np.array([fit.fold_intercept[number] for fit in fits]),
                fits,
                found,
                settings,
                whole=True,
            )
            for number in range(int(fold.max()) + 1)
        )
        return HeldOut(self.x, self.flux_scale * (self.y - predicted), self.ivar, fold, emulators)

    def _assembled(
        self,
        dual: np.ndarray,
        intercept: np.ndarray,
        fits: Sequence[PixelFit],
        found: Sequence[Candidate],
        settings: SvrSettings,
        whole: bool = False,
    ) -> KernelEmulator:
        keys = [
            kernel_key(settings.kernel, settings.degree, found[max(fit.best, 0)].gamma, settings.coef0) for fit in fits
        ]
        return assemble(self.x, dual, intercept, keys, self.scaling, self.flux_mean, self.flux_scale, whole=whole)


def fit_jointly(
    scaled: Scaled,
    domain: Domain,
    fold: np.ndarray,
    found: tuple[Candidate, ...],
    settings: SvrSettings,
    n_jobs: int,
    seed: int,
    progress: Progress | None,
) -> tuple[list[PixelFit], np.ndarray, Report]:
    """The fits by the one combination that serves all pixels best together, and every combination's score."""
    scores, chosen, every = np.full(len(found), -np.inf), [], []
    report = Report(settings.solver)
    for number, candidate in enumerate(found):

        def told(done: int, total: int, number: int = number) -> None:
            if progress is not None:
                progress(number * total + done, len(found) * total)

        fits, more = fit_pixels(scaled, fold, (candidate,), settings, n_jobs, told)
        report += more
        every.append(np.array([fit.scores[0] for fit in fits]))
        if any(fit.best >= 0 for fit in fits):
            emulator = scaled.emulator(fits, (candidate,), settings)
            held_out = scaled.held_out(fits, fold, (candidate,), settings)
            scores[number] = joint_score(emulator, domain, held_out, seed=seed)
        if number == 0 or scores[number] > scores[:number].max():
            chosen = fits
    best = int(np.argmax(scores))
    table = np.stack(every, axis=1)
    fits = [
        replace(fit, best=best if fit.best >= 0 else -1, scores=row) for fit, row in zip(chosen, table, strict=True)
    ]
    return fits, scores, report


def fit_pixels(
    scaled: Scaled,
    fold: np.ndarray,
    found: tuple[Candidate, ...],
    settings: SvrSettings,
    n_jobs: int,
    progress: Progress | None,
) -> tuple[list[PixelFit], Report]:
    """Every pixel cross-validated and fitted by the solver of the settings, and what that solver has to tell."""
    x, y, weight = scaled.x, scaled.y, scaled.weight
    n_pix = y.shape[1]
    if settings.solver == "batched":
        return fit_pixels_together(Stars(x, y, weight, fold), found, settings, n_jobs, progress)
    columns = np.asfortranarray(y), np.asfortranarray(weight)

    def one(pixel: int) -> tuple[int, PixelFit]:
        return pixel, fit_pixel(x, columns[0][:, pixel], columns[1][:, pixel], fold, found, settings)

    # threads, not processes: libsvm lets go of the interpreter lock, and nothing has to be copied
    fits: dict[int, PixelFit] = {}
    workers = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator_unordered")
    with warnings.catch_warnings():  # here and not in the workers: warnings are one for all threads
        warnings.simplefilter("ignore", ConvergenceWarning)  # the pixel's status tells
        for pixel, fit in workers(delayed(one)(pixel) for pixel in range(n_pix)):
            fits[pixel] = fit
            if progress is not None:
                progress(len(fits), n_pix)
    solved = sum(fit.best >= 0 for fit in fits.values()) * (len(found) * (int(fold.max()) + 1) + 1)
    return [fits[pixel] for pixel in range(n_pix)], Report("sklearn", columns=solved, by_sklearn=solved)
