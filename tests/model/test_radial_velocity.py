"""Velocities by comparison with predicted spectra, of MILES stars set in motion by their wavelengths."""

import dataclasses
import logging

import jax
import numpy as np
import pytest
from helpers import DATA, miles
from models import LABELS, SVR_10, THREE_FOLDS, giants_model, miles_model
from scipy.stats import theilslopes

import slamjax
from slamjax.errors import SlamError
from slamjax.flags import Flag
from slamjax.model import radial_velocity
from slamjax.model.radial_velocity import measure_rv
from slamjax.noise.models import LowRankNoise
from slamjax.preprocessing import onto_grid
from slamjax.spectra.wavelengths import doppler_shift, to_vacuum


def observed(spectra, velocity, noise=0.01, seed=0):
    """Stars that recede at ``velocity``, seen in vacuum with noise: the same flux at other wavelengths."""
    wave = doppler_shift(to_vacuum(spectra.wave), velocity)
    sigma = noise * np.median(spectra.flux, axis=1, keepdims=True)
    flux = spectra.flux + np.random.default_rng(seed).normal(size=spectra.flux.shape) * sigma
    ivar = np.broadcast_to(sigma**-2.0, flux.shape)
    return dataclasses.replace(spectra, wave=wave, flux=flux, ivar=ivar, medium="vacuum", frame="observed")


def stars():
    """Held-out MILES stars with lines to speak of."""
    return miles()[90:].select("teff < 7000 & fe_h > -1.5")


@pytest.mark.parametrize("velocity", [-480.0, -33.0, 0.0, 120.0, 500.0])
def test_injected_velocities_are_found(velocity):
    found = measure_rv(miles_model(), observed(stars(), velocity))
    off = found["rv"].value - velocity
    # a pixel is 53 km/s; stars of the library are themselves at rest within some 10 km/s
    assert 1.4826 * np.median(np.abs(off - np.median(off))) < 8
    assert np.abs(np.median(off)) < 6
    assert np.all(found["contrast"] > 20)
    assert np.all((found["rv_err"].value > 0) & (found["rv_err"].value < 40))


def test_errors_grow_with_noise():
    quiet, loud = (measure_rv(miles_model(), observed(stars(), 100.0, noise))["rv_err"] for noise in (0.01, 0.2))
    assert np.median(loud / quiet) > 3


def test_velocities_are_found_in_any_unit_of_flux():
    """In units of 1e-18 the ivar of a good spectrum is beyond float32."""
    some, unit = observed(stars()[:3], 60.0), 1e-20
    tiny = some.with_arrays(some.flux.astype(float) * unit, some.ivar.astype(float) / unit**2)
    plain, found = (measure_rv(miles_model(), one) for one in (some, tiny))
    np.testing.assert_allclose(found["rv"].value, plain["rv"].value, atol=0.5)


def test_other_numbers_of_spectra_compile_nothing_new(caplog):
    """Every program that is compiled stays in memory: of a survey there would be ever more."""
    some = observed(stars(), 60.0)
    measure_rv(miles_model(), some[:9])
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        measure_rv(miles_model(), some[:5])
        measure_rv(miles_model(), some[2:9])
    assert [record.message for record in caplog.records if record.message.startswith("Compiling")] == []


def test_noise_without_a_star_has_no_contrast():
    rng = np.random.default_rng(0)
    some = observed(stars(), 0.0)
    flux = 1 + 0.1 * rng.normal(size=some.flux.shape)
    found = measure_rv(miles_model(), some.with_arrays(flux, np.full_like(flux, 100.0)))
    assert np.median(found["contrast"]) < 20


def test_a_spectrum_without_good_pixels_has_no_velocity():
    some = observed(stars(), 50.0)
    ivar = some.ivar.copy()
    ivar[0] = 0
    found = measure_rv(miles_model(), some.with_arrays(some.flux, ivar))
    assert np.isnan(found["rv"][0])
    assert np.isinf(found["rv_err"][0])
    assert np.all(np.isfinite(found["rv"][1:]))


def test_a_velocity_beyond_the_limit_is_nan():
    found = measure_rv(miles_model(), observed(stars(), 700.0), limit=300.0)
    assert np.all(~np.isfinite(found["rv"]) | (found["contrast"] < 100))


def test_a_model_in_the_observed_frame_measures_no_velocity():
    with pytest.raises(SlamError, match="trained in the observed frame"):
        measure_rv(giants_model(), miles())


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": np.nan}, {"n_templates": 0}])
def test_options_are_checked(options):
    with pytest.raises(SlamError, match="give numbers above 0"):
        measure_rv(miles_model(), miles(), **options)


