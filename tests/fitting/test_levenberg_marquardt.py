"""Steps of Levenberg-Marquardt: their linear systems, and fits of many labels."""

import jax
import numpy as np
import pytest
from helpers import in_precision
from models import TWO_FOLDS

import slamjax
from slamjax.fitting.levenberg_marquardt import _solve
from slamjax.spectra.spectra import Spectra


@pytest.mark.parametrize("n", [1, 2, 4, 9, 20])
def test_systems_are_solved_as_dense_algebra_does(n):
    rng = np.random.default_rng(n)
    root = rng.normal(size=(50, n, n + 4))
    matrix, right = root @ np.swapaxes(root, 1, 2), rng.normal(size=(50, n))
    with in_precision("float64"):
        found = jax.vmap(_solve)(matrix, right)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right[..., None])[..., 0], rtol=1e-8, atol=1e-10)


@pytest.mark.slow
def test_a_dozen_labels_can_be_fitted():
    """More than a spectrum usually has; two LAPACK calls in a step made such fits wait for each other for ever."""
    rng = np.random.default_rng(0)
    names = [f"x_{k}" for k in range(12)]
    labels = rng.uniform(-1, 1, (260, 12))
    flux = 1 + 0.1 * np.tanh(labels @ rng.normal(0, 0.5, (12, 60))) + rng.normal(0, 1e-3, (260, 60))
    table = dict(zip(names, labels.T, strict=True))
    spectra = Spectra(np.arange(60.0) + 500, flux, np.full(flux.shape, 1e6), table, "nm")
    svr = slamjax.SVR(C=10.0, epsilon=0.01, gamma=0.02, solver="sklearn")
    model = slamjax.train(spectra[np.arange(200)], names, emulator=svr, search=TWO_FOLDS, noise="diagonal")
    table = slamjax.fit(model, spectra[np.arange(200, 260)])
    known = labels[200:]
    found = np.stack([np.asarray(table[name]) for name in names], axis=1)
    assert np.nanmedian(np.abs(found - known)) < 0.3 * np.median(np.abs(known))
