"""From where each start of a star ended to its row of results: best start, covariance, flags."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from slamjax.fitting.problem import Summary
from slamjax.flags import Flag
from slamjax.forward.emulator import ForwardEmulator
from slamjax.forward.nuisances import WIDTHS
from slamjax.model.model import Model
from slamjax.noise.calibration import PhotonNoiseCorrection

#: Another minimum counts if its objective is within this of the best one's, in units of the star's own noise: data do
#: not choose between the two ...
_SIMILAR = 2.0
#: ... and its labels are this many standard errors (Mahalanobis distance) of both minima together away.
_ELSEWHERE = 3.0
#: An unconverged start has to be better than a converged one by this much.
_CREPT = 0.5
#: A label within this part of its range of the edge, or a tenth of its error if that is a little more, is at the edge.
_EDGE = 1e-4
#: Stars compared with all training stars at once: bounds the distances' memory.
_BLOCK = 512
#: Fewer good pixels than this part of the model's is few.
_FEW = 0.5


@dataclass(frozen=True)
class FitResult:
    """Arrays of N rows, in physical units; see `slamjax.fitting.label_table.label_table`."""

    labels: np.ndarray
    covariance: np.ndarray
    half95: np.ndarray
    chi2: np.ndarray
    n_pix: np.ndarray
    n_iter: np.ndarray
    flags: np.ndarray
    noise_scale: np.ndarray
    nuisances: dict[str, np.ndarray] = field(default_factory=dict)


def replace_rows(outcome: FitResult, part: FitResult, rows: np.ndarray) -> FitResult:
    """The outcome with some rows from another."""
    fields: dict[str, Any] = {}
    for name, values in vars(outcome).items():
        other = getattr(part, name)
        if isinstance(values, dict):
            fields[name] = {key: _put(value, other[key], rows) for key, value in values.items()}
        else:
            fields[name] = _put(values, other, rows)
    return FitResult(**fields)


def _put(values: np.ndarray, part: np.ndarray, rows: np.ndarray) -> np.ndarray:
    out = np.array(values)
    out[rows] = part
    return out


def best_starts(summary: Summary, n_starts: int) -> np.ndarray:
    """(N,) which of each star's starts ended best; ``summary`` as of `summarise`."""
    objective, ended = (np.asarray(a).reshape(n_starts, -1).T for a in (summary.objective, summary.converged))
    objective = np.where(np.isfinite(objective), objective.astype(float), np.inf)
    # a start that crept until it ran out of iterations must not beat by rounding one that arrived
    return np.argmin(objective + np.where(ended, 0, _CREPT), axis=1)


