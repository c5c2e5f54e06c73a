import numpy as np
import pytest
from scipy.stats import chi2

from slamjax.noise.estimate import model_variance

# --- the emulator's own variance, from residuals


def residuals(n_stars, n_pix, variance, seed=0, spread=0.7):
    """Residuals of stars of very different S/N: photon variances over a factor of a hundred."""
    rng = np.random.default_rng(seed)
    photon = np.exp(spread * rng.normal(size=(n_stars, 1))) * np.exp(0.3 * rng.normal(size=(n_stars, n_pix)))
    return rng.normal(size=(n_stars, n_pix)) * np.sqrt(photon + variance), photon


@pytest.mark.parametrize("n_stars", [1, 2, 7, 50, 101])
def test_model_variance_solves_its_equation(n_stars):
    """r² > m (v + s²) says s² < r²/m − v: s² is the median of the right side."""
    r, v = residuals(n_stars, 30, 0.5)
    r[0, 1], v[0, 2] = np.nan, np.inf
    expected = []
    for pixel in range(30):
        known = np.isfinite(r[:, pixel]) & np.isfinite(v[:, pixel])
        each = r[known, pixel] ** 2 / chi2(1).median() - v[known, pixel]
        expected.append(max(0.0, np.median(each)) if known.any() else np.nan)
    np.testing.assert_allclose(model_variance(r, v), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("true", [0.05, 0.5, 5.0])
@pytest.mark.parametrize("spread", [0.0, 0.7, 2.0])
def test_a_known_variance_is_recovered_beneath_uneven_photon_noise(true, spread):
    """Over 200 pixels the mean is right within four of its own standard errors."""
    r, v = residuals(3000, 200, true, seed=1, spread=spread)
    found = model_variance(r, v)
    assert abs(found.mean() - true) < 4 * found.std() / np.sqrt(200) + 0.01 * true


def test_it_is_a_variance_not_its_square():
    """MSE² instead of MSE is the original's mistake: residuals in other units tell them apart."""
    r, v = residuals(999, 5, 0.5)
    np.testing.assert_allclose(model_variance(10 * r, 100 * v), 100 * model_variance(r, v), rtol=1e-6)


def test_wild_outliers_do_not_set_the_errors_of_all():
    r, v = residuals(3000, 50, 0.5, seed=2)
    clean = model_variance(r, v)
    rng = np.random.default_rng(3)
    wild = rng.random(r.shape) < 0.02
    spoilt = model_variance(np.where(wild, 1e4 * rng.normal(size=r.shape), r), v)
    # a mean would come out at 2e6; two per cent more above the median move it by about three per cent of v + s²
    assert np.abs(spoilt.mean() - clean.mean()) < 0.15


def test_photon_noise_that_explains_the_residuals_leaves_no_model_variance():
    """XP's reported errors are too large: the variance is 0, not negative and not NaN."""
    rng = np.random.default_rng(0)
    _, v = residuals(500, 20, 0.0)
    np.testing.assert_array_equal(model_variance(0.5 * np.sqrt(v) * rng.normal(size=v.shape), v), 0)


def test_without_stated_errors_photon_noise_is_part_of_it():
    rng = np.random.default_rng(0)
    found = model_variance(0.1 * rng.normal(size=(2000, 50)), np.zeros((2000, 50)))
    assert found.mean() == pytest.approx(0.01, rel=0.02)


def test_a_pixel_without_residuals_is_nan_and_no_other():
    r, v = residuals(50, 4, 0.5)
    r[:, 1] = np.nan
    v[:, 3] = np.inf
    with np.errstate(all="raise"):
        found = model_variance(r, v)
    np.testing.assert_array_equal(np.isnan(found), [False, True, False, True])
    np.testing.assert_array_equal(found[[0, 2]], model_variance(r[:, [0, 2]], v[:, [0, 2]]))


def test_the_callers_residuals_stay_as_they_are():
    r, v = residuals(20, 3, 0.5)
    r[:, 1] = np.nan
    before = r.copy(), v.copy()
    model_variance(r, v)
    np.testing.assert_array_equal((r, v), before)


def test_a_perfect_emulator_has_no_variance():
    np.testing.assert_array_equal(model_variance(np.zeros((5, 2)), np.zeros((5, 2))), 0)
