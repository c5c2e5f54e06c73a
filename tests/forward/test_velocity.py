"""Slopes with velocity, from pixels that resolve lines and from pixels that do not, of spectra known between pixels."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from slamjax._util.constants import LIGHT
from slamjax.forward.velocity import VelocityStencil
from slamjax.spectra.resampling import pixel_edges

FINE, FWHM = 0.05, 2.5


def lines(seed):
    """Many lines at random places behind a line spread of 2.5 Å, and the integral of the flux."""
    wave = np.arange(3900, 7300, FINE)
    rng = np.random.default_rng(seed)
    strength = rng.exponential(size=wave.size) * (rng.random(wave.size) < 0.02)
    flux = 1 - gaussian_filter1d(strength, FWHM / np.sqrt(8 * np.log(2)) / FINE)
    return np.append(wave - FINE / 2, wave[-1] + FINE / 2), np.append(0, np.cumsum(flux) * FINE)


def seen(wave, velocity, seed):
    """Mean flux in pixels at ``wave`` of the spectrum that recedes at ``velocity``."""
    edge, integral = lines(seed)
    edges = pixel_edges(wave) / (1 + velocity / LIGHT)
    return np.diff(np.interp(edges, edge, integral)) / np.diff(edges)


def slopes(step, fwhm, seed):
    """∂f/∂v by the stencil, and true, km/s."""
    wave = np.arange(3950, 7250, step)
    stencil = VelocityStencil.from_wavelengths(wave, np.ones(wave.size, bool), fwhm)
    expected = (seen(wave, 5.0, seed) - seen(wave, -5.0, seed)) / 10
    inside = slice(20, -20)
    return np.asarray(stencil(seen(wave, 0.0, seed)))[inside], expected[inside]


@pytest.mark.parametrize("fwhm", [FWHM, None])
def test_pixels_that_resolve_lines_say_the_slope(fwhm):
    found, expected = slopes(0.9, fwhm, 0)
    assert np.std(found - expected) < 0.02 * np.std(expected)


def test_velocities_by_slopes_of_coarse_pixels_are_unbiased():
    """Pixels of 4 Å for lines of 2.5 Å: most of the slope is lost, but a regression on what is left is right."""
    pairs = [slopes(4.0, FWHM, seed) for seed in range(8)]
    found, expected = (np.concatenate(column) for column in zip(*pairs, strict=True))
    assert np.std(found - expected) > 0.5 * np.std(expected)
    assert found @ expected / (found @ found) == pytest.approx(1, abs=0.03)


def test_a_line_spread_that_is_not_known_is_taken_as_resolved_and_biases_coarse_pixels():
    pairs = [slopes(4.0, None, seed) for seed in range(8)]
    found, expected = (np.concatenate(column) for column in zip(*pairs, strict=True))
    assert found @ expected / (found @ found) < 0.9


def test_gaps_are_bridged_and_have_no_slope_themselves():
    wave = np.arange(5000.0, 5100.0)
    known = (wave < 5040) | (wave > 5050)
    stencil = VelocityStencil.from_wavelengths(wave, known, None)
    flux = np.where(known, np.log(wave), np.nan)
    slope = np.asarray(stencil(np.nan_to_num(flux)))
    assert np.all(slope[~known] == 0)
    np.testing.assert_allclose(slope[known], -1 / LIGHT, rtol=0.05)


def test_a_single_pixel_has_no_slope():
    stencil = VelocityStencil.from_wavelengths(np.array([5000.0]), np.ones(1, bool))
    assert np.asarray(stencil(np.ones(1))) == 0
