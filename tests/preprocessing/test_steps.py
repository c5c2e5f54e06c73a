"""Steps that crop and mask."""

import json

import numpy as np
import pytest
from astropy import units as u
from helpers import miles, noisy, xp_giants

from slamjax.errors import SlamError
from slamjax.preprocessing import (
    BadPixels,
    ChebyshevContinuum,
    GaussianContinuum,
    MaskWavelengths,
    MatchResolution,
    Recipe,
    Resample,
    SplineContinuum,
    WaveRange,
)
from slamjax.spectra.spectra import Spectra


def test_a_range_includes_its_bounds():
    kept = WaveRange(5001.2, 5009.3, "Angstrom")(miles())
    full = miles().wave
    np.testing.assert_array_equal(kept.wave, full[(full > 5001.1) & (full < 5009.4)])
    np.testing.assert_array_equal(kept.flux, miles().flux[:, 1 : 1 + kept.n_pix])


@pytest.mark.parametrize("unit", ["nm", "um", "m"])
def test_a_bound_that_is_a_pixel_survives_the_change_of_unit(unit):
    """5003.9 Å as 500.39 nm is off by rounding; the pixel is kept nevertheless."""
    spectra = miles()
    factor = u.AA.to(unit)
    for low in range(0, 295, 5):
        high = low + 4
        first, last = (float(f"{wave * factor:.9g}") for wave in spectra.wave[[low, high]])  # as a user types them
        kept = WaveRange(first, last, unit)(spectra)
        np.testing.assert_array_equal(kept.wave, spectra.wave[low : high + 1])


def test_a_range_without_pixels_is_an_error_that_names_the_coverage():
    with pytest.raises(
        SlamError, match=r"no pixel of .*miles.fits lies within .*1 to 2 nm; it covers 500.03 to 526.94 nm"
    ):
        WaveRange(1, 2, "nm")(miles())
    with pytest.raises(SlamError, match="no pixel"):  # between two pixels
        WaveRange(5000.4, 5001.1, "Angstrom")(miles())


@pytest.mark.parametrize(("low", "high"), [(500, 500), (510, 500), (np.nan, 500), (500, np.nan)])
def test_an_empty_range_is_refused(low, high):
    with pytest.raises(SlamError, match="is empty; give low < high"):
        WaveRange(low, high, "nm")


def test_bad_pixels_by_flux_and_snr():
    flux = np.array([[0.1, 0.5, 1.0, 1.5, 3.0, 1.0]])
    ivar = np.array([[400.0, 400, 400, 400, 400, 1]])
    spectra = Spectra(np.arange(1.0, 7), flux, ivar, wave_unit="nm")
    marked = BadPixels(min_flux=0.2, max_flux=2.0, min_snr=5.0)(spectra)
    np.testing.assert_array_equal(marked.good, [[False, True, True, True, False, False]])
    np.testing.assert_array_equal(marked.ivar[marked.good], 400)
    np.testing.assert_array_equal(marked.flux, flux)


def test_without_rules_no_pixel_is_marked():
    assert BadPixels()(xp_giants()).good.all()
    np.testing.assert_array_equal(BadPixels()(noisy()).good, noisy().good)


@pytest.mark.parametrize("grow", [0, 1, 2])
def test_bad_pixels_grow_to_their_neighbours_and_stop_at_the_ends(grow):
    ivar = np.ones((2, 9))
    ivar[0, 4] = ivar[1, 0] = 0
    good = BadPixels(grow=grow)(Spectra(np.arange(1.0, 10), np.ones((2, 9)), ivar, wave_unit="nm")).good
    place = np.arange(9)
    np.testing.assert_array_equal(good, [np.abs(place - 4) > grow, place > grow])


