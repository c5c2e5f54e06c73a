"""Fits with a prior against dense posteriors, analytic Gaussians, SciPy's kernel density, and draws of the sampler."""

import dataclasses
from functools import cache

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from helpers import central_difference, in_precision, xp_giants
from models import LABELS, TWO_FOLDS, giants_model, held_out, recipe
from scipy.stats import gaussian_kde

import slamjax
from slamjax.errors import SlamError
from slamjax.fitting import Fitter, OptimiserSpec, fit, fit_table
from slamjax.flags import Flag
from slamjax.forward import Nuisances
from slamjax.io import write_table
from slamjax.noise import Calibration
from slamjax.training import Polynomial, train

TWO = ("teff", "logg")


def values(table, suffix="", labels=LABELS):
    return np.stack([np.asarray(table[name + suffix], float) for name in labels], -1)


@cache
def two_label_model(degree=2):
    """A polynomial in two labels with the plain Σ, so that everything can be written out densely."""
    model = train(
        xp_giants()[:110], TWO, emulator=Polynomial(degree=degree), recipe=recipe(), search=TWO_FOLDS, noise="diagonal"
    )
    info = dataclasses.replace(model.info, calibration=Calibration(chi2_limit=np.inf))
    return dataclasses.replace(model, info=info)


def noisier(spectra, factor):
    """The same flux, stated to be so many times noisier."""
    return spectra.with_arrays(spectra.flux, spectra.ivar / factor**2)


def dense(model, star, points):
    """χ² of a star (N = 1) at labels (..., L), by NumPy in float64."""
    prepared = model.prepare(star)
    sigma2 = np.where(prepared.ivar[0] > 0, 1 / prepared.ivar[0], np.inf) + model.noise.model_variance
    with in_precision("float64"):
        return np.sum(np.square(prepared.flux[0] - np.asarray(model(points))) / sigma2, axis=-1)


def grid(model, n=200):
    """Centres of cells that fill the training range."""
    axes = [low + (high - low) * (np.arange(n) + 0.5) / n for low, high in model.label_range]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


