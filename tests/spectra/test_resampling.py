"""Resampling conserves flux, gives right errors and propagates bad pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slamjax.spectra.resampling import pixel_edges, resample


def grid(seed, n, low=400.0, high=500.0):
    rng = np.random.default_rng(seed)
    steps = rng.uniform(0.5, 1.5, n)
    return low + (high - low) * np.cumsum(steps) / steps.sum()


def line(edges, center=450.0, width=3.0):
    """Means over pixels of a Gaussian line, exactly."""
    from scipy.special import erf

    integral = width * np.sqrt(np.pi / 2) * erf((edges - center) / (np.sqrt(2) * width))
    return 1 - 0.6 * np.diff(integral) / np.diff(edges)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), n=st.integers(6, 80))
def test_sums_over_whole_old_pixels_are_conserved(seed, n):
    old = grid(seed, n)
    rng = np.random.default_rng(seed)
    flux, ivar = rng.uniform(0, 2, (3, n)), rng.uniform(1, 5, (3, n))
    a = pixel_edges(old)
    b = a[np.sort(rng.choice(n + 1, rng.integers(2, n // 2 + 2), replace=False))]
    result, _ = resample(old, flux, ivar, b)
    steps = np.concatenate([np.zeros((3, 1)), np.cumsum(flux * np.diff(a), axis=1)], axis=1)
    np.testing.assert_allclose(result * np.diff(b), np.diff(steps[:, np.searchsorted(a, b)], axis=1), atol=1e-9)


@pytest.mark.parametrize("n_new", [60, 130, 700])
def test_a_line_keeps_its_shape_on_coarser_and_finer_grids(n_new):
    old, new = grid(1, 160), np.linspace(410, 490, n_new)
    flux = line(pixel_edges(old))[None]
    result, _ = resample(old, flux, np.ones_like(flux), pixel_edges(new))
    np.testing.assert_allclose(result[0], line(pixel_edges(new)), atol=2e-3)  # steps would be off by 0.07


def test_the_same_grid_changes_nothing():
    wave = grid(3, 50)
    rng = np.random.default_rng(0)
    flux, ivar = rng.normal(size=(4, 50)), rng.uniform(1, 5, (4, 50))
    result, result_ivar = resample(wave, flux, ivar, pixel_edges(wave))
    np.testing.assert_allclose(result, flux, rtol=1e-9)
    np.testing.assert_allclose(result_ivar, ivar, rtol=1e-9)


def test_separate_edges_per_spectrum_agree_with_resampling_one_by_one():
    wave = grid(3, 90)
    rng = np.random.default_rng(0)
    flux, ivar = rng.normal(size=(5, 90)), rng.uniform(1, 5, (5, 90)) * (rng.random((5, 90)) > 0.1)
    edges = pixel_edges(np.linspace(405, 495, 70)) + rng.uniform(-2, 2, (5, 1))
    result, result_ivar = resample(wave, flux, ivar, edges)
    for n in range(5):
        one, one_ivar = resample(wave, flux[n : n + 1], ivar[n : n + 1], edges[n])
        np.testing.assert_allclose(result[n], one[0], rtol=1e-10)
        np.testing.assert_allclose(result_ivar[n], one_ivar[0], rtol=1e-10)


@pytest.mark.parametrize("n_new", [40, 97, 400])
def test_errors_of_means_over_many_new_pixels_agree_with_simulated_noise(n_new):
    """Whatever the new width, the information in 10 nm of spectrum is neither counted twice nor lost."""
    old, new = grid(1, 120), np.linspace(410, 490, n_new)
    rng = np.random.default_rng(2)
    sigma = 1 + 0.5 * np.sin(old / 15)
    draws = rng.normal(0, sigma, (4000, 120))
    result, ivar = resample(old, draws, np.broadcast_to(sigma**-2, draws.shape), pixel_edges(new))
    size = n_new // 4
    means = result[:, : 4 * size].reshape(len(draws), 4, size).mean(axis=2)
    stated = np.sqrt((1 / ivar[0, : 4 * size]).reshape(4, size).sum(axis=1)) / size
    np.testing.assert_allclose(means.std(axis=0), stated, rtol=0.06)


def test_bad_pixels_are_left_out_and_new_pixels_mostly_covered_by_them_are_bad():
    old, new = np.arange(100.0), np.arange(0.5, 98, 2.0)
    flux, ivar = np.ones((1, 100)), np.ones((1, 100))
    flux[0, 40:60], ivar[0, 40:60] = np.nan, 0
    result, result_ivar = resample(old, flux, ivar, pixel_edges(new))
    inside = (new > 40) & (new < 59)
    assert np.all(result_ivar[0, inside] == 0)
    assert np.all(result_ivar[0, (new < 39) & (new > 1)] > 0)
    np.testing.assert_allclose(result[result_ivar > 0], 1)


def test_a_spectrum_without_a_good_pixel_has_none_after_resampling():
    result, ivar = resample(np.arange(10.0), np.full((1, 10), np.nan), np.zeros((1, 10)), np.arange(1, 9, 0.5))
    assert np.all(ivar == 0)
    assert np.all(result == 0)


def test_pixels_outside_the_old_grid_are_bad():
    new = np.arange(-5.0, 15)
    _, ivar = resample(np.arange(10.0), np.ones((1, 10)), np.ones((1, 10)), pixel_edges(new))
    assert np.all((ivar[0] > 0) == ((new >= 0) & (new < 10)))


def test_spectra_without_errors_have_none_after_resampling():
    edges = pixel_edges(np.arange(1, 9, 2.0))
    flux, ivar = resample(np.arange(10.0), np.ones((1, 10), np.float32), np.full((1, 10), np.inf, np.float32), edges)
    assert np.all(np.isposinf(ivar))
    assert flux.dtype == ivar.dtype == np.float32
    np.testing.assert_allclose(flux, 1, rtol=1e-6)
