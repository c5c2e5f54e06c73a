"""R-hat and effective sample sizes of many stars at once (Vehtari et al. 2021, Bayesian Analysis 16, 667).

As ArviZ computes them, but for whole arrays (chain, draw, ...) instead of one variable at a time; NumPyro has neither
the rank-normalised R-hat nor the tail effective sample size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import ndtri
from scipy.stats import rankdata


@dataclass(frozen=True)
class Diagnostics:
    """Convergence of the draws of each star and label, (star, label) arrays.

    Attributes
    ----------
    rhat : array
        Rank-normalised split R-hat; 1 where chains agree, NaN for importance draws.
    ess_bulk, ess_tail : array
        Effective sample size of the bulk and of the tails of the draws.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.sampling.diagnostics import diagnose
    >>> draws = np.random.default_rng(0).normal(size=(2, 500, 3))
    >>> diagnose(draws).rhat.round(1)
    array([1., 1., 1.])
    """

    rhat: np.ndarray
    ess_bulk: np.ndarray
    ess_tail: np.ndarray


def diagnose(draws: np.ndarray) -> Diagnostics:
    """Diagnostics of draws (chain, draw, ...); NaN where draws are not finite."""
    halves = _split(np.asarray(draws, np.float64))
    finite = np.isfinite(halves).all(axis=(0, 1))
    halves = np.where(finite, halves, 0)
    normal = _rank_normal(halves)
    folded = _rank_normal(np.abs(halves - np.median(halves, axis=(0, 1))))
    low, high = np.quantile(halves, [0.05, 0.95], axis=(0, 1))
    tail = np.minimum(_ess((halves <= low).astype(float)), _ess((halves <= high).astype(float)))
    values = np.maximum(_rhat(normal), _rhat(folded)), _ess(normal), tail
    return Diagnostics(*(np.where(finite, value, np.nan) for value in values))


def _split(draws: np.ndarray) -> np.ndarray:
    """Each chain as two: (2 chains, draws // 2, ...)."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, draws.shape[1] - half :]])


def _rank_normal(draws: np.ndarray) -> np.ndarray:
    flat = draws.reshape(-1, *draws.shape[2:])
    rank = rankdata(flat, axis=0)
    return ndtri((rank - 0.375) / (len(flat) + 0.25)).reshape(draws.shape)


def _rhat(draws: np.ndarray) -> np.ndarray:
    n = draws.shape[1]
    within = draws.var(axis=1, ddof=1).mean(axis=0)
    between = draws.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(within > 0, np.sqrt((n - 1) / n + between / within), np.nan)


def _ess(draws: np.ndarray) -> np.ndarray:
    """m n / τ, with τ summed over Geyer's initial monotone sequence of autocorrelations."""
    m, n = draws.shape[:2]
    if n < 4:
        return np.full(draws.shape[2:], np.nan)
    centred = draws - draws.mean(axis=1, keepdims=True)
    size = next_fast_len(2 * n)
    power = np.abs(rfft(centred, size, axis=1)) ** 2
    covariance = irfft(power.mean(axis=0), size, axis=0)[:n] / n
    within = covariance[0] * n / (n - 1)
    total = within * (n - 1) / n + draws.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = 1 - (within - covariance * n / (n - 1)) / total
    correlation[0] = 1
    pairs = correlation[: n - n % 2].reshape(n // 2, 2, *correlation.shape[1:])
    sums = np.minimum.accumulate(pairs.sum(axis=1), axis=0)
    positive = np.cumprod(sums > 0, axis=0).astype(bool)
    tau = -1 + 2 * np.sum(np.where(positive, sums, 0), axis=0)
    # the first lag beyond the sequence still counts if it is positive
    last = np.clip(positive.sum(axis=0), 0, len(sums) - 1)
    beyond = np.take_along_axis(pairs[:, 0], last[None], axis=0)[0]
    tau += np.where(positive.all(axis=0), 0, np.maximum(beyond, 0))
    tau = np.maximum(tau, 1 / np.log10(m * n))
    return np.where(total > 0, m * n / tau, np.nan)
