"""SLAM and the quadratic: tables and figures agree with the held-out stars."""

import dataclasses
from functools import cache

import numpy as np
import pytest
from astropy.table import Table
from helpers import miles, xp_giants
from models import SVR_10, TWO_FOLDS, recipe

import slamjax
from slamjax.errors import SlamError
from slamjax.fitting import fit
from slamjax.plots import plot_flux_errors, plot_label_scatter, plot_pixels
from slamjax.plots.pixels import line_pixels
from slamjax.spectra.spectra import Spectra
from slamjax.training import Polynomial, TrainingSpec, train
from slamjax.training.search import make_folds
from slamjax.validation.emulator_comparison import compare

NAMES = ("teff", "logg")
OPTIONS = {"svr": SVR_10, "training": TrainingSpec(search=TWO_FOLDS, noise="diagonal"), "n_starts": 1}


def stars():
    prepared = recipe()(xp_giants())
    return prepared.on_pixels(np.arange(0, 61, 6))


@cache
def contest():
    return compare(stars(), NAMES, test=2, **OPTIONS)


@pytest.mark.slow
def test_every_star_is_judged_once_by_models_that_had_not_seen_it():
    found = contest()
    assert found.held_out == "150 stars in 2 folds"
    for table in found.labels.values():
        assert sorted(table["row"]) == list(range(150))
    fold = make_folds(stars().star_groups(), 2, 0)
    for name, emulator in (("SLAM", SVR_10), ("polynomial", Polynomial())):
        model = train(stars()[fold != 1], NAMES, emulator=emulator, search=TWO_FOLDS, noise="diagonal")
        alone = fit(model, stars()[fold == 1], n_starts=1)
        table = found.labels[name]
        place = [list(table["row"]).index(row) for row in alone["row"]]
        np.testing.assert_allclose(table["logg"][place], alone["logg"], rtol=1e-4, atol=1e-4)


def test_flux_errors_are_those_at_the_known_labels():
    found, fold = contest(), make_folds(stars().star_groups(), 2, 0)
    residual = np.empty((150, 11))
    for number in range(2):
        model = train(stars()[fold != number], NAMES, emulator=Polynomial(), search=TWO_FOLDS, noise="diagonal")
        out = stars()[fold == number]
        residual[fold == number] = out.flux - np.asarray(model(out.values(NAMES)))
    np.testing.assert_allclose(found.flux["polynomial_rms"], np.sqrt(np.mean(residual**2, axis=0)), rtol=1e-5)
    mad = np.median(np.abs(residual - np.median(residual, axis=0)), axis=0)
    np.testing.assert_allclose(found.flux["polynomial_scatter"], 1.4826 * mad, rtol=1e-5)
    np.testing.assert_allclose(found.flux["photon"], np.median(1 / np.sqrt(stars().ivar), axis=0), rtol=1e-5)


def test_label_scatter_is_binned_by_signal_to_noise_if_errors_are_stated():
    table = contest().scatter["SLAM"]
    assert len(np.unique(table["low"][np.isfinite(table["low"])])) == 4
    summary = contest().summary()
    everyone = table[np.isnan(table["low"]) & (table["label"] == "logg")]
    assert summary["logg_scatter"][0] == everyone["scatter"][0]


@pytest.mark.slow
def test_other_stars_may_judge():
    found = compare(stars()[:110], NAMES, test=stars()[90:], **OPTIONS)
    assert found.held_out == "40 other stars"
    assert len(found.labels["SLAM"]) == len(found.labels["polynomial"]) == 40
    with pytest.raises(SlamError, match=r"every star of .* trained the emulators"):
        compare(stars()[:110], NAMES, test=stars()[:50], **OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test": 1}, "folds is 1"),
        ({"by": "height"}, "no column 'height'"),
        ({"bins": [3]}, "at least two edges"),
    ],
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(SlamError, match=message):
        compare(stars(), NAMES, **{**OPTIONS, **options})


def test_figures_show_the_tables():
    found = contest()
    figure = plot_flux_errors(found)
    drawn = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    np.testing.assert_array_equal(drawn["SLAM"], found.flux["SLAM_scatter"])
    np.testing.assert_array_equal(drawn["quadratic"], found.flux["polynomial_scatter"])
    figure = plot_label_scatter(found)
    assert [axis.get_title() for axis in figure.axes] == [r"$T_{\rm eff}$ [K]", r"$\log g$"]


def test_a_pixel_is_drawn_with_the_stars_of_the_slice_and_both_models():
    found = contest()
    figure = plot_pixels(found, pixels=[524, 560], fixed={"logg": (2.4, 0.4)})
    assert len(figure.axes) == 2
    top = figure.axes[0]
    points, slam, quadratic = top.lines
    values, flux = stars().values(NAMES), stars().flux[:, 2]
    inside = np.abs(values[:, 1] - 2.4) <= 0.4
    np.testing.assert_allclose(points.get_xdata(), values[inside, 0])
    np.testing.assert_allclose(points.get_ydata(), flux[inside])
    for curve, name in ((slam, "SLAM"), (quadratic, "polynomial")):
        grid = np.stack([curve.get_xdata(), np.full(200, 2.4)], axis=-1)
        np.testing.assert_allclose(curve.get_ydata(), np.asarray(found.models[name](grid))[:, 2], rtol=1e-5)
    assert "524 nm" in top.get_ylabel()
    for wrong, message in (({"pixels": [900]}, "no trained pixel at 900 nm"), ({"along": "age"}, "'age' is not among")):
        with pytest.raises(SlamError, match=message):
            plot_pixels(found, **wrong)


def test_lines_are_found_in_the_medium_of_the_spectra():
    """Mg b's middle line is at 5174.13 Å in vacuum and at 5172.68 Å in air."""
    spectra = miles().select("isfinite(teff) & isfinite(logg) & isfinite(fe_h) & teff > 4000 & teff < 7500")
    near = np.flatnonzero((spectra.wave > 5168) & (spectra.wave < 5178))
    air = spectra.on_pixels(near)
    vacuum = Spectra(air.wave, air.flux, table=Table(air.table), wave_unit=air.wave_unit, medium="vacuum")
    for some, line in ((air, 5172.68), (vacuum, 5174.13)):
        model = train(some, ("teff", "fe_h"), emulator=Polynomial(), search=TWO_FOLDS, noise="diagonal")
        nearest = int(np.argmin(np.abs(some.wave - line)))
        assert line_pixels(model, None) == [(nearest, f"Mg b, {some.wave[nearest]:g} Angstrom")]


@pytest.mark.slow
def test_folds_too_small_for_the_noise_of_all_stars_are_reported(monkeypatch):
    from slamjax.training import noise_learning

    monkeypatch.setattr(noise_learning, "_STARS_PER_COLUMN", 4)  # correlated noise from 60 stars on
    svr = dataclasses.replace(SVR_10, solver="sklearn")
    with pytest.warns(slamjax.SlamWarning, match="have too few stars for the noise model of all stars"):
        compare(stars()[:100], ("teff", "logg"), svr=svr, training=TrainingSpec(search=TWO_FOLDS), test=2)
