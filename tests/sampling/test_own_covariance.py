"""Posteriors of stars whose pixels' errors have covariances of their own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from helpers import in_precision
from own_covariances import bright_model, correlated, model, noise_free, plain

import slamjax
from slamjax.model.own_covariance import errors_of
from slamjax.sampling.likelihoods import FluxLikelihood


def test_posteriors_are_as_wide_as_the_information_of_the_covariance_says():
    """Of bright stars, whose posteriors are nearly normal."""
    bright = bright_model()
    spectra = correlated(noise_free(4), strength=0.8, error=0.0004)
    spec = slamjax.SamplerSpec("importance", draws=500, chains=2)
    table = slamjax.sample(bright, spectra, sampler=spec, on_progress=False).table()
    whole, single = (
        slamjax.fit(bright, each, on_progress=False) for each in (spectra, spectra.with_independent_pixels())
    )
    for name in ("teff", "logg"):
        width, expected, wrong = (plain(each[f"{name}_err"]) for each in (table, whole, single))
        np.testing.assert_allclose(width, expected, rtol=0.1, err_msg=name)
        assert np.median(np.abs(np.log(wrong / expected))) > 0.09
        off = plain(table[name]) - plain(whole[name])
        assert np.all(np.abs(off) < 0.15 * expected)


def test_the_likelihood_is_that_of_dense_algebra():
    star = correlated(noise_free(1))
    flat = {"factors": np.random.default_rng(0).normal(size=(star.n_pix, 3)) * 0.01}
    noise = slamjax.LowRankNoise(
        np.full(star.n_pix, 1e-4), **flat, photon_scale=np.ones(star.n_pix), photon_factors=np.zeros((star.n_pix, 0))
    )
    at = np.array([[0.1, -0.2, 0.3], [0.4, 0.0, -0.1]])
    with in_precision("float64"):
        emulator = model().emulator
        scaled = dataclasses.replace(model(), noise=noise)
        errors = errors_of(scaled, scaled.scaled(), star, star.good, dense=True)
        one = jax.tree_util.tree_map(lambda a: jnp.asarray(a[0]), errors)
        device = scaled.scaled()
        flux = jnp.asarray(device.flux(star.flux)[0])
        likelihood = FluxLikelihood(device.emulator, device.noise)
        data = likelihood.prepare_star(flux, one, jnp.asarray(at[0]))
        found = [float(likelihood.chi2(data, jnp.asarray(x))) for x in at]
        logdet = float(data.inv_cov.logdet()) + 2 * star.good.sum() * np.log(device.unit)
        n_pix = int(likelihood.n_pix(one))
        residuals = [star.flux[0] - np.asarray(emulator.at(jnp.asarray(x)), float) for x in at]
    good = np.flatnonzero(star.good[0])
    total = (star.covariance[0] + 1e-4 * np.eye(star.n_pix) + flat["factors"] @ flat["factors"].T)[np.ix_(good, good)]
    expected = [each[good] @ np.linalg.solve(total, each[good]) for each in residuals]
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    np.testing.assert_allclose(logdet, np.linalg.slogdet(total)[1], rtol=1e-8)
    assert n_pix == good.size
