"""From where each start of a star ended to its row of results: best start, χ², covariance, flags, physical units."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from slamjax.fitting.covariance import covariances, separation
from slamjax.fitting.problem import Summary
from slamjax.flags import Flag
from slamjax.forward.emulator import ForwardEmulator
from slamjax.forward.nuisances import SQUARES
from slamjax.model.model import Model
from slamjax.noise.calibration import PhotonShares
from slamjax.noise.photon_part import photon_shares

#: Another minimum counts if its objective is within this of the best one's, scaled by the star's noise: the data do
#: not distinguish the two ...
_SIMILAR = 2.0
#: ... and its labels are this many standard errors away (Mahalanobis distance, errors of both minima).
_ELSEWHERE = 3.0
#: An unconverged start must be better than a converged one by this much.
_CREPT = 0.5
#: A label is at the edge within this fraction of its range, or within a tenth of its error if that is larger.
_EDGE = 1e-4
#: Spectra with fewer good pixels than this fraction of the model's are flagged.
FEW = 0.5


@dataclass(frozen=True)
class FitResult:
    """Arrays of N rows, in physical units; see `slamjax.fitting.label_table.label_table`.

    ``half_widths`` (N, 2, L) are those of the labels' central 68 and 95 % intervals, ``velocity`` (N, 2) the measured
    velocities and their errors, km/s, of spectra in the observed frame, ``unlike`` (N,) p-values, see
    `slamjax.fitting.unlikeness`, ``mean`` and ``std`` (N, L) those of the posterior, where they are wanted.
    """

    labels: np.ndarray
    covariance: np.ndarray
    half_widths: np.ndarray
    chi2: np.ndarray
    n_pix: np.ndarray
    n_iter: np.ndarray
    flags: np.ndarray
    noise_scale: np.ndarray
    nuisances: dict[str, np.ndarray] = field(default_factory=dict)
    snr: np.ndarray | None = None
    unlike: np.ndarray | None = None
    velocity: np.ndarray | None = None
    mean: np.ndarray | None = None
    std: np.ndarray | None = None


def replace_rows(result: FitResult, part: FitResult, rows: np.ndarray) -> FitResult:
    """The result with some rows from another."""
    fields: dict[str, Any] = {}
    for name, values in vars(result).items():
        other = getattr(part, name)
        if values is None:
            fields[name] = None
        elif isinstance(values, dict):
            fields[name] = {key: _put(value, other[key], rows) for key, value in values.items()}
        else:
            fields[name] = _put(values, other, rows)
    return FitResult(**fields)


def _put(values: np.ndarray, part: np.ndarray, rows: np.ndarray) -> np.ndarray:
    out = np.array(values)
    out[rows] = part
    return out


@dataclass(frozen=True, eq=False)
class Ends:
    """Where the S starts of N stars ended: arrays (N, S, ...), parameters scaled as in `Summary`.

    ``weight`` (N,) is that of the prior, whose curvature is ``prior_curvature``; None where there is none.
    """

    x: np.ndarray
    objective: np.ndarray
    chi2: np.ndarray
    curvature: np.ndarray
    prior_curvature: np.ndarray
    converged: np.ndarray
    n_iter: np.ndarray
    weight: np.ndarray | None = None

    @classmethod
    def from_summary(cls, summary: Summary, n_starts: int, weight: np.ndarray | None = None) -> Ends:
        """From the summaries of n_starts · N problems, the first starts of all stars first."""

        def by_star(values: object) -> np.ndarray:
            array = np.asarray(values)
            return np.swapaxes(array.reshape(n_starts, -1, *array.shape[1:]), 0, 1)

        objective = by_star(summary.objective).astype(float)
        return cls(
            x=by_star(summary.x),
            objective=np.where(np.isfinite(objective), objective, np.inf),
            chi2=by_star(summary.chi2).astype(float),
            curvature=by_star(summary.curvature).astype(float),
            prior_curvature=by_star(summary.prior_curvature).astype(float),
            converged=by_star(summary.converged),
            n_iter=by_star(summary.n_iter),
            weight=weight,
        )

    @cached_property
    def best(self) -> np.ndarray:
        """(N,) which of each star's starts ended best."""
        # a start that crept until it ran out of iterations must not beat by rounding one that arrived
        return np.argmin(self.objective + np.where(self.converged, 0, _CREPT), axis=1)

    def of_best(self, values: np.ndarray) -> np.ndarray:
        """(N, ...) from (N, S, ...)."""
        return values[np.arange(len(values)), self.best]


