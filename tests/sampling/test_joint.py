"""Posteriors of stars from all of their spectra."""

from functools import cache

import numpy as np
import pytest
from models import many_giants

import slamjax
from slamjax import Observations, SlamError

LABELS = ("teff", "logg")


def recipe(at):
    return slamjax.Recipe.make(wave_range=at, wave_unit="nm", continuum="gaussian:50nm")


@cache
def models():
    """Two windows of the giants' spectra, as two models."""
    stars, _ = many_giants()
    options = {"emulator": slamjax.Polynomial(), "noise": "diagonal", "search": slamjax.SearchSpec(folds=2)}
    windows = {"blue": (420, 620), "red": (621, 780)}
    return {name: slamjax.train(stars[:200], LABELS, recipe=recipe(at), **options) for name, at in windows.items()}


def observed():
    """Four stars: two with both kinds of spectra, one with one, one with two of a kind."""
    others = many_giants()[1]
    blue, red = others[[10, 11, 12, 13, 13]], others[[10, 11]]
    return Observations({"blue": blue, "red": red}, {"blue": [0, 1, 2, 3, 3], "red": [0, 1]})


@cache
def posterior():
    return slamjax.sample(models(), observed(), seed=3)


def test_posteriors_are_about_the_fit_and_as_wide_as_its_errors():
    fit = slamjax.fit(models(), observed()).labels
    good = np.asarray(fit["flags"]) == 0
    assert good.sum() >= 2
    for name in LABELS:
        draws = posterior()[name]
        mean, width = draws.mean(axis=(0, 1)), draws.std(axis=(0, 1))
        error = np.asarray(fit[f"{name}_err"], float)
        assert np.all(np.abs(mean - np.asarray(fit[name], float))[good] < 0.7 * error[good])
        assert np.all((width / error)[good] > 0.6)
        assert np.all((width / error)[good] < 1.6)


def test_one_model_has_the_posterior_of_a_plain_sampler():
    model, others = models()["blue"], many_giants()[1][10:13]
    plain, joint = slamjax.sample(model, others), slamjax.sample({"blue": model}, {"blue": others})
    for name in LABELS:
        mean, width = (getattr(joint[name], each)(axis=(0, 1)) for each in ("mean", "std"))
        assert np.all(np.abs(mean - plain[name].mean(axis=(0, 1))) < 0.2 * width)
        np.testing.assert_allclose(width, plain[name].std(axis=(0, 1)), rtol=0.15)


@pytest.mark.long
def test_a_label_that_is_known_narrows_the_posterior():
    held = slamjax.sample(models(), observed(), prior={"logg": (2.0, 0.01)})
    assert np.all(np.abs(held["logg"].mean(axis=(0, 1)) - 2.0) < 0.02)
    assert np.all(held["logg"].std(axis=(0, 1)) < 0.015)


@pytest.mark.long
def test_velocities_of_each_spectrum_are_drawn():
    nuisances = {"blue": slamjax.Nuisances(rv=slamjax.Free(-500, 500))}
    drawn = slamjax.sample(
        models(), observed(), nuisances=nuisances, sampler=slamjax.SamplerSpec("importance", draws=50)
    )
    assert drawn.label_names == (*LABELS, "rv_blue_1", "rv_blue_2")
    second = np.isfinite(drawn["rv_blue_2"]).all(axis=(0, 1))
    assert list(second) == [False, False, False, True]
    assert np.isfinite(drawn["rv_blue_1"]).all()
    assert np.all(np.abs(drawn["rv_blue_1"]) <= 500)


@pytest.mark.long
def test_draws_depend_on_the_seed_alone():
    again = slamjax.sample(models(), observed(), seed=3)
    np.testing.assert_array_equal(again.labels, posterior().labels)
    assert not np.array_equal(slamjax.sample(models(), observed(), seed=4).labels, posterior().labels)


def test_options_of_one_model_are_told():
    with pytest.raises(SlamError, match="without fixed labels"):
        slamjax.sample(models(), observed(), fixed={"logg": 2.0})
    with pytest.raises(SlamError, match="belong to one of the models"):
        slamjax.sample(models(), observed(), nuisances=slamjax.Nuisances(rv="free"))
