"""Rank statistics of simulation-based calibration (Talts et al. 2018, arXiv:1804.06788).

If θ is drawn from the prior, a spectrum from p(f | θ) and θ₁ … θ_D independently from the posterior p(θ | f), then the
rank of θ among θ₁ … θ_D is uniform on 0 … D, label by label, whatever prior and likelihood are. Posteriors too narrow
pile ranks up at both ends, too wide in the middle, biased to one side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft, stats

from slamjax.errors import SlamError
from slamjax.validation.calibration import checked_draws

#: Few, so that 500 stars tell widths wrong by a fifth: a scale is one degree of freedom, and more bins only dilute it.
N_BINS = 10


@dataclass(frozen=True, eq=False)
class RankTest:
    """Ranks of N truths among their draws, and χ² tests of their uniformity.

    Attributes
    ----------
    names : L labels
    ranks : (N, L) int, 0 … n_draws
    n_draws : draws of each star (after thinning)
    counts : (L, bins) stars in bins of rank
    expected : (bins,) stars expected there: bins may hold one rank more or less than others
    chi2, p : (L,) Pearson's χ² with bins − 1 degrees of freedom, and its tail probability
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
        """(L,) p times the number of labels, at most 1: what "p > 0.01 for every label" may be asked of."""
        return np.minimum(1, self.p * len(self.names))

    def passes(self, level: float = 0.01) -> bool:
        """Whether no label's ranks differ from uniform ones at this level, after Bonferroni."""
        return bool(np.all(self.p_bonferroni > level))


def rank_test(truth: np.ndarray, draws: np.ndarray, names: Sequence[str], *, bins: int = N_BINS) -> RankTest:
    """Whether truths (N, L) look like one more draw of each posterior (N, D, L); draws nearly independent."""
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
    """(N, L) how many draws lie below the truth; among equal ones (a bound, float32) the place is drawn."""
    truth, draws = checked_draws(truth, draws)
    if not (np.all(np.isfinite(truth)) and np.all(np.isfinite(draws))):
        raise SlamError("truth or draws are not all finite; leaving stars out would bias the ranks: find out why")
    below = np.sum(draws < truth[:, None], axis=1)
    equal = np.sum(draws == truth[:, None], axis=1)
    return below + np.random.default_rng(seed).integers(0, equal, endpoint=True)


def scale_draws(draws: np.ndarray, factor: float) -> np.ndarray:
    """Posteriors (N, D, L) made ``factor`` times as wide about their means: what a test of widths must notice."""
    middle = np.mean(draws, axis=1, keepdims=True)
    return middle + factor * (draws - middle)


def thin_draws(chains: np.ndarray) -> np.ndarray:
    """Nearly independent draws: every k-th of each chain, (N, chains, D, L) to (N, chains · ⌈D / k⌉, L).

    Ranks among correlated draws are not uniform even if all is right (Talts et al. 2018, section 5.1): such draws are
    worth fewer than they are. k is the mean autocorrelation time of the slowest label, one for all stars, so that ranks
    have one range; a single star's own is too uncertain to go by.
    """
    chains = np.asarray(chains)
    if chains.ndim != 4:
        raise SlamError(f"chains has shape {chains.shape}; give (stars, chains, draws, labels)")
    k = max(1, round(float(autocorrelation_time(chains).mean(axis=0).max())))
    kept = chains[:, :, ::k]
    return kept.reshape(len(kept), -1, kept.shape[-1])


def autocorrelation_time(chains: np.ndarray) -> np.ndarray:
    """(N, L) draws that are worth one independent one, of chains (N, chains, D, L); at least 1.

    τ = 1 + 2 Σ ρ_t, cut where sums of neighbouring pairs of ρ turn negative (Geyer 1992, Stat. Sci. 7, 473), ρ the
    mean over chains.
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
