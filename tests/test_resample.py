"""Resampling: flux conserved, variances as draws have them, bad pixels bad."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slamjax.resample import overlaps, pixel_edges, resample


def grid(seed, n, low=400.0, high=500.0):
    rng = np.random.default_rng(seed)
    steps = rng.uniform(0.5, 1.5, n)
    return low + (high - low) * np.cumsum(steps) / steps.sum()


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), n_old=st.integers(2, 80), n_new=st.integers(2, 80))
def test_the_total_flux_stays_where_all_of_it_is_covered(seed, n_old, n_new):
    old, new = grid(seed, n_old), grid(seed + 1, n_new, 420.0, 480.0)
    flux = np.random.default_rng(seed).uniform(0, 2, n_old)
    weights = overlaps(old, new)
    a, b = pixel_edges(old), pixel_edges(new)
    inside = (b[:-1] >= a[0]) & (b[1:] <= a[-1])
    found, ivar = resample(weights, flux, np.ones(n_old))
    np.testing.assert_allclose(np.asarray(weights.sum(axis=1)).ravel()[inside], 1, rtol=1e-9)
    # the integral of the old step function between the edges of the new pixels, by its cumulative sum
    total = np.interp(b, a, np.concatenate([[0], np.cumsum(flux * np.diff(a))]))
    np.testing.assert_allclose(found[inside], (np.diff(total) / np.diff(b))[inside], rtol=1e-7, atol=1e-9)
    assert np.all(ivar[inside] > 0)


def test_the_same_grid_changes_nothing():
    wave = grid(3, 50)
    rng = np.random.default_rng(0)
    flux, ivar = rng.normal(size=(4, 50)), rng.uniform(1, 5, (4, 50))
    found, found_ivar = resample(overlaps(wave, wave), flux, ivar)
    np.testing.assert_allclose(found, flux, rtol=1e-12)
    np.testing.assert_allclose(found_ivar, ivar, rtol=1e-12)


@pytest.mark.parametrize("n_new", [31, 97, 400])
def test_variances_are_those_of_draws(n_new):
    old, new = grid(1, 120), np.linspace(410, 490, n_new)
    rng = np.random.default_rng(2)
    sigma = rng.uniform(0.5, 2, 120)
    draws = rng.normal(0, sigma, (4000, 120))
    found, ivar = resample(overlaps(old, new), draws, np.broadcast_to(sigma**-2, draws.shape))
    np.testing.assert_allclose(found.std(axis=0), 1 / np.sqrt(ivar[0]), rtol=0.06)


def test_bad_pixels_have_no_part_and_make_bad_what_they_mostly_cover():
    old, new = np.arange(100.0), np.arange(0.5, 98, 2.0)
    flux, ivar = np.ones(100), np.ones(100)
    flux[40:60], ivar[40:60] = np.nan, 0
    found, found_ivar = resample(overlaps(old, new), flux, ivar)
    inside = (new > 40) & (new < 59)
    assert np.all(found_ivar[inside] == 0)
    assert np.all(found_ivar[(new < 39) & (new > 1)] > 0)
    np.testing.assert_allclose(found[found_ivar > 0], 1)


def test_outside_the_old_grid_there_is_nothing():
    _, ivar = resample(overlaps(np.arange(10.0), np.arange(-5.0, 15)), np.ones(10), np.ones(10))
    assert np.all((ivar > 0) == ((np.arange(-5, 15) >= 0) & (np.arange(-5, 15) < 10)))


def test_spectra_without_errors_stay_without():
    flux, ivar = resample(overlaps(np.arange(10.0), np.arange(1, 9, 2.0)), np.ones(10), np.full(10, np.inf))
    assert np.all(np.isposinf(ivar))
    np.testing.assert_allclose(flux, 1)
