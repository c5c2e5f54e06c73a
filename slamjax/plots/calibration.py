"""Are errors calibrated? PIT and coverage of known stars, ranks and regions of simulated ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from slamjax.errors import SlamError
from slamjax.plots.canvas import balanced, in_rows, new_figure, title_of
from slamjax.validation.coverage import JOINT
from slamjax.validation.pulls import Comparison
from slamjax.validation.simulation_based import SimulatedCalibration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BARS, _BAND, _WRONG = "#2e5e8c", "0.85", "#b3541e"
_CURVES, _STYLES = ("#2e5e8c", "#d1495b", "#3b8c5a", "#e08e45", "#7b5aa6", "0.4"), ("-", "--")
#: Axes side by side; curves that a legend within the axis has room for.
_COLUMNS, _IN_LEGEND = 5, 6
#: Pulls of fewer stars say nothing; those of more are wrong if they are off by so many standard errors.
_FEWEST, _SIGNIFICANT = 10, 2.5
#: √n times the standard errors of a robust width (Rousseeuw & Croux 1993) and of a median of n standard normal values.
_WIDTH_ERROR, _MEDIAN_ERROR = 1.17, 1.25
_PIT_BINS = 20
#: Share of the counts of calibrated errors that the grey bands hold.
_CENTRAL = 0.99


def plot_calibration(comparison: Comparison) -> Figure:
    """Histogram of each label's PIT, and coverage of the central intervals of every probability.

    Titles say in words whether errors are right, by the width of the pulls (1.4826 MAD). Grey bands hold 99 % of the
    counts that calibrated errors give, bin by bin. Errors that are too small show as PIT values piled up at both ends,
    and as coverage below the diagonal.

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
    pits = known_pits(comparison)
    if not pits:
        raise SlamError("no label of these stars has both a fitted and a known value; there is nothing to compare")
    figure, axes = _axes(len(pits) + 1)
    columns = balanced(len(pits) + 1, _COLUMNS)[1]
    pulls = dict(zip(comparison.names, comparison.pull.T, strict=True))
    for number, (axis, (name, values)) in enumerate(zip(axes, pits.items(), strict=False)):
        expected = np.full(_PIT_BINS, values.size / _PIT_BINS)
        _draw_histogram(axis, np.histogram(values, _PIT_BINS, (0, 1))[0], expected, values.size)
        _set_title(axis, title_of(name), judge_errors(pulls[name]))
        axis.set_xlabel("PIT of the known label")
        if number % columns == 0:
            axis.set_ylabel("stars")
    level = np.linspace(0, 1, 101)
    curves = coverage_curves(comparison, level)
    _draw_coverage(axes[-1], level, curves, min(values.size for values in pits.values()))
    axes[-1].set_xlabel("probability of the central interval")
    n = max(values.size for values in pits.values())
    axes[-1].set_title(f"{n} star{'' if n == 1 else 's'}", fontsize=9)
    return figure


def known_pits(comparison: Comparison) -> dict[str, np.ndarray]:
    """The PIT values of each label that has any."""
    pits = {name: _finite(comparison.pit[:, k]) for k, name in enumerate(comparison.names)}
    return {name: values for name, values in pits.items() if values.size}


def coverage_curves(comparison: Comparison, level: np.ndarray) -> dict[str, np.ndarray]:
    """Fraction of the stars within the central intervals of each probability, by label and for all together."""
    curves = {name: _covered(2 * np.abs(pit - 0.5), level) for name, pit in known_pits(comparison).items()}
    distance = _finite(comparison.distance)
    if distance.size and len(comparison.names) > 1:
        curves[JOINT] = _covered(stats.chi2.cdf(distance, len(comparison.names)), level)
    return curves


