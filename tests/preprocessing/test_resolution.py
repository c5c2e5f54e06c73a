"""Blurring to a lower resolution: widths of Gaussian lines, errors of means."""

import dataclasses

import numpy as np
import pytest
from helpers import miles

from slamjax.errors import SlamError, SlamWarning
from slamjax.preprocessing import MatchResolution
from slamjax.spectra.spectra import Spectra

SIGMA = 1 / (2 * np.sqrt(2 * np.log(2)))


def lines(fwhm, wave):
    width = fwhm * SIGMA
    return 1 - 0.3 * np.exp(-0.5 * ((wave - 500) / width) ** 2) / width


def test_a_gaussian_line_becomes_the_wider_one():
    wave = np.linspace(490, 510, 401)
    sharp = Spectra(wave, lines(1.0, wave)[None], np.full((1, 401), 1e4), wave_unit="nm", fwhm=1.0)
    result = MatchResolution(2.0, "nm")(sharp)
    np.testing.assert_allclose(result.flux[0], lines(2.0, wave), atol=2e-4)
    assert result.fwhm == 2.0


def test_pixels_of_unequal_width_count_by_their_width():
    wave = 490 + 20 * np.linspace(0, 1, 500) ** 1.2
    sharp = Spectra(wave, lines(1.0, wave)[None], np.full((1, 500), 1e4), wave_unit="nm", fwhm=1.0)
    np.testing.assert_allclose(MatchResolution(2.0, "nm")(sharp).flux[0], lines(2.0, wave), atol=2e-3)


def test_each_pixel_is_blurred_by_what_it_lacks():
    wave = np.linspace(490, 510, 401)
    sharp = Spectra(
        wave, lines(1.0, wave)[None], np.full((1, 401), 1e4), wave_unit="nm", fwhm=np.where(wave < 500.5, 1.0, 2.0)
    )
    result = MatchResolution(2.0, "nm")(sharp)
    left = wave < 500.5
    np.testing.assert_allclose(result.flux[0, left], lines(2.0, wave)[left], atol=2e-4)
    np.testing.assert_array_equal(result.flux[0, ~left], sharp.flux[0, ~left])
    np.testing.assert_array_equal(result.fwhm, np.full(401, 2.0))


def test_errors_of_means_over_many_pixels_agree_with_simulated_noise():
    wave = np.linspace(490, 510, 200)
    rng = np.random.default_rng(1)
    sigma = 1 + 0.3 * np.sin(wave)
    flux = rng.normal(0, sigma, (3000, 200))
    noisy = Spectra(wave, flux, error=np.broadcast_to(sigma, flux.shape), wave_unit="nm", fwhm=0.1)
    result = MatchResolution(0.6, "nm")(noisy)
    middle = slice(50, 150)
    stated = np.sqrt((1 / result.ivar[0, middle]).sum()) / 100
    np.testing.assert_allclose(result.flux[:, middle].mean(axis=1).std(), stated, rtol=0.05)


def test_bad_pixels_do_not_affect_their_neighbours():
    spectra = dataclasses.replace(miles()[:3], fwhm=1.0)
    spoilt = spectra.with_arrays(np.where(np.arange(300) % 50 == 7, 1e9, spectra.flux), spectra.ivar)
    masked = np.where(np.arange(300) % 50 == 7, 0, spectra.ivar)
    result = MatchResolution(2.5, "Angstrom")(spoilt.with_arrays(spoilt.flux, masked))
    expected = MatchResolution(2.5, "Angstrom")(spectra)
    assert np.abs(result.flux - expected.flux).max() < 0.1
    assert result.good.mean() > 0.97


def test_spectra_without_a_line_spread_are_unchanged_with_a_warning():
    spectra = dataclasses.replace(miles()[:2], fwhm=None)
    with pytest.warns(SlamWarning, match="does not state its line spread"):
        result = MatchResolution(3.0, "Angstrom")(spectra)
    np.testing.assert_array_equal(result.flux, spectra.flux)
    assert result.fwhm is None


def test_wider_lines_cannot_be_sharpened():
    with pytest.warns(SlamWarning, match="cannot be sharpened"):
        result = MatchResolution(2.0, "Angstrom")(miles()[:2])
    np.testing.assert_array_equal(result.flux, miles()[:2].flux)
    assert result.fwhm == 2.5


@pytest.mark.parametrize("fwhm", [0.0, -1.0, np.nan, np.inf])
def test_a_line_spread_needs_a_width(fwhm):
    with pytest.raises(SlamError, match="has a width of"):
        MatchResolution(fwhm, "nm")