@pytest.mark.parametrize("factor", [3.0, 30.0, 3000.0])
def test_mode_and_mean_are_those_of_a_dense_posterior(factor):
    model, stars = two_label_model(), noisier(held_out()[:6], factor)
    training = np.asarray(model.host_emulator.scaling.inverse(model.training_labels.stars)).T
    density, points = gaussian_kde(training), grid(model)  # Scott's rule in the covariance of the labels, as here
    log_prior = density.logpdf(points.reshape(-1, 2).T).reshape(points.shape[:2])
    table = fit(model, stars, prior="training", posterior_mean=True)
    mode, error = values(table, labels=TWO), values(table, "_err", TWO)
    for k in range(len(stars)):
        log_p = log_prior - 0.5 * dense(model, stars[[k]], points)
        here = density.logpdf(mode[k]) - 0.5 * dense(model, stars[[k]], mode[k])
        assert here > log_p.max() - 0.02
        weight = np.exp(log_p - log_p.max())
        weight /= weight.sum()
        mean = np.sum(weight[..., None] * points, axis=(0, 1))
        std = np.sqrt(np.sum(weight[..., None] * np.square(points - mean), axis=(0, 1)))
        assert np.all(np.abs(values(table, "_mean", TWO)[k] - mean) < 0.1 * std)
        np.testing.assert_allclose(values(table, "_std", TWO)[k], std, rtol=0.2)
    assert np.all(error > 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_linear_model_and_a_gaussian_prior_give_the_analytic_posterior(dtype):
    model, stars = two_label_model(degree=1), noisier(held_out()[:8], 5.0)
    mean, covariance = np.array([4600.0, 2.2]), np.array([[150.0**2, 20.0], [20.0, 0.3**2]])
    precision = np.linalg.inv(covariance)

    def log_prior(labels):
        away = labels - mean
        return -0.5 * away @ jnp.asarray(precision, away.dtype) @ away

    with in_precision(dtype):
        table = fit(model, stars, prior=log_prior, posterior_mean=True)
    with in_precision("float64"):
        slopes = central_difference(model, mean, step=1e-2)
        middle = np.asarray(model(mean))
    prepared = model.prepare(stars)
    inside = 0
    for k in range(len(stars)):
        weight = 1 / (1 / prepared.ivar[k] + model.noise.model_variance)
        information = (slopes * weight) @ slopes.T + precision
        want = mean + np.linalg.solve(information, (slopes * weight) @ (prepared.flux[k] - middle))
        error = np.sqrt(np.diag(np.linalg.inv(information)))
        low, high = model.label_range.T
        if np.any((want - 3 * error < low) | (want + 3 * error > high)):
            continue
        inside += 1
        for suffix in ("", "_mean"):
            assert np.all(np.abs(values(table, suffix, TWO)[k] - want) < 0.02 * error), suffix
        np.testing.assert_allclose(values(table, "_err", TWO)[k], error, rtol=1e-3)
        np.testing.assert_allclose(values(table, "_std", TWO)[k], error, rtol=0.06)
    assert inside >= 3


def test_a_prior_that_says_nothing_changes_nothing():
    model, stars = giants_model(), held_out()[:12]
    plain, flat = fit(model, stars), fit(model, stars, prior=lambda labels: 0.0 * labels[0])
    good = (np.asarray(plain["flags"]) == 0) & (np.asarray(flat["flags"]) == 0)
    assert good.sum() >= 6
    assert np.all((np.abs(values(plain) - values(flat)) < 0.03 * values(plain, "_err"))[good])
    # where the emulator bends, a hundredth of an error changes the slopes
    np.testing.assert_allclose(values(flat, "_err")[good], values(plain, "_err")[good], rtol=0.15)
    assert np.median(np.abs(values(flat, "_err") / values(plain, "_err") - 1)[good]) < 5e-3
    np.testing.assert_allclose(plain["chi2"], flat["chi2"], rtol=1e-3)


@pytest.mark.parametrize("method", ["lm", pytest.param("lbfgs", marks=pytest.mark.slow)])
def test_without_information_in_the_spectrum_the_prior_is_the_result(method):
    model, stars = giants_model(), noisier(held_out()[:6], 1e5)
    known = {"teff": (4650.0, 60.0), "logg": (2.4, 0.1), "fe_h": (-0.2, 0.05), "alpha_m": (0.1, 0.02)}
    table = fit(model, stars, prior=known, posterior_mean=True, optimiser=OptimiserSpec(method))
    want, error = (np.array([known[name][part] for name in LABELS]) for part in (0, 1))
    assert np.all(np.abs(values(table) - want) < 0.02 * error)
    np.testing.assert_allclose(values(table, "_err") / error, 1, rtol=0.02)
    assert np.all(np.abs(values(table, "_mean") - want) < 0.1 * error)
    np.testing.assert_allclose(values(table, "_std") / error, 1, rtol=0.05)
    assert not np.any(np.asarray(table["flags"]) & (Flag.NOT_CONVERGED | Flag.UNCONSTRAINED))


def test_without_information_the_posterior_of_the_training_prior_is_the_population():
    model = giants_model()
    table = fit(model, noisier(held_out()[:4], 1e5), prior="training", posterior_mean=True)
    population = np.asarray(model.host_emulator.scaling.inverse(model.training_labels.stars))
    spread = population.std(axis=0)
    assert np.all(np.abs(values(table, "_mean") - population.mean(axis=0)) < 0.2 * spread)
    np.testing.assert_allclose(values(table, "_std") / spread, 1, rtol=0.25)


@pytest.mark.slow
def test_means_agree_with_draws_of_the_sampler():
    model, stars = giants_model(), held_out()[:8]
    known = {"logg": (np.linspace(1.8, 2.6, 8), 0.1)}
    table = fit(model, stars, prior=["training", known], posterior_mean=True)
    spec = slamjax.SamplerSpec("importance", draws=2000)
    posterior = slamjax.sample(model, stars, prior=["training", known], sampler=spec)
    draws = np.stack([np.asarray(posterior[name], float).reshape(-1, 8) for name in LABELS], axis=-1)
    low, high = model.label_range.T
    # a fit stays within the training range; the sampler draws about one mode; few draws there or few weights say little
    inside, one_mode = np.all((draws > low) & (draws < high), axis=2), np.asarray(table["flags"]) == 0
    sound = np.flatnonzero((inside.mean(axis=0) > 0.3) & (posterior.khat < 0.7) & one_mode)
    assert sound.size >= 3  # two more have a Pareto shape of 0.7, above or below it by rounding
    mean = np.array([draws[inside[:, k], k].mean(axis=0) for k in sound])
    std = np.array([draws[inside[:, k], k].std(axis=0) for k in sound])
    apart = np.abs(values(table, "_mean")[sound] - mean) / std
    assert np.median(apart) < 0.1
    assert np.max(apart) < 0.5
    assert abs(np.median(values(table, "_std")[sound] / std) - 1) < 0.1


def test_each_spectrum_has_its_own_prior_however_it_is_given(tmp_path):
    model, stars = giants_model(), held_out()[:10]
    known, error = np.linspace(4300, 4800, 10), np.full(10, 20.0)
    known[3], error[4] = np.nan, np.inf
    table = stars.table.copy()
    table["phot"], table["e_phot"] = known, error
    named = stars._with(table=table)
    write_table(named, tmp_path / "stars.fits")
    by_array = fit(model, stars, prior={"teff": (known, error)})
    by_name = fit(model, named, prior={"teff": ("phot", "e_phot")})
    fitter = Fitter(model, prior={"teff": ("phot", "e_phot")})
    from_disk = fit_table(fitter, tmp_path / "stars.fits", part_size=4)
    np.testing.assert_array_equal(values(by_array), values(by_name))
    np.testing.assert_allclose(values(from_disk), values(by_name), rtol=1e-4)
    plain = fit(model, stars)
    for k in range(10):
        if k in (3, 4):
            assert np.all(np.abs(values(by_array)[k] - values(plain)[k]) < 0.02 * values(plain, "_err")[k])
        else:
            alone = fit(model, stars[[k]], prior={"teff": (known[k], 20.0)})
            assert np.all(np.abs(values(alone)[0] - values(by_array)[k]) < 0.02 * values(alone, "_err")[0])
    assert np.nanmax(np.abs(by_array["teff"].value - known)) < np.nanmax(np.abs(plain["teff"].value - known))
    assert "_prior teff value" not in by_array.colnames
    with pytest.raises(SlamError, match="has 10 values for 4 spectra"):
        fit(model, stars[:4], prior={"teff": (known, error)})
    with pytest.raises(SlamError, match="name columns"):
        fit_table(Fitter(model, prior={"teff": (known, error)}), tmp_path / "stars.fits")


def test_a_distribution_is_a_prior():
    model, stars = giants_model(), held_out()[:6]
    middle = np.array([4600.0, 2.3, -0.1, 0.05])
    normal = dist.Normal(jnp.asarray(middle), jnp.asarray([80.0, 0.2, 0.1, 0.03])).to_event(1)
    by_object = fit(model, stars, prior=normal)
    known = dict(zip(LABELS, zip(middle, (80.0, 0.2, 0.1, 0.03), strict=True), strict=True))
    by_numbers = fit(model, stars, prior=known)
    np.testing.assert_array_less(np.abs(values(by_object) - values(by_numbers)), 0.02 * values(by_numbers, "_err"))


def test_velocities_go_on_being_fitted():
    model, stars = giants_model(), held_out()[:6]
    options = {"nuisances": Nuisances(polynomial=2), "prior": {"teff": (4600.0, 1.0)}, "posterior_mean": True}
    table = fit(model, stars, **options)
    assert np.all(np.abs(table["teff"].value - 4600) < 5)
    assert np.all(np.abs(table["teff_mean"].value - 4600) < 5)
    assert table["polynomial"].shape == (6, 3)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("density", "prior is 'density'; give 'training'"),
        ({"vsini": (1, 1)}, "not a label"),
        ({"teff": 4500}, "give a pair"),
        ({"teff": (4500, -1)}, "not positive"),
        ({}, "names no label"),
        (dist.Normal(jnp.zeros(3), 1.0), "batch shape"),
    ],
)
def test_what_is_no_prior_is_said_before_the_fit(prior, message):
    with pytest.raises(SlamError, match=message):
        Fitter(giants_model(), prior=prior)


