"""The SVRs of all pixels, by any solver, and their export."""

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
from slamjax.training.svr.feature_space import fit_pixels_in_features
from slamjax.training.svr.fits import Fits
from slamjax.training.svr.inducing import inducing_stars
from slamjax.training.svr.pixel import PixelFit, Report, SvrSettings, fit_pixel
from slamjax.typing import Progress


def export_fits(
    scaled: ScaledStars, fits: Fits, candidates: Sequence[Candidate], settings: SvrSettings
) -> KernelEmulator:
    """The emulator of all stars."""
    keys = _kernel_keys(scaled, fits, candidates, settings)
    return _assembled(scaled, fits, fits.dual, fits.intercept, keys)


def export_held_out(scaled: ScaledStars, fits: Fits, candidates: Sequence[Candidate], settings: SvrSettings) -> HeldOut:
    """Every star with the emulator of the fold that had not seen it."""
    keys = _kernel_keys(scaled, fits, candidates, settings)
    emulators = tuple(
        _assembled(scaled, fits, dual, intercept, keys, whole=True)
        for dual, intercept in zip(fits.fold_dual, fits.fold_intercept, strict=True)
    )
    residual = scaled.flux_scale * (scaled.y - fits.held_out)
    return HeldOut(scaled.x, residual, scaled.ivar, scaled.fold, emulators, covariance=scaled.covariance)


def _kernel_keys(
    scaled: ScaledStars, fits: Fits, candidates: Sequence[Candidate], settings: SvrSettings
) -> list[KernelKey]:
    every, metric = scaled.allowed.all(), () if scaled.metric is None else tuple(scaled.metric.tolist())
    labels = [() if every else tuple(np.flatnonzero(row).tolist()) for row in scaled.allowed]
    return [
        kernel_key(settings.kernel, settings.degree, candidates[max(best, 0)].gamma, settings.coef0, places, metric)
        for best, places in zip(fits.best, labels, strict=True)
    ]


def _assembled(
    scaled: ScaledStars,
    fits: Fits,
    dual: np.ndarray,
    intercept: np.ndarray,
    keys: list[KernelKey],
    whole: bool = False,
) -> KernelEmulator:
    return assemble(
        fits.support, dual, intercept, keys, scaled.scaling, scaled.flux_mean, scaled.flux_scale, whole=whole
    )


def fit_pixels(
    scaled: ScaledStars,
    candidates: tuple[Candidate, ...],
    settings: SvrSettings,
    n_jobs: int,
    on_progress: Progress | None,
) -> tuple[Fits, Report]:
    """Cross-validate and fit every pixel by the solver of the settings; also gives the solver's report."""
    n_stars, n_pix = scaled.y.shape
    inducing = np.arange(n_stars)
    if settings.solver == "inducing":
        widest = max(candidate.gamma for candidate in candidates)  # the kernel that tells most stars apart
        inducing = inducing_stars(scaled.in_kernel, settings.n_inducing, widest, settings)
    support, groups, report, done = scaled.x[inducing], scaled.label_groups(), Report(settings.solver), 0
    if len(groups) == 1 and groups[0][0]:  # nothing is copied
        labels = groups[0][0]
        stars = Stars(scaled.in_kernel[:, labels], scaled.y, scaled.weight, scaled.fold)
        fits, report = _fit_group(stars, inducing, candidates, settings, n_jobs, on_progress)
        return replace(fits, support=support), report
    fits = Fits.untrained(support, n_stars, n_pix, len(candidates), scaled.n_folds)
    for labels, pixels in groups:

        def step(some: int, _: int, before: int = done) -> None:
            if on_progress is not None:
                on_progress(before + some, n_pix)

        if labels:
            stars = Stars(scaled.in_kernel[:, labels], scaled.y[:, pixels], scaled.weight[:, pixels], scaled.fold)
            group, group_report = _fit_group(stars, inducing, candidates, settings, n_jobs, step)
            fits.put(pixels, group)
            report += group_report
        else:
            fits.status[pixels], fits.n_train[pixels] = NO_LABEL, np.count_nonzero(scaled.weight[:, pixels], axis=0)
        done += len(pixels)
    return fits, report


def _fit_group(
    stars: Stars,
    inducing: np.ndarray,
    candidates: tuple[Candidate, ...],
    settings: SvrSettings,
    n_jobs: int,
    on_progress: Progress | None,
) -> tuple[Fits, Report]:
    """The fits of pixels at which the same labels act."""
    if settings.solver == "inducing":
        return fit_pixels_in_features(stars, inducing, candidates, settings, n_jobs, on_progress)
    one_group = fit_pixels_together if settings.solver == "batched" else _fit_one_by_one
    fits, report = one_group(stars, candidates, settings, n_jobs, on_progress)
    return Fits.stacked(fits, stars.x), report


def _fit_one_by_one(
    stars: Stars, candidates: Sequence[Candidate], settings: SvrSettings, n_jobs: int, on_progress: Progress | None
) -> tuple[list[PixelFit], Report]:
    x, y, weight, fold = stars.x, stars.y, stars.weight, stars.fold
    n_pix = y.shape[1]
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
            if on_progress is not None:
                on_progress(len(fits), n_pix)
    solved = sum(fit.best >= 0 for fit in fits.values()) * (len(candidates) * (int(fold.max()) + 1) + 1)
    return [fits[pixel] for pixel in range(n_pix)], Report("sklearn", columns=solved, by_sklearn=solved)
