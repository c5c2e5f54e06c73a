"""Draws, intervals and predictions in figures are those of the posterior."""

import dataclasses

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
    assert figure.get_suptitle().startswith(f"row {rows()[1]}: 2 x 300 draws, nuts; AT_BOUND")


def with_stars(**columns):
    made = posterior()
    return dataclasses.replace(made, stars={**made.stars, **columns})


def test_corner_plots_name_the_star_and_mark_its_known_labels():
    names = np.array(["2M01", "2M02", "2M03"])
    known = {f"{name}_ref": held_out()[:3].values(name) for name in LABELS}
    known["logg_ref"] = np.full(3, np.nan)
    figure = plot_corner(with_stars(apogee_id=names, **known), row=rows()[1])
    assert figure.get_suptitle().startswith(f"2M02 (row {rows()[1]}): ")
    marked = [[line for line in axis.lines if line.get_linestyle() == "--"] for axis in figure.axes]
    teff, fe_h = known["teff_ref"][1], known["fe_h_ref"][1]
    assert [len(lines) for lines in marked] == [1, 0, 0, 1, 0, 0, 2, 1, 1]
    assert marked[0][0].get_xdata()[0] == teff
    assert marked[3][0].get_xdata()[0] == teff  # logg against teff: that of logg is not known
    assert [marked[6][0].get_ydata()[0], marked[6][1].get_xdata()[0]] == [fe_h, teff]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["median", "68 % interval", "regions with 39 and 86 % of the draws", "known label"]
    unknown = plot_corner(posterior(), row=rows()[1])
    assert "known label" not in [text.get_text() for text in unknown.legends[0].get_texts()]


def test_a_known_label_beyond_the_draws_is_within_the_axes_unless_it_is_absurd():
    draws = posterior().labels[:, :, 1, 0]
    for known, inside in ((draws.mean() + 300, True), (1e6, False)):
        axis = plot_corner(with_stars(teff_ref=np.full(3, known)), row=rows()[1]).axes[0]
        assert (axis.get_xlim()[1] > known) == inside
        assert axis.get_xlim()[0] < draws.mean() < axis.get_xlim()[1]


def test_one_label_has_a_figure_and_none_is_refused():
    made = posterior()
    labels = made.labels.copy()
    labels[..., 1:] = 0.5
    assert len(plot_corner(dataclasses.replace(made, labels=labels)).axes) == 1
    labels[..., 0] = 4500
    with pytest.raises(SlamError, match="all labels of this posterior are fixed"):
        plot_corner(dataclasses.replace(made, labels=labels))


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
    observed, median = top.lines[:2]
    np.testing.assert_allclose(observed.get_ydata(), giants_model().prepare(held_out()[:1]).flux[0], rtol=1e-6)
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), observed.get_ydata() - median.get_ydata())
    wide, narrow = (band.get_paths()[0].get_extents().height for band in bottom.collections)
    assert wide > narrow > 0
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["95 % of predicted spectra", "68 % of predicted spectra", "observed", "median prediction"]
    assert "photon noise and model error" in figure.get_suptitle()


def test_predictions_of_bad_pixels_are_grey():
    stars = held_out()[:3]
    ivar = stars.ivar.copy()
    ivar[:, (stars.wave > 539) & (stars.wave < 561)] = 0
    figure = plot_predictive(giants_model(), stars.with_arrays(stars.flux, ivar), posterior(), row=rows()[0])
    assert all(len(axis.patches) == 1 for axis in figure.axes)
    assert "bad pixels" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_stars_that_are_not_there_are_refused():
    with pytest.raises(SlamError, match="the posterior has no star of row 3; its rows start at "):
        plot_corner(posterior(), row=3)
    with pytest.raises(SlamError, match=f"the star of row {rows()[2]} could not be sampled; choose another"):
        plot_trace(posterior(), row=rows()[2])
    with pytest.raises(SlamError, match="no star of this posterior was sampled; there is nothing to plot"):
        plot_corner(posterior()[2:])
    with pytest.raises(SlamError, match=f"has no spectrum of row {rows()[1]}; give the sampled spectra"):
        plot_predictive(giants_model(), held_out()[:1], posterior(), row=rows()[1])
