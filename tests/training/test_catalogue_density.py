"""The Gaussian of training labels, from a catalogue with errors and gaps."""

import numpy as np
from scipy.stats import multivariate_normal

from slamjax.training.catalogue_density import CatalogueDensity

MEAN, COVARIANCE = np.array([0.3, -0.2, 0.1]), np.array([[1.0, 0.7, 0.2], [0.7, 1.0, -0.3], [0.2, -0.3, 0.8]])


def catalogue(n=4000, error=0.6, gaps=0.3):
    rng = np.random.default_rng(0)
    true = rng.multivariate_normal(MEAN, COVARIANCE, n)
    errors = error * rng.uniform(0.5, 1.5, true.shape)
    table = true + errors * rng.normal(size=true.shape)
    table[rng.random(n) < gaps, 1] = np.nan
    return true, table, errors


def test_errors_and_gaps_do_not_change_the_density():
    _, table, errors = catalogue()
    density = CatalogueDensity.estimate(table, errors)
    np.testing.assert_allclose(density.mean, MEAN, atol=0.06)
    np.testing.assert_allclose(density.covariance, COVARIANCE, atol=0.08)
    assert np.nanvar(table, axis=0)[0] > 1.3  # the catalogue's own spread is wider


def test_exact_complete_labels_have_their_sample_covariance():
    true, _, _ = catalogue(n=200)
    density = CatalogueDensity.estimate(true, np.zeros_like(true))
    np.testing.assert_allclose(density.mean, true.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(density.covariance, np.cov(true.T, bias=True), atol=1e-5)


def test_given_is_the_conditional_gaussian():
    """Against the product of density and catalogue, evaluated on a grid of one label."""
    density = CatalogueDensity(MEAN, COVARIANCE)
    table, error = np.array([[1.0, np.nan, 0.4]]), np.array([[0.0, 0.0, 0.5]])
    mean, covariance = density.given(table, error)
    first = np.linspace(-5, 5, 401)
    points = np.stack(np.meshgrid([1.0], first, first, indexing="ij"), axis=-1).reshape(-1, 3)
    weight = multivariate_normal(MEAN, COVARIANCE).pdf(points) * np.exp(-0.5 * ((points[:, 2] - 0.4) / 0.5) ** 2)
    expected = weight @ points / weight.sum()
    spread = (weight[:, None] * (points - expected)).T @ (points - expected) / weight.sum()
    np.testing.assert_allclose(mean[0], expected, atol=1e-5)
    np.testing.assert_allclose(covariance[0], spread, atol=1e-5)


def test_what_errors_make_of_any_combination_of_labels():
    """Two labels that agree to a tenth: errors of a tenth blur their difference, and neither label."""
    density = CatalogueDensity(np.zeros(2), np.array([[1.0, 0.995], [0.995, 1.0]]))
    assert density.blurred(np.full((9, 2), 0.1)) == 0.01 / (0.01 + 0.005) or np.isclose(
        density.blurred(np.full((9, 2), 0.1)), 2 / 3
    )
    assert density.blurred(np.zeros((9, 2))) == 0
