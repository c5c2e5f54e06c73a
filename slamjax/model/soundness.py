"""Whether the parts of a model that was read from a file fit together and mean something.

A file may be as it was sealed and yet hold what no training makes. Labels of such a model would be wrong without a
word, so shapes, finiteness and signs are checked here, once, after reading.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from slamjax.emulators import kernels
from slamjax.emulators.base import Emulator
from slamjax.emulators.polynomial import PolynomialEmulator
from slamjax.emulators.svr import KernelEmulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.errors import SlamError
from slamjax.model.info import ModelInfo
from slamjax.noise.calibration import Calibration
from slamjax.noise.intervals import LocalIntervals
from slamjax.noise.label_means import LabelMeans
from slamjax.noise.likeness import Likeness
from slamjax.noise.models import Noise
from slamjax.spectra.checks import FRAMES, MEDIA
from slamjax.spectra.flux_units import flux_unit
from slamjax.spectra.length_units import length_unit
from slamjax.spectra.units import with_unit

_MOST_DEGREE = 100


def check_parts(emulator: Emulator, noise: Noise, training_labels: TrainingLabels, info: ModelInfo) -> None:
    """Raise SlamError, without a file's name, unless the parts make a model.

    Parameters
    ----------
    emulator, noise, training_labels, info : parts of a `slamjax.Model`, on the host
    """
    n_labels, n_pix = len(info.label_names), np.size(info.wave)
    _check_info(info)
    _check_emulator(emulator, n_labels, n_pix)
    is_trained = np.char.startswith(np.asarray(info.pixels["status"], str), "trained")  # or out of iterations
    _require(np.array_equal(is_trained, np.isfinite(emulator.intercept)), "its table of pixels names others as trained")
    _check_training_labels(training_labels, n_labels)
    _check_noise(noise, np.isfinite(emulator.intercept))
    _check_calibration(info.calibration, n_labels)
    _check_likeness(info.calibration.likeness, noise.rank)
    _check_intervals(info.calibration.intervals, n_labels)
    _check_means(info.calibration.means, n_labels, noise.rank)


def _require(is_sound: Any, what: str) -> None:
    if not is_sound:
        raise SlamError(what)


def _numbers(name: str, given: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """The array if it holds numbers of this shape; None stands for any length."""
    array = np.asarray(given)
    _require(array.dtype.kind in "fiu", f"{name} holds no numbers")
    fits = len(array.shape) == len(shape) and all(
        wanted in (None, length) for length, wanted in zip(array.shape, shape, strict=True)
    )
    wanted_shape = "(" + ", ".join("any" if length is None else str(length) for length in shape) + ")"
    _require(fits, f"{name} has shape {array.shape}, not {wanted_shape}")
    return array


def _finite(name: str, given: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    array = _numbers(name, given, shape)
    _require(np.all(np.isfinite(array)), f"{name} has values that are not finite")
    return array


def _check_info(info: ModelInfo) -> None:
    names = info.label_names
    _require(names and all(isinstance(name, str) and name for name in names), "its labels have no names")
    _require(len(set(names)) == len(names), "two of its labels have the same name")
    _require(len(info.label_units) == len(names), "it has not as many units as labels")
    for unit in info.label_units:
        try:
            with_unit(np.zeros(1), unit)
        except (ValueError, TypeError) as error:
            raise SlamError(f"{unit!r} is not a unit of a label") from error
    wave = _finite("the wavelengths", info.wave, (None,))
    _require(wave.size and np.all(np.diff(wave) > 0), "its wavelengths do not increase")
    try:
        length_unit(info.wave_unit)
    except SlamError as error:
        raise SlamError(f"{info.wave_unit!r} is not a unit of wavelength") from error
    known = info.flux_unit is None or (isinstance(info.flux_unit, str) and flux_unit(info.flux_unit) is not None)
    _require(known, f"{info.flux_unit!r} is not a unit of flux")
    _require(info.medium in MEDIA, f"{info.medium!r} is not a medium")
    _require(info.frame in FRAMES, f"{info.frame!r} is not a frame")
    widths = np.atleast_1d(np.asarray(1.0 if info.fwhm is None else info.fwhm))
    sound = widths.shape in ((1,), wave.shape) and all(map(_is_positive, widths.tolist()))
    _require(sound, f"its line spread is {info.fwhm!r}")
    _require(len(info.pixels) == wave.size, f"its table of pixels has {len(info.pixels)} rows for {wave.size} pixels")
    _require({"model_error", "status"} <= set(info.pixels.colnames), "its table of pixels lacks a column")
    searched = set(info.pixels.colnames) & set(info.candidates.colnames)
    for name in searched | {"model_error", "cv_mse"} & set(info.pixels.colnames):
        _numbers(f"pixels/{name}", info.pixels[name], (wave.size,))
    _numbers("the scores", info.cv_scores, (wave.size, len(info.candidates)))
    record = info.record
    n_stars = len(record.rows)
    for name, column in {"digests": record.digests, **record.identifiers}.items():
        _require(np.shape(column) == (n_stars,), f"{name} of the training stars has shape {np.shape(column)}")
    _require(isinstance(record.source, str), "the source of its training stars is no name")
    _require(isinstance(info.has_errors, bool), f"has_errors is {info.has_errors!r}")
    _require(isinstance(info.provenance, dict), "its provenance is no table")
    _require(_is_positive(info.velocity_scale), f"velocity_scale is {info.velocity_scale!r}")


def _check_emulator(emulator: Emulator, n_labels: int, n_pix: int) -> None:
    scaling = emulator.scaling
    _require(len(scaling.log) == n_labels and all(isinstance(one, bool) for one in scaling.log), "label_log is wrong")
    _finite("scaling/center", scaling.center, (n_labels,))
    width = _finite("scaling/width", scaling.width, (n_labels,))
    _require(np.all(width > 0), "scaling/width has values that are not positive")
    intercept = _numbers("emulator/intercept", emulator.intercept, (n_pix,))
    _require(not np.any(np.isinf(intercept)), "emulator/intercept has infinite values")
    trained = np.isfinite(intercept)
    _require(trained.any(), "it has no trained pixel")
    mean = _numbers("emulator/flux_mean", emulator.flux_mean, (n_pix,))
    scale = _numbers("emulator/flux_scale", emulator.flux_scale, (n_pix,))
    _require(np.all(np.isfinite(mean[trained])), "emulator/flux_mean has values that are not finite")
    is_width = np.isfinite(scale[trained]) & (scale[trained] > 0)
    _require(np.all(is_width), "emulator/flux_scale has values that are not positive")
    if isinstance(emulator, KernelEmulator):
        _check_kernels(emulator, n_labels, n_pix)
    elif isinstance(emulator, PolynomialEmulator):
        _check_polynomial(emulator, n_labels, n_pix)


def _check_kernels(emulator: KernelEmulator, n_labels: int, n_pix: int) -> None:
    support = _finite("emulator/support", emulator.support, (None, n_labels))
    slots = 0
    for number, block in enumerate(emulator.blocks):
        name = f"emulator/block{number}"
        gamma = _finite(f"{name}/gamma", block.gamma, (None,))
        _require(np.all(gamma > 0), f"{name}/gamma has values that are not positive")
        _finite(f"{name}/coef0", block.coef0, gamma.shape)
        dual = _finite(f"{name}/dual", block.dual, (gamma.size, len(support), None))
        slots += dual.shape[0] * dual.shape[2]
        _check_metric(f"{name}/metric", block.metric, n_labels)
        kernels.check_kernel(block.kernel)
        _require(0 <= block.degree <= _MOST_DEGREE, f"{name} has degree {block.degree}")
        known = set(block.labels) <= set(range(n_labels)) and len(set(block.labels)) == len(block.labels)
        _require(known, f"{name} names labels that the model does not have")
    if emulator.basis is not None:
        basis = _finite("emulator/basis", emulator.basis, (None, n_pix))
        _require(len(basis) and slots and slots % len(basis) == 0, "emulator/basis does not fit to its kernels")
    elif emulator.order is not None:
        order = _finite("emulator/order", emulator.order, (n_pix,))
        inside = order.dtype.kind in "iu" and np.all((order >= 0) & (order < slots))
        _require(inside, "emulator/order names pixels that do not exist")
    else:
        _require(slots == n_pix, f"it has kernel sums for {slots} pixels, not for {n_pix}")


def _check_metric(name: str, metric: Any, n_labels: int) -> None:
    if metric is not None:
        _require(np.all(_finite(name, metric, (n_labels,)) > 0), f"{name} has values that are not positive")


def _check_polynomial(emulator: PolynomialEmulator, n_labels: int, n_pix: int) -> None:
    exponents = emulator.exponents
    _require(exponents, "its polynomial has no terms")
    for one in exponents:
        is_monomial = len(one) == n_labels and min(one) >= 0 and 0 < sum(one) <= _MOST_DEGREE
        _require(is_monomial, f"{one} is not a monomial of its labels")
    _finite("emulator/basis", emulator.basis, (len(exponents), n_pix))


def _check_training_labels(training_labels: TrainingLabels, n_labels: int) -> None:
    stars = _finite("domain/stars", training_labels.stars, (None, n_labels))
    _require(len(stars), "it has no training stars")
    low = _finite("domain/low", training_labels.low, (n_labels,))
    high = _finite("domain/high", training_labels.high, (n_labels,))
    is_box = np.allclose(low, stars.min(axis=0), atol=1e-4) and np.allclose(high, stars.max(axis=0), atol=1e-4)
    _require(is_box, "domain/low and domain/high are not the range of its training stars")
    reach = _finite("domain/reach", training_labels.max_distance, ())
    _require(reach >= 0, "domain/reach is negative")
    _check_metric("domain/metric", training_labels.metric, n_labels)


def _check_noise(noise: Noise, trained: np.ndarray) -> None:
    """Variances and scales of trained pixels are finite and not negative, factors finite."""
    for field in dataclasses.fields(noise):  # type: ignore[arg-type]
        name = field.name
        axes = str(field.type).replace("'", '"').split('"')[1].split()  # of its annotation: "pixel model_factor"
        shape = tuple(trained.size if axis == "pixel" else None for axis in axes)
        array = _numbers(f"noise/{name}", getattr(noise, name), shape)
        shown = array if array.ndim != 1 else array[trained]
        _require(not np.any(np.isnan(array)) and np.all(np.isfinite(shown)), f"noise/{name} is not finite")
        _require(array.ndim > 1 or np.all(array >= 0), f"noise/{name} has negative values")


def _check_calibration(calibration: Calibration, n_labels: int) -> None:
    for name in ("chi2_limit", "chi2_scale", "tail", "unseen_scale", "neighbour_distance"):
        value = getattr(calibration, name)
        allowed = _is_positive(value) or (name in ("chi2_limit", "tail") and value == np.inf)
        _require(allowed, f"{name} of its calibration is {value!r}")
    for name in ("sparse", "photon_chi2"):
        value = getattr(calibration, name)
        _require(_is_positive(value) or value == 0, f"{name} of its calibration is {value!r}")
    stated = calibration.photons_as_stated
    _require(isinstance(stated, bool), f"photons_as_stated of its calibration is {stated!r}")
    for name in ("label_scale", "interval95_factor"):
        factors = getattr(calibration, name)
        sound = isinstance(factors, list) and len(factors) in (0, n_labels) and all(map(_is_positive, factors))
        _require(sound, f"{name} of its calibration is {factors!r}")


def _check_likeness(likeness: Likeness | None, n_factors: int) -> None:
    if likeness is None:
        return
    n_measures = 3 if n_factors else 2
    _finite("likeness/whitener", likeness.whitener, (n_factors, n_factors))
    _finite("likeness/photon_range", likeness.photon_range, (2,))
    _finite("likeness/trend", likeness.trend, (n_measures, 3))
    _require(np.all(_finite("likeness/spread", likeness.spread, (n_measures,)) > 0), "likeness/spread is not positive")
    _require(likeness.photon_weight >= 0 and _is_positive(likeness.n_pix), "likeness/photon_weight or n_pix is wrong")
    combined = _finite("likeness/combined", likeness.combined, (None,))
    measures = _finite("likeness/measures", likeness.measures, (n_measures, combined.size))
    is_sorted = combined.size and np.all(np.diff(combined) >= 0) and np.all(np.diff(measures, axis=1) >= 0)
    _require(is_sorted, "likeness/measures or likeness/combined is not sorted")


def _check_intervals(intervals: LocalIntervals | None, n_labels: int) -> None:
    if intervals is None:
        return
    _finite("intervals/marginal", intervals.marginal, (n_labels, 2))
    knots = _finite("intervals/knots", intervals.knots, (n_labels, 2, None))
    _finite("intervals/terms", intervals.terms, (n_labels, 2, 2, knots.shape[2]))
    _require(knots.size and np.all(np.diff(knots, axis=2) >= 0), "intervals/knots do not rise")


def _check_means(means: LabelMeans | None, n_labels: int, n_factors: int) -> None:
    if means is None:
        return
    for name, size in (("label_width", n_labels), ("factor_width", n_factors)):
        width = _finite(f"means/{name}", getattr(means, name), (size,))
        _require(np.all(width > 0), f"means/{name} has values that are not positive")
    features = _finite("means/features", means.features, (None, 2 * n_labels + n_factors))
    _finite("means/weights", means.weights, (len(features), n_labels))
    _finite("means/stretch", means.stretch, (n_labels, 2))
    ends = _finite("means/error_range", means.error_range, (n_labels, 2))
    _require(len(features) and np.all(np.diff(ends) >= 0), "means/error_range does not rise, or it has no stars")
    _require(_is_positive(means.nearness), f"means/nearness is {means.nearness!r}")


def _is_positive(value: Any) -> bool:
    """Whether this is a finite number above 0."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")
