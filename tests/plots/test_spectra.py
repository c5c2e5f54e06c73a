"""Spectra, predictions and residuals in figures are those of the model and the table."""

from functools import cache

import numpy as np
import pytest
from matplotlib.figure import Figure
from models import LABELS, giants_model, held_out

from slamjax.errors import SlamError
from slamjax.fitting import fit
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
        observed, predicted = (one.get_ydata() for one in top.lines)
        labels = np.stack([np.asarray(table[name])[row] for name in LABELS])
        np.testing.assert_allclose(observed, prepared.flux[row], rtol=1e-6)
        np.testing.assert_allclose(predicted, giants_model()(labels), rtol=1e-5)
        np.testing.assert_allclose(bottom.lines[0].get_ydata(), observed - predicted, atol=1e-12)
        np.testing.assert_array_equal(bottom.lines[0].get_xdata(), giants_model().wave)
        band = bottom.collections[0].get_paths()[0].vertices[:, 1].max()
        sigma = np.sqrt(1 / prepared.ivar[row] + giants_model().noise.model_variance)
        np.testing.assert_allclose(band, sigma.max(), rtol=1e-5)
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
