"""One emulator of several spectra: its sums are those of dense matrices of all pixels together."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import central_difference, in_precision, miles
from models import SVR_10, TWO_FOLDS
from numpy.polynomial import legendre

import slamjax
from slamjax.errors import SlamError
from slamjax.forward.nuisances import Free, Gaussian, Nuisances

LABELS = ("teff", "logg", "fe_h")
NUISANCES = Nuisances(rv=Free(-100, 100), sigma_v=Free(0, 100), polynomial=2, polynomial_sd=0.3)


@cache
def joint(shared=()):
    model = tiny()
    return slamjax.JointModel({"a": model, "b": model}, nuisances={"a": NUISANCES}, shared=shared)


@cache
def tiny():
    """Eighty pixels: dense matrices of several spectra stay small."""
    stars = miles().on_pixels(slice(60, 140))
    stars = stars[np.flatnonzero(np.isfinite(stars.values(LABELS)).all(axis=1))]
    return slamjax.train(stars, LABELS, emulator=SVR_10, search=TWO_FOLDS, noise="diagonal")


def scene(parts, seed=0):
    """Parameters inside the box, fluxes near them, and errors."""
    rng = np.random.default_rng(seed)
    emulator = parts.emulator
    low, high = np.asarray(parts.low, float), np.asarray(parts.high, float)
    x = low + (0.35 + 0.3 * rng.random(low.size)) * (high - low)
    flux = np.nan_to_num(np.asarray(emulator.at(jnp.asarray(x)), float))
    ivar = rng.uniform(20, 200, flux.size)
    ivar[rng.random(flux.size) < 0.1] = 0
    for arm in emulator.arms:
        usable = np.tile(np.asarray(arm.forward.usable), arm.span.n_visits)
        ivar[arm.span.first : arm.span.end] *= usable
    return x, flux + rng.normal(size=flux.size) / np.sqrt(np.where(ivar > 0, ivar, 1)), ivar


def dense_chi2(model, parts, x, flux, ivar):
    """rᵀ(Σ + F T Fᵀ)⁻¹r of all pixels, polynomials integrated out; and the matrix."""
    chi2, matrices = 0.0, []
    predicted = np.nan_to_num(np.asarray(parts.emulator.at(jnp.asarray(x)), float))
    for arm, noise in zip(parts.emulator.arms, parts.noise.blocks, strict=True):
        own = slice(arm.span.first, arm.span.end)
        n_visits, n_pix = arm.span.n_visits, arm.span.n_pix
        variance = np.asarray(noise.model_variance, float)
        good = (ivar[own] > 0) & np.isfinite(np.tile(variance, n_visits))
        common = np.diag(np.where(np.isfinite(variance), variance, 0))
        sigma = np.kron(np.ones((n_visits, n_visits)), common)
        sigma += np.diag(np.where(good, 1 / np.where(good, ivar[own], 1), 1))
        if arm.forward.terms is not None:
            wave = model.models[arm.name].wave
            place = 2 * (wave - wave[0]) / (wave[-1] - wave[0]) - 1
            terms = legendre.legvander(place, arm.forward.nuisances.polynomial)
            for visit in range(n_visits):
                at = slice(visit * n_pix, (visit + 1) * n_pix)
                lines = predicted[own][at][:, None] * terms
                sigma[at, at] += arm.forward.nuisances.polynomial_sd**2 * lines @ lines.T
        residual = (flux - predicted)[own][good]
        matrices.append((good, sigma[np.ix_(good, good)]))
        chi2 += residual @ np.linalg.solve(matrices[-1][1], residual)
    return chi2, matrices


@pytest.mark.parametrize(
    ("layout", "shared"), [((("a", 1), ("b", 1)), ()), ((("a", 3), ("b", 2)), ("sigma_v",))], ids=["one", "several"]
)
def test_chi2_and_its_slope_are_those_of_the_dense_matrix(layout, shared):
    with in_precision("float64"):
        model = joint(shared)
        parts = model.parts(layout)
        x, flux, ivar = scene(parts)
        inverse = parts.noise.inverse_covariance(jnp.asarray(ivar))
        gram = np.asarray(parts.emulator.information(inverse, jnp.asarray(x), jnp.asarray(flux)))
        assert gram.shape == (1 + parts.emulator.n_parameters,) * 2
        wanted, _ = dense_chi2(model, parts, x, flux, ivar)
        slope = central_difference(lambda at: dense_chi2(model, parts, at, flux, ivar)[0], x, 1e-5)
    np.testing.assert_allclose(gram[0, 0], wanted, rtol=1e-8)
    np.testing.assert_allclose(gram[0, 1:], -0.5 * slope, rtol=2e-4, atol=2e-4 * np.abs(slope).max())


def test_information_is_that_of_the_dense_matrix():
    """Without polynomials the Jacobian is the derivative of the flux, whose information the dense Σ gives."""
    with in_precision("float64"):
        model = slamjax.JointModel({"a": tiny()}, nuisances={"a": Nuisances(rv=Free(-100, 100))})
        parts = model.parts((("a", 3),))
        x, flux, ivar = scene(parts)
        inverse = parts.noise.inverse_covariance(jnp.asarray(ivar))
        gram = np.asarray(parts.emulator.information(inverse, jnp.asarray(x), jnp.asarray(flux)))
        slopes = np.asarray(jax.jacfwd(parts.emulator.at)(jnp.asarray(x))).T
        _, ((good, sigma),) = dense_chi2(model, parts, x, flux, ivar)
        wanted = slopes[:, good] @ np.linalg.solve(sigma, slopes[:, good].T)
    np.testing.assert_allclose(gram[1:, 1:], wanted, rtol=1e-7, atol=1e-7 * np.abs(wanted).max())


def test_float32_resolves_the_information():
    grams = []
    for dtype in ("float32", "float64"):
        with in_precision(dtype):
            parts = joint().parts((("a", 3), ("b", 1)))
            x, flux, ivar = scene(parts)
            given = [jnp.asarray(each, dtype) for each in (ivar, x, flux)]
            inverse = parts.noise.inverse_covariance(given[0])
            grams.append(np.asarray(parts.emulator.information(inverse, *given[1:]), float))
    scale = np.sqrt(np.diag(grams[1]))
    assert np.abs((grams[0] - grams[1]) / (scale[:, None] * scale)).max() < 2e-3


def test_a_shared_prior_counts_once():
    prior = Gaussian(40, 5)
    nuisances = {name: Nuisances(sigma_v=prior) for name in ("a", "b")}
    model = tiny()
    with in_precision("float64"):
        parts = slamjax.JointModel({"a": model, "b": model}, nuisances=nuisances, shared=["sigma_v"]).parts(
            (("a", 2), ("b", 1))
        )
        x, flux, _ = scene(parts)
        inverse = parts.noise.inverse_covariance(jnp.zeros(flux.size))  # nothing but the prior
        gram = np.asarray(parts.emulator.information(inverse, jnp.asarray(x), jnp.asarray(flux)))
    arm = parts.emulator.arms[0]
    width = np.asarray(arm.forward.velocity("sigma_v", x[-1]))
    np.testing.assert_allclose(gram[0, 0], np.square((40 - width) / 5), rtol=1e-10)
    assert parts.emulator.n_parameters == 4


def test_flux_in_physical_units_is_the_models_own():
    model = joint()
    labels = [5200.0, 2.5, -0.3]
    flux = model.emulator({"a": 2, "b": 1})(labels, {"a": {"rv": [0.0, 40.0], "sigma_v": [20.0, 20.0]}})
    forward = tiny().with_nuisances(NUISANCES)
    np.testing.assert_allclose(flux["a"][1], forward(labels, rv=40.0, sigma_v=20.0), rtol=2e-5)
    np.testing.assert_allclose(flux["b"][0], tiny()(labels), rtol=2e-5)


@pytest.mark.long
def test_it_is_differentiable_and_compiles():
    emulator = joint().emulator({"a": 2})

    def total(labels, rv):
        given = {"rv": rv, "sigma_v": jnp.full(2, 30.0)}
        return jnp.nansum(emulator(labels, {"a": given})["a"])

    labels, rv = jnp.array([5200.0, 2.5, -0.3]), jnp.array([10.0, -20.0])
    slopes = jax.jit(jax.grad(total, argnums=(0, 1)))(labels, rv)
    assert all(np.isfinite(each).all() for each in slopes)
    several = jax.vmap(total, in_axes=(0, None))(jnp.stack([labels, labels + 1]), rv)
    np.testing.assert_allclose(several[0], total(labels, rv), rtol=1e-6)


def test_velocities_must_be_given_by_name():
    with pytest.raises(SlamError, match="free velocities are rv, sigma_v"):
        joint().emulator({"a": 1})([5200.0, 2.5, -0.3])
    with pytest.raises(SlamError, match="given for 'c'; the models are a"):
        joint().emulator({"a": 1})([5200.0, 2.5, -0.3], {"c": {}})
