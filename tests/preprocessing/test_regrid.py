"""Resampling to other grids, media and frames, by exact Doppler shifts."""

import dataclasses

import numpy as np
import pytest
from astropy import units as u
from helpers import miles
from scipy.special import erf

from slamjax._util.constants import LIGHT
from slamjax.errors import SlamError, SlamWarning
from slamjax.preprocessing import Resample, RestFrame, onto_grid
from slamjax.spectra.resampling import pixel_edges
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.wavelengths import to_air

VELOCITIES = np.array([-500.0, 0.0, 3.0, 250.0])


def line(edges, center, width=3.0):
    """Means over pixels of 1 minus a Gaussian, exactly."""
    integral = width * np.sqrt(np.pi / 2) * erf((edges - center) / (np.sqrt(2) * width))
    return 1 - 0.6 * np.diff(integral) / np.diff(edges)


def moving_stars(velocities, rest=5100.0, medium="vacuum"):
    """Each star has one line, shifted by its velocity."""
    wave = 4900 * np.exp(2.3e-4 * np.arange(400))
    centers = rest * np.sqrt((1 + velocities / LIGHT) / (1 - velocities / LIGHT))
    flux = np.stack([line(pixel_edges(wave), center) for center in centers])
    spectra = Spectra(wave, flux, np.full_like(flux, 1e4), wave_unit=u.AA, medium="vacuum", frame="observed")
    if medium == "air":
        spectra = dataclasses.replace(spectra, wave=to_air(wave), medium="air")
    spectra.table["rv"] = velocities
    return spectra


@pytest.mark.parametrize(("unit", "scale"), [("Angstrom", 1.0), ("nm", 0.1)])
@pytest.mark.parametrize("medium", ["vacuum", "air"])
def test_moving_stars_are_shifted_to_rest(unit, scale, medium):
    grid = np.arange(5050, 5150, 0.8) * scale
    result = onto_grid(moving_stars(VELOCITIES, medium=medium), grid, unit, "vacuum", VELOCITIES)
    expected = line(pixel_edges(grid / scale), 5100.0)
    np.testing.assert_allclose(result.flux, np.broadcast_to(expected, result.flux.shape), atol=3e-3)
    assert (result.frame, result.medium, result.wave_unit) == ("rest", "vacuum", u.Unit(unit))


def test_lines_on_a_grid_in_air_are_at_air_wavelengths():
    grid = np.arange(5050, 5150, 0.8)
    result = onto_grid(moving_stars(VELOCITIES), grid, "Angstrom", "air", VELOCITIES)
    np.testing.assert_allclose(result.flux[0], line(pixel_edges(grid), to_air(np.array([5100.0]))[0]), atol=3e-3)


def test_the_steps_read_the_velocity_from_the_table_in_its_unit():
    spectra = moving_stars(VELOCITIES)
    in_metres = dataclasses.replace(spectra, table=spectra.table.copy())
    in_metres.table["rv"] = VELOCITIES * 1000 * u.m / u.s
    grid = np.arange(5050.0, 5150.0, 0.8)
    step = Resample(5050.0, 5149.5, 0.8, "Angstrom", velocity="rv", medium="vacuum")
    expected = onto_grid(spectra, grid, "Angstrom", "vacuum", VELOCITIES)
    np.testing.assert_allclose(step.wave, grid)
    for given in (spectra, in_metres):
        np.testing.assert_allclose(step(given).flux, expected.flux, atol=1e-9)
    rest = RestFrame()(spectra)
    np.testing.assert_array_equal(rest.wave, spectra.wave)
    deepest = np.where(rest.good, rest.flux, 9).argmin(axis=1)
    assert np.abs(rest.wave[deepest] - 5100).max() < 1.2


def test_a_star_without_velocity_has_no_good_pixel():
    spectra = moving_stars(VELOCITIES)
    spectra.table["rv"] = [np.nan, 0.0, -9999.0, 10.0]
    with pytest.warns(SlamWarning, match="2 of 4 spectra .* have no velocity in column 'rv' .first: row 0"):
        result = RestFrame()(spectra)
    assert result.good.any(axis=1).tolist() == [False, True, False, True]


def test_a_velocity_in_a_unit_of_length_is_refused():
    spectra = moving_stars(VELOCITIES)
    spectra.table["rv"].unit = "m"
    with pytest.raises(SlamError, match="is in m, which is no velocity"):
        RestFrame()(spectra)


@pytest.mark.parametrize("log", [False, True])
def test_a_grid_ends_at_its_last_wavelength(log):
    step = Resample(400.0, 500.0, 1e-3 if log else 0.5, "nm", log=log)
    assert step.wave[0] == pytest.approx(400.0)
    assert 499 < step.wave[-1] <= 500 * (1 + 1e-9)
    steps = np.diff(np.log(step.wave) if log else step.wave)
    np.testing.assert_allclose(steps, step.spacing)


@pytest.mark.parametrize("values", [(500, 400, 1), (0, 400, 1), (400, 500, 0), (400, 500, -1)])
def test_an_empty_grid_is_an_error(values):
    with pytest.raises(SlamError, match="holds nothing"):
        Resample(*values, "nm")


def test_the_line_spread_keeps_its_width_in_another_unit():
    assert onto_grid(miles()[:2], np.linspace(501, 526, 200), "nm").fwhm == pytest.approx(0.25)
