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
from slamjax.forward.extinction import extinction_curve
from slamjax.forward.line_spread import JointLineSpreadGrid, LineSpreadGrid, seen_through
from slamjax.forward.nuisances import Free, Gaussian, Nuisances
from slamjax.spectra.wavelengths import to_vacuum

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


def dense_chi2(model, parts, x, flux, ivar, predict=None):
    """rᵀ(Σ + F T Fᵀ)⁻¹r of all pixels, polynomials integrated out; and the matrix."""
    chi2, matrices = 0.0, []
    predict = parts.emulator.at if predict is None else predict
    predicted = np.nan_to_num(np.asarray(predict(jnp.asarray(x)), float))
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


def spread_matrix(wave, trained, sigma):
    """Weighted means over neighbours as one matrix."""
    away = (wave - wave[:, None]) / sigma[:, None]
    weight = np.where((np.abs(away) <= 5) & trained, np.exp(-0.5 * away**2) * np.gradient(wave), 0)
    return weight / weight.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("layout", [(("a", 2), ("b", 1)), (("a", 1), ("b", 1))], ids=["two", "one"])
def test_each_spectrum_is_seen_through_its_own_line_spread(layout):
    """Those of "b" have none of their own."""
    with in_precision("float64"):
        model = joint()
        parts = model.parts(layout)
        wave, trained, n_visits = tiny().wave, tiny().trained, layout[0][1]
        sigma = np.array([1.2, 2.0])[:n_visits, None] * np.linspace(0.8, 1.3, wave.size)
        matrices = [spread_matrix(wave, trained, one) for one in sigma]
        grid = LineSpreadGrid.from_wavelengths(wave, trained, 16).on_device(jnp.float64)
        arms, other = parts.emulator.arms, np.zeros(layout[1][1] * wave.size)
        spread = JointLineSpreadGrid((grid, None), tuple(arm.span for arm in arms))
        emulator = seen_through(parts.emulator, spread.of_star(jnp.asarray(np.append(sigma.ravel(), other))))

        def predict(x):
            """The plain flux of each spectrum times its matrix."""
            plain = [
                [np.asarray(arm.forward.at(arm.parameters(x, k))) for k in range(arm.span.n_visits)] for arm in arms
            ]
            wide = [matrix @ np.nan_to_num(flux) for matrix, flux in zip(matrices, plain[0], strict=True)]
            return np.concatenate([*wide, *plain[1]])

        x, flux, ivar = scene(parts)
        inverse = parts.noise.inverse_covariance(jnp.asarray(ivar))
        gram = np.asarray(emulator.information(inverse, jnp.asarray(x), jnp.asarray(flux)))
        chi2 = sum(
            float(arm.marginal(part, jnp.asarray(x), arm.span.of(jnp.asarray(flux)), 1.0)[0])
            for arm, part in zip(emulator.arms, inverse.parts, strict=True)
        )
        wanted, _ = dense_chi2(model, parts, x, flux, ivar, predict)
        unspread, _ = dense_chi2(model, parts, x, flux, ivar)
        slope = central_difference(lambda at: dense_chi2(model, parts, at, flux, ivar, predict)[0], x, 1e-5)
    np.testing.assert_allclose([gram[0, 0], chi2], wanted, rtol=1e-8)
    assert abs(unspread - wanted) > 0.1  # it matters
    np.testing.assert_allclose(gram[0, 1:], -0.5 * slope, rtol=2e-4, atol=2e-4 * np.abs(slope).max())


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


@pytest.mark.parametrize(
    "nuisances",
    [
        Nuisances(rv=Free(-100, 100)),
        Nuisances(resolution=Free(700, 1500), extinction=Free(0.1, 2), r_v=Free(2.5, 4)),
    ],
    ids=["rv", "resolution and dust"],
)
def test_information_is_that_of_the_dense_matrix(nuisances):
    """Without polynomials the Jacobian is the derivative of the flux, whose information the dense Σ gives."""
    with in_precision("float64"):
        model = slamjax.JointModel({"a": tiny()}, nuisances={"a": nuisances})
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


@cache
def two_ranges():
    """Models of different pixels; the resolving power of the second one's is lower."""
    stars = miles()
    stars = stars[np.flatnonzero(np.isfinite(stars.values(LABELS)).all(axis=1))]
    parts = {"a": stars.on_pixels(slice(200, 300)), "b": stars.on_pixels(slice(0, 100))}
    options = {"emulator": slamjax.Polynomial(), "noise": "diagonal", "search": TWO_FOLDS}
    return {name: slamjax.train(each, LABELS, **options) for name, each in parts.items()}


def test_dust_and_resolution_that_models_share_are_one_parameter_each():
    """Under every model they mean the same: flux through the dust is 10^(-0.4 A(λ)) times that of a plain model."""
    models, shared = two_ranges(), ("resolution", "extinction")
    given = Nuisances(resolution=Free(700, 2400), extinction=Gaussian(0.5, 0.2), r_v=2.8)
    with in_precision("float64"):
        parts = slamjax.JointModel(models, nuisances=dict.fromkeys(models, given), shared=shared).parts(
            (("a", 2), ("b", 1))
        )
        assert parts.emulator.n_parameters == 5
        emulator, (first, _) = parts.emulator, parts.emulator.arms
        scaled = np.array([0.2, -0.1, 0.3])
        x = np.append(scaled, [first.forward.coordinate("resolution", 900.0), 0.7])
        labels = emulator.scaling.inverse(scaled)
        flux = np.asarray(emulator.at(jnp.asarray(x)))
        for (name, model), arm, unit in zip(models.items(), emulator.arms, parts.units, strict=True):
            plain = model.with_nuisances(Nuisances(resolution=Free(700, 2400)))
            curve = extinction_curve(to_vacuum(model.wave, "Angstrom") / 1e4)
            dust = 10 ** (-0.4 * 0.7 * (curve[0] + curve[1] / 2.8))
            wanted = np.asarray(plain(labels, resolution=900.0)) * dust / unit
            seen = np.asarray(arm.forward.usable)
            for each in np.atleast_2d(arm.span.of(flux)):
                np.testing.assert_allclose(each[seen], wanted[seen], rtol=1e-7, err_msg=name)
        highest = [arm.forward.velocity("resolution", arm.parameters(parts.low)[3]) for arm in emulator.arms]
        assert emulator.arms[0].forward.resolution > emulator.arms[1].forward.resolution + 50
        np.testing.assert_allclose(highest, emulator.arms[1].forward.resolution, rtol=1e-6)  # both can have it
        gram = emulator.information(parts.noise.inverse_covariance(jnp.zeros(flux.size)), jnp.asarray(x), flux)
    np.testing.assert_allclose(gram[0, 0], 1.0, rtol=1e-7)  # the prior of what all share, once


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


def test_nuisances_must_be_given_by_name():
    with pytest.raises(SlamError, match="free nuisances are rv, sigma_v"):
        joint().emulator({"a": 1})([5200.0, 2.5, -0.3])
    with pytest.raises(SlamError, match="given for 'c'; the models are a"):
        joint().emulator({"a": 1})([5200.0, 2.5, -0.3], {"c": {}})
