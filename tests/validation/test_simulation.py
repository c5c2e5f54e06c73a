"""Simulated spectra are draws of the likelihood, and fits of them reach the Cramér-Rao bound."""

import dataclasses
from functools import cache

import jax
import numpy as np
import pytest
from helpers import RTOL, central_difference, in_precision
from models import LABELS, giants_model, held_out, searched_model

import slamjax
from slamjax.errors import SlamError
from slamjax.noise.models import DiagonalNoise, LowRankNoise
from slamjax.validation import crlb, prepared_model, simulate


def with_noise(kind):
    """The small model with its own noise, or with a low-rank one of like size."""
    model = giants_model()
    if kind == "diagonal":
        return model
    rng = np.random.default_rng(6)
    s2 = np.asarray(model.noise.model_variance)
    factors = np.sqrt(s2)[:, None] * rng.normal(size=(s2.size, 3))
    return dataclasses.replace(model, noise=LowRankNoise(s2, factors, np.full(s2.size, 0.5), 0.3 * factors[:, :1]))


def dense_covariance(model, ivar):
    """Σ of one star, in float64."""
    photon = np.where(ivar > 0, 1 / np.where(ivar > 0, ivar, 1), 0)
    s2 = np.asarray(model.noise.model_variance)
    if isinstance(model.noise, DiagonalNoise):
        return np.diag(photon + s2)
    v, w = model.noise.factors, np.sqrt(photon)[:, None] * model.noise.photon_factors
    return np.diag(model.noise.photon_scale * photon + s2) + v @ v.T + w @ w.T


def stars(model, n=5):
    """Labels and prepared ivar of real stars, some pixels bad."""
    ivar = model.prepare(held_out()[:n]).ivar.astype(float)
    ivar[1, 10:20] = 0
    return held_out()[:n].values(LABELS), ivar


@cache
def fitted_copies():
    """512 simulated copies of one star, fitted: its model with a thirtieth of the error, labels, ivar, label table."""
    model = prepared_model(giants_model())
    model = dataclasses.replace(model, noise=DiagonalNoise(np.asarray(model.noise.model_variance) * 1e-3))
    middle = np.median(held_out().values(LABELS), axis=0)
    ivar = np.full(model.wave.size, 1e6)
    return model, middle, ivar, slamjax.fit(model, simulate(model, np.tile(middle, (512, 1)), ivar), n_starts=1)


@pytest.mark.parametrize("kind", ["diagonal", "lowrank"])
def test_simulated_spectra_have_the_models_mean_and_covariance(kind):
    model = with_noise(kind)
    labels, ivar = stars(model)
    n = 8000
    spectra = simulate(model, np.tile(labels[1], (n, 1)), ivar[1], seed=3)
    good = ivar[1] > 0
    assert np.array_equal(spectra.good, np.tile(good, (n, 1)))
    residual = (spectra.flux - np.asarray(model(labels[1])))[:, good]
    dense = dense_covariance(model, ivar[1])[np.ix_(good, good)]
    standard = np.linalg.solve(np.linalg.cholesky(dense), residual.T)
    assert np.abs(standard.mean(axis=1)).max() < 5 / np.sqrt(n)
    np.testing.assert_allclose(standard @ standard.T / n, np.eye(good.sum()), atol=5 * np.sqrt(2 / n))


