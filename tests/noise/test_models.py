import re

import jax
import jax.numpy as jnp
import numpy as np
from helpers import RTOL, check_noise_model

from slamjax.noise.models import DiagonalNoise, LowRankNoise

VARIANCE = np.array([0.3, 0.01, 2.0, 0.5, np.inf, 1e-4, 0.7, 0.2])


def test_diagonal_noise_is_dense_linear_algebra_without_the_bad_pixels(dtype):
    """A bad pixel, or one the model does not know (s² = inf), is as good as deleted."""
    noise = DiagonalNoise(jnp.asarray(VARIANCE, dtype))
    check_noise_model(noise, lambda photon: np.diag(photon + VARIANCE), 8, dtype)


def test_whitened_residuals_are_residuals_over_their_deviation(dtype):
    ivar = np.array([4.0, 1, 0, np.inf, 1, 100, np.inf, 0])
    noise = DiagonalNoise(jnp.asarray(VARIANCE, dtype))
    good = (ivar > 0) & np.isfinite(VARIANCE)
    expected = np.zeros(8)
    expected[good] = 3 / np.sqrt(1 / ivar[good] + VARIANCE[good])
    np.testing.assert_allclose(
        noise.inverse_covariance(jnp.asarray(ivar, dtype)).whiten(jnp.full(8, 3.0, dtype)), expected, rtol=RTOL[dtype]
    )


def test_nan_in_pixels_that_do_not_count_does_not_spread():
    """An untrained pixel predicts NaN; 0 · NaN would be NaN."""
    noise = DiagonalNoise(jnp.asarray(VARIANCE))
    precision = noise.inverse_covariance(jnp.array([1.0, 1, 0, 1, 1, 1, 1, 1]))
    rows = jnp.ones((2, 8))
    spoilt = rows.at[:, jnp.array([2, 4])].set(jnp.nan)
    np.testing.assert_array_equal(precision.gram(spoilt), precision.gram(rows))
    np.testing.assert_array_equal(precision.whiten(spoilt[0]), precision.whiten(rows[0]))


def test_a_wholly_masked_star_has_no_weight_and_no_volume():
    precision = DiagonalNoise(jnp.asarray(VARIANCE)).inverse_covariance(jnp.zeros(8))
    assert precision.logdet() == 0
    np.testing.assert_array_equal(precision.gram(jnp.ones((2, 8))), 0)


def test_batches_are_the_stars_one_by_one():
    rng = np.random.default_rng(0)
    noise = DiagonalNoise(jnp.asarray(VARIANCE)).on_device()
    ivar, rows = jnp.asarray(rng.uniform(0.1, 2, (3, 8))), jnp.asarray(rng.normal(size=(3, 2, 8)))
    whole, single = noise.inverse_covariance(ivar), jax.vmap(noise.inverse_covariance)(ivar)
    np.testing.assert_allclose(whole.gram(rows), jax.vmap(lambda p, r: p.gram(r))(single, rows), rtol=1e-6)
    assert whole.logdet().shape == (3,)
    np.testing.assert_allclose(whole.logdet()[1], noise.inverse_covariance(ivar[1]).logdet(), rtol=1e-6)


def low_rank(dtype=float):
    """A strong, a weak and a nearly parallel factor, beside two of the photon noise."""
    rng = np.random.default_rng(5)
    factors = rng.normal(size=(8, 3)) * [30.0, 0.1, 1.0]
    factors[4] = 0  # the pixel that is not known
    return LowRankNoise(
        np.asarray(VARIANCE, dtype),
        factors.astype(dtype),
        rng.uniform(0.2, 1.5, 8).astype(dtype),
        (0.5 * rng.normal(size=(8, 2))).astype(dtype),
    )


def low_rank_covariance(noise):
    def covariance(photon):
        scaled = np.sqrt(photon)[:, None] * noise.photon_factors
        return (
            np.diag(noise.photon_scale * photon + noise.model_variance)
            + noise.factors @ noise.factors.T
            + scaled @ scaled.T
        )

    return covariance


