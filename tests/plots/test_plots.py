"""Figures hold the numbers they say they hold."""

import sys
import warnings
from functools import cache

import numpy as np
import pytest
from astropy.table import Table
from models import LABELS, giants_model, held_out, searched_model

from slamjax.errors import SlamError
from slamjax.fitting import fit
from slamjax.plots import check_figure_path, plot_labels, plot_spectra, plot_training, title_of, write_figure

figure_module = pytest.importorskip("matplotlib.figure")
GOOD, FLAGGED = "#2e5e8c", "#e08e45"


@cache
def fitted():
    return fit(giants_model(), held_out()[:12], n_starts=1)


def table_like(n, seed=1):
    """A label table of two labels as far as plots look: every third star is flagged."""
    rng = np.random.default_rng(seed)
    known = np.stack([rng.normal(4500, 200, n), rng.normal(2, 0.5, n)], -1)
    table = Table({"row": np.arange(n)})
    for k, (name, size) in enumerate((("teff", 40), ("logg", 0.1))):
        table[name] = known[:, k] + size * rng.normal(size=n)
        table[f"{name}_err"] = np.full(n, float(size))
        table[f"{name}_ref"] = known[:, k]
    table["flags"] = np.where(np.arange(n) % 3 == 0, 4, 0)
    return table


def line(axis, colour=None):
    """The first line of that colour."""
    return next(one for one in axis.lines if colour is None or one.get_color() == colour)


def test_spectra_are_shown_with_what_is_left_over():
    table = fitted()
    figure = plot_spectra(giants_model(), held_out()[:12], table, count=2)
    assert isinstance(figure, figure_module.Figure)
    assert len(figure.axes) == 4
    names = list(table["apogee_id"])
    prepared = giants_model().prepare(held_out()[:12])
    for top, bottom in (figure.axes[:2], figure.axes[2:]):
        row = names.index(top.get_title(loc="left").split(":")[0])
        observed, predicted = (one.get_ydata() for one in top.lines)
        labels = np.stack([np.asarray(table[name])[row] for name in LABELS])
        np.testing.assert_allclose(observed, prepared.flux[row], rtol=1e-6)
        np.testing.assert_allclose(predicted, giants_model()(labels), rtol=1e-5)
        np.testing.assert_allclose(line(bottom).get_ydata(), observed - predicted, atol=1e-12)
        np.testing.assert_array_equal(line(bottom).get_xdata(), giants_model().wave)
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
        np.testing.assert_array_equal(np.isnan(line(axis).get_ydata()), bad)


def test_failed_fits_are_not_shown():
    table = fitted().copy()
    table["teff"][[0, 1, 3]] = np.nan  # out of iterations: chi2 is there, labels are not
    table["chi2"][4] = np.nan
    figure = plot_spectra(giants_model(), held_out()[:12], table, count=12)
    shown = {axis.get_title(loc="left").split(":")[0] for axis in figure.axes[::2]}
    assert shown == set(table["apogee_id"]) - set(table["apogee_id"][[0, 1, 3, 4]])


def test_nothing_but_failures_is_told():
    table = fitted().copy()
    table["teff"] = np.nan * table["teff"]
    with pytest.raises(SlamError, match="no fitted spectrum to plot; all fits failed"):
        plot_spectra(giants_model(), held_out()[:12], table)


def test_labels_stand_against_the_known_ones_and_flagged_stars_apart():
    table = table_like(60)
    figure = plot_labels(table, ("teff", "logg"))
    assert isinstance(figure, figure_module.Figure)
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


def test_failed_fits_leave_no_point_and_no_nan_axis():
    table = table_like(30)
    table["teff"][:4] = np.nan
    figure = plot_labels(table, ("teff",))
    assert sum(len(one.get_xdata()) for one in figure.axes[0].lines if one.get_color() in (GOOD, FLAGGED)) == 26
    assert np.all(np.isfinite(figure.axes[0].get_xlim()))


def test_only_labels_that_are_known_get_an_axis():
    table = table_like(10)
    table["logg_ref"] = np.nan
    assert len(plot_labels(table, ("teff", "logg")).axes) == 2
    table.remove_column("teff_ref")
    with pytest.raises(SlamError, match="no label of this table has both fitted and known values"):
        plot_labels(table, ("teff", "logg"))


def test_training_shows_the_scores_and_the_errors_along_the_spectrum():
    model = giants_model()
    figure = plot_training(model)
    assert isinstance(figure, figure_module.Figure)
    assert len(figure.axes) == 3
    np.testing.assert_array_equal(line(figure.axes[0]).get_ydata(), model.info.pixels["cv_mse"])
    np.testing.assert_array_equal(line(figure.axes[0]).get_xdata(), model.wave)
    np.testing.assert_allclose(line(figure.axes[1]).get_ydata(), np.sqrt(model.noise.model_variance), rtol=1e-12)
    support = model.info.pixels["n_support"] / model.info.pixels["n_train"]
    np.testing.assert_array_equal(line(figure.axes[2]).get_ydata(), support)


def test_hyper_parameters_that_were_searched_are_shown_pixel_by_pixel():
    model = searched_model()
    figure = plot_training(model)
    assert [axis.get_ylabel() for axis in figure.axes[3:]] == ["C", "gamma"]
    for axis in figure.axes[3:]:
        np.testing.assert_array_equal(line(axis).get_ydata(), model.info.pixels[axis.get_ylabel()])


def test_axes_say_whether_the_continuum_is_divided_out():
    import dataclasses

    model = giants_model()
    raw = dataclasses.replace(model, info=dataclasses.replace(model.info, recipe=type(model.recipe)()))
    assert plot_training(model).axes[1].get_ylabel() == "flux / continuum"
    assert plot_training(raw).axes[1].get_ylabel() == "flux"


@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_figures_are_saved_without_a_warning(ending, tmp_path):
    figures = (
        plot_spectra(giants_model(), held_out()[:12], fitted()),
        plot_labels(table_like(40), ("teff", "logg")),
        plot_training(searched_model()),
    )
    magic = {"png": b"\x89PNG", "pdf": b"%PDF"}[ending]
    for number, figure in enumerate(figures):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            write_figure(figure, tmp_path / f"{number}.{ending}")
        assert (tmp_path / f"{number}.{ending}").read_bytes().startswith(magic)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("name", ["figure", "figure.xyz"])
def test_an_unknown_ending_is_told_and_nothing_is_written(name, tmp_path):
    """matplotlib adds an ending where there is none, which would leave the figure under another name."""
    with pytest.raises(SlamError, match=r"matplotlib goes by the ending; give one of .*pdf, .*png"):
        write_figure(plot_labels(table_like(5), ("teff",)), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(SlamError, match="does not exist; create it first"):
        check_figure_path(tmp_path / "nowhere" / "figure.png")


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for plot in (
        lambda: plot_training(giants_model()),
        lambda: plot_labels(table_like(5), ("teff",)),
        lambda: check_figure_path("figure.png"),
    ):
        with pytest.raises(SlamError, match=r"plots need matplotlib; install it with: pip install 'slamjax\[plots\]'"):
            plot()


def test_titles_use_the_fields_notation_where_there_is_one():
    assert title_of("logg") == r"$\log g$"
    assert title_of("vmic", "km/s") == "vmic [km/s]"
