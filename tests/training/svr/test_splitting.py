"""SVRs on features by operator splitting against libsvm and liblinear on the same features."""

import warnings

import numpy as np
import pytest
from sklearn.kernel_approximation import Nystroem
from sklearn.svm import SVR, LinearSVR

from slamjax.training.svr.splitting import Columns, FeatureStars

C, EPSILON = 2.0, 0.1
PARTS = [slice(0, 150), slice(150, 280), slice(280, 400)]


@pytest.fixture(scope="module")
def stars():
    """scikit-learn's features of 400 stars, flux of five pixels with noise, weights, and some bad pixels."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    features = Nystroem(gamma=0.5, n_components=40, random_state=0).fit_transform(x)
    flux = np.sin(x @ rng.uniform(0.5, 1.5, size=(2, 5))) + rng.normal(0, 0.3, (400, 5))
    weight = rng.uniform(0.3, 3, (400, 1)) * rng.uniform(0.7, 1.3, flux.shape)
    weight[rng.random(flux.shape) < 0.1] = 0
    return features, flux, weight


def solve(stars, tol=1e-7, dtype=np.float64, without=None, pixels=slice(None), n_jobs=2):
    features, flux, weight = stars
    scale = weight.mean(axis=1)
    shared = FeatureStars(features.astype(dtype), scale, PARTS, n_jobs)
    y, ratio = flux[:, pixels].astype(dtype), (weight[:, pixels] / scale[:, None]).astype(dtype)
    return shared.solve(Columns.start(y, ratio, C, EPSILON), C, EPSILON, tol, 3000, without=without)[0]


def by_libsvm(stars, pixel, kept=slice(None)):
    features, flux, weight = (part[kept] for part in stars)
    used = weight[:, pixel] > 0
    machine = SVR(kernel="linear", C=C, epsilon=EPSILON, tol=1e-7)
    return machine.fit(features[used], flux[used, pixel], sample_weight=weight[used, pixel])


def test_coefficients_are_those_of_libsvm(stars):
    found = solve(stars)
    assert np.all(found.gap <= 1e-7)
    for pixel in range(5):
        best = by_libsvm(stars, pixel)
        np.testing.assert_allclose(found.w[:, pixel], best.coef_[0], atol=3e-3)
        np.testing.assert_allclose(found.b[pixel], best.intercept_[0], atol=3e-3)
        assert np.std(stars[0] @ best.coef_[0]) > 0.3, "flat fits would agree whatever the solver does"


def test_coefficients_are_those_of_liblinear():
    """liblinear penalises the intercept; as a feature of 3 its penalty is a ninth of the others."""
    rng = np.random.default_rng(1)
    features, flux = rng.normal(size=(400, 5)), rng.normal(size=(400, 1))
    flux += features @ rng.normal(size=(5, 1)) + 0.5
    machine = LinearSVR(epsilon=EPSILON, C=C, tol=1e-7, max_iter=100_000, intercept_scaling=3.0, dual=True)
    machine.fit(features, flux[:, 0])
    found = solve((features, flux, np.ones_like(flux)))
    np.testing.assert_allclose(found.w[:, 0], machine.coef_, atol=5e-3)
    np.testing.assert_allclose(found.b, machine.intercept_, atol=5e-3)


@pytest.mark.parametrize("part", [0, 2])
def test_a_part_of_the_stars_can_be_left_out(stars, part):
    kept = np.ones(400, bool)
    kept[PARTS[part]] = False
    found, best = solve(stars, without=part), by_libsvm(stars, 1, kept)
    np.testing.assert_allclose(found.w[:, 1], best.coef_[0], atol=3e-3)
    assert not np.allclose(found.w[:, 1], solve(stars).w[:, 1], atol=3e-3)


def test_the_stated_gap_is_that_of_the_objective(stars):
    """Far from the optimum, where a gap that is too small would end the steps."""
    features, flux, weight = stars
    for tol in (0.3, 1e-2):
        found = solve(stars, tol=tol)
        for pixel in range(5):
            fit = by_libsvm(stars, pixel)

            def objective(w, b, pixel=pixel):
                over = np.maximum(np.abs(flux[:, pixel] - features @ w - b) - EPSILON, 0)
                return 0.5 * w @ w + C * weight[:, pixel] @ over

            best = objective(fit.coef_[0], fit.intercept_[0])
            excess = objective(found.w[:, pixel], found.b[pixel]) - best
            assert -1e-6 * best <= excess <= found.gap[pixel] * (best + excess)
            assert found.gap[pixel] <= tol


def test_pixels_do_not_depend_on_each_other(stars):
    together, alone = solve(stars, tol=1e-4), solve(stars, tol=1e-4, pixels=[3])
    assert len(set(together.steps)) > 1, "all pixels end together: none is put aside"
    np.testing.assert_allclose(together.w[:, 3], alone.w[:, 0], atol=1e-8)
    assert together.steps[3] == alone.steps[0]


def test_threads_change_rounding_only(stars):
    np.testing.assert_allclose(solve(stars, n_jobs=1).w, solve(stars, n_jobs=3).w, atol=1e-6)


def test_float32_products_are_enough(stars):
    exact, single = solve(stars, tol=1e-4), solve(stars, tol=1e-4, dtype=np.float32)
    assert np.all(single.gap <= 1e-4)
    np.testing.assert_allclose(stars[0] @ single.w + single.b, stars[0] @ exact.w + exact.b, atol=5e-3)


def test_running_out_of_steps_is_told_by_the_gap(stars):
    features, flux, weight = stars
    shared = FeatureStars(features, weight.mean(axis=1), PARTS, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ratio = weight / weight.mean(axis=1)[:, None]
        found, _ = shared.solve(Columns.start(flux, ratio, C, EPSILON), C, EPSILON, 1e-6, 3)
    assert np.all(found.steps == 3)
    assert np.all(np.isfinite(found.gap))
    assert np.all(found.gap > 1e-6)