def test_the_seed_fixes_the_spectra_and_stars_have_independent_noise():
    model = giants_model()
    labels, ivar = stars(model)
    one, again, other = (simulate(model, labels, ivar, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.flux, again.flux)
    assert np.all(np.std(one.flux - other.flux, axis=1) > 0)
    many = simulate(model, np.tile(labels[:1], (1030, 1)), ivar[0])  # more than one batch
    assert len(np.unique(many.flux[:, 0])) == 1030


def test_a_prepared_model_fits_simulated_spectra_with_known_labels():
    """The recipe of the model itself would divide them by a continuum once more."""
    model = giants_model()
    labels, ivar = stars(model)
    spectra = simulate(model, labels, ivar * 1e6, table=held_out()[:5].table["apogee_id",])
    assert list(spectra.table["apogee_id"]) == list(held_out()[:5].table["apogee_id"])
    plain = prepared_model(model)
    np.testing.assert_array_equal(plain.prepare(spectra).flux, spectra.flux)
    assert np.abs(model.prepare(spectra).flux - spectra.flux).max() > 1e-3
    _, middle, _, table = fitted_copies()
    np.testing.assert_array_equal(table["teff_ref"].value, middle[0])
    assert plain.host_emulator is model.host_emulator
    assert plain.info.record is model.info.record
    assert model.recipe.steps  # the model itself is as it was


@pytest.mark.parametrize("kind", ["diagonal", "lowrank"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_bound_is_the_inverse_of_dense_fisher_information(kind, precision):
    model = with_noise(kind)
    labels, ivar = stars(model)
    with in_precision("float64"):
        slopes = np.stack([central_difference(model, one, step=np.abs(one).max() * 1e-7) for one in labels])
    with in_precision(precision):
        covariance = crlb(model, labels, ivar)
        single = crlb(model, labels[2], ivar[2])
    assert covariance.dtype == np.float64
    for k in range(len(labels)):
        good = ivar[k] > 0
        dense = dense_covariance(model, ivar[k])[np.ix_(good, good)]
        expected = np.linalg.inv(slopes[k][:, good] @ np.linalg.solve(dense, slopes[k][:, good].T))
        size = np.sqrt(np.diag(expected))
        np.testing.assert_allclose(covariance[k] / size / size[:, None], expected / size / size[:, None], atol=5e-3)
    np.testing.assert_allclose(single, covariance[2], rtol=100 * RTOL[precision])


def test_the_bound_does_not_depend_on_the_unit_of_flux():
    """Fluxes of 1e-17 have squares below float32's range."""
    model = giants_model()
    exact = dataclasses.replace(
        model.host_emulator,
        flux_mean=model.host_emulator.flux_mean * 2.0**-56,
        flux_scale=model.host_emulator.flux_scale * 2.0**-56,
    )
    faint = dataclasses.replace(model, host_emulator=exact, noise=model.noise.in_unit(2.0**56))
    labels, ivar = stars(model)
    np.testing.assert_allclose(crlb(faint, labels, ivar * 2.0**112), crlb(model, labels, ivar), rtol=1e-5)
    one, other = simulate(model, labels, ivar), simulate(faint, labels, ivar * 2.0**112)
    np.testing.assert_allclose(other.flux * 2.0**56, one.flux, rtol=1e-5)


def test_an_unconstrained_label_has_an_infinite_variance():
    model = giants_model()
    labels, ivar = stars(model)
    dark = ivar.copy()
    dark[0] = 0
    dark[1, 3:] = 0  # three pixels cannot tell four labels
    covariance = crlb(model, labels, dark)
    assert np.all(np.isinf(np.diag(covariance[0])))
    assert np.any(np.isinf(np.diag(covariance[1])))
    assert np.all(np.isfinite(covariance[2:]))


def test_more_photons_never_hurt():
    labels, ivar = stars(searched_model())
    bounds = [np.einsum("nll->nl", crlb(searched_model(), labels, ivar * factor)) for factor in (1, 4, 16)]
    assert np.all(np.diff(bounds, axis=0) < 0)


def test_fits_of_simulated_stars_reach_the_bound():
    """About labels in the middle of the range, with errors small enough for the model to be linear."""
    model, middle, ivar, table = fitted_copies()
    fitted = np.stack([np.asarray(table[name]) for name in LABELS], axis=-1)
    sigma = np.sqrt(np.diag(crlb(model, middle, ivar)))
    np.testing.assert_allclose(np.std(fitted - middle, axis=0) / sigma, 1, atol=0.12)
    np.testing.assert_allclose(np.mean(fitted - middle, axis=0) / sigma, 0, atol=0.16)


@pytest.mark.parametrize(
    ("labels", "ivar", "message"),
    [
        (np.ones((2, 3)), np.ones(61), "their last axis must be teff, logg, fe_h, alpha_m"),
        (np.ones((2, 4)), np.ones(60), "ivar has shape .60,.; give .2, 61., stars and pixels"),
        (np.ones((2, 4)), -np.ones(61), "ivar has negative values or NaN"),
    ],
)
def test_wrong_shapes_are_refused(labels, ivar, message):
    for call in (simulate, crlb):
        with pytest.raises(SlamError, match=message):
            call(giants_model(), labels, ivar)


def test_unknown_labels_are_refused():
    for call in (simulate, crlb):
        with pytest.raises(SlamError, match="labels are not all finite"):
            call(giants_model(), np.full((1, 4), np.nan), np.ones(61))


def test_simulating_leaves_jax_as_it_was():
    assert not jax.config.jax_enable_x64
