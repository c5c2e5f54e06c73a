"""Nuisances around an emulator: slopes against differences, the polynomial against dense linear algebra."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import central_difference, in_precision
from models import all_miles_model

from slamjax.errors import SlamError
from slamjax.forward.nuisances import Free, Gaussian, Nuisances
from slamjax.noise.models import LowRankNoise

ALL = Nuisances(rv=Free(-200, 200), sigma_v=Free(0, 60), vsini=Gaussian(50, 8), polynomial=2, polynomial_sd=0.4)
SOME = [
    ALL,
    Nuisances(rv=Free(-200, 200)),
    Nuisances(rv=70.0, sigma_v=Free(0, 80)),
    Nuisances(polynomial=1),
    Nuisances(vsini="free", rv=Gaussian(20, 5)),
]


def problem(nuisances, dtype="float64"):
    """Forward emulator, parameters and a spectrum of another star with a tilt, and noise of low rank."""
    model = all_miles_model()
    rng = np.random.default_rng(5)
    with in_precision(dtype):
        forward = model.with_nuisances(nuisances)
        x = model.training_labels.stars[3] * 0.9
        own = {"rv": 1.3, "sigma_v": 0.6, "vsini": 0.9}
        x = jnp.asarray(np.concatenate([x, [own[name] for name in nuisances.free]]), dtype)
        flux = np.asarray(
            model(np.asarray(model.host_emulator.scaling.inverse(model.training_labels.stars[7])))
        ) * np.linspace(0.8, 1.1, model.wave.size)
        s2 = np.asarray(model.noise.model_variance)
        factors = 0.5 * np.sqrt(np.where(np.isfinite(s2), s2, 0))[:, None] * rng.normal(size=(s2.size, 2))
        noise = LowRankNoise(s2, factors, np.ones(s2.size), np.zeros((s2.size, 0)))
        ivar = np.where(np.asarray(forward.usable), np.inf, 0)
        return forward, x, jnp.asarray(flux, dtype), noise, jnp.asarray(ivar, dtype)


def dense(forward, x, noise, ivar, coefficients=None):
    """Good pixels, Σ + F T Fᵀ there, the flux for 1 and Fᵀ."""
    good = np.asarray(ivar) > 0
    f = np.asarray(jax.jit(forward.at)(x))[good]
    sigma = np.diag(noise.model_variance[good]) + noise.factors[good] @ noise.factors[good].T
    lines = None if forward.terms is None else np.asarray(forward.terms)[:, good] * f
    if lines is not None:
        sigma = sigma + forward.nuisances.polynomial_sd**2 * lines.T @ lines
    return good, sigma, f, lines


@pytest.mark.parametrize("nuisances", SOME, ids=str)
def test_slopes_are_differences(nuisances):
    forward, x, flux, _, _ = problem(nuisances)
    with in_precision("float64"):
        at, both = jax.jit(forward.at), jax.jit(forward.at_with_jacobian)
        predicted, slopes = both(x)
        np.testing.assert_allclose(predicted, at(x), rtol=1e-12)
        expected = central_difference(at, x, step=1e-5)
        np.testing.assert_allclose(slopes, expected, atol=1e-7 * np.abs(expected).max())
        by_jax = np.moveaxis(jax.jit(jax.jacfwd(forward.at))(x), -1, 0)
        np.testing.assert_allclose(slopes, by_jax, atol=1e-7 * np.abs(expected).max())
        rows = jax.jit(forward.residual_and_jacobian)(x, flux)
        np.testing.assert_allclose(rows[0], flux - predicted, atol=1e-12)
        batch = both(jnp.stack([x, 0.9 * x]))
        np.testing.assert_allclose(batch[1][0], slopes, atol=1e-10)
        np.testing.assert_allclose(batch[0][0], predicted, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("nuisances", SOME, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_information_is_that_of_the_marginal_likelihood(nuisances, dtype):
    """χ² of S = Σ + F T Fᵀ at the best polynomial, its gradient for fixed S, J S⁻¹ Jᵀ; each with the priors' part."""
    forward, x, flux, noise, ivar = problem(nuisances, dtype)
    with in_precision(dtype):
        gram = np.asarray(jax.jit(type(forward).information)(forward, noise.inverse_covariance(ivar), x, flux), float)
        best = np.ones(flux.size)
        if forward.terms is not None:
            c = np.asarray(jax.jit(forward.coefficients)(noise.inverse_covariance(ivar), x, flux))
            best = c @ np.asarray(forward.terms)
    forward, x, flux, noise, ivar = problem(nuisances)
    with in_precision("float64"):
        good, sigma, f, _ = dense(forward, x, noise, ivar)
        slopes = np.asarray(jax.jit(forward.at_with_jacobian)(x)[1])[:, good] * best[good]
        residual = np.asarray(flux)[good] - f
        prior = np.asarray(forward.prior_rows(x))
    rows = np.concatenate([residual[None], slopes])
    expected = rows @ np.linalg.solve(sigma, rows.T) + prior @ prior.T
    size = np.sqrt(np.diag(expected))
    tolerance = 2e-3 if dtype == "float32" else 1e-8
    np.testing.assert_allclose(gram / size / size[:, None], expected / size / size[:, None], atol=tolerance)


