"""Inducing stars and the features that they span."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics.pairwise import pairwise_kernels

from slamjax.training.svr.inducing import FeatureMap, inducing_stars
from slamjax.training.svr.pixel import SvrSettings

SETTINGS = SvrSettings("rbf", 3, 0.0, 1e-3, -1, min_stars=10, solver="inducing")


@pytest.fixture(scope="module")
def labels():
    """Many ordinary stars and a few far from them."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(0, 0.5, (900, 3)), rng.uniform(-4, 4, (30, 3))])


def left_over(x, chosen, gamma, settings=SETTINGS):
    """k(x, x) less what the features hold of it."""
    kernel = FeatureMap.of(x[chosen], gamma, settings)
    features = kernel(x) + kernel.centre
    return 1 - np.square(features).sum(axis=1)


def test_features_have_the_kernel_as_their_product():
    x = np.random.default_rng(0).normal(size=(30, 2))
    for kernel, parameters in (
        ("rbf", {"gamma": 0.7}),
        ("linear", {}),
        ("poly", {"gamma": 0.7, "degree": 2, "coef0": 1.0}),
    ):
        settings = dataclasses.replace(SETTINGS, kernel=kernel, degree=2, coef0=1.0)
        features = FeatureMap.of(x, 0.7, settings)
        product = (features(x) + features.centre) @ (features(x) + features.centre).T
        wanted = pairwise_kernels(x, metric=kernel, **parameters)
        np.testing.assert_allclose(product, wanted, atol=1e-5 * wanted.max())


def test_a_fit_in_features_is_a_kernel_sum_over_the_inducing_stars(labels):
    rng = np.random.default_rng(1)
    features = FeatureMap.of(labels[::30], 0.3, SETTINGS)
    w, b = rng.normal(size=(features.whitening.shape[1], 2)), rng.normal(size=2)
    dual, intercept = features.expansion(w, b)
    kernel = pairwise_kernels(labels, labels[::30], metric="rbf", gamma=0.3)
    np.testing.assert_allclose(kernel @ dual + intercept, features(labels) @ w + b, atol=1e-8)


def test_inducing_stars_leave_less_than_random_ones(labels):
    chosen = inducing_stars(labels, 60, 0.3, SETTINGS)
    assert len(chosen) == len(set(chosen)) == 60
    assert np.sum(chosen >= 900) > 5, "stars far from all others must be among them"
    rng = np.random.default_rng(0)
    random = np.mean([left_over(labels, rng.choice(930, 60, replace=False), 0.3).mean() for _ in range(5)])
    assert left_over(labels, chosen, 0.3).mean() < random / 5


def test_no_more_are_chosen_than_the_kernel_needs(labels):
    smooth = inducing_stars(labels, 500, 0.001, SETTINGS)
    assert len(smooth) < 60
    assert left_over(labels, smooth, 0.001).max() < 1e-3
    assert len(inducing_stars(labels, 500, 1.0, SETTINGS)) > 2 * len(smooth)


def test_the_choice_depends_on_the_seed_only(labels):
    first = inducing_stars(labels, 60, 0.3, SETTINGS)
    np.testing.assert_array_equal(first, inducing_stars(labels, 60, 0.3, SETTINGS))
    assert np.any(first != inducing_stars(labels, 60, 0.3, dataclasses.replace(SETTINGS, seed=1)))


def test_stars_with_the_same_labels_are_no_trouble():
    x = np.repeat(np.random.default_rng(0).normal(size=(5, 2)), 20, axis=0)
    chosen = inducing_stars(x, 50, 0.5, SETTINGS)
    assert len(np.unique(x[chosen], axis=0)) == len(chosen) == 5
    assert np.isfinite(FeatureMap.of(x, 0.5, SETTINGS)(x)).all()


def test_linear_kernel_needs_as_many_stars_as_labels(labels):
    settings = dataclasses.replace(SETTINGS, kernel="linear")
    assert len(inducing_stars(labels, 50, 1.0, settings)) == 3
