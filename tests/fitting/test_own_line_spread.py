"""Spectra that each state a line spread of their own: fits and samples convolve what they predict for each star."""

import dataclasses
import warnings
from functools import cache

import numpy as np
import pytest
from astropy.table import vstack
from helpers import miles
from models import LABELS, miles_model

import slamjax
from slamjax.preprocessing.resolution import blur_to

NAMES = LABELS[:3]


@cache
def stars():
    """Real stars that did not train the model; and the same, blurred one by one to widths from 2.6 to 6 Å."""
    sharp = miles()[90:]
    sharp = sharp.select("teff > 4000 & teff < 7500 & isfinite(logg) & isfinite(fe_h)")
    ramp = (sharp.wave - sharp.wave[0]) / (sharp.wave[-1] - sharp.wave[0])
    at_blue = np.linspace(2.6, 5.0, len(sharp))[np.random.default_rng(0).permutation(len(sharp))]
    fwhm = at_blue[:, None] + ramp
    one_by_one = [blur_to(sharp[k], fwhm[k]) for k in range(len(sharp))]  # each with a width of one dimension
    flux = np.concatenate([one.flux for one in one_by_one])
    return sharp, dataclasses.replace(sharp, flux=flux, fwhm=fwhm)


@cache
def fitted():
    return slamjax.fit(miles_model(), stars()[1])


def one_by_one(spectra, **options):
    """Fits of each star under a model that is made for its width alone."""
    alone = [dataclasses.replace(spectra[k], fwhm=spectra.fwhm[k]) for k in range(len(spectra))]
    return vstack([slamjax.fit(miles_model(), one, **options) for one in alone])


def moved(table, reference):
    """(N, L) shifts of labels in units of the reference's errors."""
    errors = [np.asarray(reference[f"{name}_err"], float) for name in NAMES]
    return np.stack(
        [np.asarray(table[n] - reference[n], float) / e for n, e in zip(NAMES, errors, strict=True)], axis=1
    )


def test_stars_with_line_spreads_of_their_own_get_the_labels_of_sharp_ones():
    model, (sharp, own) = miles_model(), stars()
    expected = slamjax.fit(model, sharp)
    common = slamjax.fit(model, dataclasses.replace(own, fwhm=own.fwhm.mean(axis=0)))
    near, far = (np.median(np.abs(moved(table, expected)), axis=0) for table in (fitted(), common))
    assert np.all(near < 1)
    assert np.all(far > 1.2 * near)
    assert far.mean() > 2 * near.mean()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none says that the model should be matched
        slamjax.fit(model, own[:2])


def test_a_fit_is_that_of_a_model_with_as_wide_lines():
    _, own = stars()
    alone = one_by_one(own[:8])
    assert np.abs(moved(fitted()[:8], alone)).max() < 0.1
    for name in NAMES:
        np.testing.assert_allclose(fitted()[f"{name}_err"][:8].value, alone[f"{name}_err"].value, rtol=0.05)


def test_a_star_has_the_same_labels_whichever_others_it_is_fitted_with():
    """Digit by digit, and so has one whose neighbours need a wider kernel."""
    _, own = stars()
    alone = slamjax.fit(miles_model(), own[3])
    for name in (*NAMES, *(f"{name}_err" for name in NAMES), "chi2", "flags"):
        np.testing.assert_array_equal(np.asarray(alone[name]), np.asarray(fitted()[name])[3:4])


def test_rows_of_one_width_agree_with_a_width_that_all_share():
    model, (_, own) = miles_model(), stars()
    width = np.full(own.n_pix, 4.0)
    shared = slamjax.fit(model, dataclasses.replace(own, fwhm=width))
    rows = slamjax.fit(model, dataclasses.replace(own, fwhm=np.tile(width, (len(own), 1))))
    assert np.abs(moved(rows, shared)).max() < 0.02


def test_a_table_on_disk_that_is_read_part_by_part_gives_the_same_labels(tmp_path):
    _, own = stars()
    for name in ("own.fits", "own.parquet"):
        slamjax.write_table(own, tmp_path / name)
        table = slamjax.fit_table(miles_model(), tmp_path / name)
        for label in NAMES:
            np.testing.assert_array_equal(np.asarray(table[label]), np.asarray(fitted()[label]))


