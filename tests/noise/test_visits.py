"""Several spectra of one star: Σ⁻¹ of all their pixels, against dense matrices."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import RTOL, in_precision

from slamjax.noise import DiagonalNoise, LowRankNoise
from slamjax.noise.joint import JointNoise, Span
from slamjax.noise.visits import rank, variance_shares, visits_inverse_covariance

N_PIX, N_VISITS, N_LOCAL = 14, 3, 2


def noises(dtype):
    rng = np.random.default_rng(1)
    variance = rng.uniform(0.05, 0.4, N_PIX)
    variance[5] = np.inf
    factors, photon_factors = rng.normal(size=(N_PIX, 2)), 0.5 * rng.normal(size=(N_PIX, 3))
    scale = rng.uniform(0.5, 2, N_PIX)
    arrays = [jnp.asarray(each, dtype) for each in (variance, factors, scale, photon_factors)]
    return {"diagonal": DiagonalNoise(arrays[0]), "lowrank": LowRankNoise(*arrays)}


def ivars():
    """Visits of different depth; one pixel is bad in one of them, another in all."""
    ivar = np.random.default_rng(2).uniform(0.3, 30, (N_VISITS, N_PIX))
    ivar[1, 3] = ivar[:, 8] = 0
    return ivar


def dense(noise, ivar):
    """Σ of all pixels of all visits (K P, K P), and which of them count."""
    variance = np.asarray(noise.model_variance, float)
    good = ((ivar > 0) & np.isfinite(variance)).ravel()
    common = np.diag(np.where(np.isfinite(variance), variance, 0))
    photon = np.where(ivar > 0, 1 / np.where(ivar > 0, ivar, 1), 0)
    scale = np.ones(N_PIX)
    own = np.zeros((N_PIX, 0))
    if isinstance(noise, LowRankNoise):
        v, own, scale = (np.asarray(each, float) for each in (noise.factors, noise.photon_factors, noise.photon_scale))
        common = common + v @ v.T
    whole = np.kron(np.ones((N_VISITS, N_VISITS)), common)
    for k in range(N_VISITS):
        block = slice(k * N_PIX, (k + 1) * N_PIX)
        lines = np.sqrt(photon[k])[:, None] * own
        whole[block, block] += np.diag(scale * photon[k]) + lines @ lines.T
    return whole, good


@pytest.mark.parametrize("kind", ["diagonal", "lowrank"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_of_rows_are_those_of_the_dense_inverse(kind, dtype):
    with in_precision(dtype):
        noise, ivar = noises(dtype)[kind], ivars()
        rng = np.random.default_rng(3)
        full, local = rng.normal(size=(4, N_VISITS, N_PIX)), rng.normal(size=(N_VISITS, N_LOCAL, N_PIX))
        inverse = visits_inverse_covariance(noise, jnp.asarray(ivar, dtype))
        found = np.asarray(inverse.gram(jnp.asarray(full, dtype), jnp.asarray(local, dtype)))
        logdet = float(inverse.logdet())
    covariance, good = dense(noise, ivar)
    apart = np.zeros((N_VISITS, N_LOCAL, N_VISITS, N_PIX))
    apart[np.arange(N_VISITS), :, np.arange(N_VISITS)] = local
    rows = np.concatenate([full.reshape(4, -1), apart.reshape(N_VISITS * N_LOCAL, -1)])[:, good]
    wanted = rows @ np.linalg.solve(covariance[np.ix_(good, good)], rows.T)
    np.testing.assert_allclose(found, wanted, rtol=10 * RTOL[dtype], atol=10 * RTOL[dtype] * np.abs(wanted).max())
    np.testing.assert_allclose(logdet, np.linalg.slogdet(covariance[np.ix_(good, good)])[1], rtol=10 * RTOL[dtype])


def test_bright_visits_keep_their_digits_in_float32():
    """Photon noise a thousand times below the emulator's error: the sum of visits must not lose it in rounding."""
    ivar = 1e6 * ivars()
    local = np.zeros((N_VISITS, 0, N_PIX))
    full = np.ones((1, N_VISITS, N_PIX)) + 1e-3 * np.random.default_rng(4).normal(size=(1, N_VISITS, N_PIX))
    noise = noises("float32")["diagonal"]
    found = visits_inverse_covariance(noise, jnp.asarray(ivar, jnp.float32)).gram(jnp.asarray(full), jnp.asarray(local))
    # variances are floored at 1e-4 of the emulator's
    floored = np.where(ivar > 0, np.minimum(ivar, 1e4 / np.asarray(noise.model_variance, float)), 0)
    covariance, good = dense(noise, floored)
    row = full.reshape(1, -1)[:, good]
    wanted = row @ np.linalg.solve(covariance[np.ix_(good, good)], row.T)
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


@pytest.mark.parametrize("kind", ["diagonal", "lowrank"])
def test_one_visit_is_the_noise_of_one_spectrum(kind):
    with in_precision("float64"):
        noise, ivar = noises("float64")[kind], ivars()[:1]
        rows = jnp.asarray(np.random.default_rng(5).normal(size=(4, 1, N_PIX)))
        found = visits_inverse_covariance(noise, jnp.asarray(ivar)).gram(rows, jnp.zeros((1, 0, N_PIX)))
        wanted = noise.inverse_covariance(jnp.asarray(ivar[0])).gram(rows[:, 0])
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_an_empty_visit_changes_nothing():
    with in_precision("float64"):
        noise, ivar = noises("float64")["lowrank"], ivars()
        rows = jnp.asarray(np.random.default_rng(6).normal(size=(4, N_VISITS + 1, N_PIX)))
        none = jnp.zeros((N_VISITS, 0, N_PIX))
        wanted = visits_inverse_covariance(noise, jnp.asarray(ivar)).gram(rows[:, :N_VISITS], none)
        padded = jnp.asarray(np.concatenate([ivar, np.zeros((1, N_PIX))]))
        found = visits_inverse_covariance(noise, padded).gram(rows, jnp.zeros((N_VISITS + 1, 0, N_PIX)))
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_expected_chi2_is_the_number_of_good_pixels():
    noise, ivar = noises("float32")["diagonal"], jnp.asarray(ivars(), jnp.float32)
    model, photons = np.asarray(variance_shares(noise, ivar))
    assert model + photons == pytest.approx(int((ivars() > 0).sum() - N_VISITS), rel=1e-5)
    # with many visits the mean has the emulator's error alone, which is one number a pixel
    assert 0 < model < N_PIX


def test_a_block_for_each_model():
    with in_precision("float64"):
        noise = noises("float64")["lowrank"]
        spans = (Span(0, 1, N_PIX), Span(N_PIX, N_VISITS, N_PIX))
        joint = JointNoise((noise, noise), spans)
        ivar = jnp.asarray(np.concatenate([ivars()[:1], ivars()]).ravel())
        inverse = joint.inverse_covariance(ivar, joint.factorised(ivar))
        one = noise.inverse_covariance(jnp.asarray(ivars()[0])).logdet()
        several = visits_inverse_covariance(noise, jnp.asarray(ivars())).logdet()
        np.testing.assert_allclose(inverse.logdet(), one + several, rtol=1e-10)
    assert joint.rank == noise.rank + rank(noise, N_VISITS) == 5 + 2 + 9
    np.testing.assert_allclose(joint.weights(ivar)[:N_PIX], noise.weights(ivars()[0]), rtol=1e-6)
