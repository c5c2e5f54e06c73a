import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import RTOL, central_difference
from scipy.stats import multivariate_normal

from slamjax.emulators.scaling import LabelScaling
from slamjax.emulators.svr import KernelBlock, KernelEmulator
from slamjax.forward.likelihood import chi2, log_likelihood
from slamjax.noise.models import DiagonalNoise

P, L, S = 9, 2, 6
UNTRAINED = 4
LABELS = np.array([4700.0, 2.3])


def small_model(dtype):
    """An emulator of two labels and nine pixels, one of them untrained, and its noise."""
    rng = np.random.default_rng(5)
    block = KernelBlock(
        gamma=jnp.array([0.3], dtype),
        coef0=jnp.zeros(1, dtype),
        dual=jnp.asarray(rng.normal(size=(1, S, P)), dtype),
        kernel="rbf",
        degree=3,
    )
    intercept = rng.normal(size=P)
    intercept[UNTRAINED] = np.nan
    emulator = KernelEmulator(
        scaling=LabelScaling(np.array([4500.0, 2.0]), np.array([300.0, 0.5]), (False, False)),
        support=jnp.asarray(rng.normal(size=(S, L)), dtype),
        blocks=(block,),
        intercept=jnp.asarray(intercept, dtype),
        flux_mean=jnp.ones(P, dtype),
        flux_scale=jnp.asarray(rng.uniform(0.05, 0.2, P), dtype),
        order=None,
    )
    variance = np.where(np.arange(P) == UNTRAINED, np.inf, rng.uniform(1e-4, 1e-2, P))
    return emulator, DiagonalNoise(jnp.asarray(variance, dtype)), variance


def observed(kind):
    """Flux and ivar of a star: all pixels good, some masked, errors not stated, or a mixture."""
    rng = np.random.default_rng(6)
    flux, ivar = 1 + 0.1 * rng.normal(size=P), rng.uniform(100, 1000, P)
    if kind in ("masked", "mixed"):
        ivar[[1, 7]], flux[1] = 0, 50.0
    if kind == "unstated":
        ivar[:] = np.inf
    if kind == "mixed":
        ivar[[0, 3]] = np.inf
    return flux, ivar


KINDS = ["whole", "masked", "unstated", "mixed"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_likelihood_is_scipys_normal_density_over_the_good_pixels(kind, dtype):
    emulator, noise, variance = small_model(dtype)
    flux, ivar = observed(kind)
    good = (ivar > 0) & (np.arange(P) != UNTRAINED)
    covariance = np.diag(1 / ivar[good] + variance[good])
    mean = np.asarray(emulator(LABELS), float)[good]
    given = jnp.asarray(flux, dtype), jnp.asarray(ivar, dtype)

    expected = multivariate_normal(mean, covariance).logpdf(flux[good])
    np.testing.assert_allclose(log_likelihood(emulator, noise, LABELS, *given), expected, rtol=5 * RTOL[dtype])
    distance = (flux[good] - mean) @ np.linalg.solve(covariance, flux[good] - mean)
    np.testing.assert_allclose(chi2(emulator, noise, LABELS, *given), distance, rtol=5 * RTOL[dtype])


@pytest.mark.parametrize("kind", KINDS)
def test_information_holds_chi2_its_gradient_and_the_fisher_matrix(kind, dtype):
    """The Jacobian by finite differences of the emulator, in scaled labels, as the fitter moves in them."""
    emulator, noise, variance = small_model(dtype)
    flux, ivar = observed(kind)
    good = (ivar > 0) & (np.arange(P) != UNTRAINED)
    weight = np.zeros(P)
    weight[good] = 1 / (1 / ivar[good] + variance[good])
    x = emulator.scaling(LABELS)
    step = {"float32": 1e-2, "float64": 1e-5}[dtype]
    jacobian = central_difference(lambda p: emulator.at(jnp.asarray(p, dtype)), x, step)
    rows = np.nan_to_num(np.vstack([flux - np.asarray(emulator.at(jnp.asarray(x, dtype))), jacobian]))
    expected = (rows * weight) @ rows.T
    inv_cov = noise.inverse_covariance(jnp.asarray(ivar, dtype))
    found = emulator.information(inv_cov, jnp.asarray(x, dtype), jnp.asarray(flux, dtype))
    size = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(found / size, expected / size, atol={"float32": 1e-3, "float64": 1e-8}[dtype])


def test_the_gradient_of_chi2_is_a_finite_difference(dtype):
    """Also beside masked and untrained pixels, where a careless ``where`` gives NaN."""
    emulator, noise, _ = small_model(dtype)
    flux, ivar = (jnp.asarray(a, dtype) for a in observed("masked"))
    gradient = jax.grad(lambda labels: chi2(emulator, noise, labels, flux, ivar))(jnp.asarray(LABELS, dtype))
    step = {"float32": 1e-2, "float64": 1e-4}[dtype]
    x = emulator.scaling(LABELS)
    numeric = central_difference(lambda p: chi2(emulator, noise, emulator.scaling.inverse(p), flux, ivar), x, step)
    np.testing.assert_allclose(
        gradient * emulator.scaling.width, numeric, rtol={"float32": 5e-3, "float64": 1e-6}[dtype]
    )


def test_a_star_without_a_good_pixel_has_no_likelihood():
    emulator, noise, _ = small_model("float32")
    flux, ivar = jnp.ones(P), jnp.zeros(P)
    assert chi2(emulator, noise, LABELS, flux, ivar) == 0
    assert log_likelihood(emulator, noise, LABELS, flux, ivar) == 0


def test_batches_of_stars_and_of_labels_broadcast():
    emulator, noise, _ = small_model("float32")
    stars = [observed(kind) for kind in KINDS]
    flux, ivar = (jnp.asarray(np.stack(part), "float32") for part in zip(*stars, strict=True))
    labels = LABELS + np.array([[0, 0], [50, 0.1], [-50, 0], [0, -0.2]])
    together = log_likelihood(emulator, noise, labels, flux, ivar)
    alone = [log_likelihood(emulator, noise, labels[k], flux[k], ivar[k]) for k in range(4)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    grid = log_likelihood(emulator, noise, labels, flux[0], jnp.broadcast_to(ivar[0], (4, P)))
    np.testing.assert_allclose(grid[0], alone[0], rtol=1e-5)
    x = jnp.asarray(emulator.scaling(labels), "float32")
    assert emulator.information(noise.inverse_covariance(ivar), x, flux).shape == (4, 3, 3)