def test_an_unknown_line_spread_is_the_models_own():
    model, (sharp, own) = miles_model(), stars()
    unknown = slamjax.fit(model, dataclasses.replace(sharp, fwhm=np.full(own.fwhm.shape, np.nan)))
    plain = slamjax.fit(model, dataclasses.replace(sharp, fwhm=None))
    assert np.abs(moved(unknown, plain)).max() < 0.01
    fwhm = np.array(own.fwhm)
    fwhm[2] = np.nan
    some = slamjax.fit(model, dataclasses.replace(own, fwhm=fwhm))
    ignorant = slamjax.fit(model, dataclasses.replace(own, fwhm=None)[2])
    assert np.abs(moved(some[2:3], ignorant)).max() < 0.01
    others = np.arange(len(own)) != 2
    np.testing.assert_array_equal(np.asarray(some["teff"])[others], np.asarray(fitted()["teff"])[others])


def test_sharper_spectra_are_convolved_as_if_each_were_alone():
    model, (sharp, _) = miles_model(), stars()
    fwhm = np.linspace(1.0, 2.4, len(sharp))[:, None] + np.linspace(0, 0.1, sharp.n_pix)
    together = model.prepare(dataclasses.replace(sharp, fwhm=fwhm))
    for k in (0, 7, len(sharp) - 1):
        alone = model.prepare(dataclasses.replace(sharp[k], fwhm=fwhm[k]))
        np.testing.assert_allclose(together.flux[k], alone.flux[0], rtol=1e-6)
        np.testing.assert_allclose(together.ivar[k], alone.ivar[0], rtol=1e-6)
    np.testing.assert_array_equal(together.fwhm, np.full(sharp.flux.shape, 2.5))


@pytest.mark.parametrize("nuisances", [slamjax.Nuisances(rv=slamjax.Free(-200, 200), polynomial=1)])
def test_nuisances_are_fitted_through_the_line_spread_of_each_star(nuisances):
    _, own = stars()
    expected, found = one_by_one(own[:3], nuisances=nuisances), slamjax.fit(miles_model(), own[:3], nuisances=nuisances)
    assert np.abs(moved(found, expected)).max() < 0.1
    shift = np.asarray(found["rv"] - expected["rv"], float) / np.asarray(expected["rv_err"], float)
    assert np.abs(shift).max() < 0.1
    np.testing.assert_allclose(found["polynomial"], expected["polynomial"], atol=1e-3)


def test_velocities_are_measured_through_the_line_spread_of_each_star():
    model, (_, own) = miles_model(), stars()
    observed = dataclasses.replace(own[:6], frame="observed")
    table = slamjax.fit(model, observed)
    assert np.abs(np.asarray(table["rv"], float) / np.asarray(table["rv_err"], float)).max() < 6
    assert np.median(np.abs(moved(table, fitted()[:6]))) < 0.4


@pytest.mark.parametrize("optimiser", ["adam"])
def test_gradient_methods_convolve_too(optimiser):
    model, (_, own) = miles_model(), stars()
    table = slamjax.fit(model, own[:3], optimiser=optimiser)
    assert np.median(np.abs(moved(table, fitted()[:3]))) < 0.1


def test_posterior_means_and_samples_are_about_the_fit():
    model, (_, own) = miles_model(), stars()
    means = slamjax.fit(model, own[:4], posterior_mean=True)
    spec = slamjax.SamplerSpec("importance", draws=500)
    posterior = slamjax.sample(model, own[:4], sampler=spec)
    drawn = posterior.table()
    for name in NAMES:
        error = np.asarray(drawn[f"{name}_err"], float)
        assert np.abs((np.asarray(drawn[name]) - np.asarray(means[f"{name}_mean"])) / error).max() < 0.3, name
        assert np.abs((np.asarray(drawn[name]) - np.asarray(means[name])) / error).max() < 1, name
    prepared = model.prepare(own[:4])
    sharp, seen = posterior.predictive(model, 3), posterior.predictive(model, 3, spectra=prepared)
    np.testing.assert_allclose(seen[1], model.as_seen(prepared, sharp[1]), rtol=1e-6)
    assert np.all(np.std(seen[..., model.trained], axis=-1) < np.std(sharp[..., model.trained], axis=-1))


def test_predictions_have_lines_as_wide_as_the_stars():
    model, (sharp, own) = miles_model(), stars()
    prepared = model.prepare(own)
    labels = slamjax.fit(model, sharp)
    plain = np.asarray(model.emulator(np.stack([np.asarray(labels[name], float) for name in NAMES], axis=1)))
    seen = model.as_seen(prepared, plain)
    good = model.trained
    worse, better = (np.std((flux - prepared.flux)[:, good], axis=1) for flux in (plain, seen))
    assert np.mean(better < worse) > 0.95
    np.testing.assert_array_equal(model.as_seen(model.prepare(sharp), plain), plain)
