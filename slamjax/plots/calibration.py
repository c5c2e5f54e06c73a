"""Are errors calibrated? PIT and coverage of known stars, ranks and regions of simulated ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from slamjax.errors import SlamError
from slamjax.plots.canvas import new_figure, title_of
from slamjax.validation.pulls import Comparison
from slamjax.validation.simulation_based import SimulatedCalibration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BARS, _BAND, _CURVES = "#2e5e8c", "0.85", ("#2e5e8c", "#d1495b", "#3b8c5a", "#e08e45", "#7b5aa6", "0.4")
_PIT_BINS = 20
#: Share of the counts of calibrated errors that the grey bands hold.
_CENTRAL = 0.99


def plot_calibration(comparison: Comparison) -> Figure:
    """Histogram of each label's PIT, and coverage of the central intervals of every probability.

    Grey bands hold 99 % of the counts that calibrated errors give, bin by bin. Errors that are too small show as PIT
    values piled up at both ends, and as coverage below the diagonal.

    Parameters
    ----------
    comparison : Comparison
        As in ``slamjax.validate(...).comparison``, or of `slamjax.validation.compare_draws`.

    Returns
    -------
    matplotlib Figure
        One axis per label, and one for the coverage.

    Raises
    ------
    SlamError
        If no star has both a fitted and a known label.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.plots import plot_calibration
    >>> from slamjax.validation import compare_draws
    >>> rng = np.random.default_rng(1)
    >>> truth, draws = rng.normal(size=(100, 2)), rng.normal(size=(100, 99, 2))
    >>> figure = plot_calibration(compare_draws(truth, draws, ("teff", "logg")))
    >>> len(figure.axes)
    3
    """
    pits = {name: _finite(comparison.pit[:, k]) for k, name in enumerate(comparison.names)}
    pits = {name: values for name, values in pits.items() if values.size}
    if not pits:
        raise SlamError("no label of these stars has both a fitted and a known value; there is nothing to compare")
    figure, axes = _row(len(pits) + 1)
    for axis, (name, values) in zip(axes, pits.items(), strict=False):
        expected = np.full(_PIT_BINS, values.size / _PIT_BINS)
        _draw_histogram(axis, np.histogram(values, _PIT_BINS, (0, 1))[0], expected, values.size)
        axis.set_title(title_of(name), fontsize=9)
        axis.set_xlabel("PIT of the known label")
    axes[0].set_ylabel("stars")
    level = np.linspace(0, 1, 101)
    curves = {name: _covered(2 * np.abs(values - 0.5), level) for name, values in pits.items()}
    distance = _finite(comparison.distance)
    if distance.size and len(comparison.names) > 1:
        curves["jointly"] = _covered(stats.chi2.cdf(distance, len(comparison.names)), level)
    _draw_coverage(axes[-1], level, curves, min(values.size for values in pits.values()))
    axes[-1].set_xlabel("probability of the central interval")
    return figure


def plot_simulated(result: SimulatedCalibration) -> Figure:
    """Histogram of each label's ranks, and coverage of TARP regions; grey bands as in `plot_calibration`.

    Parameters
    ----------
    result : SimulatedCalibration
        As returned by `slamjax.validation.sbc`.

    Returns
    -------
    matplotlib Figure
        One axis per label, and one for the regions.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.plots import plot_simulated
    >>> from slamjax.validation import SimulatedCalibration
    >>> rng = np.random.default_rng(1)
    >>> truth, draws = rng.normal(size=(100, 2)), rng.normal(size=(100, 99, 2))
    >>> figure = plot_simulated(SimulatedCalibration.from_draws(truth, draws, ("teff", "logg")))
    >>> len(figure.axes)
    3
    """
    ranks, regions = result.ranks, result.regions
    figure, axes = _row(len(ranks.names) + 1)
    for axis, name, counts, p in zip(axes, ranks.names, ranks.counts, ranks.p_bonferroni, strict=False):
        _draw_histogram(axis, counts, ranks.expected, len(ranks.ranks))
        axis.set_title(f"{title_of(name)}: p = {p:.2g}", fontsize=9)
        axis.set_xlabel(f"rank / {ranks.n_draws}")
    axes[0].set_ylabel("simulated stars")
    _draw_coverage(axes[-1], regions.credibility, {"regions": regions.coverage}, len(regions.fractions))
    axes[-1].set_title(f"deviation {regions.deviation:.3f}: p = {regions.p:.2g}", fontsize=9)
    axes[-1].set_xlabel("credibility of the TARP region")
    return figure


def _row(n: int) -> tuple[Figure, np.ndarray]:
    """A figure with n axes side by side."""
    figure = new_figure(2.6 * n + 0.4, 2.8)
    return figure, figure.subplots(1, n, squeeze=False)[0]


def _draw_histogram(axis: Axes, counts: np.ndarray, expected: np.ndarray, n: int) -> None:
    """Counts of n stars, on the band of binomial counts about the expected ones (bins may differ in width)."""
    edges = np.linspace(0, 1, len(counts) + 1)
    low, high = stats.binom.interval(_CENTRAL, n, expected / n)
    axis.fill_between(edges, np.append(low, low[-1]), np.append(high, high[-1]), step="post", color=_BAND, lw=0)
    axis.stairs(counts, edges, color=_BARS, lw=1.4)
    axis.plot([0, 1], [expected.mean()] * 2, color="k", lw=0.6)
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1.1 * max(counts.max(), high.max()))


def _draw_coverage(axis: Axes, level: np.ndarray, curves: dict[str, np.ndarray], n: int) -> None:
    """Coverage of n stars against the probability that regions claim."""
    low, high = stats.binom.interval(_CENTRAL, n, level)
    axis.fill_between(level, low / n, high / n, color=_BAND, lw=0)
    axis.plot([0, 1], [0, 1], color="k", lw=0.6)
    for number, (name, covered) in enumerate(curves.items()):
        axis.plot(level, covered, color=_CURVES[number % len(_CURVES)], lw=1.2, label=title_of(name))
    if len(curves) > 1:
        axis.legend(frameon=False, fontsize=7, loc="upper left")
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    axis.set_ylabel("fraction of stars inside")


def _covered(smallest: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Fraction of the stars within regions of each probability, from the smallest that holds each star's label."""
    return np.searchsorted(np.sort(smallest), level) / smallest.size


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]
