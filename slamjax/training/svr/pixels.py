"""All pixels' SVRs, by the solver of the settings."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning

from slamjax.emulators.scaling import LabelScaling
from slamjax.emulators.svr import KernelEmulator
from slamjax.training.label_masks import NO_LABEL
from slamjax.training.noise_calibration import HeldOut
from slamjax.training.search import Candidate
from slamjax.training.svr.batched import Stars, fit_pixels_together
from slamjax.training.svr.export import assemble, kernel_key
from slamjax.training.svr.pixel import PixelFit, Report, SvrSettings, fit_pixel, no_fit
from slamjax.typing import Progress


@dataclass(frozen=True)
class Scaled:
    """The training stars as learners take them.

    Labels x (N, L), flux y and weights (N, P), the way back, and ``allowed`` (P, L): which labels a pixel may use.
    """

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    scaling: LabelScaling
    flux_mean: np.ndarray
    flux_scale: np.ndarray
    ivar: np.ndarray
    allowed: np.ndarray

    def label_groups(self) -> list[tuple[tuple[int, ...], np.ndarray]]:
        """Labels that may be used, by their places, and the pixels that may use just these."""
        kinds, kind = np.unique(self.allowed, axis=0, return_inverse=True)
        members = [np.flatnonzero(kind.ravel() == number) for number in range(len(kinds))]
        return [(tuple(np.flatnonzero(row).tolist()), some) for row, some in zip(kinds, members, strict=True)]

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
        every = self.allowed.all()
        labels = [() if every else tuple(np.flatnonzero(row).tolist()) for row in self.allowed]
        keys = [
            kernel_key(settings.kernel, settings.degree, found[max(fit.best, 0)].gamma, settings.coef0, some)
            for fit, some in zip(fits, labels, strict=True)
        ]
        return assemble(self.x, dual, intercept, keys, self.scaling, self.flux_mean, self.flux_scale, whole=whole)


def fit_pixels(
    scaled: Scaled,
    fold: np.ndarray,
    found: tuple[Candidate, ...],
    settings: SvrSettings,
    n_jobs: int,
    on_progress: Progress | None,
) -> tuple[list[PixelFit], Report]:
    """Every pixel cross-validated and fitted by the solver of the settings, and what that solver has to tell."""
    n_stars, n_pix = scaled.y.shape
    fits: dict[int, PixelFit] = {}
    report = Report(settings.solver)
    for labels, pixels in scaled.label_groups():
        if not labels:
            for pixel in pixels:
                n_train = int(np.count_nonzero(scaled.weight[:, pixel]))
                nothing = no_fit(n_train, n_stars, int(fold.max()) + 1, len(found))
                fits[int(pixel)] = replace(nothing, status=NO_LABEL)
            continue

        def told(done: int, _: int, before: int = len(fits)) -> None:
            if on_progress is not None:
                on_progress(before + done, n_pix)

        stars = Stars(scaled.x[:, labels], scaled.y[:, pixels], scaled.weight[:, pixels], fold)
        some, more = _fit_alike(stars, found, settings, n_jobs, told)
        fits |= {int(pixel): fit for pixel, fit in zip(pixels, some, strict=True)}
        report += more
    return [fits[pixel] for pixel in range(n_pix)], report


def _fit_alike(
    stars: Stars, found: tuple[Candidate, ...], settings: SvrSettings, n_jobs: int, on_progress: Progress
) -> tuple[list[PixelFit], Report]:
    """The fits of pixels that take the same labels."""
    x, y, weight, fold = stars.x, stars.y, stars.weight, stars.fold
    n_pix = y.shape[1]
    if settings.solver == "batched":
        return fit_pixels_together(stars, found, settings, n_jobs, on_progress)
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
            on_progress(len(fits), n_pix)
    solved = sum(fit.best >= 0 for fit in fits.values()) * (len(found) * (int(fold.max()) + 1) + 1)
    return [fits[pixel] for pixel in range(n_pix)], Report("sklearn", columns=solved, by_sklearn=solved)
