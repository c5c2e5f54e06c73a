"""Photon noise learnt from residuals of stars of different brightness."""

import numpy as np
import pytest

from slamjax.noise.learnt import LearntPhotons
from slamjax.noise.residuals import typical_of_like_stars


def correlated_stars(n_stars, n_pix, model, tail, seed=0):
    """Residuals whose photon noise is common to all pixels and ``model`` times as large as the bright stars' own error;
    some stars are noisier than others (Student t)."""
    rng = np.random.default_rng(seed)
    sigma = np.exp(rng.uniform(0, np.log(4), (n_stars, 1)))
    along, mode = rng.normal(size=(2, n_stars, 1)), np.linspace(-1, 1, n_pix) + 0.2
    residual = sigma * (along[0] * mode + rng.normal(size=(n_stars, n_pix)))
    residual = residual + model * along[1] * np.ones(n_pix)
    residual = residual * np.sqrt(tail / rng.chisquare(tail, (n_stars, 1)))
    return residual, np.broadcast_to(np.square(sigma), residual.shape), mode


@pytest.mark.parametrize("tail", [5.0, 1e6])
def test_noise_that_grows_with_brightness_does_not_pass_for_the_emulators_error(tail):
    residual, variance, mode = correlated_stars(3000, 40, 0.0, tail)
    noise = LearntPhotons.estimate(residual, variance, 5).noise(5, 0.0)
    unit = mode / np.linalg.norm(mode)
    fixed = np.sum(np.square(unit @ np.asarray(noise.factors)))
    scaled = np.sum(np.square(unit @ np.asarray(noise.photon_factors)))
    assert fixed < 0.1 * scaled * variance.mean()


def test_both_parts_are_found_where_there_are_both():
    residual, variance, mode = correlated_stars(6000, 40, 2.0, 1e6)
    noise = LearntPhotons.estimate(residual, variance, 5).noise(5, 0.0)
    factors, photon_factors = np.asarray(noise.factors), np.asarray(noise.photon_factors)
    even = np.ones(40) / np.sqrt(40)
    apart = even - (even @ mode) * mode / (mode @ mode)  # of it photon noise has no part
    apart /= np.linalg.norm(apart)
    assert np.sum(np.square(apart @ factors)) == pytest.approx(4 * 40 * (apart @ even) ** 2, rel=0.15)
    assert np.sum(np.square(apart @ photon_factors)) < 0.1 * 40
    across = mode - (even @ mode) * even
    across /= np.linalg.norm(across)
    assert np.sum(np.square(across @ photon_factors)) == pytest.approx((across @ mode) ** 2, rel=0.15)


def test_typical_values_follow_brightness_and_not_outliers():
    rng = np.random.default_rng(1)
    tau2 = np.exp(rng.uniform(0, 3, 2000))
    values = tau2**1.5 * rng.chisquare(100, 2000) / 100
    values[::7] *= 50
    found = typical_of_like_stars(values, tau2)
    inner = (tau2 > np.quantile(tau2, 0.1)) & (tau2 < np.quantile(tau2, 0.9))
    np.testing.assert_allclose(found[inner] / tau2[inner] ** 1.5, 1, atol=0.15)
    np.testing.assert_allclose(typical_of_like_stars(values[:15], tau2[:15]), np.median(values[:15]))