def test_a_missing_column_is_named():
    with pytest.raises(SlamError, match="no column 'phot'"):
        fit(giants_model(), held_out()[:2], prior={"teff": ("phot", 50.0)})


@pytest.mark.parametrize("method", ["lbfgs", pytest.param("adam", marks=pytest.mark.slow)])
def test_gradient_methods_find_the_same_mode(method):
    model, stars = giants_model(), held_out()[:6]
    known = {"teff": (4600.0, 30.0)}
    want = fit(model, stars, prior=known)
    table = fit(model, stars, prior=known, optimiser=OptimiserSpec(method))
    good = (np.asarray(table["flags"]) == 0) & (np.asarray(want["flags"]) == 0)
    assert good.sum() >= 3
    assert np.max((np.abs(values(table) - values(want)) / values(want, "_err"))[good]) < 0.1


def test_without_a_prior_means_are_those_of_the_likelihood_within_the_range():
    model, stars = two_label_model(), noisier(held_out()[:4], 10.0)
    table, points = fit(model, stars, posterior_mean=True), grid(two_label_model())
    for k in range(len(stars)):
        chi2 = dense(model, stars[[k]], points)
        weight = np.exp(-0.5 * (chi2 - chi2.min()))
        mean = np.sum(weight[..., None] * points, axis=(0, 1)) / weight.sum()
        assert np.all(np.abs(values(table, "_mean", TWO)[k] - mean) < 0.1 * values(table, "_std", TWO)[k])
