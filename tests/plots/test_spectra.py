"""Spectra, predictions and residuals in figures are those of the model and the table."""

from functools import cache

import numpy as np
import pytest
from matplotlib.figure import Figure
from models import LABELS, giants_model, held_out

from slamjax.errors import SlamError
from slamjax.fitting import fit
from slamjax.flags import Flag
from slamjax.plots import plot_spectra


@cache
def fitted():
    return fit(giants_model(), held_out()[:12], n_starts=1)


def test_spectra_predictions_and_residuals_are_drawn():
    table = fitted()
    figure = plot_spectra(giants_model(), held_out()[:12], table, count=2)
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 4
    names = list(table["apogee_id"])
    prepared = giants_model().prepare(held_out()[:12])
    for top, bottom in (figure.axes[:2], figure.axes[2:]):
        row = names.index(top.get_title(loc="left").split(":")[0])
        observed, predicted = (one.get_ydata() for one in top.lines[:2])
        labels = np.stack([np.asarray(table[name])[row] for name in LABELS])
        np.testing.assert_allclose(observed, prepared.flux[row], rtol=1e-6)
        np.testing.assert_allclose(predicted, giants_model()(labels), rtol=1e-5)
        sigma = np.sqrt(1 / prepared.ivar[row] + giants_model().noise.model_variance)
        np.testing.assert_allclose(bottom.lines[0].get_ydata(), (observed - predicted) / sigma, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(bottom.lines[0].get_xdata(), giants_model().wave)
        assert bottom.get_ylabel() == "residual / σ"
        low, high = bottom.get_ylim()
        assert low == -high
        assert high >= 3.5
    assert figure.axes[-1].get_xlabel() == "wavelength [nm]"


def test_bad_pixels_are_gaps():
    stars = held_out()[:1]
    ivar = stars.ivar.copy()
    ivar[:, (stars.wave > 539) & (stars.wave < 561)] = 0
    figure = plot_spectra(giants_model(), stars.with_arrays(stars.flux, ivar), fitted()[:1])
    bad = (giants_model().wave > 539) & (giants_model().wave < 561)
    assert bad.sum() > 5
    for axis in figure.axes:
        np.testing.assert_array_equal(np.isnan(axis.lines[0].get_ydata()), bad)
        grey = [patch for patch in axis.patches if patch.get_facecolor()[:3] == (0.9, 0.9, 0.9)]
        assert len(grey) == 1
    assert "bad pixels" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_titles_state_chi2_and_flags_and_flagged_stars_stand_out():
    table = fitted()[:2].copy()
    table["flags"] = [0, Flag.HIGH_CHI2 | Flag.AT_BOUND]
    titles = {}
    for axis in plot_spectra(giants_model(), held_out()[:2], table).axes[::2]:
        titles[axis.get_title(loc="left").split(":")[0]] = axis._left_title
    first, second = (titles[name] for name in table["apogee_id"])
    chi2 = f"χ² {float(table['chi2'][0]):.4g} of {table['n_pix'][0]} pixels; no flags"
    assert first.get_text().splitlines()[-1] == chi2
    assert second.get_text().endswith("pixels; AT_BOUND, HIGH_CHI2")
    teff, error = table["teff"][0].value, table["teff_err"][0].value
    assert f"{teff:.0f} ± {error:.0f}" in first.get_text()
    assert first.get_color() != second.get_color()


def test_an_outlying_pixel_does_not_hide_the_others_and_is_marked():
    stars = held_out()[:1]
    flux = stars.flux.copy()
    pixel = int(np.argmin(np.abs(stars.wave - 560)))
    flux[:, pixel] *= 30
    figure = plot_spectra(giants_model(), stars.with_arrays(flux, stars.ivar), fitted()[:1])
    for axis in figure.axes:
        markers = [line for line in axis.lines if line.get_marker() == "^"]
        assert [stars.wave[pixel] in line.get_xdata() for line in markers] == [True]
    low, high = figure.axes[0].get_ylim()
    assert high - low < 3
    assert np.nanmax(figure.axes[0].lines[0].get_ydata()) > 5


def test_all_of_the_prediction_is_within_the_axis():
    for axis in plot_spectra(giants_model(), held_out()[:12], fitted(), count=3).axes[::2]:
        low, high = axis.get_ylim()
        predicted = axis.lines[1].get_ydata()
        assert low < predicted.min()
        assert predicted.max() < high


@pytest.mark.parametrize("count", [0, -1, 200])
def test_a_count_that_no_figure_holds_is_refused(count):
    with pytest.raises(SlamError, match=f"count is {count}; a figure holds 1 to 40 spectra"):
        plot_spectra(giants_model(), held_out()[:12], fitted(), count=count)


def test_failed_fits_are_not_drawn():
    table = fitted().copy()
    table["teff"][[0, 1, 3]] = np.nan  # out of iterations: chi2 is there, labels are not
    table["chi2"][4] = np.nan
    figure = plot_spectra(giants_model(), held_out()[:12], table, count=12)
    shown = {axis.get_title(loc="left").split(":")[0] for axis in figure.axes[::2]}
    assert shown == set(table["apogee_id"]) - set(table["apogee_id"][[0, 1, 3, 4]])


def test_a_table_of_failed_fits_is_refused():
    table = fitted().copy()
    table["teff"] = np.nan * table["teff"]
    with pytest.raises(SlamError, match="no fitted spectrum to plot; all fits failed"):
        plot_spectra(giants_model(), held_out()[:12], table)