@dataclass(frozen=True, eq=False)
class _Box:
    """Bounds of the scaled labels (L,), and the ``span`` of all parameters (L + V,)."""

    low: np.ndarray
    high: np.ndarray
    span: np.ndarray

    @classmethod
    def of(cls, model: Model, forward: ForwardEmulator | None) -> _Box:
        low, high = np.asarray(model.training_labels.low), np.asarray(model.training_labels.high)
        span = high - low
        if forward is not None:
            velocity_low, velocity_high = forward.bounds()
            span = np.concatenate([span, velocity_high - velocity_low])
        return cls(low, high, span)


def summarise(
    model: Model,
    ends: Ends,
    n_pix: np.ndarray,
    no_errors: np.ndarray,
    forward: ForwardEmulator | None = None,
    photons: tuple[np.ndarray, np.ndarray] | None = None,
) -> FitResult:
    """The result for N stars.

    Parameters
    ----------
    ends : Ends
    n_pix : (N,) good pixels
    no_errors : (N,) spectra that state no errors
    forward : with nuisances, whose parameters stand behind the labels
    photons : `slamjax.fitting.photon_noise.photon_parts`, where photon noise is read apart
    """
    n_labels, calibration = len(model.label_names), model.info.calibration
    box = _Box.of(model, forward)
    x, chi2, curvature, prior = (
        ends.of_best(each) for each in (ends.x, ends.chi2, ends.curvature, ends.prior_curvature)
    )
    x, empty = x.astype(float), n_pix == 0
    broken = ~empty & ~(np.isfinite(chi2) & np.all(np.isfinite(curvature + prior), axis=(1, 2)))
    converged = ends.of_best(ends.converged) & ~broken
    curvature = np.where((empty | broken)[:, None, None], np.eye(len(box.span)), curvature)
    prior = np.where((empty | broken)[:, None, None], 0, prior)

    plain, _ = covariances(curvature, box.span)
    shares = PhotonShares.none(n_pix, len(box.span)) if photons is None else photon_shares(plain, *photons)
    dof = np.maximum(n_pix - x.shape[1] - (0 if forward is None else forward.nuisances.n_coefficients), 1)
    distance = model.training_labels.neighbour_distance(x[:, :n_labels])
    noise = calibration.star_noise(chi2, n_pix, dof, distance, shares)
    scale = noise.noise_scale(n_labels)
    unit = np.where(scale > 0, scale, 1)  # 1 where it is unknown
    root = np.sqrt(np.where(noise.variance_factor > 0, noise.variance_factor, 1))
    stretch = np.sqrt(calibration.stretched(np.square(root), shares.variance, n_labels) / np.square(root))
    full, covariance, unconstrained = _covariances(curvature, prior, ends.weight, (root, stretch), box.span)
    covariance = covariance[:, :n_labels, :n_labels]
    conditions = {
        Flag.NO_DATA: empty,
        Flag.NOT_CONVERGED: ~converged,
        Flag.AT_BOUND: at_bound(x[:, :n_labels], covariance, box.low, box.high),
        Flag.OUTSIDE_TRAINING: model.training_labels.outside_on_host(x[:, :n_labels]),
        Flag.FEW_PIXELS: n_pix < FEW * max(1, int(_usable(model, forward).sum())),
        Flag.HIGH_CHI2: noise.chi2 > noise.limit * dof,
        Flag.MULTIPLE_MINIMA: has_rival(ends, curvature + prior, box.span, unit),
        Flag.UNCONSTRAINED: unconstrained[:, :n_labels].any(axis=1),
        Flag.NO_ERRORS: no_errors & model.info.has_errors,
    }
    columns: dict[str, np.ndarray] = {}
    if forward is not None:
        columns, stuck = velocity_columns(forward, x[:, n_labels:], full[:, n_labels:, n_labels:])
        conditions[Flag.NUISANCE_AT_BOUND] = stuck
    flags = np.zeros(len(n_pix), dtype=np.int32)
    for flag, condition in conditions.items():
        flags |= np.where(condition, np.int32(flag), np.int32(0))

    failed = empty | ~converged
    half = calibration.half_widths(x[:, :n_labels], np.sqrt(np.einsum("nll->nl", covariance)))
    labels, covariance = _in_physical_units(model, x[:, :n_labels], covariance, failed)
    for name, values in columns.items():
        values[failed] = np.inf if name.endswith("_err") else np.nan
    return FitResult(
        labels=labels,
        covariance=covariance,
        half_widths=half * np.sqrt(np.einsum("nll->nl", covariance))[:, None],
        chi2=np.where(empty, np.nan, noise.chi2),
        n_pix=n_pix,
        n_iter=ends.n_iter.sum(axis=1),
        flags=np.where(empty, np.int32(Flag.NO_DATA), flags),  # nothing else is worth saying of a star without data
        noise_scale=np.where(failed, np.nan, scale),
        nuisances=columns,
    )