@pytest.mark.parametrize("velocity", [-300.0, 75.0])
def test_shifted_stars_get_the_labels_of_stars_in_the_rest_frame(velocity):
    """Fitted where they are seen, without a word on how: the velocity, and labels as of the same noise at rest."""
    model = miles_model()
    moving = observed(stars(), velocity, noise=0.02)
    at_rest = stars().with_arrays(moving.flux, moving.ivar)
    expected, found = slamjax.fit(model, at_rest), slamjax.fit(model, moving)
    assert np.abs(np.median(found["rv"].value - velocity)) < 4
    pull = (found["rv"].value - velocity) / np.hypot(found["rv_err"].value, 8)
    assert np.abs(pull).max() < 4
    for name in model.label_names:
        off = (found[name] - expected[name]) / expected[f"{name}_err"]
        assert np.median(np.abs(off)) < 1.0, name
    assert np.all((found["flags"] & Flag.UNSURE_VELOCITY) == 0)


def test_real_lamost_files_are_fitted_as_they_come():
    """Two LAMOST spectra (cropped), a model of MILES stars; LASP has -16.5 and 46.2 km/s, 4034 and 5791 K."""
    spectra = slamjax.read(sorted(str(path) for path in (DATA / "surveys").glob("37*.fits")))
    found = slamjax.fit(miles_model(), spectra)
    assert found["file"].tolist() == ["3703110.fits", "3709013.fits"]
    np.testing.assert_allclose(found["rv"].value, [-16.5, 46.2], atol=15)
    np.testing.assert_allclose(np.asarray(found["teff"].value), [4034, 5791], atol=500)


def test_label_errors_are_marginalised_over_the_velocity():
    """As in a fit with the velocity as one of its parameters."""
    some = observed(stars(), 60.0, noise=0.05)
    # a fit with a free velocity does without the pixels near the ends
    middle = np.abs(np.arange(some.n_pix) - some.n_pix / 2) < 0.4 * some.n_pix
    some = some.with_arrays(some.flux, np.where(middle, some.ivar, 0))
    free = slamjax.fit(miles_model(), some, nuisances=slamjax.Nuisances(rv="free"))
    found = slamjax.fit(miles_model(), some)
    held = slamjax.fit(miles_model(), miles_model().place(some, np.asarray(found["rv"].value)))
    sound = (free["flags"] == 0) & (found["flags"] == 0) & (held["flags"] == 0)
    assert sound.sum() > 5
    for name in ("teff", "logg", "fe_h"):
        ratio, growth = (np.median((found[f"{name}_err"] / t[f"{name}_err"])[sound]) for t in (free, held))
        assert 0.97 < ratio < 1.03
        assert growth > 1.001
    ratio = np.median((found["rv_err"] / free["rv_err"])[sound])
    assert 0.9 < ratio < 1.5  # the former also contains what held-out stars say of the model's error


@pytest.mark.slow
def test_an_ambiguous_velocity_is_flagged():
    some = observed(stars(), 0.0)
    flux = 1 + 0.1 * np.random.default_rng(3).normal(size=some.flux.shape)
    found = slamjax.fit(miles_model(), some.with_arrays(flux, np.full_like(flux, 100.0)))
    assert np.mean(found["flags"] & Flag.UNSURE_VELOCITY > 0) > 0.5


def test_a_broken_file_among_others_is_a_flagged_row():
    some = observed(stars(), 20.0)
    ivar = some.ivar.copy()
    ivar[2] = 0
    found = slamjax.fit(miles_model(), some.with_arrays(some.flux, ivar))
    assert found["flags"][2] == Flag.NO_DATA
    assert np.isnan(found["rv"][2])
    assert np.isinf(found["rv_err"][2])
    assert np.isfinite(found["rv"][1])


def test_velocities_of_spectra_in_the_rest_frame_are_copied():
    spectra = miles()[90:95]
    table = spectra.table.copy()
    table["rv"], table["rv_err"] = np.arange(5.0), np.full(5, 0.1)
    found = slamjax.fit(miles_model(), dataclasses.replace(spectra, table=table))
    np.testing.assert_array_equal(found["rv"].value, np.arange(5.0))
    np.testing.assert_array_equal(found["rv_err"].value, 0.1)


@pytest.mark.slow
def test_posteriors_and_plots_of_shifted_stars_are_in_the_rest_frame():
    model, moving = miles_model(), observed(stars(), 150.0, noise=0.02)[1:3]
    labels = slamjax.fit(model, moving)
    spec = slamjax.SamplerSpec("importance", draws=100)
    mean, covariance = slamjax.sample(model, moving, sampler=spec, seed=1).moments()
    fitted = np.stack([np.asarray(labels[name]) for name in model.label_names], axis=-1)
    assert np.all(np.abs(mean - fitted) < 2 * np.sqrt(np.einsum("nll->nl", covariance)))
    assert len(slamjax.plots.plot_spectra(model, moving, labels, count=2).axes) == 4


