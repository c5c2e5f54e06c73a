"""Draws, intervals and predictions in figures are those of the posterior."""

import numpy as np
import pytest
from models import LABELS, giants_model, held_out

from slamjax.errors import SlamError
from slamjax.plots import plot_corner, plot_predictive, plot_trace
from slamjax.sampling import Diagnostics, Posterior


def posterior(n_draws=300):
    """Normal draws about the known labels of three stars; alpha_m is fixed, the last star could not be sampled."""
    stars = held_out()[:3]
    rng = np.random.default_rng(0)
    shape = (2, n_draws, 3, 4)
    labels = rng.normal(stars.values(LABELS), [40, 0.1, 0.05, 0.02], size=shape)
    labels[..., 3] = 0.1
    labels[:, :, 2] = np.nan
    diverging = np.zeros(shape[:3], bool)
    diverging[1, 7, 0] = True
    ess = np.full((3, 4), 500.0)
    return Posterior(
        LABELS, ("K", "", "", ""), labels, np.zeros(shape[:3]), diverging, Diagnostics(np.full((3, 4), 1.01), ess, ess),
        khat=np.full(3, np.nan), sampler=np.array(["nuts", "nuts", ""]), flags=np.array([0, 4, 0]),
        stars={"row": np.asarray(stars.rows)},
    )  # fmt: skip


def rows():
    return posterior().stars["row"]


def test_corner_plots_show_the_draws_and_intervals_of_varying_labels():
    figure = plot_corner(posterior(), row=rows()[1])
    assert len(figure.axes) == 9  # teff, logg, fe_h
    draws = posterior().labels[:, :, 1].reshape(-1, 4)
    for k, axis in enumerate(figure.axes[::4]):
        lines = [line.get_xdata()[0] for line in axis.lines]
        np.testing.assert_allclose(lines, np.percentile(draws[:, k], [16, 50, 84]))
    np.testing.assert_array_equal(figure.axes[3].lines[0].get_xdata(), draws[:, 0])
    np.testing.assert_array_equal(figure.axes[3].lines[0].get_ydata(), draws[:, 1])
    assert [axis.get_visible() for axis in figure.axes] == [True, False, False, True, True, False, True, True, True]
    assert figure.get_suptitle().startswith(f"row {rows()[1]}: 2 x 300 draws, nuts; ")


def test_trace_plots_show_chains_in_order_and_diverging_draws():
    figure = plot_trace(posterior())
    assert len(figure.axes) == 6
    left, right = figure.axes[:2]
    first, _, second, diverging = left.lines
    np.testing.assert_array_equal(first.get_ydata(), posterior().labels[0, :, 0, 0])
    np.testing.assert_array_equal(second.get_ydata(), posterior().labels[1, :, 0, 0])
    np.testing.assert_array_equal(diverging.get_xdata(), [7])
    assert right.get_title() == "bulk ESS 500, R-hat 1.010"


def test_predicted_bands_surround_the_observed_spectrum():
    figure = plot_predictive(giants_model(), held_out()[:3], posterior(), row=rows()[0])
    top, bottom = figure.axes
    observed, median = top.lines
    np.testing.assert_allclose(observed.get_ydata(), giants_model().prepare(held_out()[:1]).flux[0], rtol=1e-6)
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), observed.get_ydata() - median.get_ydata())
    wide, narrow = (band.get_paths()[0].get_extents().height for band in bottom.collections)
    assert wide > narrow > 0


def test_stars_that_are_not_there_are_refused():
    with pytest.raises(SlamError, match="the posterior has no star of row 3; its rows start at "):
        plot_corner(posterior(), row=3)
    with pytest.raises(SlamError, match=f"the star of row {rows()[2]} could not be sampled; choose another"):
        plot_trace(posterior(), row=rows()[2])
    with pytest.raises(SlamError, match="no star of this posterior was sampled; there is nothing to plot"):
        plot_corner(posterior()[2:])
    with pytest.raises(SlamError, match=f"has no spectrum of row {rows()[1]}; give the sampled spectra"):
        plot_predictive(giants_model(), held_out()[:1], posterior(), row=rows()[1])