def _covariances(
    curvature: np.ndarray,
    prior: np.ndarray,
    weight: np.ndarray | None,
    factors: tuple[np.ndarray, np.ndarray],
    span: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Covariances (N, V, V) of parameters and, by the calibration's factors, of labels; which are not constrained.

    ``factors`` are those of each star's errors, and those by which labels are stretched; with a prior, which has
    neither, both are of the data's part of the information.
    """
    root, stretch = factors
    if weight is None:
        full, unconstrained = covariances(curvature / (root[:, :, None] * root[:, None, :]), span)
        return full, full * stretch[:, :, None] * stretch[:, None, :], unconstrained
    root = root * stretch
    of_data = curvature / (root[:, :, None] * root[:, None, :])
    full, unconstrained = covariances(of_data + prior / weight[:, None, None], span)
    return full, full, unconstrained


def _usable(model: Model, forward: ForwardEmulator | None) -> np.ndarray:
    """(P,) bool: pixels that may count."""
    return model.trained if forward is None else np.asarray(forward.usable)


def at_bound(x: np.ndarray, covariance: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(N,) bool: stars with a label at the edge of the training range, from ``low`` to ``high``."""
    width = high - low
    sigma = np.sqrt(np.einsum("nll->nl", covariance))
    edge = np.maximum(_EDGE * width, np.minimum(0.1 * sigma, 100 * _EDGE * width))
    return np.any((x <= low + edge) | (x >= high - edge), axis=1)


def has_rival(ends: Ends, curvature: np.ndarray, span: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """(N,) bool: another start ended elsewhere and fits about as well."""
    lowest = ends.of_best(ends.objective)
    x = ends.x.astype(float)
    theirs = ends.curvature + ends.prior_curvature
    separate = separation(x, ends.of_best(x), theirs, curvature, span) > _ELSEWHERE**2 * unit[:, None]
    with np.errstate(invalid="ignore"):
        rival = ends.converged & (ends.objective - lowest[:, None] < _SIMILAR * unit[:, None]) & separate
    return rival.any(axis=1)


def _in_physical_units(
    model: Model, x: np.ndarray, covariance: np.ndarray, failed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N, L) and covariances; NaN and infinite where the fit failed."""
    scaling = model.host_emulator.scaling
    slope = np.asarray(scaling.slope(x))
    labels = np.array(scaling.inverse(x))
    covariance = covariance * slope[:, :, None] * slope[:, None, :]
    labels[failed] = np.nan
    covariance[failed] = np.where(np.eye(x.shape[1], dtype=bool), np.inf, np.nan)
    return labels, covariance


def velocity_columns(
    forward: ForwardEmulator, parameters: np.ndarray, covariance: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns of the free nuisances (N,) in their units with errors, and which stars have one at a bound.

    See `slamjax.forward.coordinates`. A width of zero is not a bound, nor is the model's own resolution.
    """
    columns: dict[str, np.ndarray] = {}
    stuck = np.zeros(len(parameters), bool)
    low, high = forward.bounds()
    for k, name in enumerate(forward.free):
        value, sigma, coordinate = parameters[:, k], np.sqrt(covariance[:, k, k]), forward.coordinate_of(name)
        value = np.maximum(value, 0) if name in SQUARES else value
        columns[name] = np.asarray(coordinate.value(value))
        columns[f"{name}_err"] = np.asarray(coordinate.error(value, sigma))
        edge = _EDGE * (high[k] - low[k])
        stuck |= value >= high[k] - edge
        stuck |= (value <= low[k] + edge) & (name not in SQUARES or low[k] > 0)
    return columns, stuck