def test_a_covariance_learnt_at_rest_changes_no_velocity():
    """Large common modes of the noise must not make velocities unsure."""
    model, some = miles_model(), observed(stars(), 60.0)
    wide = 0.3 * np.ones((model.wave.size, 1)) + 0.05 * np.random.default_rng(0).normal(size=(model.wave.size, 20))
    variance = np.asarray(model.noise.model_variance)
    noise = LowRankNoise(variance, wide, np.zeros_like(variance), 10 * wide[:, :3])
    plain, found = (measure_rv(one, some) for one in (model, dataclasses.replace(model, noise=noise)))
    np.testing.assert_allclose(found["rv"].value, plain["rv"].value, atol=1e-3)
    np.testing.assert_allclose(found["rv_err"].value, plain["rv_err"].value, rtol=1e-4)
    assert np.all(found["contrast"] > 20)


def coarse(spectra, velocity=None):
    """On pixels of 4 Å, 1.6 times as wide as the lines of MILES."""
    grid = np.arange(5010.0, 5260.0, 4.0)
    return onto_grid(spectra, grid, "Angstrom", "air", velocity=velocity)


@pytest.mark.slow
def test_velocities_in_pixels_wider_than_lines_are_not_drawn_to_zero():
    """In so short a range lines are too few to be at random places: slopes differ from 1 by several per cent."""
    every = miles().select("teff < 7000 & fe_h > -1.5")
    every = every[np.isfinite(every.values(LABELS[:3])).all(axis=1)]
    recipe = slamjax.Recipe.make(continuum="gaussian:10nm")
    model = slamjax.train(
        coarse(every), LABELS[:3], emulator=SVR_10, recipe=recipe, search=THREE_FOLDS, noise="diagonal"
    )
    given = np.random.default_rng(4).uniform(-90, 90, len(every))
    moving = dataclasses.replace(coarse(every, -given), frame="observed")
    table = measure_rv(model, moving)
    found, error = (np.asarray(table[name].value) for name in ("rv", "rv_err"))
    known = np.isfinite(found)
    assert known.mean() > 0.95
    assert theilslopes(found[known], given[known])[0] == pytest.approx(1, abs=0.12)
    pull = ((found - given) / error)[known]
    assert 0.6 < 1.4826 * np.median(np.abs(pull)) < 1.2


def test_the_velocities_of_the_model_s_own_spectra_have_no_bias():
    """A bias of real stars is the library's: its stars are not exactly at rest."""
    model = miles_model()
    labels = stars().values(LABELS[:3])
    labels = labels[np.isfinite(labels).all(axis=1)]
    flux = np.nan_to_num(np.asarray(model(np.clip(labels, *model.label_range.T)), float), nan=1.0)
    info = model.info
    bare = dataclasses.replace(model, info=dataclasses.replace(info, recipe=slamjax.Recipe()))
    for velocity in (-60.0, 0.0, 25.0):
        at_rest = slamjax.Spectra(
            model.wave, flux, np.full(flux.shape, 1e4), wave_unit="Angstrom", medium="air", frame="rest", fwhm=info.fwhm
        )
        given = np.full(len(flux), velocity)
        moved = onto_grid(at_rest, model.wave, "Angstrom", "air", velocity=-given)
        found = measure_rv(bare, dataclasses.replace(moved, frame="observed"))["rv"].value
        assert np.abs(np.median(found - given)) < 0.2


def test_no_correction_is_counted_twice():
    """From a spectrum that needs no second fit, the velocity is that of one step."""
    some = observed(stars(), 40.0)
    alone, fitted = measure_rv(miles_model(), some), slamjax.fit(miles_model(), some)
    apart = np.abs(alone["rv"].value - fitted["rv"].value) / fitted["rv_err"].value
    assert np.median(apart) < 0.3


def test_a_velocity_that_is_clear_is_not_compared_with_labels_fitted_elsewhere(monkeypatch):
    """The best template elsewhere, at any level, explains about as much as labels fitted there."""
    some = observed(stars()[:8], 40.0)
    quick = measure_rv(miles_model(), some)
    monkeypatch.setattr(radial_velocity, "_CLEAR", np.inf)
    full = measure_rv(miles_model(), some)
    np.testing.assert_array_equal(quick["rv"], full["rv"])
    np.testing.assert_allclose(quick["contrast"], full["contrast"], rtol=0.1)


def test_a_star_does_not_depend_on_the_others():
    some = observed(stars(), -70.0, noise=0.05)
    alone, together = (slamjax.fit(miles_model(), part) for part in (some[3:4], some))
    for name in ("rv", "teff", "logg", "fe_h"):
        assert abs(alone[name] - together[name][3:4]) < 1e-3 * alone[f"{name}_err"]
    assert alone["flags"] == together["flags"][3]