def test_masked_wavelengths_are_bad_in_every_star():
    stars = miles()[:3]
    result = MaskWavelengths([(501.0, 502.0), (510.0, 515.0)], "nm")(stars)
    wave = stars.wave / 10
    inside = ((wave >= 501) & (wave <= 502)) | ((wave >= 510) & (wave <= 515))
    assert np.all(result.good == (stars.good & ~inside))
    np.testing.assert_array_equal(result.flux, stars.flux)


@pytest.mark.parametrize("ranges", [[], [(5, 4)], [(4, 5), (6, 6)]])
def test_an_empty_range_to_mask_is_an_error(ranges):
    with pytest.raises(SlamError, match=r"must be pairs .low, high. with low < high"):
        MaskWavelengths(ranges, "nm")


def test_a_single_pixel_does_not_crash_bad_pixels():
    assert np.isfinite(BadPixels(min_flux=0.0, grow=1)(noisy().on_pixels(slice(0, 1))).flux).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: WaveRange(400, 900),
        lambda: MaskWavelengths([(585, 596)]),
        lambda: MatchResolution(0.25),
        lambda: GaussianContinuum(50),
        lambda: SplineContinuum(60),
        lambda: Resample(400, 900, 0.1),
        lambda: Resample(400, 900, 1e-4, log=True),
        lambda: ChebyshevContinuum(4, arms=[(400, 500)]),
        lambda: ChebyshevContinuum(4, pixels=[450.0]),
        lambda: Recipe.make(wave_range=(400, 900)),
        lambda: Recipe.make(fwhm=0.25),
        lambda: Recipe.from_list([{"step": "wave_range", "low": 400.0, "high": 900.0}]),
    ],
)
def test_bare_numbers_have_no_silent_unit(make):
    with pytest.raises(SlamError, match=r'has lengths without a unit; give unit="Angstrom", unit="nm" or Quantities'):
        make()


@pytest.mark.parametrize(
    ("quantities", "numbers"),
    [
        (lambda: WaveRange(4000 * u.AA, 900 * u.nm), lambda: WaveRange(4000, 9000.0, "Angstrom")),
        (lambda: MaskWavelengths([(585 * u.nm, 596 * u.nm)]), lambda: MaskWavelengths([(585, 596)], "nm")),
        (lambda: MaskWavelengths([[585, 596]] * u.nm), lambda: MaskWavelengths([(585, 596)], "nm")),
        (lambda: MatchResolution(0.25 * u.nm), lambda: MatchResolution(0.25, "nm")),
        (lambda: MatchResolution(0.25 * u.nm, "Angstrom"), lambda: MatchResolution(2.5, "Angstrom")),
        (lambda: GaussianContinuum(50 * u.nm), lambda: GaussianContinuum(50, "nm")),
        (
            lambda: SplineContinuum(600 * u.AA, bin_width=5 * u.nm),
            lambda: SplineContinuum(600, "Angstrom", 3, 50, 50),
        ),
        (lambda: Resample(400 * u.nm, 900 * u.nm, 1 * u.AA), lambda: Resample(400, 900, 0.1, "nm")),
        (
            lambda: ChebyshevContinuum(4, pixels=[450, 460] * u.nm),
            lambda: ChebyshevContinuum(4, unit="nm", pixels=(450, 460)),
        ),
        (
            lambda: Recipe.make(wave_range=(400 * u.nm, 900 * u.nm)),
            lambda: Recipe.make(wave_range=(400, 900), wave_unit="nm"),
        ),
    ],
)
def test_quantities_bring_their_unit(quantities, numbers):
    assert quantities() == numbers()
    one = quantities()
    recipe = one if isinstance(one, Recipe) else Recipe((one,))
    assert Recipe.from_list(recipe.to_list()) == recipe
    json.dumps(recipe.to_list())


def test_ten_nanometres_are_the_bins_of_a_spline_in_any_unit():
    assert SplineContinuum(60, "nm").bin_width == 10
    assert SplineContinuum(600, "Angstrom").bin_width == pytest.approx(100)
