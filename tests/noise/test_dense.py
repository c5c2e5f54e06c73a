"""Covariances of the stars' own, held against dense linear algebra in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import RTOL, in_precision

import slamjax
from slamjax.noise.dense import DenseErrors, whiteners
from slamjax.noise.photon_part import photon_information

N_STARS, N_PIX = 4, 9


def covariances(seed=0):
    """Strongly correlated photon noise of pixels whose errors differ by a hundred."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(N_STARS, N_PIX, N_PIX)) @ np.diag(np.geomspace(1, 0.03, N_PIX))
    error = np.geomspace(1, 0.01, N_PIX)
    return error[:, None] * error * (root @ np.swapaxes(root, 1, 2) + 0.01 * np.eye(N_PIX))


def noises(seed=1):
    rng = np.random.default_rng(seed)
    s2 = rng.uniform(1e-3, 1e-2, N_PIX)
    s2[7] = np.inf  # untrained
    factors = np.where(np.isfinite(s2), 0.3, 0)[:, None] * rng.normal(size=(N_PIX, 2))
    return {
        "diagonal": (slamjax.DiagonalNoise(s2), np.diag(s2)),
        "lowrank": (
            slamjax.LowRankNoise(s2, factors, np.ones(N_PIX), np.zeros((N_PIX, 0))),
            np.diag(s2) + factors @ factors.T,
        ),
    }


def errors_of(noise, covariance, ivar, dtype):
    s2, factors = noise.emulator_part()
    white = whiteners(covariance, ivar, np.asarray(s2), np.asarray(factors))
    return DenseErrors(jnp.asarray(ivar, dtype), jnp.asarray(white, dtype))


def stars():
    covariance = covariances()
    ivar = 1 / np.einsum("npp->np", covariance)
    ivar[1, [0, 4]] = 0  # masked
    ivar[3, 2:] = 0  # truncated, but for two
    return covariance, ivar


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["diagonal", "lowrank"])
def test_chi2_information_and_determinant_are_those_of_dense_algebra(kind, dtype):
    noise, emulator = noises()[kind]
    covariance, ivar = stars()
    rows = np.random.default_rng(2).normal(size=(N_STARS, 3, N_PIX)) * np.geomspace(1, 0.01, N_PIX)
    rows[1, :, 4] = np.nan
    rtol = 1e-8 if dtype == "float64" else 200 * RTOL[dtype]
    with in_precision(dtype):
        found = noise.on_device().inverse_covariance(errors_of(noise, covariance, ivar, dtype))
        gram, logdet, white = found.gram(jnp.asarray(rows, dtype)), found.logdet(), found.whiten(rows[:, 0])
        factors, rest = found.apart(jnp.asarray(rows[:, 0], dtype))
        shares = noise.on_device().variance_shares(errors_of(noise, covariance, ivar, dtype))
    for star in range(N_STARS):
        good = np.flatnonzero((ivar[star] > 0) & np.isfinite(np.diag(emulator)))
        dense = (covariance[star] + np.where(np.isfinite(emulator), emulator, 0))[np.ix_(good, good)]
        seen = rows[star][:, good]
        expected = seen @ np.linalg.solve(dense, seen.T)
        np.testing.assert_allclose(gram[star], expected, rtol=rtol, atol=rtol * np.abs(expected).max())
        np.testing.assert_allclose(logdet[star], np.linalg.slogdet(dense)[1], rtol=rtol, atol=rtol)
        np.testing.assert_allclose(np.sum(np.square(white[star])), expected[0, 0], rtol=rtol)
        assert np.all(np.asarray(found.weight[star] > 0) == np.isin(np.arange(N_PIX), good))
        # the factors that are most probable, and what they leave
        part = np.asarray(noise.emulator_part()[1])[good]
        c = part.T @ np.linalg.solve(dense, seen[0])
        left, alone = seen[0] - part @ c, dense - part @ part.T
        np.testing.assert_allclose(factors[star], c, rtol=rtol, atol=rtol)
        np.testing.assert_allclose(np.sum(np.square(rest[star])), left @ np.linalg.solve(alone, left), rtol=rtol)
        share = np.trace(np.linalg.solve(alone, np.diag(np.asarray(noise.emulator_part()[0])[good])))
        np.testing.assert_allclose(shares[star], [share, good.size - share], rtol=rtol)


@pytest.mark.parametrize("kind", ["diagonal", "lowrank"])
def test_the_photons_part_of_the_information_is_that_of_dense_algebra(kind):
    noise, emulator = noises()[kind]
    covariance, ivar = stars()
    rows = np.random.default_rng(2).normal(size=(3, N_PIX))
    with in_precision("float64"):
        errors = errors_of(noise, covariance, ivar, "float64")
        for star in range(N_STARS):
            one = jax.tree_util.tree_map(lambda a, star=star: a[star], errors)
            found = photon_information(noise.on_device(), one, lambda inverse: inverse.gram(jnp.asarray(rows)))
            good = np.flatnonzero((ivar[star] > 0) & np.isfinite(np.diag(emulator)))
            at = np.ix_(good, good)
            weighted = np.linalg.solve(
                (covariance[star] + np.where(np.isfinite(emulator), emulator, 0))[at], rows[:, good].T
            )
            expected = weighted.T @ covariance[star][at] @ weighted
            np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["diagonal", "lowrank"])
def test_without_correlations_all_is_as_with_independent_pixels(kind):
    noise, _ = noises()[kind]
    _, ivar = stars()
    alone = np.eye(N_PIX) * np.where(ivar > 0, 1 / np.where(ivar > 0, ivar, 1), 0)[:, None, :]
    rows = np.random.default_rng(2).normal(size=(N_STARS, 3, N_PIX))
    with in_precision("float64"):
        errors, plain, device = errors_of(noise, alone, ivar, "float64"), jnp.asarray(ivar), noise.on_device()
        one, other = (device.inverse_covariance(each) for each in (errors, plain))
        np.testing.assert_allclose(one.gram(rows), other.gram(rows), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(one.logdet(), other.logdet(), rtol=1e-10)
        np.testing.assert_allclose(device.variance_shares(errors), device.variance_shares(plain), rtol=1e-8)
        np.testing.assert_allclose(one.apart(rows[:, 0])[0], other.apart(rows[:, 0])[0], rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(device.weights(errors), device.weights(plain))


def test_noise_is_drawn_with_the_covariance():
    noise, emulator = noises()["lowrank"]
    covariance, ivar = stars()
    with in_precision("float64"):
        errors = errors_of(noise, covariance, ivar, "float64")
        one = jax.tree_util.tree_map(lambda a: a[1], errors)
        keys = jax.random.split(jax.random.key(0), 20_000)
        drawn = np.asarray(jax.vmap(lambda key: noise.on_device().draw(key, one))(keys))
    good = np.flatnonzero((ivar[1] > 0) & np.isfinite(np.diag(emulator)))
    assert not drawn[:, np.setdiff1d(np.arange(N_PIX), good)].any()
    expected = (covariance[1] + np.where(np.isfinite(emulator), emulator, 0))[np.ix_(good, good)]
    error = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        np.cov(drawn[:, good].T) / error / error[:, None], expected / error / error[:, None], atol=0.04
    )