def summarise(
    model: Model,
    summary: Summary,
    n_starts: int,
    n_pix: np.ndarray,
    no_errors: np.ndarray,
    forward: ForwardEmulator | None = None,
    photons: PhotonNoiseCorrection | None = None,
) -> FitResult:
    """The outcome for N stars.

    Parameters
    ----------
    summary : of n_starts · N problems, the first starts of all stars first
    n_pix : (N,) good pixels
    no_errors : (N,) spectra that state no errors
    forward : with nuisances, whose parameters stand behind the labels in the summary
    photons : where stars state errors and training stars did not
    """
    n, n_labels = len(n_pix), len(model.label_names)

    def by_star(values: object) -> np.ndarray:
        array = np.asarray(values)
        return np.swapaxes(array.reshape(n_starts, n, *array.shape[1:]), 0, 1)

    x = by_star(summary.x).astype(float)
    ended = by_star(summary.converged)
    objective = by_star(summary.objective).astype(float)
    objective = np.where(np.isfinite(objective), objective, np.inf)
    best = best_starts(summary, n_starts)
    row = np.arange(n)
    place, lowest = x[row, best], objective[row, best]
    at = place[:, :n_labels]
    curvatures = by_star(summary.curvature).astype(float)
    curvature = curvatures[row, best]
    chi2 = by_star(summary.chi2).astype(float)[row, best]
    converged = ended[row, best].copy()
    calibration = model.info.calibration
    chi2_scale: Any = calibration.chi2_scale
    chi2_limit: Any = calibration.chi2_limit
    if photons is not None:
        chi2_scale, chi2_limit = photons.chi2_scale(calibration, n_pix), photons.chi2_limit(calibration)
    chi2 = chi2 * chi2_scale
    others = 0 if forward is None else forward.nuisances.n_coefficients
    dof = np.maximum(n_pix - place.shape[1] - others, 1)
    with np.errstate(invalid="ignore"):
        least = 0.0 if photons is None else photons.photon_share(calibration)
        own = calibration.star_scale(chi2, dof, model.training_labels.neighbour_distance(at), least)
    if photons is not None:
        own = own * photons.scale(calibration)
    low, high = np.asarray(model.training_labels.low), np.asarray(model.training_labels.high)
    span = high - low
    if forward is not None:
        own_low, own_high = forward.bounds()
        span = np.concatenate([span, own_high - own_low])
    flags = np.zeros(n, dtype=np.int32)

    empty = n_pix == 0
    broken = ~empty & ~(np.isfinite(chi2) & np.all(np.isfinite(curvature), axis=(1, 2)))
    converged &= ~broken
    sound_curvature = np.where((empty | broken)[:, None, None], np.eye(len(span)), curvature)
    unit = np.where(own > 0, own, 1)
    everything, unconstrained = covariances(sound_curvature / unit[:, None, None], span)
    covariance, unconstrained = everything[:, :n_labels, :n_labels], unconstrained[:, :n_labels]
    label_scale = calibration.label_scale_of(n_labels)
    covariance = covariance * label_scale[:, None] * label_scale

    separate = _separation(x, place, curvatures, sound_curvature, span) > _ELSEWHERE**2 * unit[:, None]
    with np.errstate(invalid="ignore"):
        rival = ended & (objective - lowest[:, None] < _SIMILAR * unit[:, None]) & separate

    sigma = np.sqrt(np.einsum("nll->nl", covariance))
    edge = np.maximum(_EDGE * (high - low), np.minimum(0.1 * sigma, 100 * _EDGE * (high - low)))
    most = model.trained if forward is None else np.asarray(forward.usable)
    used_share = n_pix / max(1, int(most.sum()))
    training_labels = model.training_labels.on_device()
    outside = np.concatenate(
        [np.asarray(training_labels.outside(at[i : i + _BLOCK].astype(np.float32))) for i in range(0, n, _BLOCK)]
    )
    for condition, flag in (
        (empty, Flag.NO_DATA),
        (~converged, Flag.NOT_CONVERGED),
        (np.any((at <= low + edge) | (at >= high - edge), axis=1), Flag.AT_BOUND),
        (outside, Flag.OUTSIDE_TRAINING),
        (used_share < _FEW, Flag.FEW_PIXELS),
        (chi2 > chi2_limit * dof, Flag.HIGH_CHI2),
        (rival.any(axis=1), Flag.MULTIPLE_MINIMA),
        (unconstrained.any(axis=1), Flag.UNCONSTRAINED),
        (no_errors & model.info.has_errors, Flag.NO_ERRORS),
    ):
        flags |= np.where(condition, np.int32(flag), np.int32(0))
    columns: dict[str, np.ndarray] = {}
    if forward is not None:
        columns, stuck = _velocities(forward, place[:, n_labels:], everything[:, n_labels:, n_labels:])
        flags |= np.where(stuck, np.int32(Flag.NUISANCE_AT_BOUND), np.int32(0))
    # nothing else is worth saying of a star without data
    flags = np.where(empty, np.int32(Flag.NO_DATA), flags)

    scaling = model.host_emulator.scaling
    slope = np.asarray(scaling.slope(at))
    labels = np.array(scaling.inverse(at))
    covariance = covariance * slope[:, :, None] * slope[:, None, :]
    failed = empty | ~converged
    labels[failed] = np.nan
    covariance[failed] = _unknown(n_labels)
    for name, values in columns.items():
        values[failed] = np.inf if name.endswith("_err") else np.nan
    return FitResult(
        labels,
        covariance,
        calibration.interval95_factor_of(n_labels) * np.sqrt(np.einsum("nll->nl", covariance)),
        np.where(empty, np.nan, chi2),
        n_pix,
        by_star(summary.n_iter).sum(axis=1),
        flags,
        np.where(failed, np.nan, own),
        columns,
    )


