"""Simulation-based calibration as a whole: prior, likelihood and preparation must be those of the sampler."""

import dataclasses
from functools import cache

import jax
import numpy as np
import pytest
from models import LABELS, giants_model, held_out

import slamjax.sampling
from slamjax.errors import SlamError
from slamjax.noise.models import DiagonalNoise
from slamjax.sampling import SamplerSpec
from slamjax.sampling.priors import training_density
from slamjax.validation import SimulatedCalibration, sbc

N_STARS = 500


@cache
def noisy_model():
    """So noisy that points drawn from the prior fill each posterior."""
    model = giants_model()
    return dataclasses.replace(model, noise=DiagonalNoise(np.asarray(model.noise.model_variance) * 100))


def importance_sampler(seen=None):
    """In place of `slamjax.sample`: points drawn from the prior, resampled by their likelihood."""

    def sample(model, spectra, *, prior, seed, sampler, **options):
        draws, chains = (400, 1) if sampler == "auto" else (sampler.draws, sampler.chains)
        if seen is not None:
            seen.update(recipe=model.recipe, n=len(spectra))
        points = np.asarray(prior.sample(jax.random.key(1000 + seed), (6000,)), float)
        prepared = model.prepare(spectra)
        weight = np.asarray(model.noise.weights(prepared.ivar.astype(float)))
        flux = np.asarray(model(points), float)
        log_p = (weight * prepared.flux) @ flux.T - 0.5 * weight @ np.square(flux).T
        p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        assert np.median(1 / np.sum(p**2, axis=1)) > 100
        place = np.random.default_rng(seed).random((len(p), chains * draws))
        picked = np.stack([np.searchsorted(np.cumsum(one), at * (1 - 1e-9)) for one, at in zip(p, place, strict=True)])
        picked = np.moveaxis(picked.reshape(-1, chains, draws), 0, -1)
        return {name: points[picked, k] for k, name in enumerate(model.label_names)}

    return sample


def calibrated(monkeypatch, sample, **options):
    monkeypatch.setattr(slamjax.sampling, "sample", sample, raising=False)
    ivar = giants_model().prepare(held_out()).ivar
    prior = training_density(noisy_model())
    return sbc(noisy_model(), ivar, n_stars=N_STARS, prior=prior, seed=4, **options)


@pytest.mark.slow
def test_an_exact_sampler_passes_and_wrong_widths_do_not(monkeypatch):
    seen = {}
    result = calibrated(monkeypatch, importance_sampler(seen), sampler=SamplerSpec(draws=300, chains=1))
    assert result.truth.shape == (N_STARS, len(LABELS))
    assert result.draws.shape == (N_STARS, 300, len(LABELS))
    assert seen["n"] == N_STARS
    assert seen["recipe"].steps == ()  # simulated spectra are prepared already
    assert result.passes(), str(result)
    for factor in (1.2, 1 / 1.2):
        assert not result.widened(factor).passes()


def test_posteriors_of_other_stars_do_not_pass(monkeypatch):
    """Draws of another star's posterior."""

    def shuffled(model, spectra, **options):
        return importance_sampler()(model, spectra[np.roll(np.arange(len(spectra)), 1)], **options)

    assert not calibrated(monkeypatch, shuffled).passes()


@pytest.mark.parametrize(
    ("ivar", "n_stars", "message"),
    [
        (np.ones((5, 60)), 10, "give rows with good pixels"),
        (np.zeros((5, 61)), 10, "give rows with good pixels"),
        (np.ones((5, 61)), 1, "n_stars is 1; simulate hundreds"),
    ],
)
def test_unusable_input_is_refused(ivar, n_stars, message, monkeypatch):
    monkeypatch.setattr(slamjax.sampling, "sample", None, raising=False)
    with pytest.raises(SlamError, match=message):
        sbc(noisy_model(), ivar, n_stars=n_stars)


def test_losing_many_stars_is_an_error_and_a_few_are_left_out(monkeypatch):
    """Draws of a failed fit are NaN; leaving out many stars would hide the reason."""

    def lossy(n_lost):
        def sample(model, spectra, **options):
            found = importance_sampler()(model, spectra, **options)
            found["teff"][..., :n_lost] = np.nan
            return found

        return sample

    assert len(calibrated(monkeypatch, lossy(5)).truth) == N_STARS - 5
    with pytest.raises(SlamError, match="6 of 500 simulated stars have no posterior"):
        calibrated(monkeypatch, lossy(6))


def test_an_unknown_prior_is_refused(monkeypatch):
    monkeypatch.setattr(slamjax.sampling, "sample", None, raising=False)
    with pytest.raises(SlamError, match="prior is 'flat'; give 'uniform', 'training' or a NumPyro distribution"):
        sbc(noisy_model(), np.ones((1, 61)), prior="flat")


def test_draws_are_tested_without_a_model():
    rng = np.random.default_rng(0)
    result = SimulatedCalibration.from_draws(rng.normal(size=(200, 2)), rng.normal(size=(200, 99, 2)), ["a", "b"])
    lines = str(result).splitlines()
    assert [line.split("|")[1].strip() for line in lines[3:5]] == ["a", "b"]
    assert "99 draws" in lines[0]
