"""Units of wavelengths as astronomers write them."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from helpers import miles
from hypothesis import given
from hypothesis import strategies as st

from slamjax.errors import SlamError
from slamjax.io import read_table, write_table
from slamjax.preprocessing import (
    GaussianContinuum,
    MaskWavelengths,
    Recipe,
    Resample,
    WaveRange,
    onto_grid,
    parse_continuum,
)
from slamjax.spectra.length_units import in_length_unit, length_unit
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.wavelengths import to_air

#: Each unit, and how it is found in headers, catalogues and scripts.
SPELLINGS = {
    u.AA: "A|a|AA|Å|\u212b|Ang|Angstrom|angstrom|ANGSTROM|Angstroms|angstroms|ANGSTROMS|Ångström|[A]| A |0.1 nm",
    u.nm: "nm|NM|nanometer|nanometers|Nanometres|[nm]|10 AA",
    u.um: "um|µm|\u03bcm|micron|Microns|micrometer|micrometers|(um)",
    u.m: "m|meter",
}
PAIRS = [(text, unit) for unit, texts in SPELLINGS.items() for text in texts.split("|")]


@pytest.mark.parametrize(("text", "unit"), PAIRS)
def test_usual_spellings_are_understood(text, unit):
    np.testing.assert_allclose(length_unit(text).to(unit), 1, rtol=1e-12)


@pytest.mark.parametrize("given", [u.AA, u.nm, u.A, u.Unit("Angstroms", parse_strict="silent"), u.micron])
def test_units_are_taken_as_they_are_and_an_ampere_of_a_file_is_an_angstrom(given):
    expected = {u.A: u.AA, u.Unit("Angstroms", parse_strict="silent"): u.AA}.get(given, given)
    assert length_unit(given) == expected


@pytest.mark.parametrize("given", ["K", "", "furlong", "Hz", "1/cm", "km/s", None, 5, u.eV, "Am", "nmm", []])
def test_other_units_are_an_error(given):
    with pytest.raises(SlamError, match="of stars is not a unit of length; use nm or Angstrom"):
        length_unit(given, "of stars")


@given(st.text(max_size=8))
def test_any_text_is_a_unit_or_one_sentence(text):
    try:
        unit = length_unit(text)
    except SlamError:
        return
    assert unit.is_equivalent(u.m)


@pytest.mark.parametrize(("text", "unit"), PAIRS)
def test_spectra_recipes_and_grids_take_every_spelling(text, unit):
    factor = u.nm.to(unit)
    spectra = Spectra(np.linspace(400, 700, 31) * factor, np.ones((1, 31)), wave_unit=text)
    np.testing.assert_allclose(spectra.wave * spectra.wave_unit.to(u.nm), np.linspace(400, 700, 31))
    in_nm = Spectra(np.linspace(400, 700, 31), np.ones((1, 31)), wave_unit="nm")
    assert WaveRange(495 * factor, 605 * factor, text)(in_nm).n_pix == 11
    assert Recipe.make(wave_range=(495 * factor, 605 * factor), wave_unit=text)(in_nm).n_pix == 11
    assert MaskWavelengths([(495 * factor, 605 * factor)], text)(in_nm).good.sum() == 20
    assert Resample(500 * factor, 600 * factor, 10 * factor, text)(in_nm).n_pix == 11
    np.testing.assert_allclose(GaussianContinuum(50 * factor, text)(in_nm).flux, 1)
    np.testing.assert_allclose(onto_grid(in_nm, np.array([500.0, 550, 600]) * factor, text).flux, 1)
    np.testing.assert_allclose(to_air(np.array([500.0]) * factor, text) / factor, to_air(np.array([500.0]), "nm"))
    if not text.strip()[0].isdigit():
        step = parse_continuum(f"gaussian:{50 * factor:g}{text}")
        np.testing.assert_allclose(step.sigma * length_unit(step.unit).to(u.nm), 50)


def test_quantities_are_converted_wherever_a_unit_is_asked_for():
    spectra = Spectra(np.linspace(4000, 7000, 31) * u.AA, np.ones((1, 31)), wave_unit="nm", fwhm=3 * u.AA)
    assert spectra.wave_unit == u.nm
    np.testing.assert_allclose(spectra.wave, np.linspace(400, 700, 31))
    np.testing.assert_allclose(spectra.fwhm, 0.3)
    assert Recipe.make(wave_range=(5000 * u.AA, 600 * u.nm))(spectra).n_pix == 11
    assert Recipe.make(wave_range=[5000, 6000] * u.AA, fwhm=6 * u.AA)(spectra).n_pix == 11
    grid = onto_grid(spectra, [5000, 5500, 6000] * u.AA)
    assert grid.wave_unit == u.AA
    np.testing.assert_allclose(grid.fwhm, 3)
    with pytest.raises(SlamError, match='the new wavelengths have no unit; give unit="Angstrom"'):
        onto_grid(spectra, np.array([500.0, 550]))


def test_columns_of_tables_bring_their_unit():
    table = Table({"loglam": [5000.0, 5001, 5002]}, units={"loglam": "Angstrom"})
    assert Spectra(table["loglam"], np.ones((1, 3))).wave_unit == u.AA
    assert Spectra([5000 * u.AA, 5001 * u.AA], np.ones((1, 2))).wave_unit == u.AA
    table["loglam"].unit = None
    with pytest.raises(SlamError, match="the wavelengths of spectra have no unit"):
        Spectra(table["loglam"], np.ones((1, 3)))


@pytest.mark.parametrize("text", ["A", "Angstroms", "angstrom", "Å"])
def test_a_file_may_spell_its_unit_in_any_way(text, tmp_path):
    from astropy.io import fits

    stars = miles()
    write_table(stars, tmp_path / "stars.fits")
    with fits.open(tmp_path / "stars.fits", mode="update") as hdus:
        hdus["WAVELENGTH"].header["TUNIT1"] = text if text.isascii() else "ANGSTROMS"
    again = read_table(tmp_path / "stars.fits")
    assert again.wave_unit == u.AA
    np.testing.assert_array_equal(again.wave, stars.wave)


def test_lengths_without_a_unit_are_in_the_one_asked_for():
    assert in_length_unit(5.0, "nm") == 5.0
    np.testing.assert_allclose(in_length_unit([500 * u.nm, 5010 * u.AA], "A"), [5000, 5010])
