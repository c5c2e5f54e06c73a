"""Learn `LabelMeans` from fits of held-out stars, whose labels are known.

Kernel ridge regression of known minus fitted labels, in which odd stars count less: residuals are multivariate
Student-t (Lange, Little & Taylor 1989, JASA 84, 881), found by iteratively reweighted least squares. Each label has the
ridge with the most probable residuals of stars that did not take part, or no correction if that is not clearly better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import brentq, minimize_scalar

from slamjax.noise.label_means import LabelMeans, gaussian, log_error
from slamjax.training.label_errors import robust_width

#: Fewer stars cannot say what fits lack; of more, as many are drawn at random.
_FEWEST, _MOST = 200, 2500
#: Ridges that are tried, in units of the kernel at no distance.
_RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
#: Degrees of freedom of residuals, rounds of reweighting, and folds of stars.
_NU, _ROUNDS, _FOLDS = 10.0, 4, 5
#: A correction must be better than none by so many standard errors.
_CLEARLY = 1.0
#: Slopes that are tried of ln (std / error) with ln error, and percentiles of errors between which it has one.
_SLOPES = np.linspace(-1.0, 0.5, 16)
_ENDS = (1.0, 99.0)
#: The largest offset.
_LARGEST = 4.0


class HeldOutFits(NamedTuple):
    """Fits of N held-out stars: scaled labels, their errors, factors of the residuals; all finite.

    ``known`` labels are scaled, too; ``known_variance`` is theirs as far as stated.
    """

    x: Float[np.ndarray, "star label"]
    error: Float[np.ndarray, "star label"]
    factors: Float[np.ndarray, "star factor"]
    known: Float[np.ndarray, "star label"]
    known_variance: Float[np.ndarray, "star label"]

    def rows(self, rows: np.ndarray) -> HeldOutFits:
        """Some of the stars."""
        return HeldOutFits(*(each[rows] for each in self))


def learn_means(fits: HeldOutFits) -> LabelMeans | None:
    """The regression and its errors; None if the stars are too few."""
    fits = fits.rows(np.sort(np.random.default_rng(0).permutation(len(fits.x))[:_MOST]))
    if len(fits.x) < _FEWEST:
        return None
    label_width = np.maximum(np.std(fits.x, axis=0), 1e-6)
    spread = np.median(np.abs(fits.factors), axis=0) / 0.6745
    factor_width = np.where(spread > 0, spread, 1.0)
    features = LabelMeans.features_of(fits.x, fits.error, fits.factors, label_width, factor_width)
    kernel, lacking = gaussian(features, features), fits.known - fits.x
    ridges, left = _choose(kernel, lacking)
    weights = np.zeros_like(lacking)
    for ridge in {each for each in ridges.tolist() if np.isfinite(each)}:
        weights[:, ridges == ridge] = _regression(kernel, lacking, ridge)[:, ridges == ridge]
    stretch, ends = _stretches(left, fits.error, fits.known_variance)
    np.fill_diagonal(kernel, 0)
    nearness = float(np.median(kernel.max(axis=1)))
    return LabelMeans(label_width, factor_width, features, weights, stretch, ends, nearness)


def _choose(kernel: np.ndarray, lacking: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(L,) ridges, infinite where no correction is clearly better, and (N, L) what each leaves of stars left out."""
    fold = np.random.default_rng(1).permutation(len(lacking)) % _FOLDS
    scale = np.maximum(robust_width(lacking), 1e-12)
    none = _log_p(lacking, scale)
    ridges, left, best = np.full(lacking.shape[1], np.inf), lacking.copy(), none.copy()
    for ridge in _RIDGES:
        apart = np.empty_like(lacking)
        for k in range(_FOLDS):
            some, others = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
            found = _regression(kernel[np.ix_(some, some)], lacking[some], ridge)
            apart[others] = lacking[others] - kernel[np.ix_(others, some)] @ found
        log_p = _log_p(apart, scale)
        better = log_p.mean(axis=0) > best.mean(axis=0)
        ridges[better], left[:, better], best[:, better] = ridge, apart[:, better], log_p[:, better]
    gain = best - none
    unclear = gain.mean(axis=0) < _CLEARLY * gain.std(axis=0) / np.sqrt(len(gain))
    return np.where(unclear, np.inf, ridges), np.where(unclear, lacking, left)


def _regression(kernel: np.ndarray, wanted: np.ndarray, ridge: float) -> Float[np.ndarray, "star label"]:
    """Weights of the stars' kernels."""
    left, n_labels = wanted, wanted.shape[1]
    for _ in range(_ROUNDS):
        square = np.sum(np.square(left / np.maximum(robust_width(left), 1e-12)), axis=1)
        own = ridge * (_NU + square) / (_NU + n_labels)
        system = kernel.copy()
        system[np.diag_indices(len(system))] += own
        found = cho_solve(cho_factor(system, lower=True, overwrite_a=True, check_finite=False), wanted)
        left = found * own[:, None]
    return np.asarray(found)


def _log_p(left: np.ndarray, start: np.ndarray) -> Float[np.ndarray, "star label"]:
    """ln of a Student-t density of each residual, with the scale of each label that makes all most probable."""
    found = np.empty_like(left)
    for label, values in enumerate(left.T):

        def log_density(log_scale: float, values: np.ndarray = values) -> np.ndarray:
            return -log_scale - 0.5 * (_NU + 1) * np.log1p(np.square(values * np.exp(-log_scale)) / _NU)

        middle = float(np.log(start[label]))
        best = minimize_scalar(
            lambda t, density=log_density: -np.mean(density(t)), bounds=(middle - 4, middle + 4), method="bounded"
        )
        found[:, label] = log_density(best.x)
    return found


def _stretches(
    left: np.ndarray, error: np.ndarray, known_variance: np.ndarray
) -> tuple[Float[np.ndarray, "label 2"], Float[np.ndarray, "label 2"]]:
    """Offsets and slopes of ln (std / error), for which pulls of known labels are one wide, and ends of ln error."""
    logs = log_error(error)
    ends = np.percentile(logs, _ENDS, axis=0).T
    found = [
        _stretch(apart, at, other, both)
        for apart, at, other, both in zip(left.T, logs.T, known_variance.T, ends, strict=True)
    ]
    return np.array(found), ends


def _stretch(left: np.ndarray, logs: np.ndarray, other: np.ndarray, ends: np.ndarray) -> tuple[float, float]:
    """Offset and slope of one label: the slope with the most probable residuals of those whose pulls are one wide."""
    best = (np.inf, 0.0, 0.0)
    for slope in _SLOPES:
        shape = np.exp(2 * (logs + slope * np.clip(logs, *ends)))

        def width(offset: float, shape: np.ndarray = shape) -> np.ndarray:
            return np.sqrt(np.exp(2 * offset) * shape + other)

        def misfit(offset: float, width: Callable[[float], np.ndarray] = width) -> float:
            return float(np.log(np.maximum(robust_width(left / width(offset)), 1e-6)))

        # stated errors of the known labels may explain all that is left
        offset = brentq(misfit, -_LARGEST, _LARGEST) if misfit(-_LARGEST) > 0 > misfit(_LARGEST) else -_LARGEST
        sigma = width(offset)
        cost = float(np.mean(np.log(sigma) + 0.5 * (_NU + 1) * np.log1p(np.square(left / sigma) / _NU)))
        if cost < best[0]:
            best = (cost, float(offset), float(slope))
    return best[1:]
