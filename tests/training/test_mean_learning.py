"""Learnt means against analytic posterior means; where nothing can be learnt, they are the fitted labels."""

from functools import cache

import numpy as np
import pytest

from slamjax._util.threads import one_blas_thread
from slamjax.training.label_errors import robust_width
from slamjax.training.mean_learning import HeldOutFits, learn_means


def stars(n, seed, factors=0.0, bad=0.0, stated=0.0):
    """True labels, and fits of two labels of a Gaussian population, with errors from 0.03 to 3 of its width.

    ``factors`` is the correlation of the first factor of the residual with the first label's error, ``bad`` a fraction
    of stars whose labels are wrong, ``stated`` the error of the known labels.
    """
    rng = np.random.default_rng(seed)
    true, error = rng.normal(size=(n, 2)), 10 ** rng.uniform(-1.5, 0.5, (n, 1)) * np.ones(2)
    noise, c = rng.normal(size=(n, 2)), rng.normal(size=(n, 5))
    noise[:, 0] = factors * c[:, 0] + np.sqrt(1 - factors**2) * noise[:, 0]
    noise[rng.random(n) < bad] *= 30
    known = true + stated * rng.normal(size=(n, 2))
    return true, HeldOutFits(true + error * noise, error, c, known, np.full((n, 2), stated**2))


@cache
def learnt(n=1500, **options):
    return learn_means(stars(n, 0, **options)[1])


def applied(means, fits):
    return means.mean_and_std(fits.x, fits.error, fits.factors)


@pytest.mark.parametrize("options", [{}, {"bad": 0.05}], ids=["plain", "with odd stars"])
def test_means_are_those_of_the_posterior_under_the_population(options):
    true, fits = stars(3000, 1)
    mean, std = applied(learnt(**options), fits)
    variance = np.square(fits.error)
    exact, width = fits.x / (1 + variance), np.sqrt(variance / (1 + variance))
    middle = np.all(np.abs(exact) < 2, axis=1)
    lost = np.mean(np.square(mean - exact)[middle] / np.square(width)[middle])
    shrunk = np.mean(np.square(fits.x - exact)[middle] / np.square(width)[middle])
    assert lost < 0.25 * shrunk
    np.testing.assert_allclose(robust_width((mean - true) / std), 1, atol=0.15)
    for some in (fits.error[:, 0] < 0.2, fits.error[:, 0] > 1):
        pulls = robust_width(((mean - true) / std)[some])  # of the faintest, odd stars make them too wide
        assert np.all((pulls > 0.6) & (pulls < 1.2))


def test_stated_errors_of_known_labels_are_no_part_of_the_standard_deviations():
    true, fits = stars(3000, 1)
    mean, std = applied(learnt(stated=0.2), fits)
    np.testing.assert_allclose(robust_width((mean - true) / std), 1, atol=0.15)


def test_of_bright_stars_the_means_are_the_fitted_labels():
    _, fits = stars(3000, 2)
    mean, _ = applied(learnt(), fits)
    bright = fits.error[:, 0] < 0.06
    assert np.median(np.abs((mean - fits.x) / fits.error)[bright]) < 0.5


def test_what_the_residual_says_of_the_error_is_taken_out():
    """With a correlation of 0.8, 0.6 of the errors are left."""
    rng = np.random.default_rng(3)

    def drawn(n):
        true, c = rng.uniform(-1.5, 1.5, (n, 1)), rng.normal(size=(n, 3))
        error = np.full((n, 1), 0.05)
        return true, HeldOutFits(
            true + error * (0.8 * c[:, :1] + 0.6 * rng.normal(size=(n, 1))), error, c, true, 0 * true
        )

    means = learn_means(drawn(1500)[1])
    true, fits = drawn(2000)
    mean, std = applied(means, fits)
    assert robust_width(mean - true)[0] / robust_width(fits.x - true)[0] == pytest.approx(0.6, abs=0.07)
    assert np.median(std) / 0.05 == pytest.approx(0.6, abs=0.1)


def test_without_anything_to_learn_means_are_fitted_labels_and_errors():
    rng = np.random.default_rng(4)
    true, error = rng.uniform(-1.5, 1.5, (800, 2)), np.full((800, 2), 0.02)
    fits = HeldOutFits(true + error * rng.normal(size=(800, 2)), error, rng.normal(size=(800, 30)), true, 0 * true)
    mean, std = applied(learn_means(fits), fits)
    assert np.sqrt(np.mean(np.square((mean - fits.x) / error))) < 0.15
    np.testing.assert_allclose(std, error, rtol=0.1)


def test_away_from_the_stars_means_fade_to_fitted_labels_and_errors():
    means, near = learnt(factors=0.8), np.zeros((4, 2))
    x, error, factors = (
        near + np.array([[0.0], [40], [0], [0]]),
        near + np.array([[0.3], [0.3], [1e9], [0.3]]),
        np.zeros((4, 5)),
    )
    x[3] = np.nan
    mean, std = means.mean_and_std(x, error, factors)
    np.testing.assert_allclose(mean[1:3], x[1:3], atol=1e-9)
    np.testing.assert_allclose(std[1:3], error[1:3], rtol=1e-9)
    assert np.all(np.isnan(mean[3]))
    huge = means.mean_and_std(x[:1], error[:1], np.full((1, 5), 1e6))
    assert np.all(np.abs(huge[0]) < np.abs(means.mean_and_std(x[:1], error[:1], np.full((1, 5), 2.0))[0]))


def test_a_star_has_the_same_mean_in_any_company():
    _, fits = stars(700, 5)
    whole = applied(learnt(), fits)
    for rows in (slice(0, 1), slice(100, 417)):
        with one_blas_thread():  # more threads divide sums in other ways
            alone = applied(learnt(), fits.rows(rows))
        np.testing.assert_allclose(alone[0], whole[0][rows], rtol=0, atol=1e-12)


def test_few_stars_teach_nothing():
    assert learnt(199) is None