def _velocities(
    forward: ForwardEmulator, parameters: np.ndarray, covariance: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns of the free velocities (N,) in km/s with errors, and which stars have one at a bound.

    Of a width w the square is fitted, with an error e: the width's is e / 2w, but not more than √e, the width that the
    data allow where none is found. No width at all is an answer like any other, not a bound.
    """
    columns: dict[str, np.ndarray] = {}
    stuck = np.zeros(len(parameters), bool)
    low, high = forward.bounds()
    for k, name in enumerate(forward.free):
        value, sigma = parameters[:, k], np.sqrt(covariance[:, k, k])
        edge = _EDGE * (high[k] - low[k])
        stuck |= value >= high[k] - edge
        if name in WIDTHS:
            value = np.maximum(value, 0)
            columns[name] = np.asarray(forward.velocity(name, value))
            known = np.isfinite(sigma)
            some = np.where(known, sigma, 1)
            error = np.square(some) / (4 * np.maximum(value, some / 4))
            columns[f"{name}_err"] = np.where(known, forward.velocity(name, error), np.inf)
            stuck |= (low[k] > 0) & (value <= low[k] + edge)
        else:
            columns[name] = np.asarray(forward.velocity(name, value))
            columns[f"{name}_err"] = np.asarray(forward.velocity(name, sigma))
            stuck |= value <= low[k] + edge
    return columns, stuck


def _separation(
    x: np.ndarray, at: np.ndarray, curvatures: np.ndarray, curvature: np.ndarray, span: np.ndarray
) -> np.ndarray:
    """Squares (N, S) of how many standard errors, of both together, the ends x (N, S, L) are from the best, ``at``.

    Directions that a spectrum says nothing of are as wide as the ``span`` of the labels, so that they separate nothing.
    """
    sound = np.all(np.isfinite(curvatures), axis=(2, 3))
    weakest = np.diag(1 / np.square(span))
    eye = np.eye(len(span))
    theirs = np.linalg.inv(np.where(sound[:, :, None, None], curvatures + weakest, eye))
    own = np.linalg.inv(curvature + weakest)
    apart = x - at[:, None]
    square = np.einsum("nsi,nsij,nsj->ns", apart, np.linalg.inv(theirs + own[:, None]), apart)
    return np.where(sound, square, 0)


def covariances(curvature: np.ndarray, span: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of the curvature (N, L, L), and which labels (N, L) it does not constrain within their ``span`` (L,).

    A label whose error exceeds the span is known no better than to lie within the training range. A
    pseudo-inverse would give such a direction no variance at all; here such a label gets an infinite
    one.
    """
    scaled = curvature * span[:, None] * span[None, :]
    value, vector = np.linalg.eigh((scaled + np.swapaxes(scaled, 1, 2)) / 2)
    inverse = np.einsum("nij,nj,nkj->nik", vector, 1 / np.maximum(value, 1e-12), vector)
    unconstrained = np.einsum("nii->ni", inverse) > 1
    covariance = inverse * span[:, None] * span[None, :]
    either = unconstrained[:, :, None] | unconstrained[:, None, :]
    covariance = np.where(either, np.nan, covariance)
    diagonal = np.einsum("nii->ni", covariance)  # a view
    diagonal[unconstrained] = np.inf
    return covariance, unconstrained


def _unknown(n_labels: int) -> np.ndarray:
    return np.where(np.eye(n_labels, dtype=bool), np.inf, np.nan)
