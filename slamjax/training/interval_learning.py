"""Local intervals from held-out stars: bandwidths by cross-validation, widths such that they hold what they say."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from slamjax.noise.intervals import LEVELS, LocalIntervals, coordinates, interpolated

#: Fewer stars show no places; of more, as many are drawn at random.
_FEWEST, _MOST = 200, 4000
#: Knots of a term, between these percentiles of its coordinate.
_KNOTS, _ENDS = 25, (1.0, 99.0)
#: Standard deviations of the Gaussian weights that are tried, in those of the coordinate.
_BANDWIDTHS = (0.15, 0.3, 0.6)
#: Weight of all stars together, in stars that lie where the interval is wanted.
_ALL = 30.0
#: A term changes half-widths by at most this factor.
_BOUND = 2.0
#: Folds of stars for which half-widths are found from the others.
_FOLDS = 5
_LEAST = 1e-3


def learn_intervals(pulls: np.ndarray, x: np.ndarray, error: np.ndarray) -> LocalIntervals:
    """From held-out stars' pulls, and their fitted labels and stated errors, scaled, all (N, L) and finite.

    Each term is made with the bandwidth that has the best interval score of stars that did not take part, if that is
    better than none. The half-widths are scaled to hold 68 and 95 % of such stars.
    """
    rows = np.sort(np.random.default_rng(0).permutation(len(pulls))[:_MOST])
    scores, x, error = np.abs(pulls[rows]), x[rows], error[rows]
    if len(rows) < _FEWEST:
        return LocalIntervals.everywhere(np.stack([_conformal(_both(column)) for column in scores.T]))
    found = [_of_label(*columns) for columns in zip(scores.T, x.T, error.T, strict=True)]
    marginal, knots, terms = (np.stack(each) for each in zip(*found, strict=True))
    return LocalIntervals(marginal, knots, terms)


def _of_label(scores: np.ndarray, x: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(2,) logarithms of marginal half-widths, (2, G) knots and (2, 2, G) terms of one label."""
    ratio = _both(scores)
    marginal = np.log(_conformal(ratio))
    fold = np.random.default_rng(1).permutation(len(scores)) % _FOLDS
    all_knots, all_terms = [], []
    for at in coordinates(x, error):
        low, high = np.percentile(at, _ENDS)
        knots = np.linspace(low, high, _KNOTS)
        terms, best = np.zeros((2, _KNOTS)), _interval_score(ratio)
        kept = ratio
        for step in _BANDWIDTHS:
            bandwidth = max(step * float(np.std(np.clip(at, knots[0], knots[-1]))), 1e-9)
            factor = np.empty_like(ratio)
            for k in range(_FOLDS):
                some = _term(knots, at[fold != k], ratio[fold != k], bandwidth)
                factor[fold == k] = np.exp(interpolated(at[fold == k], knots, some))
            score = _interval_score(ratio / factor, factor)
            if score < best:
                best, kept, terms = score, ratio / factor, _term(knots, at, ratio, bandwidth)
        ratio = kept
        all_knots.append(knots)
        all_terms.append(terms)
    all_terms[0] += (np.log(_conformal(ratio)) - marginal)[:, None]
    return marginal, np.stack(all_knots), np.stack(all_terms)


def _term(
    knots: np.ndarray, at: np.ndarray, ratio: Float[np.ndarray, "star 2"], bandwidth: float
) -> Float[np.ndarray, "2 knot"]:
    """Logarithms of quantiles of ratios near each knot over those of all stars, smoothed."""
    weight = _gaussian(knots, at, bandwidth) + _ALL / len(at)
    found = np.zeros((2, len(knots)))
    for k, (level, whole) in enumerate(zip(LEVELS, _conformal(ratio), strict=True)):
        order = np.argsort(ratio[:, k])
        ranks = np.cumsum(weight[:, order], axis=1)
        first = np.minimum(np.sum(ranks < level * ranks[:, -1:], axis=1), len(at) - 1)
        found[k] = np.log(np.clip(ratio[order[first], k] / whole, 1 / _BOUND, _BOUND))
    smooth = _gaussian(knots, knots, bandwidth)
    return found @ (smooth / smooth.sum(axis=1, keepdims=True)).T


def _gaussian(a: np.ndarray, b: np.ndarray, bandwidth: float) -> Float[np.ndarray, "first second"]:
    return np.exp(-0.5 * np.square((a[:, None] - b) / bandwidth))


def _both(scores: np.ndarray) -> np.ndarray:
    """(N, 2): the same scores for both levels."""
    return np.stack([scores, scores], axis=1)


def _conformal(ratio: Float[np.ndarray, "star 2"]) -> Float[np.ndarray, " 2"]:
    """Each column's quantile at its level, as if one star more were anywhere."""
    n = len(ratio)
    ranks = [min(level * (n + 1) / n, 1.0) for level in LEVELS]
    return np.maximum([np.quantile(column, rank) for column, rank in zip(ratio.T, ranks, strict=True)], _LEAST)


def _interval_score(ratio: np.ndarray, factor: np.ndarray | float = 1.0) -> float:
    """Mean interval score (Gneiting & Raftery 2007, JASA 102, 359) of half-widths h = factor × the ratios' quantiles.

    It is measured in scores, ratio × factor, each level over its mean half-width without factors.
    """
    whole = _conformal(ratio)
    outside = np.maximum(ratio - whole, 0) / (1 - np.asarray(LEVELS))
    return float(np.mean(factor * (whole + outside) / _conformal(ratio * factor)))
