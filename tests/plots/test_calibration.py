"""Figures of calibration show the counts of PIT values, ranks and covered stars."""

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import norm

from slamjax.errors import SlamError
from slamjax.plots import plot_calibration, plot_simulated, write_figure
from slamjax.plots.calibration import judge_errors
from slamjax.validation import SimulatedCalibration, compare_draws

NAMES = ("teff", "logg", "vmic")


def posteriors(n=300, n_draws=99):
    rng = np.random.default_rng(2)
    return rng.normal(size=(n, 3)), rng.normal(size=(n, n_draws, 3))


def bars(axis):
    return axis.patches[0].get_data().values


def test_pit_histograms_count_the_stars_and_the_curves_cover_them():
    truth, draws = posteriors()
    truth[:20, 1] = np.nan
    comparison = compare_draws(truth, draws, NAMES)
    figure = plot_calibration(comparison)
    assert isinstance(figure, Figure)
    *histograms, coverage = figure.axes
    assert [bars(axis).sum() for axis in histograms] == [300, 280, 300]
    for k, axis in enumerate(histograms):
        np.testing.assert_array_equal(bars(axis), np.histogram(comparison.pit[:, k], 20, (0, 1))[0])
    curve = next(line for line in coverage.lines if line.get_label() == "vmic")
    at = np.searchsorted(curve.get_xdata(), 0.68)
    inside = np.abs(comparison.pit[:, 2] - 0.5) < 0.34
    np.testing.assert_allclose(curve.get_ydata()[at], inside.mean(), atol=0.01)
    texts = [text.get_text() for text in coverage.get_legend().get_texts()]
    assert texts == ["99 % if right", r"$T_{\rm eff}$", r"$\log g$", "vmic", "jointly"]


def test_calibrated_posteriors_lie_within_the_bands():
    figure = plot_calibration(compare_draws(*posteriors(), NAMES))
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    counts = bars(figure.axes[0])
    assert band.min() <= counts.min()
    assert counts.max() <= band.max()
    assert 4 < band.min() < 15 < band.max() < 30  # 99 % of a binomial count of 15 expected


@pytest.mark.parametrize(
    ("factor", "words"),
    [(1.2, "errors too small by 1.2"), (1.0, "errors right: pull width 1.00"), (0.5, "errors too large by 2")],
)
def test_titles_say_whether_errors_are_right(factor, words):
    n = 20_000
    pulls = factor * norm.ppf((np.arange(n) + 0.5) / n)  # exactly normal
    assert judge_errors(pulls).startswith(words)
    assert "bias" not in judge_errors(pulls)
    assert judge_errors(pulls + 0.3).endswith("bias +0.3 errors")
    draws = np.random.default_rng(0).normal(size=(2000, 100, 1))
    truth = factor * np.random.default_rng(1).normal(size=(2000, 1))
    title = plot_calibration(compare_draws(truth, draws, ["logg"])).axes[0].get_title()
    assert words[:16] in title  # the width of 2000 pulls is known to 3 %


def test_a_few_stars_are_not_judged():
    assert judge_errors(np.array([3.0, -4.0, np.nan])) == "2 stars: too few to judge errors"
    assert judge_errors(np.array([3.0])) == "1 star: too few to judge errors"
    truth, draws = posteriors(1)
    figure = plot_calibration(compare_draws(truth, draws, NAMES))
    assert all("too few to judge" in axis.get_title() for axis in figure.axes[:3])


def test_ten_labels_stand_in_rows():
    rng = np.random.default_rng(2)
    names = [f"label{k}" for k in range(10)]
    comparison = compare_draws(rng.normal(size=(50, 10)), rng.normal(size=(50, 99, 10)), names)
    for figure in (
        plot_calibration(comparison),
        plot_simulated(
            SimulatedCalibration.from_draws(rng.normal(size=(50, 10)), rng.normal(size=(50, 99, 10)), names)
        ),
    ):
        assert len(figure.axes) == 11
        width, height = figure.get_size_inches()
        assert 0.5 < width / height < 2


def test_rank_histograms_show_counts_and_p_values():
    result = SimulatedCalibration.from_draws(*posteriors(), NAMES)
    *histograms, regions = plot_simulated(result).axes
    for axis, counts, p in zip(histograms, result.ranks.counts, result.ranks.p_bonferroni, strict=True):
        np.testing.assert_array_equal(bars(axis), counts)
        assert f"p = {p:.2g}" in axis.get_title()
    np.testing.assert_array_equal(regions.lines[1].get_ydata(), result.regions.coverage)


def test_one_label_is_drawn_and_unknown_labels_are_refused(tmp_path):
    truth, draws = posteriors(40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_figure(plot_calibration(compare_draws(truth[:, :1], draws[..., :1], NAMES[:1])), tmp_path / "one.png")
    with pytest.raises(SlamError, match="no label of these stars has both a fitted and a known value"):
        plot_calibration(compare_draws(truth * np.nan, draws, NAMES))
