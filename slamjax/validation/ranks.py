"""Rank statistics of simulation-based calibration (Talts et al. 2018, arXiv:1804.06788).

If θ is drawn from the prior, a spectrum from p(f | θ), and θ₁ … θ_D independently from the posterior p(θ | f), then the
rank of θ among θ₁ … θ_D is uniform on 0 … D for each label, whatever prior and likelihood are. Posteriors that are too
narrow pile ranks up at both ends, too wide ones in the middle, biased ones at one side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft, stats

from slamjax.errors import SlamError
from slamjax.validation.pulls import checked_draws

#: Few, so that 500 stars reveal widths wrong by a fifth: a scale is one degree of freedom, which more bins dilute.
N_BINS = 10


@dataclass(frozen=True, eq=False)
class RankTest:
    """Ranks of N true labels among their draws, and χ² tests of their uniformity.

    Attributes
    ----------
    names : tuple of L str
    ranks : (N, L) int array
        0 … ``n_draws``.
    n_draws : int
        Draws per star (after thinning).
    counts : (L, bins) array
        Stars in bins of rank.
    expected : (bins,) array
        Stars expected there; bins may hold one rank more or less than others.
    chi2, p : (L,) array
        Pearson's χ² with bins − 1 degrees of freedom, and its tail probability.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> truth, draws = rng.normal(size=(400, 2)), rng.normal(size=(400, 99, 2))
    >>> from slamjax.validation import rank_test
    >>> test = rank_test(truth, draws, ["teff", "logg"])
    >>> test.ranks.shape, test.passes()
    ((400, 2), True)
    """

    names: tuple[str, ...]
    ranks: np.ndarray
    n_draws: int
    counts: np.ndarray
    expected: np.ndarray
    chi2: np.ndarray
    p: np.ndarray

    @property
    def p_bonferroni(self) -> np.ndarray:
        """(L,) p times the number of labels, at most 1: to be compared with a level for all labels together."""
        return np.minimum(1, self.p * len(self.names))

    def passes(self, level: float = 0.01) -> bool:
        """Whether the ranks of every label are uniform at this level, after Bonferroni."""
        return bool(np.all(self.p_bonferroni > level))


def rank_test(truth: np.ndarray, draws: np.ndarray, names: Sequence[str], *, bins: int = N_BINS) -> RankTest:
    """Test whether the true labels look like one more draw from each posterior.

    Parameters
    ----------
    truth : (N, L) array
        Labels drawn from the prior.
    draws : (N, D, L) array
        Nearly independent posterior draws, see `thin_draws`.
    names : sequence of str
        L labels.
    bins : int
        Bins of rank, 2 to D + 1.

    Returns
    -------
    RankTest

    Raises
    ------
    SlamError
        For wrong shapes, values that are not finite, or an impossible number of bins.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.validation import rank_test
    >>> rng = np.random.default_rng(0)
    >>> truth, draws = rng.normal(size=(500, 1)), rng.normal(size=(500, 99, 1))
    >>> rank_test(truth, draws, ["logg"]).passes()
    True
    >>> rank_test(truth, 0.7 * draws, ["logg"]).passes()
    False
    """
    ranks = rank_statistics(truth, draws)
    n, n_draws = len(ranks), draws.shape[1]
    if not 2 <= bins <= n_draws + 1:
        raise SlamError(f"bins is {bins}; give 2 to {n_draws + 1}, the number of ranks of {n_draws} draws")
    bin_of = np.arange(n_draws + 1) * bins // (n_draws + 1)
    expected = n * np.bincount(bin_of, minlength=bins) / (n_draws + 1)
    counts = np.stack([np.bincount(bin_of[column], minlength=bins) for column in ranks.T])
    chi2 = np.sum((counts - expected) ** 2 / expected, axis=1)
    return RankTest(tuple(names), ranks, n_draws, counts, expected, chi2, stats.chi2.sf(chi2, bins - 1))


def rank_statistics(truth: np.ndarray, draws: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Count the draws below the truth; ties (at a bound, in float32) are broken at random.

    Parameters
    ----------
    truth : (N, L) array
    draws : (N, D, L) array
    seed : int
        Of the ties.

    Returns
    -------
    (N, L) int array
        0 to D.

    Examples
    --------
    >>> from slamjax.validation import rank_statistics
    >>> rank_statistics([[2.5]], [[[2.1], [2.4], [2.9]]])
    array([[2]])
    """
    truth, draws = checked_draws(truth, draws)
    if not (np.all(np.isfinite(truth)) and np.all(np.isfinite(draws))):
        raise SlamError("truth or draws are not all finite; find out why: leaving such stars out would bias the ranks")
    below = np.sum(draws < truth[:, None], axis=1)
    equal = np.sum(draws == truth[:, None], axis=1)
    return below + np.random.default_rng(seed).integers(0, equal, endpoint=True)


def scale_draws(draws: np.ndarray, factor: float) -> np.ndarray:
    """Make posteriors ``factor`` times as wide about their means: a test of widths must notice it.

    Parameters
    ----------
    draws : (N, D, L) array
    factor : float

    Returns
    -------
    (N, D, L) array

    Examples
    --------
    >>> from slamjax.validation import scale_draws
    >>> scale_draws([[[1.0], [3.0]]], 2)
    array([[[0.],
            [4.]]])
    """
    middle = np.mean(draws, axis=1, keepdims=True)
    return middle + factor * (draws - middle)


def thin_draws(chains: np.ndarray) -> np.ndarray:
    """Keep every k-th draw of each chain, so that draws are nearly independent.

    Ranks among correlated draws are not uniform even for correct posteriors (Talts et al. 2018, section 5.1). k is the
    mean autocorrelation time over the stars of the slowest label: one for all stars, so that ranks have one range, and
    because that of a single star is too uncertain.

    Parameters
    ----------
    chains : (N, chains, D, L) array

    Returns
    -------
    (N, chains · ⌈D / k⌉, L) array

    Raises
    ------
    SlamError
        For another number of dimensions.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.validation import thin_draws
    >>> independent = np.random.default_rng(0).normal(size=(50, 2, 100, 1))
    >>> thin_draws(independent).shape
    (50, 200, 1)
    """
    chains = np.asarray(chains)
    if chains.ndim != 4:
        raise SlamError(f"chains has shape {chains.shape}; give (stars, chains, draws, labels)")
    k = max(1, round(float(autocorrelation_time(chains).mean(axis=0).max())))
    kept = chains[:, :, ::k]
    return kept.reshape(len(kept), -1, kept.shape[-1])


def autocorrelation_time(chains: np.ndarray) -> np.ndarray:
    """(N, L) integrated autocorrelation time, at least 1, of chains (N, chains, D, L).

    τ = 1 + 2 Σ ρ_t, truncated where sums of neighbouring pairs of ρ turn negative (Geyer 1992, Stat. Sci. 7, 473), with
    ρ the mean over chains.
    """
    n_draws = chains.shape[2]
    centred = chains - chains.mean(axis=2, keepdims=True)
    size = fft.next_fast_len(2 * n_draws)
    power = np.abs(fft.rfft(centred, size, axis=2)) ** 2
    covariance = fft.irfft(power, size, axis=2)[:, :, :n_draws].mean(axis=1)
    start = covariance[:, :1]
    rho = np.where(start > 0, covariance / np.where(start > 0, start, 1), 0)
    even = n_draws - n_draws % 2
    pairs = rho[:, 0:even:2] + rho[:, 1:even:2]
    kept = np.cumprod(pairs > 0, axis=1)
    return np.maximum(1, 2 * np.sum(pairs * kept, axis=1) - 1)
