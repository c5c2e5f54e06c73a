import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from helpers import RTOL
from models import giants_model, held_out
from numpyro.infer import MCMC, NUTS
from scipy.stats import multivariate_normal

from slamjax.noise.models import DiagonalNoise, LowRankNoise
from slamjax.sampling import SpectrumDistribution, spectrum_model

P = 8


def noises(dtype):
    rng = np.random.default_rng(0)
    variance = rng.uniform(0.5, 1, P)
    variance[5] = np.inf  # not trained
    low = LowRankNoise(variance, rng.normal(size=(P, 2)), rng.uniform(0.5, 1, P), 0.3 * rng.normal(size=(P, 1)))
    return {
        name: jax.tree_util.tree_map(lambda leaf: jnp.asarray(leaf, dtype), noise)
        for name, noise in {"diagonal": DiagonalNoise(variance), "lowrank": low}.items()
    }


def dense(noise, ivar):
    if isinstance(noise, DiagonalNoise):
        return np.diag(1 / ivar + np.asarray(noise.model_variance, float))
    s = np.diag(ivar**-0.5)
    v, w = np.asarray(noise.factors, float), np.asarray(noise.photon_factors, float)
    independent = np.asarray(noise.photon_scale, float) / ivar + np.asarray(noise.model_variance, float)
    return np.diag(independent) + v @ v.T + s @ w @ w.T @ s


@pytest.mark.parametrize("name", ["diagonal", "lowrank"])
def test_log_prob_is_that_of_a_dense_normal_without_the_bad_pixels(name, dtype):
    noise = noises(dtype)[name]
    rng = np.random.default_rng(1)
    ivar = rng.uniform(1, 2, P)
    flux, loc = rng.normal(size=P), rng.normal(size=P)
    good = np.ones(P, bool)
    good[[2, 5]] = False
    want = multivariate_normal(loc[good], dense(noise, ivar)[np.ix_(good, good)]).logpdf(flux[good])
    masked = np.where(np.arange(P) == 2, 0, ivar)
    spoilt = np.where(np.arange(P) == 2, 1e3, flux)
    predicted = np.where(np.arange(P) == 5, np.nan, loc)  # an untrained pixel predicts NaN
    spectrum = SpectrumDistribution(jnp.asarray(predicted, dtype), noise, jnp.asarray(masked, dtype))
    np.testing.assert_allclose(spectrum.log_prob(jnp.asarray(spoilt, dtype)), want, rtol=10 * RTOL[dtype])
    slope = jax.grad(lambda m: SpectrumDistribution(m, noise, jnp.asarray(masked, dtype)).log_prob(flux))(spectrum.loc)
    assert np.all(np.asarray(slope)[~good] == 0)


@pytest.mark.parametrize("name", ["diagonal", "lowrank"])
def test_draws_have_the_covariance_of_the_noise(name):
    noise = noises("float32")[name]
    ivar = np.random.default_rng(1).uniform(1, 2, P)
    ivar[2] = 0
    spectrum = SpectrumDistribution(jnp.ones(P), noise, jnp.asarray(ivar))
    draws = np.asarray(spectrum.sample(jax.random.key(0), (20_000,)))
    good = ivar > 0
    good[5] = False
    assert np.all(draws[:, 2] == 1)
    want = dense(noise, np.where(ivar > 0, ivar, 1))[np.ix_(good, good)]
    np.testing.assert_allclose(np.cov(draws[:, good].T), want, atol=0.06 * want.diagonal().max())


def test_it_is_a_pytree_that_maps_over_stars():
    noise = noises("float32")["lowrank"]
    loc, ivar = jnp.ones((3, P)), jnp.ones((3, P))
    flux = jnp.asarray(np.random.default_rng(2).normal(size=(3, P)), jnp.float32)
    together = SpectrumDistribution(loc, noise, ivar).log_prob(flux)
    apart = jax.vmap(lambda m, i, f: SpectrumDistribution(m, noise, i).log_prob(f))(loc, ivar, flux)
    np.testing.assert_allclose(together, apart, rtol=1e-5)
    passed = jax.jit(lambda d: d.log_prob(flux))(SpectrumDistribution(loc, noise, ivar))
    np.testing.assert_allclose(passed, together, rtol=1e-5)


@pytest.mark.slow
def test_a_hierarchical_model_samples_stars_with_a_shared_metallicity():
    """Emulator and noise inside a hierarchical model of a cluster."""
    model, spectra = giants_model(), held_out()[:3]
    prepared = model.prepare(spectra)
    flux, ivar = jnp.asarray(prepared.flux, jnp.float32), jnp.asarray(prepared.ivar, jnp.float32)

    def cluster():
        shared = numpyro.sample("fe_h", numpyro.distributions.Normal(-0.3, 0.5))
        with numpyro.plate("star", 3):
            others = numpyro.sample("x", numpyro.distributions.Normal(jnp.zeros(3), 1).to_event(1))
            teff, logg, alpha = (others * jnp.array([300, 0.5, 0.1]) + jnp.array([4600, 2.2, 0.1])).T
            labels = jnp.stack([teff, logg, jnp.broadcast_to(shared, teff.shape), alpha], axis=-1)
            noise = jax.tree_util.tree_map(jnp.asarray, model.noise)
            numpyro.sample("flux", SpectrumDistribution(model.emulator(labels), noise, ivar), obs=flux)

    run = MCMC(NUTS(cluster, max_tree_depth=5), num_warmup=20, num_samples=20, progress_bar=False)
    run.run(jax.random.key(0))
    assert np.all(np.isfinite(run.get_samples()["fe_h"]))
    with numpyro.handlers.seed(rng_seed=0):
        trace = numpyro.handlers.trace(spectrum_model).get_trace(model, None, ivar)
    assert trace["flux"]["value"].shape == flux.shape
    assert trace["labels"]["value"].shape == (3, 4)
