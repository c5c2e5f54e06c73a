"""The size of errors of velocities, from held-out stars whose motion is known."""

import dataclasses

import numpy as np
import pytest
from helpers import DATA
from models import SVR_10, THREE_FOLDS, giants_model, miles_model

import slamjax
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.io import read_table
from slamjax.training.held_out import HeldOut
from slamjax.training.velocity_learning import velocity_scale


def at_rest(snr=None, jitter=0.0, seed=0):
    """MILES stars with noise, and each moved by a velocity drawn from N(0, jitter km/s) that nobody knows of."""
    stars = read_table(DATA / "miles.fits")
    stars = stars[np.isfinite(stars.values(("teff", "logg", "fe_h"))).all(axis=1)]
    rng = np.random.default_rng(seed)
    moved = slamjax.preprocessing.onto_grid(
        stars, stars.wave[3:-3], "Angstrom", "air", velocity=rng.normal(0, 1e-6 + jitter, len(stars))
    )
    sigma = np.median(moved.flux, axis=1, keepdims=True) / (snr or 1)
    if snr is None:
        return dataclasses.replace(moved, ivar=None)
    flux = moved.flux + sigma * rng.normal(size=moved.flux.shape)
    return dataclasses.replace(moved, flux=flux, ivar=np.where(moved.good, sigma**-2.0, 0))


def trained(spectra):
    recipe = slamjax.Recipe.make(continuum="gaussian:10nm")
    return slamjax.train(
        spectra, ("teff", "logg", "fe_h"), emulator=SVR_10, recipe=recipe, search=THREE_FOLDS, noise="diagonal",
        log_labels=["teff"],
    )  # fmt: skip


def test_stars_that_are_not_quite_at_rest_have_larger_errors():
    """That what training takes for rest is not rest, is an error of every velocity measured with the model."""
    still, restless = (trained(at_rest(jitter=jitter)).info.velocity_scale for jitter in (0.0, 30.0))
    assert restless > 1.5 * still


def test_velocities_of_new_stars_are_within_their_errors_as_often_as_they_say():
    stars = at_rest(snr=90)
    rows = np.random.default_rng(1).permutation(len(stars))
    judges = stars[rows[80:]].select("teff < 7000")
    velocity = np.random.default_rng(2).normal(0, 60, len(judges))
    clean = at_rest()[rows[80:]].select("teff < 7000")
    moving = slamjax.preprocessing.onto_grid(clean, clean.wave[10:-10], "Angstrom", "air", velocity=-velocity)
    sigma = np.median(moving.flux, axis=1, keepdims=True) / 90
    flux = moving.flux + sigma * np.random.default_rng(3).normal(size=moving.flux.shape)
    moving = dataclasses.replace(moving, flux=flux, ivar=np.broadcast_to(sigma**-2.0, flux.shape), frame="observed")
    found = slamjax.measure_rv(trained(stars[rows[:80]]), moving)
    pull = (np.asarray(found["rv"].value) - velocity) / np.asarray(found["rv_err"].value)
    assert 0.4 < np.mean(np.abs(pull) < 1) < 0.95
    assert np.median(found["contrast"]) > 50


def fake_held_out(n):
    """Held-out stars without any residual."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 1))
    return HeldOut(x, np.zeros((n, 5)), np.ones((n, 5)), np.zeros(n, int), ())


@pytest.mark.parametrize("frame", ["observed", "unknown"])
def test_only_stars_at_rest_say_anything(frame):
    spectra = slamjax.Spectra(np.arange(500.0, 505), np.ones((1, 5)), wave_unit="nm", frame=frame)
    held_out = fake_held_out(30)
    labels = TrainingLabels.from_scaled(held_out.x)
    assert velocity_scale(np.ones(5), labels, held_out, spectra) == 1.0


def test_a_model_file_keeps_it_and_an_old_one_has_none(tmp_path):
    path = tmp_path / "model.h5"
    miles_model().write(path)
    assert slamjax.Model.read(path).info.velocity_scale == miles_model().info.velocity_scale != 1
    assert giants_model().info.velocity_scale == 1.0  # in the observed frame


@pytest.mark.filterwarnings("ignore::slamjax.SlamWarning")
def test_recalibration_learns_the_size_anew_from_stars_at_rest_only():
    """Others' velocities are measured by the model itself, so that none of their errors is left to be seen."""
    model = trained(at_rest()[:70])
    still, restless = (at_rest(jitter=jitter)[70:] for jitter in (0.0, 30.0))
    scales = [slamjax.recalibrate_noise(model, one, noise="diagonal").info.velocity_scale for one in (still, restless)]
    assert scales[1] > 1.5 * scales[0]
    observed = slamjax.recalibrate_noise(model, dataclasses.replace(restless, frame="observed"), noise="diagonal")
    assert observed.info.velocity_scale == model.info.velocity_scale
