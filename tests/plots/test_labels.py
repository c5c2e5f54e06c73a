"""Fitted and known labels in figures are those of the table."""

import warnings

import numpy as np
import pytest
from astropy.table import Table
from matplotlib.figure import Figure

from slamjax.errors import SlamError
from slamjax.plots import plot_labels

GOOD, FLAGGED = "#2e5e8c", "#e08e45"


def label_table(n, seed=1):
    """Two labels with known values; every third star is flagged."""
    rng = np.random.default_rng(seed)
    known = np.stack([rng.normal(4500, 200, n), rng.normal(2, 0.5, n)], -1)
    table = Table({"row": np.arange(n)})
    for k, (name, size) in enumerate((("teff", 40), ("logg", 0.1))):
        table[name] = known[:, k] + size * rng.normal(size=n)
        table[f"{name}_err"] = np.full(n, float(size))
        table[f"{name}_ref"] = known[:, k]
    table["flags"] = np.where(np.arange(n) % 3 == 0, 4, 0)
    return table


def line(axis, colour):
    """The first line of that colour."""
    return next(one for one in axis.lines if one.get_color() == colour)


def test_labels_are_drawn_against_known_ones_and_flagged_stars_stand_out():
    table = label_table(60)
    figure = plot_labels(table, ("teff", "logg"))
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 4
    for k, name in enumerate(("teff", "logg")):
        top, bottom = figure.axes[k], figure.axes[k + 2]
        difference = table[name] - table[f"{name}_ref"]
        for colour, chosen in ((GOOD, table["flags"] == 0), (FLAGGED, table["flags"] != 0)):
            assert chosen.any()
            np.testing.assert_array_equal(line(top, colour).get_xdata(), table[f"{name}_ref"][chosen])
            np.testing.assert_array_equal(line(top, colour).get_ydata(), table[name][chosen])
            np.testing.assert_array_equal(line(bottom, colour).get_ydata(), difference[chosen])
        bias = np.median(difference)
        scatter = 1.4826 * np.median(np.abs(difference - bias))
        digits = 0 if name == "teff" else 3
        shown = f"robust scatter {scatter:.{digits}f}"
        assert shown in top.get_title()
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["good", "flagged"]


def test_one_star_is_within_the_axes():
    table = label_table(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plot_labels(table, ("teff", "logg"))
    for k, name in enumerate(("teff", "logg")):
        difference = table[name][0] - table[f"{name}_ref"][0]
        assert f"one star, fitted − known {difference:.{0 if name == 'teff' else 3}f}" in figure.axes[k].get_title()
        for axis, value in ((figure.axes[k], table[name][0]), (figure.axes[k + 2], difference)):
            assert axis.get_ylim()[0] < value < axis.get_ylim()[1]
    exact = label_table(1)
    exact["teff"] = exact["teff_ref"]
    assert np.diff(plot_labels(exact, ("teff",)).axes[0].get_xlim())[0] > 0


def test_stars_far_off_are_marked_at_the_edge():
    table = label_table(60)
    table["teff"][7] += 5000
    bottom = plot_labels(table, ("teff",)).axes[1]
    (marker,) = [one for one in bottom.lines if one.get_marker() == "^"]
    assert marker.get_xdata() == [table["teff_ref"][7]]


def test_ten_labels_stand_in_two_rows():
    table = label_table(40)
    names = [f"label{k}" for k in range(10)]
    for name in names:
        table[name], table[f"{name}_ref"] = table["logg"], table["logg_ref"]
    figure = plot_labels(table, names)
    assert len(figure.axes) == 20
    width, height = figure.get_size_inches()
    assert 0.5 < width / height < 2


def test_failed_fits_are_left_out():
    table = label_table(30)
    table["teff"][:4] = np.nan
    figure = plot_labels(table, ("teff",))
    assert sum(len(one.get_xdata()) for one in figure.axes[0].lines if one.get_color() in (GOOD, FLAGGED)) == 26
    assert np.all(np.isfinite(figure.axes[0].get_xlim()))


def test_labels_without_known_values_are_left_out():
    table = label_table(10)
    table["logg_ref"] = np.nan
    assert len(plot_labels(table, ("teff", "logg")).axes) == 2
    table.remove_column("teff_ref")
    with pytest.raises(SlamError, match="no label of this table has both fitted and known values"):
        plot_labels(table, ("teff", "logg"))
