"""Are errors honest? PIT and coverage of known stars, ranks and regions of simulated ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from slamjax.errors import SlamError
from slamjax.plots.canvas import new_figure, title_of
from slamjax.validation.calibration import Comparison
from slamjax.validation.simulation_based import SimulatedCalibration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BARS, _BAND, _CURVES = "#2e5e8c", "0.85", ("#2e5e8c", "#d1495b", "#3b8c5a", "#e08e45", "#7b5aa6", "0.4")
_PIT_BINS = 20
_CENTRAL = 0.99


def plot_calibration(comparison: Comparison) -> Figure:
    """PIT histogram of each label, and the coverage of central intervals of every size.

    Grey bands hold 99 % of what honest errors would give, bin by bin: PIT values high at both ends, and coverage below
    the diagonal, tell of errors too small.
    """
    pits = {name: _finite(comparison.pit[:, k]) for k, name in enumerate(comparison.names)}
    pits = {name: values for name, values in pits.items() if values.size}
    if not pits:
        raise SlamError("no label of these stars has both a fitted and a known value; there is nothing to compare")
    figure, axes = _row(len(pits) + 1)
    for axis, (name, values) in zip(axes, pits.items(), strict=False):
        expected = np.full(_PIT_BINS, values.size / _PIT_BINS)
        _histogram(axis, np.histogram(values, _PIT_BINS, (0, 1))[0], expected, values.size)
        axis.set_title(title_of(name), fontsize=9)
        axis.set_xlabel("PIT of the known label")
    axes[0].set_ylabel("stars")
    level = np.linspace(0, 1, 101)
    curves = {name: np.searchsorted(np.sort(2 * np.abs(v - 0.5)), level) / v.size for name, v in pits.items()}
    distance = _finite(comparison.distance)
    if distance.size and len(comparison.names) > 1:
        curves["jointly"] = np.searchsorted(np.sort(stats.chi2.cdf(distance, len(comparison.names))), level) / len(
            distance
        )
    _coverage(axes[-1], level, curves, min(values.size for values in pits.values()))
    axes[-1].set_xlabel("probability of the central interval")
    return figure


def plot_simulated(result: SimulatedCalibration) -> Figure:
    """Rank histogram of each label, and the expected coverage of TARP regions; bands as in `plot_calibration`."""
    ranks = result.ranks
    figure, axes = _row(len(ranks.names) + 1)
    for axis, name, counts, p in zip(axes, ranks.names, ranks.counts, ranks.p_bonferroni, strict=False):
        _histogram(axis, counts, ranks.expected, len(ranks.ranks))
        axis.set_title(f"{title_of(name)}: p = {p:.2g}", fontsize=9)
        axis.set_xlabel(f"rank / {ranks.n_draws}")
    axes[0].set_ylabel("simulated stars")
    regions = result.regions
    _coverage(axes[-1], regions.credibility, {"regions": regions.coverage}, len(regions.fractions))
    axes[-1].set_title(f"deviation {regions.deviation:.3f}: p = {regions.p:.2g}", fontsize=9)
    axes[-1].set_xlabel("credibility of the TARP region")
    return figure


def _row(n: int) -> tuple[Figure, Any]:
    figure = new_figure(2.6 * n + 0.4, 2.8)
    return figure, figure.subplots(1, n, squeeze=False)[0]


def _histogram(axis: Axes, counts: np.ndarray, expected: np.ndarray, n: int) -> None:
    """Bars on the band of a binomial count, scaled where bins may hold a little more or less than their share."""
    edges = np.linspace(0, 1, len(counts) + 1)
    low, high = stats.binom.interval(_CENTRAL, n, expected / n)
    axis.fill_between(edges, np.append(low, low[-1]), np.append(high, high[-1]), step="post", color=_BAND, lw=0)
    axis.stairs(counts, edges, color=_BARS, lw=1.4)
    axis.plot([0, 1], [expected.mean()] * 2, color="k", lw=0.6)
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1.1 * max(counts.max(), high.max()))


def _coverage(axis: Axes, level: np.ndarray, curves: dict[str, np.ndarray], n: int) -> None:
    low, high = stats.binom.interval(_CENTRAL, n, level)
    axis.fill_between(level, low / n, high / n, color=_BAND, lw=0)
    axis.plot([0, 1], [0, 1], color="k", lw=0.6)
    for number, (name, covered) in enumerate(curves.items()):
        axis.plot(level, covered, color=_CURVES[number % len(_CURVES)], lw=1.2, label=title_of(name))
    if len(curves) > 1:
        axis.legend(frameon=False, fontsize=7, loc="upper left")
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    axis.set_ylabel("part of the stars inside")


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]