@pytest.mark.parametrize("own", [1.0, 2.5])
def test_the_marginal_density_is_the_dense_gaussian(own):
    forward, x, flux, noise, ivar = problem(ALL)
    with in_precision("float64"):
        precision = noise.inverse_covariance(ivar)
        marginal = jax.jit(lambda x: forward.marginal(precision, x, flux, own))
        chi2, more = marginal(x)
        good, sigma, f, lines = dense(forward, x, noise, ivar)
        sd = ALL.polynomial_sd
        scaled = own * (sigma - sd**2 * lines.T @ lines) + sd**2 * lines.T @ lines
        residual = np.asarray(flux)[good] - f
        np.testing.assert_allclose(chi2, residual @ np.linalg.solve(scaled, residual), rtol=1e-8)
        logdet = np.linalg.slogdet(scaled)[1]
        np.testing.assert_allclose(more + precision.logdet() + good.sum() * np.log(own), logdet, rtol=1e-8)
        slope = jax.jit(jax.grad(lambda x: sum(marginal(x))))(x)
        expected = central_difference(lambda x: sum(marginal(x)), x, 1e-5)
        np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_the_polynomial_is_recovered():
    forward, x, _, noise, ivar = problem(Nuisances(rv=Free(-200, 200), polynomial=3))
    with in_precision("float64"):
        wanted = np.array([1.2, -0.3, 0.1, 0.05])
        flux = forward.at(x) * forward.polynomial(jnp.asarray(wanted))
        found = forward.coefficients(noise.inverse_covariance(ivar), x, flux)
    np.testing.assert_allclose(found, wanted, atol=2e-3)  # the prior of sd 1 pulls a little


def test_it_is_called_in_physical_units():
    model = all_miles_model()
    labels = np.asarray(model.host_emulator.scaling.inverse(model.training_labels.stars[:3]))
    nuisances = Nuisances(rv="free", sigma_v=Free(0, 100), polynomial=1)
    forward = model.with_nuisances(nuisances)
    moved = forward(labels, rv=np.array([0.0, 50, -50]), sigma_v=20.0, polynomial=np.array([2.0, 0.0]))
    assert moved.shape == (3, model.wave.size)
    plain = np.asarray(model(labels))
    kept = np.asarray(forward.usable)
    at_rest = np.asarray(forward(labels, rv=0.0, sigma_v=0.0))
    assert np.abs(at_rest - plain)[:, kept].max() < 2e-3
    # brighter by two, and lines to the red of where they were
    shifts = np.arange(-3, 4)
    for star, sign in ((1, 1), (2, -1)):
        overlap = [np.corrcoef(np.asarray(moved)[star, kept], np.roll(plain[star], s)[kept])[0, 1] for s in shifts]
        assert shifts[int(np.argmax(overlap))] == sign
    with pytest.raises(SlamError, match="the free ones are rv, sigma_v"):
        forward(labels, rv=0.0)
    with pytest.raises(SlamError, match="the nuisances have none"):
        model.with_nuisances(Nuisances(rv=1.0))(labels, polynomial=[1.0])


def test_bounds_that_leave_no_pixels_are_an_error():
    with pytest.raises(SlamError, match=r"leave \d+ of the model's \d+ pixels .* give narrower bounds"):
        all_miles_model().with_nuisances(Nuisances(rv=Free(-7000, 7000)))


def test_untrained_pixels_give_no_nan_and_do_not_count():
    model = all_miles_model()
    intercept = np.array(model.host_emulator.intercept)
    intercept[150] = np.nan
    holed = dataclasses.replace(model, host_emulator=dataclasses.replace(model.host_emulator, intercept=intercept))
    forward = holed.with_nuisances(Nuisances(rv=Free(-100, 100), polynomial=1))
    x = jnp.concatenate([jnp.asarray(model.training_labels.stars[0]), jnp.ones(1)])
    assert np.all(np.isfinite(jax.jit(forward.at)(x)))
    assert not np.asarray(forward.usable)[149:152].any()
    plain = holed.with_nuisances(Nuisances(polynomial=1))
    noise = jax.tree_util.tree_map(jnp.asarray, model.noise)
    precision = noise.inverse_covariance(jnp.where(plain.usable, jnp.inf, 0))
    flux = jnp.ones(model.wave.size)
    assert np.all(np.isfinite(jax.jit(type(plain).information)(plain, precision, x[:-1], flux)))
    assert np.all(np.isfinite(jax.jit(jax.grad(lambda x: sum(plain.marginal(precision, x, flux))))(x[:-1])))


def test_it_works_inside_a_numpyro_model():
    """As its docstring says: slopes of a NumPyro density by labels and velocity are finite and right."""
    from slamjax.sampling import SpectrumDistribution

    model = all_miles_model()
    with in_precision("float64"):
        forward = model.with_nuisances(Nuisances(rv=Free(-100, 100)))
        noise = jax.tree_util.tree_map(jnp.asarray, model.noise)
        ivar = jnp.where(forward.usable, jnp.inf, 0.0)
        labels = np.asarray(model.host_emulator.scaling.inverse(model.training_labels.stars[2]))
        observed = jnp.asarray(model(labels))

        def log_p(rv):
            return SpectrumDistribution(forward(labels, rv=rv), noise, ivar).log_prob(observed)

        slope = jax.jit(jax.grad(log_p))(25.0)
        compiled = jax.jit(log_p)
        np.testing.assert_allclose(slope, (compiled(25.001) - compiled(24.999)) / 0.002, rtol=1e-5)
        assert slope < 0  # back to rest
