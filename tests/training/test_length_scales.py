"""Length scales by marginal likelihood, against dense Gaussians, finite differences and known lengths."""

import numpy as np
from scipy.optimize import check_grad
from scipy.stats import multivariate_normal

from slamjax.training.length_scales import _components, _cost, inverse_length_scales


def problem(n=30, n_labels=3, n_components=2, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, n_labels)), rng.normal(size=(n, n_components))
    p = np.log(np.concatenate([[0.3, 0.7, 1.1], [2.0, 0.5], [0.1, 0.4]]))
    return p, x, y


def test_the_cost_is_that_of_the_dense_gaussians():
    p, x, y = problem()
    kernel = np.exp(-0.5 * np.square(x[:, None] - x[None]) @ np.exp(2 * p[:3]))
    expected = 0.0
    for q in range(2):
        covariance = np.exp(p[3 + q]) * kernel + np.exp(p[5 + q]) * np.eye(len(y))
        expected -= multivariate_normal(np.zeros(len(y)), covariance).logpdf(y[:, q])
    expected -= 0.5 * y.size * np.log(2 * np.pi)
    np.testing.assert_allclose(_cost(p, x, y)[0] * y.size, expected, rtol=1e-9)


def test_the_gradient_is_that_of_finite_differences():
    p, x, y = problem()
    assert check_grad(lambda at: _cost(at, x, y)[0], lambda at: _cost(at, x, y)[1], p) < 1e-5


def test_known_length_scales_are_found():
    """Spectra that are random mixtures of three Gaussian processes with the same length scales, and noise."""
    rng = np.random.default_rng(1)
    x, lengths = rng.uniform(-1.7, 1.7, size=(250, 3)), np.array([0.8, 2.0, 6.0])
    kernel = np.exp(-0.5 * np.square((x[:, None] - x[None]) / lengths).sum(axis=-1)) + 1e-8 * np.eye(len(x))
    spectra = np.linalg.cholesky(kernel) @ rng.normal(size=(250, 6)) @ rng.normal(size=(6, 40))
    found = 1 / inverse_length_scales(x, 20 * spectra + rng.normal(size=spectra.shape))
    np.testing.assert_allclose(found[:2], lengths[:2], rtol=0.25)
    assert found[2] > 3.5  # longer than the range: hardly known, but long


def test_components_are_uncorrelated_and_as_many_as_there_are():
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 20))
    components = _components(rows)
    assert components.shape == (50, 3)
    np.testing.assert_allclose(components.T @ components / 50, np.eye(3), atol=1e-9)
