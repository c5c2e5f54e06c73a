"""Line spreads of single stars: weighted means of neighbours, against dense sums and against lines of known shape."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import RTOL, WAVE, in_precision
from models import miles_model

import slamjax
from slamjax.forward.line_spread import (
    ConvolvedEmulator,
    LineSpreadGrid,
    neighbours_needed,
    sampled_sigma,
    seen_through,
)

EVEN = np.linspace(500, 540, 161)


def convolve(wave, trained, sigma, flux, dtype, half_width=None):
    half_width = neighbours_needed(sigma[None], wave) if half_width is None else half_width
    grid = LineSpreadGrid.from_wavelengths(wave, trained, half_width).on_device(dtype)
    return np.asarray(grid.of_star(jnp.asarray(sigma, dtype))(jnp.asarray(flux, dtype)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_pixel_is_the_weighted_mean_of_a_dense_kernel_of_its_own_width(dtype):
    rng = np.random.default_rng(0)
    trained = rng.random(WAVE.size) > 0.1
    sigma = np.where(rng.random(WAVE.size) > 0.2, rng.uniform(0.5, 6.0, WAVE.size), 0.0)
    flux = np.where(trained, rng.normal(size=(3, WAVE.size)), np.nan)
    expected = np.array(flux)
    for p in np.flatnonzero(trained):
        width = max(sigma[p], 1e-6)
        away = WAVE - WAVE[p]
        weight = np.exp(-0.5 * np.square(away / width)) * np.gradient(WAVE) * trained * (np.abs(away) <= 5 * width)
        expected[:, p] = np.nansum(weight * flux, axis=1) / weight.sum()
    with in_precision(dtype):
        found = convolve(WAVE, trained, sigma, flux, dtype)
    np.testing.assert_allclose(found, expected, rtol=10 * RTOL[dtype], atol=10 * RTOL[dtype])
    np.testing.assert_array_equal(np.isnan(found), np.isnan(flux))


def line(wave, width):
    """Gaussian absorption lines, no two blended, of standard deviation ``width`` at the centre of each."""
    centres = np.arange(505.0, 538.0, 6.3)
    return 1 - 0.6 * np.exp(-0.5 * np.square((wave - centres[:, None]) / width[:, None]))


@pytest.mark.parametrize("pixels", [0.25, 0.5, 1.0, 2.5])
def test_a_line_becomes_as_wide_as_both_widths_together_however_narrow_the_kernel(pixels):
    """The width of the kernel grows by a half over the range, and lines must grow with it."""
    step, own = EVEN[1] - EVEN[0], 1.3 * (EVEN[1] - EVEN[0])
    sigma = pixels * step * (1 + 0.5 * (EVEN - EVEN[0]) / (EVEN[-1] - EVEN[0]))
    sharp = line(EVEN, np.full(6, own))
    found = np.stack(
        [convolve(EVEN, np.ones(EVEN.size, bool), sampled_sigma(sigma, EVEN), one, "float32") for one in sharp]
    )
    for observed, plain in zip(found, sharp, strict=True):
        # second moments of what is absorbed, with the kernel's width where the line is
        depth, before = 1 - observed, 1 - plain
        centre = np.sum(before * EVEN) / before.sum()
        variance = np.sum(depth * np.square(EVEN - centre)) / depth.sum()
        expected = own**2 + np.interp(centre, EVEN, sigma) ** 2
        assert abs(variance / expected - 1) < 0.02


def test_plain_samples_of_a_narrow_gaussian_would_lose_their_width():
    sigma = np.full(EVEN.size, 0.3 * (EVEN[1] - EVEN[0]))
    weight = np.exp(-0.5 * np.square((EVEN - EVEN[80]) / sigma[80]))
    assert np.sum(weight * np.square(EVEN - EVEN[80])) / weight.sum() < 0.2 * sigma[80] ** 2
    weight = np.exp(-0.5 * np.square((EVEN - EVEN[80]) / sampled_sigma(sigma, EVEN)[80]))
    np.testing.assert_allclose(np.sum(weight * np.square(EVEN - EVEN[80])) / weight.sum(), sigma[80] ** 2, rtol=1e-3)


def test_wide_gaussians_are_sampled_as_they_are():
    sigma = np.array([0.0, 0.0, 0.8, 2.0, 9.0])
    np.testing.assert_allclose(sampled_sigma(sigma, np.arange(5.0)), sigma, rtol=2e-3)


def test_more_neighbours_than_needed_do_not_change_a_digit():
    rng = np.random.default_rng(1)
    sigma, flux = rng.uniform(0, 0.8, EVEN.size), rng.normal(size=EVEN.size)
    trained = np.ones(EVEN.size, bool)
    needed = neighbours_needed(sigma[None], EVEN)
    assert needed == 16
    few, many = (convolve(EVEN, trained, sigma, flux, "float32", n) for n in (needed, 4 * needed))
    np.testing.assert_array_equal(few, many)


@cache
def kernel():
    model = miles_model()
    sigma = np.linspace(0.5, 2.0, model.wave.size)
    half_width = neighbours_needed(sigma[None], model.wave)
    return LineSpreadGrid.from_wavelengths(model.wave, model.trained, half_width), sigma


@pytest.mark.parametrize("nuisances", [None, slamjax.Nuisances(rv="free", sigma_v="free", polynomial=1)])
def test_slopes_are_those_of_the_convolved_flux(nuisances):
    model = miles_model()
    with in_precision("float64"):
        emulator = model.emulator if nuisances is None else model.with_nuisances(nuisances)
        grid, sigma = kernel()
        own = seen_through(emulator, grid.on_device("float64").of_star(jnp.asarray(sigma)))
        assert isinstance(own, ConvolvedEmulator) == (nuisances is None)
        x = jnp.asarray([0.1, -0.2, 0.3] + ([] if nuisances is None else [0.7, 0.4]))
        flux, slopes = own.at_with_jacobian(x)
        np.testing.assert_allclose(flux, own.at(x), rtol=1e-10)
        np.testing.assert_allclose(slopes, jax.jacfwd(own.at)(x).T, rtol=1e-6, atol=1e-9)
        rows = own.residual_and_jacobian(x, jnp.ones(flux.shape))
        np.testing.assert_allclose(rows, jnp.concatenate([(1 - flux)[None], slopes]), rtol=1e-10)
        assert np.std(flux) < np.std(emulator.at(x))
