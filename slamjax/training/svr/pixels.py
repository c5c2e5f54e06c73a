"""The SVRs of all pixels, by either solver, and their export."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning

from slamjax.emulators.svr import KernelEmulator
from slamjax.training.data import ScaledStars
from slamjax.training.held_out import HeldOut
from slamjax.training.label_masks import NO_LABEL
from slamjax.training.search import Candidate
from slamjax.training.svr.batched import Stars, fit_pixels_together
from slamjax.training.svr.export import KernelKey, assemble, kernel_key
from slamjax.training.svr.pixel import PixelFit, Report, SvrSettings, fit_pixel, no_fit
from slamjax.typing import Progress


def export_fits(
    scaled: ScaledStars, fits: Sequence[PixelFit], candidates: Sequence[Candidate], settings: SvrSettings
) -> KernelEmulator:
    """The emulator of all stars."""
    dual = np.stack([fit.dual for fit in fits], axis=1)
    intercept = np.array([fit.intercept for fit in fits])
    return _assembled(scaled, dual, intercept, _kernel_keys(scaled, fits, candidates, settings))


def export_held_out(
    scaled: ScaledStars, fits: Sequence[PixelFit], candidates: Sequence[Candidate], settings: SvrSettings
) -> HeldOut:
    """Every star with the emulator of the fold that had not seen it."""
    predicted = np.stack([fit.held_out for fit in fits], axis=1)
    keys = _kernel_keys(scaled, fits, candidates, settings)
    emulators = tuple(
        _assembled(
            scaled,
            np.stack([fit.fold_dual[number] for fit in fits], axis=1),
            np.array([fit.fold_intercept[number] for fit in fits]),
            keys,
            whole=True,
        )
        for number in range(scaled.n_folds)
    )
    residual = scaled.flux_scale * (scaled.y - predicted)
    return HeldOut(scaled.x, residual, scaled.ivar, scaled.fold, emulators)


def _kernel_keys(
    scaled: ScaledStars, fits: Sequence[PixelFit], candidates: Sequence[Candidate], settings: SvrSettings
) -> list[KernelKey]:
    every = scaled.allowed.all()
    labels = [() if every else tuple(np.flatnonzero(row).tolist()) for row in scaled.allowed]
    return [
        kernel_key(settings.kernel, settings.degree, candidates[max(fit.best, 0)].gamma, settings.coef0, places)
        for fit, places in zip(fits, labels, strict=True)
    ]


def _assembled(
    scaled: ScaledStars, dual: np.ndarray, intercept: np.ndarray, keys: list[KernelKey], whole: bool = False
) -> KernelEmulator:
    return assemble(scaled.x, dual, intercept, keys, scaled.scaling, scaled.flux_mean, scaled.flux_scale, whole=whole)


def fit_pixels(
    scaled: ScaledStars,
    candidates: tuple[Candidate, ...],
    settings: SvrSettings,
    n_jobs: int,
    on_progress: Progress | None,
) -> tuple[list[PixelFit], Report]:
    """Cross-validate and fit every pixel by the solver of the settings; also gives the solver's report."""
    n_stars, n_pix = scaled.y.shape
    fits: dict[int, PixelFit] = {}
    report = Report(settings.solver)
    for labels, pixels in scaled.label_groups():
        if not labels:
            for pixel in pixels:
                n_train = int(np.count_nonzero(scaled.weight[:, pixel]))
                nothing = no_fit(n_train, n_stars, scaled.n_folds, len(candidates))
                fits[int(pixel)] = replace(nothing, status=NO_LABEL)
            continue

        def step(done: int, _: int, before: int = len(fits)) -> None:
            if on_progress is not None:
                on_progress(before + done, n_pix)

        stars = Stars(scaled.x[:, labels], scaled.y[:, pixels], scaled.weight[:, pixels], scaled.fold)
        group, group_report = _fit_group(stars, candidates, settings, n_jobs, step)
        fits |= {int(pixel): fit for pixel, fit in zip(pixels, group, strict=True)}
        report += group_report
    return [fits[pixel] for pixel in range(n_pix)], report


def _fit_group(
    stars: Stars, candidates: tuple[Candidate, ...], settings: SvrSettings, n_jobs: int, on_progress: Progress
) -> tuple[list[PixelFit], Report]:
    """The fits of pixels at which the same labels act."""
    x, y, weight, fold = stars.x, stars.y, stars.weight, stars.fold
    n_pix = y.shape[1]
    if settings.solver == "batched":
        return fit_pixels_together(stars, candidates, settings, n_jobs, on_progress)
    columns = np.asfortranarray(y), np.asfortranarray(weight)

    def one(pixel: int) -> tuple[int, PixelFit]:
        return pixel, fit_pixel(x, columns[0][:, pixel], columns[1][:, pixel], fold, candidates, settings)

    # threads, not processes: libsvm releases the interpreter lock, and nothing has to be copied
    fits: dict[int, PixelFit] = {}
    workers = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator_unordered")
    with warnings.catch_warnings():  # not in the workers: all threads share Python's filters
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is in the pixel's status
        for pixel, fit in workers(delayed(one)(pixel) for pixel in range(n_pix)):
            fits[pixel] = fit
            on_progress(len(fits), n_pix)
    solved = sum(fit.best >= 0 for fit in fits.values()) * (len(candidates) * (int(fold.max()) + 1) + 1)
    return [fits[pixel] for pixel in range(n_pix)], Report("sklearn", columns=solved, by_sklearn=solved)
