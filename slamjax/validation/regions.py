"""Coverage of joint credible regions by random reference points: TARP (Lemos et al. 2023, ICML, arXiv:2302.03026).

For a reference point θ_r, the ball about θ_r that reaches to the truth θ holds the fraction
f = #{d(θ_i, θ_r) < d(θ, θ_r)} / D of the posterior's draws. If posteriors are right f is uniform, so the expected
coverage, the part of the stars with f < α, is α. Ranks look at one label at a time; here wrong correlations show too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from slamjax.errors import SlamError
from slamjax.validation.calibration import checked_draws

_LEVELS = np.linspace(0, 1, 101)


@dataclass(frozen=True, eq=False)
class RegionTest:
    """Expected coverage of TARP regions, and how far it is from what it should be.

    Attributes
    ----------
    fractions : (N,) f of each star, in (0, 1)
    credibility : (101,) α
    coverage : (101,) part of the stars with f < α
    band : (101,) standard error √(α (1 − α) / N) that right posteriors would have
    deviation, p : largest |coverage − α|, and the probability of a larger one if posteriors are right (Kolmogorov)
    width, width_p : mean |f − ½| minus ¼ in its standard errors, positive where errors are too small, and the
        probability of a larger size. One degree of freedom: it notices widths wrong by a fifth where the largest
        deviation does not
    """

    fractions: np.ndarray
    credibility: np.ndarray
    coverage: np.ndarray
    band: np.ndarray
    deviation: float
    p: float
    width: float
    width_p: float

    def passes(self, level: float = 0.01) -> bool:
        """Whether neither statistic differs at this level, after Bonferroni."""
        return 2 * min(self.p, self.width_p) > level


def tarp(truth: np.ndarray, draws: np.ndarray, *, references: np.ndarray | None = None, seed: int = 0) -> RegionTest:
    """Test truths (N, L) against posteriors (N, D, L).

    Parameters
    ----------
    truth, draws
        In any units: distances are taken with every label's range among the truths as its unit.
    references : (N, L) array, optional
        Reference points. They may depend on a star's spectrum or draws, not on its truth; default: uniform in the box
        of the truths.
    seed : int
        Of the reference points, and of f's place between its D + 1 possible values.
    """
    truth, draws = checked_draws(truth, draws)
    if not (np.all(np.isfinite(truth)) and np.all(np.isfinite(draws))):
        raise SlamError("truth or draws are not all finite; leaving stars out would bias the coverage: find out why")
    n = len(truth)
    if n < 2:
        raise SlamError(f"{n} stars tell nothing of coverage; simulate some hundreds")
    rng = np.random.default_rng(seed)
    low, high = truth.min(axis=0), truth.max(axis=0)
    scale = np.where(high > low, high - low, 1)
    points = low + scale * rng.random(truth.shape) if references is None else np.asarray(references, float)
    if points.shape != truth.shape:
        raise SlamError(f"references has shape {points.shape}; give one point a star, {truth.shape}")

    def distance(theta: np.ndarray, point: np.ndarray) -> np.ndarray:
        return np.sum(np.square((theta - point) / scale), axis=-1)

    reach = distance(truth, points)[:, None]
    away = distance(draws, points[:, None])
    below, equal = np.sum(away < reach, axis=1), np.sum(away == reach, axis=1)
    fractions = (below + rng.random(n) * (equal + 1)) / (draws.shape[1] + 1)
    coverage = np.searchsorted(np.sort(fractions), _LEVELS) / n
    test = stats.kstest(fractions, "uniform")
    # |f − ½| of a uniform f has mean ¼ and variance 1/48
    width = float((np.mean(np.abs(fractions - 0.5)) - 0.25) * np.sqrt(48 * n))
    return RegionTest(
        fractions=fractions,
        credibility=_LEVELS,
        coverage=coverage,
        band=np.sqrt(_LEVELS * (1 - _LEVELS) / n),
        deviation=float(test.statistic),
        p=float(test.pvalue),
        width=width,
        width_p=float(2 * stats.norm.sf(abs(width))),
    )
