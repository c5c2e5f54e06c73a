"""The resolving power of spectra as a nuisance: its coordinate, its prior, and R that was put into real spectra."""

import dataclasses
from functools import cache

import numpy as np
import pytest
from helpers import miles
from models import LABELS, miles_model

import slamjax
from slamjax.errors import SlamError
from slamjax.flags import Flag
from slamjax.forward.coordinates import Linear, ResolvingPower, Width
from slamjax.forward.nuisances import Free, Gaussian, Nuisances
from slamjax.preprocessing.resolution import blur_to

NAMES = LABELS[:3]


@pytest.mark.parametrize("coordinate", [Linear(3.0), Width(50.0), ResolvingPower(50.0, 2500.0)])
def test_values_parameters_slopes_and_errors_agree(coordinate):
    value = 1500.0 if isinstance(coordinate, ResolvingPower) else 70.0
    parameter = coordinate.parameter(value)
    np.testing.assert_allclose(coordinate.value(parameter), value)
    step = 1e-5 * parameter
    slope = (coordinate.value(parameter + step) - coordinate.value(parameter - step)) / (2 * step)
    np.testing.assert_allclose(coordinate.slope(parameter), slope, rtol=1e-6)
    np.testing.assert_allclose(coordinate.error(parameter, 0.01 * parameter), 0.01 * parameter * abs(slope), rtol=1e-6)


def test_a_resolving_power_is_the_gaussian_that_is_missing():
    """FWHM² add: 2,000 of a model of 2,500 lacks a Gaussian of R = 1 / √(1/2000² − 1/2500²)."""
    parameter = ResolvingPower(1.0, 2500.0).parameter(2000.0)
    expected = 299792.458 * np.sqrt(1 / 2000**2 - 1 / 2500**2) / 2.354820045
    np.testing.assert_allclose(np.sqrt(parameter), expected, rtol=1e-9)
    assert ResolvingPower(1.0, 2500.0).parameter(2600.0) == 0


def sharp():
    return miles()[90:].select("teff > 4000 & teff < 7500 & isfinite(logg) & isfinite(fe_h)")


@cache
def blurred(resolution):
    """Stars that the model has not seen, with lines of λ / R, which they state wrongly."""
    stars = sharp()
    wide = blur_to(stars, stars.wave / resolution)
    return dataclasses.replace(wide, fwhm=5.0)


def test_the_resolution_of_real_spectra_is_found_and_labels_with_it():
    model = miles_model()
    expected = slamjax.fit(model, sharp())
    found = slamjax.fit(model, blurred(1300.0), nuisances=Nuisances(resolution=Free(900, 2000)))
    good = np.asarray(found["flags"]) == 0
    assert good.mean() > 0.6
    resolution = np.asarray(found["resolution"], float)[good]
    assert abs(np.median(resolution) / 1300 - 1) < 0.06  # the model's own lines are known to a few per cent
    shift = np.asarray(found["teff"] - expected["teff"], float) / np.asarray(expected["teff_err"], float)
    assert np.abs(np.median(shift[good])) < 0.4
    assert np.all(np.asarray(found["resolution_err"], float)[good] < 300)


def test_a_prior_holds_the_resolution():
    stars = blurred(1300.0)[:12]
    held = slamjax.fit(miles_model(), stars, nuisances=Nuisances(resolution=Gaussian(1500, 5)))
    assert np.abs(np.asarray(held["resolution"], float) - 1500).max() < 15
    assert np.all(np.asarray(held["resolution_err"], float) < 6)
    fixed = slamjax.fit(miles_model(), stars, nuisances=Nuisances(resolution=1500.0))
    moved = np.asarray(held["teff"] - fixed["teff"], float) / np.asarray(fixed["teff_err"], float)
    assert np.abs(moved).max() < 0.1


def test_a_resolution_at_its_lower_bound_is_flagged():
    table = slamjax.fit(miles_model(), blurred(1300.0)[:6], nuisances=Nuisances(resolution=Free(1700, 1900)))
    assert np.all(np.asarray(table["flags"]) & Flag.NUISANCE_AT_BOUND)


def test_draws_of_the_resolution_agree_with_the_fit():
    given = Nuisances(resolution=Gaussian(1300, 60))
    stars = blurred(1300.0)[:3]
    fitted = slamjax.fit(miles_model(), stars, nuisances=given)
    drawn = slamjax.sample(miles_model(), stars, nuisances=given, sampler=slamjax.SamplerSpec("importance", draws=400))
    table = drawn.table()
    away = np.asarray(table["resolution"] - fitted["resolution"], float) / np.asarray(fitted["resolution_err"], float)
    assert np.abs(away).max() < 1
    assert drawn.predictive(miles_model(), 5).shape == (5, 3, 300)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"resolution": "free"}, "resolution is 'free'; give a number, Free, Gaussian or None"),
        ({"resolution": Free(0, 900)}, "resolution, λ / FWHM, reaches 0"),
        ({"resolution": 1500, "sigma_v": "free"}, "resolution and sigma_v are both given"),
    ],
)
def test_impossible_resolutions_are_told(given, message):
    with pytest.raises(SlamError, match=message):
        Nuisances(**given)


def test_a_resolution_needs_a_sharper_model_that_states_its_own():
    model = miles_model()
    with pytest.raises(SlamError, match="is not below the model's own"):
        model.with_nuisances(Nuisances(resolution=3000.0))
    unstated = dataclasses.replace(model, info=dataclasses.replace(model.info, fwhm=None))
    with pytest.raises(SlamError, match="the model does not state its line spread"):
        unstated.with_nuisances(Nuisances(resolution=1500.0))
