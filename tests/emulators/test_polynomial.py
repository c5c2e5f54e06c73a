"""The polynomial emulator against scikit-learn, finite differences, and through everything that uses an emulator."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import RTOL, central_difference, in_precision
from models import ALPHA_WINDOWS, LABELS, giants_model, held_out, quadratic_model
from sklearn.preprocessing import PolynomialFeatures

import slamjax
from slamjax.emulators.polynomial import PolynomialEmulator, exponents_of, monomials
from slamjax.emulators.scaling import LabelScaling
from slamjax.errors import SlamError
from slamjax.fitting import fit
from slamjax.forward.likelihood import log_likelihood
from slamjax.model.description import describe_model as describe
from slamjax.model.model import Model
from slamjax.plots import plot_spectra, plot_training
from slamjax.sampling import SamplerSpec, sample


def random_emulator(n_labels=3, degree=3, n_pix=7, seed=4):
    rng = np.random.default_rng(seed)
    exponents = exponents_of(n_labels, degree)
    scaling = LabelScaling(rng.normal(size=n_labels), rng.uniform(1, 2, n_labels), (False,) * n_labels)
    return PolynomialEmulator(
        scaling,
        rng.normal(size=(len(exponents), n_pix)),
        np.where(np.arange(n_pix) == 2, np.nan, rng.normal(size=n_pix)),
        rng.normal(size=n_pix),
        rng.uniform(0.5, 2, n_pix),
        exponents,
    )


@pytest.mark.parametrize(("n_labels", "degree"), [(1, 1), (1, 4), (3, 2), (4, 3)])
def test_monomials_are_scikit_learns(n_labels, degree):
    x = np.random.default_rng(0).normal(size=(5, n_labels))
    expected = PolynomialFeatures(degree, include_bias=False).fit(x)
    np.testing.assert_array_equal(expected.powers_, exponents_of(n_labels, degree))
    np.testing.assert_allclose(monomials(x, exponents_of(n_labels, degree)), expected.transform(x), rtol=1e-13)


def test_flux_is_the_sum_of_the_monomials(dtype):
    emulator = random_emulator()
    labels = np.random.default_rng(1).normal(size=(2, 5, 3))
    x = (labels - emulator.scaling.center) / emulator.scaling.width
    terms = PolynomialFeatures(3, include_bias=False).fit_transform(x.reshape(-1, 3)).reshape(2, 5, -1)
    expected = emulator.flux_mean + emulator.flux_scale * (terms @ emulator.basis + emulator.intercept)
    found = np.asarray(emulator.on_device()(labels))
    assert found.shape == (2, 5, 7)
    assert np.isnan(found[..., 2]).all()
    size = np.abs(terms) @ np.abs(emulator.basis) * emulator.flux_scale
    assert np.nanmax(np.abs(found - expected) / (1 + size)) < RTOL[dtype]


def test_the_jacobian_is_the_derivative():
    emulator = dataclasses.replace(random_emulator(), intercept=np.arange(7.0))
    x = np.array([0.3, -1.2, 0.8])
    with in_precision("float64"):
        device = emulator.on_device()
        flux, jacobian = device.at_with_jacobian(jnp.asarray(x))
        np.testing.assert_allclose(jacobian, central_difference(device.at, x), rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(jacobian, jax.jacfwd(device.at)(jnp.asarray(x)).T, rtol=1e-12)
        observed = jnp.arange(7.0)
        rows = device.residual_and_jacobian(jnp.asarray(x), observed)
        np.testing.assert_allclose(rows[0], observed - flux, rtol=1e-12)
        np.testing.assert_allclose(rows[1:], jacobian, rtol=1e-12)


def test_works_under_jaxs_transformations():
    emulator = random_emulator().on_device()
    labels = jnp.array([[0.1, 0.2, 0.3], [0.0, -1.0, 1.0]])
    plain = emulator(labels)
    np.testing.assert_allclose(jax.jit(lambda e, given: e(given))(emulator, labels), plain, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(emulator)(labels), plain, rtol=1e-6)
    slope = jax.grad(lambda given: jnp.nansum(emulator(given)))(labels[0])
    assert np.isfinite(slope).all()
    assert jax.hessian(lambda given: jnp.nansum(emulator(given)))(labels[0]).shape == (3, 3)


def test_units_of_flux_change_no_digit():
    emulator = random_emulator()
    unit = emulator.flux_unit()
    labels = np.array([0.1, 0.2, 0.3])
    with in_precision("float64"):
        np.testing.assert_array_equal(unit * emulator.in_unit(unit).on_device()(labels), emulator.on_device()(labels))


def test_fits_are_where_the_gradient_of_ln_p_vanishes():
    model, stars = quadratic_model(), held_out()[:12]
    table = fit(model, stars)
    prepared = model.prepare(stars)
    row = int(np.argmin(np.where(table["flags"] == 0, table["chi2"], np.inf)))
    with in_precision("float64"):

        def ln_p(x):
            labels = model.host_emulator.scaling.inverse(x)
            flux, ivar = jnp.asarray(prepared.flux[row], float), jnp.asarray(prepared.ivar[row], float)
            return log_likelihood(model.emulator, model.noise, labels, flux, ivar)

        fitted = np.array([np.asarray(table[name])[row] for name in LABELS])
        x = jnp.asarray(model.host_emulator.scaling(fitted))
        error = np.sqrt(np.diag(np.linalg.inv(-jax.hessian(ln_p)(x))))
        assert np.all(np.abs(jax.grad(ln_p)(x)) * error < 0.05)


@pytest.mark.slow
def test_posteriors_are_drawn_through_the_monomials_themselves():
    model, stars = quadratic_model(), held_out()[:3]
    posterior = sample(model, stars, sampler=SamplerSpec("importance", draws=200, chains=1, warmup=50))
    assert posterior.attrs["likelihood"] == "projected on 14 monomials, exactly"
    fitted, drawn = fit(model, stars), posterior.table()
    distance = np.abs(np.asarray(fitted["teff"].value) - drawn["teff"].value) / np.asarray(fitted["teff_err"].value)
    assert np.nanmedian(distance) < 1.5


def test_the_projected_likelihood_is_that_of_the_pixels():
    """χ² by monomials against χ² by pixels, a mask and labels away from the fit included."""
    from slamjax.sampling.likelihoods import FluxLikelihood, ProjectedLikelihood
    from slamjax.sampling.projection import choose_components

    model, prepared = quadratic_model(), quadratic_model().prepare(held_out()[:1])
    ivar = np.where(np.arange(61) % 5 == 0, 0, prepared.ivar[0])
    with in_precision("float64"):
        emulator, noise = (jax.tree_util.tree_map(jnp.asarray, part) for part in (model.host_emulator, model.noise))
        choice = choose_components(model.host_emulator, model.noise, model.training_labels, ivar)
        stars = [
            (likelihood, likelihood.prepare_star(jnp.asarray(prepared.flux[0], float), jnp.asarray(ivar), jnp.zeros(4)))
            for likelihood in (FluxLikelihood(emulator, noise), ProjectedLikelihood(emulator, noise, choice.components))
        ]
        for x in np.random.default_rng(0).normal(size=(5, 4)):
            plain, projected = (float(likelihood.chi2(star, jnp.asarray(x))) for likelihood, star in stars)
            assert projected == pytest.approx(plain, rel=1e-9)


def test_the_bound_of_cramer_and_rao_is_finite():
    stars = held_out()[:2]
    covariance = slamjax.crlb(quadratic_model(), stars.values(LABELS), quadratic_model().prepare(stars).ivar)
    assert np.all(np.linalg.eigvalsh(covariance) > 0)


def test_a_saved_polynomial_predicts_the_same_bits(tmp_path, dtype):
    quadratic_model().write(tmp_path / "quadratic.h5")
    back, labels = Model.read(tmp_path / "quadratic.h5"), held_out().values(LABELS)
    np.testing.assert_array_equal(np.asarray(back(labels)), np.asarray(quadratic_model()(labels)))
    assert back.host_emulator.exponents == quadratic_model().host_emulator.exponents
    assert describe(back).splitlines()[4:] == describe(quadratic_model()).splitlines()[4:]


def test_the_description_says_that_it_is_a_quadratic():
    text = describe(quadratic_model())
    assert text.splitlines()[0] == (
        "polynomial of the labels of degree 2 (quadratic), 61 of 61 pixels trained, 110 stars"
    )
    assert "least squares in closed form" in text
    shown = ", ".join(f"{low:g} to {high:g}" for low, high in ALPHA_WINDOWS)
    assert f"alpha_m is used only at {shown} nm" in text


def test_figures_name_the_emulator():
    model, stars = quadratic_model(), held_out()[:4]
    figure = plot_spectra(model, stars, fit(model, stars, n_starts=1), count=1)
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    texts = [text.get_text() for legend in legends if legend is not None for text in legend.get_texts()]
    assert "quadratic at the fitted labels" in texts
    figure = plot_training(model)
    used = figure.axes[2].lines[0].get_ydata()
    inside = np.any([(model.wave >= low) & (model.wave <= high) for low, high in ALPHA_WINDOWS], axis=0)
    np.testing.assert_allclose(used, np.where(inside, 1, 9 / 14))
    assert figure.axes[3].get_ylabel() == "ridge"


def test_it_is_not_compressed():
    with pytest.raises(SlamError, match="has few components already"):
        quadratic_model().compress()
    assert giants_model().compress().host_emulator.basis is not None