def test_factors_of_a_residual_are_their_expectation_given_the_residual(dtype):
    """E[z | r] = Cov(z, r) Σ⁻¹ r for r = U z + independent noise, by dense algebra on the good pixels."""
    noise, residual = low_rank(dtype), np.random.default_rng(3).normal(size=8)
    ivar = np.array([4.0, 1, 0, np.inf, 1, 100, 2, 0.5])
    good = (ivar > 0) & np.isfinite(VARIANCE)
    photon = np.where(ivar > 0, 1 / np.where(ivar > 0, ivar, 1), 0)
    u = np.concatenate([noise.factors, np.sqrt(photon)[:, None] * noise.photon_factors], axis=1)[good].astype(float)
    dense = low_rank_covariance(noise)(photon)[np.ix_(good, good)]
    given = jnp.asarray(residual, dtype), jnp.asarray(ivar, dtype)
    factors, _ = noise.on_device().inverse_covariance(given[1]).apart(given[0])
    np.testing.assert_allclose(factors, u.T @ np.linalg.solve(dense, residual[good]), rtol=20 * RTOL[dtype], atol=1e-4)


def test_low_rank_noise_is_dense_linear_algebra_without_the_bad_pixels(dtype):
    noise = low_rank()
    check_noise_model(noise.on_device(), low_rank_covariance(noise), 8, dtype)


def test_a_bad_pixel_is_out_where_photon_noise_is_learnt_to_be_zero():
    """0 · σ² of a bad pixel is 0 · inf: one such pixel made every held-out fit NaN."""
    noise = LowRankNoise(np.full(3, 0.01), np.full((3, 1), 0.1), np.zeros(3), np.zeros((3, 1)))
    two = LowRankNoise(np.full(2, 0.01), np.full((2, 1), 0.1), np.zeros(2), np.zeros((2, 1)))
    rows, ivar = np.array([[1.0, 2.0, 3.0]]), np.array([50.0, 0.0, 50.0])
    given = noise.inverse_covariance(jnp.asarray(ivar)).gram(jnp.asarray(rows))
    np.testing.assert_allclose(given, two.inverse_covariance(jnp.full(2, 50.0)).gram(jnp.asarray(rows[:, [0, 2]])))
    assert np.asarray(noise.weights(ivar))[1] == 0


def test_single_pixel_weights_are_the_covariances_diagonal():
    noise = low_rank()
    photon = np.array([4.0, 1, 0.5, 0, 1, 100, 0.1, 2])
    np.testing.assert_allclose(noise.weights(1 / photon[:3].repeat(8).reshape(3, 8)).shape, (3, 8))
    with np.errstate(divide="ignore"):
        found = noise.weights(1 / photon)
    np.testing.assert_allclose(found, 1 / np.diag(low_rank_covariance(noise)(photon)), rtol=1e-5)


def test_whitened_noise_is_white_and_drawn_noise_has_its_covariance():
    noise, photon = low_rank().on_device(), np.array([4.0, 1, 0.5, 0, 1, 100, 0.1, 2])
    with np.errstate(divide="ignore"):
        ivar = jnp.asarray(1 / photon)
    drawn = jax.vmap(lambda key: noise.draw(key, ivar))(jax.random.split(jax.random.key(0), 40_000))
    known = np.arange(8) != 4
    assert np.all(np.asarray(drawn)[:, ~known] == 0)
    expected = low_rank_covariance(low_rank())(photon)[np.ix_(known, known)]
    error = np.abs(np.cov(np.asarray(drawn)[:, known].T) - expected)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.max(error / scale) < 0.04  # 5 standard errors of a covariance of 40,000 draws
    white = np.cov(np.asarray(jax.vmap(noise.inverse_covariance(ivar).whiten)(drawn))[:, known].T)
    assert np.max(np.abs(white - np.eye(7))) < 0.04


def test_flux_in_another_unit_has_the_same_chi2():
    noise, ivar = low_rank(), jnp.full(8, 2.0)
    row = jnp.arange(8.0)[None]
    there = noise.in_unit(4.0).on_device().inverse_covariance(ivar * 16)
    np.testing.assert_allclose(there.gram(row / 4), noise.on_device().inverse_covariance(ivar).gram(row), rtol=1e-4)


def test_residuals_cost_matrix_products_only():
    """Triangular solves for each residual, side by side in one function, can wait for each other for ever."""
    precision = low_rank().on_device().inverse_covariance(jnp.ones(8))
    program = jax.make_jaxpr(lambda p, r: (p.gram(r), p.whiten(r[0]), p.logdet()))(precision, jnp.ones((3, 8)))
    assert "dot_general" in str(program)
    assert not re.findall(r"\b(triangular_solve|cholesky|lu|qr|geqrf|householder_product|eigh|svd)\b", str(program))
