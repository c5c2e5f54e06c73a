"""Figures of calibration show the counts of PIT values, ranks and covered stars."""

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

from slamjax.errors import SlamError
from slamjax.plots import plot_calibration, plot_simulated, write_figure
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
    assert texts == [r"$T_{\rm eff}$", r"$\log g$", "vmic", "jointly"]


def test_calibrated_posteriors_lie_within_the_bands():
    figure = plot_calibration(compare_draws(*posteriors(), NAMES))
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    counts = bars(figure.axes[0])
    assert band.min() <= counts.min()
    assert counts.max() <= band.max()
    assert 4 < band.min() < 15 < band.max() < 30  # 99 % of a binomial count of 15 expected


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
