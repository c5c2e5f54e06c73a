"""One pixel's training against scikit-learn used by hand."""

import numpy as np
import pytest
from sklearn.svm import SVR

from slamjax.training.search import Candidate
from slamjax.training.svr.pixel import SvrSettings, fit_pixel

SETTINGS = SvrSettings("rbf", 3, 0.0, 1e-3, -1, min_stars=10)
GRID = [Candidate(C, 0.1, gamma) for C in (0.1, 10.0) for gamma in (0.1, 1.0)]


@pytest.fixture
def pixel():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(90, 2))
    y = np.sin(2 * x[:, 0]) + 0.2 * x[:, 1] + rng.normal(0, 0.1, 90)
    weight = rng.uniform(0.5, 1.5, 90)
    weight[rng.random(90) < 0.2] = 0
    return x, y, weight, rng.integers(0, 3, 90)


def by_hand(x, y, weight, fold, candidate):
    """Mean over folds of the weighted squared error, with bad stars deleted beforehand."""
    rows = np.flatnonzero(weight)
    x, y, weight, fold = x[rows], y[rows], weight[rows], fold[rows]
    errors, held_out = [], np.empty(len(y))
    for number in range(3):
        out = fold == number
        svr = SVR(**vars(candidate)).fit(x[~out], y[~out], sample_weight=weight[~out])
        held_out[out] = svr.predict(x[out])
        errors.append(np.average((held_out[out] - y[out]) ** 2, weights=weight[out]))
    return np.mean(errors), held_out


def test_a_bad_pixel_leaves_the_star_out_by_rows(pixel):
    x, y, weight, fold = pixel
    y = np.where(weight > 0, y, 1e6)  # what stands in a bad pixel must not matter
    fit = fit_pixel(x, y, weight, fold, GRID[:1], SETTINGS)
    rows = np.flatnonzero(weight)
    svr = SVR(**vars(GRID[0])).fit(x[rows], y[rows], sample_weight=weight[rows])
    assert np.all(fit.dual[weight == 0] == 0)
    np.testing.assert_array_equal(fit.dual[rows[svr.support_]], svr.dual_coef_[0])
    assert fit.intercept == svr.intercept_[0]
    assert fit.n_train == len(rows)


def test_scores_and_choice_are_those_of_cross_validation_by_hand(pixel):
    fit = fit_pixel(*pixel, GRID, SETTINGS)
    scores = [by_hand(*pixel, candidate)[0] for candidate in GRID]
    np.testing.assert_allclose(fit.scores, scores, rtol=1e-12)
    assert fit.best == np.argmin(scores)


def test_held_out_predictions_are_the_chosen_candidates(pixel):
    fit = fit_pixel(*pixel, GRID, SETTINGS)
    used = pixel[2] > 0
    np.testing.assert_allclose(fit.held_out[used], by_hand(*pixel, GRID[fit.best])[1], rtol=1e-12)
    assert np.all(np.isnan(fit.held_out[~used]))


def test_a_constant_pixel_is_masked_not_faked(pixel):
    x, y, weight, fold = pixel
    fit = fit_pixel(x, np.full_like(y, 0.3), weight, fold, GRID, SETTINGS)
    assert (fit.status, fit.best) == ("constant flux", -1)
    assert np.isnan(fit.intercept)


def test_a_pixel_with_too_few_good_stars_is_masked_not_given_a_perfect_score(pixel):
    x, y, weight, fold = pixel
    weight[np.flatnonzero(weight)[8:]] = 0
    fit = fit_pixel(x, y, weight, fold, GRID, SETTINGS)
    assert fit.status == "too few stars"
    assert np.all(np.isnan(fit.scores))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_libsvm_out_of_iterations_is_in_the_status(pixel):
    settings = SvrSettings("rbf", 3, 0.0, 1e-3, 2, min_stars=10)
    assert fit_pixel(*pixel, GRID[:1], settings).status == "trained, out of iterations"