def judge_errors(pulls: np.ndarray) -> str:
    """Whether errors are right, in words: the pulls of calibrated errors have width 1 and median 0.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.plots.calibration import judge_errors
    >>> pulls = np.random.default_rng(0).normal(size=1000)
    >>> judge_errors(1.2 * pulls)
    'errors too small by 1.2'
    """
    pulls = _finite(pulls)
    if pulls.size < _FEWEST:
        return f"{pulls.size} star{'' if pulls.size == 1 else 's'}: too few to judge errors"
    width, middle = float(stats.median_abs_deviation(pulls, scale="normal")), float(np.median(pulls))
    error = _WIDTH_ERROR / np.sqrt(pulls.size)
    if width > 1 + _SIGNIFICANT * error:
        words = f"errors too small by {width:.2g}"
    elif 0 < width < 1 - _SIGNIFICANT * error:
        words = f"errors too large by {1 / width:.2g}"
    else:
        words = f"errors right: pull width {width:.2f} ± {error:.2f}"
    if abs(middle) > _SIGNIFICANT * _MEDIAN_ERROR * width / np.sqrt(pulls.size):
        words += f"\nbias {middle:+.1f} errors"
    return words


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
    figure, axes = _axes(len(ranks.names) + 1)
    columns = balanced(len(axes), _COLUMNS)[1]
    judged = zip(axes, ranks.names, ranks.counts, ranks.p_bonferroni, result.comparison.pull.T, strict=False)
    for number, (axis, name, counts, p, pulls) in enumerate(judged):
        _draw_histogram(axis, counts, ranks.expected, len(ranks.ranks))
        _set_title(axis, f"{title_of(name)}: p = {p:.2g}", judge_errors(pulls))
        axis.set_xlabel(f"rank / {ranks.n_draws}")
        if number % columns == 0:
            axis.set_ylabel("simulated stars")
    _draw_coverage(axes[-1], regions.credibility, {"regions": regions.coverage}, len(regions.fractions))
    axes[-1].set_title(f"deviation {regions.deviation:.3f}: p = {regions.p:.2g}", fontsize=9)
    axes[-1].set_xlabel("credibility of the TARP region")
    return figure


def _axes(n: int) -> tuple[Figure, np.ndarray]:
    """A figure with n axes, side by side in rows; the first of each row has its own name of the ordinate."""
    rows, columns = balanced(n, _COLUMNS)
    figure = new_figure(2.7 * columns + 0.4, 3.1 * rows)
    return figure, in_rows(figure, n, _COLUMNS)[:, 0]


def _set_title(axis: Axes, title: str, words: str) -> None:
    wrong = "too small" in words or "too large" in words or "bias" in words
    axis.set_title(f"{title}\n{words}", fontsize=8, color=_WRONG if wrong else "k")


def _draw_histogram(axis: Axes, counts: np.ndarray, expected: np.ndarray, n: int) -> None:
    """Counts of n stars, on the band of binomial counts about the expected ones (bins may differ in width)."""
    edges = np.linspace(0, 1, len(counts) + 1)
    low, high = stats.binom.interval(_CENTRAL, n, expected / n)
    axis.fill_between(edges, np.append(low, low[-1]), np.append(high, high[-1]), step="post", color=_BAND, lw=0)
    axis.stairs(counts, edges, color=_BARS, lw=1.4)
    axis.plot([0, 1], [expected.mean()] * 2, color="k", lw=0.6)
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1.1 * max(1, counts.max(), high.max()))


def _draw_coverage(axis: Axes, level: np.ndarray, curves: dict[str, np.ndarray], n: int) -> None:
    """Coverage of n stars against the probability that regions claim."""
    low, high = stats.binom.interval(_CENTRAL, n, level)
    axis.fill_between(level, low / n, high / n, color=_BAND, lw=0, label=f"{100 * _CENTRAL:.0f} % if right")
    axis.plot([0, 1], [0, 1], color="k", lw=0.6)
    for number, (name, covered) in enumerate(curves.items()):
        colour, style = _CURVES[number % len(_CURVES)], _STYLES[number // len(_CURVES) % len(_STYLES)]
        axis.plot(level, covered, color=colour, ls=style, lw=1.2, label=title_of(name))
    if len(curves) > _IN_LEGEND:  # beside the axis, which is the last one: what is there needs no room of its own
        legend = axis.legend(frameon=False, fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
        legend.set_in_layout(_has_room(axis))
    else:
        axis.legend(frameon=False, fontsize=6.5, loc="upper left")
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    axis.set_ylabel("fraction of stars inside")


def _has_room(axis: Axes) -> bool:
    """Whether an axis ends its row, so that the layout has to keep room for a legend beside it."""
    spec = axis.get_subplotspec()
    return spec is None or spec.is_last_col()


def _covered(smallest: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Fraction of the stars within regions of each probability, from the smallest that holds each star's label."""
    return np.searchsorted(np.sort(smallest), level) / smallest.size


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]
