"""Coverage of joint credible regions by random reference points: TARP (Lemos et al. 2023, ICML, arXiv:2302.03026).

For a reference point θ_r, the ball around θ_r that extends to the truth θ contains the fraction
f = #{d(θ_i, θ_r) < d(θ, θ_r)} / D of the posterior's draws. For correct posteriors f is uniform, so that the expected
coverage, the fraction of stars with f < α, is α. Ranks test one label at a time; this test also reveals wrong
correlations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from slamjax.errors import SlamError
from slamjax.validation.pulls import checked_draws

_LEVELS = np.linspace(0, 1, 101)


@dataclass(frozen=True, eq=False)
class RegionTest:
    """Expected coverage of TARP regions, and its deviation from the credibility.

    Attributes
    ----------
    fractions : (N,) array
        f of each star, in (0, 1).
    credibility : (101,) array
        α.
    coverage : (101,) array
        Fraction of stars with f < α.
    band : (101,) array
        Standard error √(α (1 − α) / N) of correct posteriors.
    deviation, p : float
        Largest |coverage − α|, and the probability of a larger one for correct posteriors (Kolmogorov).
    width, width_p : float
        Mean |f − ½| minus ¼ in its standard errors, positive if errors are too small, and the probability of a larger
        size. With one degree of freedom it reveals widths wrong by a fifth, which the largest deviation does not.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> truth, draws = rng.normal(size=(400, 2)), rng.normal(size=(400, 99, 2))
    >>> from slamjax.validation import tarp
    >>> tarp(truth, 0.6 * draws).passes()
    False
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
        """Whether both statistics are as expected at this level, after Bonferroni."""
        return 2 * min(self.p, self.width_p) > level


def tarp(truth: np.ndarray, draws: np.ndarray, *, references: np.ndarray | None = None, seed: int = 0) -> RegionTest:
    """Test joint credible regions of all labels by their coverage (TARP).

    Parameters
    ----------
    truth : (N, L) array
        True labels; distances are measured in units of each label's range among them.
    draws : (N, D, L) array
        Posterior draws, in the same units.
    references : (N, L) array, optional
        Reference points, which may depend on a star's spectrum or draws but not on its truth; default: uniform in the
        box of the true labels.
    seed : int
        Of the reference points, and of the position of f between its D + 1 possible values.

    Returns
    -------
    RegionTest

    Raises
    ------
    SlamError
        For wrong shapes, values that are not finite, or fewer than two stars.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.validation import tarp
    >>> rng = np.random.default_rng(0)
    >>> truth, draws = rng.normal(size=(400, 2)), rng.normal(size=(400, 100, 2))
    >>> tarp(truth, draws).passes()
    True
    """
    truth, draws = checked_draws(truth, draws)
    if not (np.all(np.isfinite(truth)) and np.all(np.isfinite(draws))):
        raise SlamError(
            "truth or draws are not all finite; find out why: leaving such stars out would bias the coverage"
        )
    n = len(truth)
    if n < 2:
        raise SlamError(f"{n} stars are too few for coverage; simulate hundreds")
    rng = np.random.default_rng(seed)
    low, high = truth.min(axis=0), truth.max(axis=0)
    scale = np.where(high > low, high - low, 1)
    points = low + scale * rng.random(truth.shape) if references is None else np.asarray(references, float)
    if points.shape != truth.shape:
        raise SlamError(f"references has shape {points.shape}; give one point per star, {truth.shape}")

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
