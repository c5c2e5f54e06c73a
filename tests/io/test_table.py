"""The FITS table of spectra: round trips, the format, broken files."""

import os

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from helpers import DATA, miles, xp_giants
from hypothesis import given
from spectra_tables import WAVE, assert_same, make, spectra_of_any_kind

from slamjax.errors import SlamError, SlamWarning
from slamjax.io import read_table, write_table


@given(spectra_of_any_kind())
def test_written_spectra_are_read_back_exactly(tmp_path_factory, spectra):
    path = tmp_path_factory.mktemp("table") / "stars.fits"
    write_table(spectra, path)
    assert_same(read_table(path), spectra)


@pytest.mark.parametrize("load", [xp_giants, miles])
def test_real_spectra_survive_a_round_trip(load, tmp_path):
    spectra = load()
    write_table(spectra, tmp_path / "again.fits")
    again = read_table(tmp_path / "again.fits")
    assert_same(again, spectra)
    assert again.table.meta["comments"] == spectra.table.meta["comments"]


def test_an_empty_table_survives_a_round_trip(tmp_path):
    write_table(make()[[]], tmp_path / "none.fits")
    assert_same(read_table(tmp_path / "none.fits"), make()[[]])


def test_astropy_reads_the_file_as_described(tmp_path):
    """Other software relies on the format in the module's docstring."""
    spectra = miles()
    write_table(spectra, tmp_path / "stars.fits")
    with fits.open(tmp_path / "stars.fits", checksum=True) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "SPECTRA", "WAVELENGTH"]
        np.testing.assert_array_equal(hdus["SPECTRA"].data["flux"], spectra.flux)
        assert "ivar" not in hdus["SPECTRA"].columns.names  # errors not stated
        np.testing.assert_array_equal(hdus["WAVELENGTH"].data["wavelength"], spectra.wave)
        header = hdus["WAVELENGTH"].header
        assert u.Unit(header["TUNIT1"]) == u.AA
        assert (header["WAVEMED"], header["FRAME"], header["FWHM"]) == ("air", "rest", 2.5)


def write_with(path, spectra_columns=None, wave_column=None, header=()):
    """A table written by astropy alone, with one change."""
    columns = {"teff": np.array([4000.0, 5000, 6000]), "flux": np.ones((3, 4)), **(spectra_columns or {})}
    sheet = fits.table_to_hdu(Table({k: v for k, v in columns.items() if v is not None}))
    sheet.name = "SPECTRA"
    waves = fits.table_to_hdu(
        Table([Table.Column(WAVE, "wavelength", unit="nm") if wave_column is None else wave_column])
    )
    waves.name = "WAVELENGTH"
    fits.HDUList([fits.PrimaryHDU(), sheet, waves]).writeto(path)
    for key, value in header:
        fits.setval(path, key, value=value, extname="WAVELENGTH")
    return path


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_flux_errors_become_inverse_variances(tmp_path, dtype):
    error = np.array([[0.5, 2, 0, np.nan], [np.inf, 1, 4, 0.1], [1, 1, 1, 1]], dtype)
    spectra = read_table(write_with(tmp_path / "a.fits", {"flux": np.ones((3, 4), dtype), "flux_error": error}))
    expected = [[4, 0.25, 0, 0], [0, 1, 0.0625, 100], [1, 1, 1, 1]]
    np.testing.assert_allclose(spectra.ivar, expected, rtol=1e-6)
    assert "flux_error" not in spectra.table.colnames


@pytest.mark.filterwarnings("error")
def test_variances_beyond_float32_stay_in_float64(tmp_path):
    """Flux in W m-2 nm-1 fits a float32; its inverse variance of 1e40 does not."""
    columns = {"flux": np.full((3, 4), 1e-17, "f4"), "flux_error": np.full((3, 4), 1e-20, "f4")}
    spectra = read_table(write_with(tmp_path / "a.fits", columns))
    np.testing.assert_allclose(spectra.ivar, 1e40, rtol=1e-6)


def test_negative_errors_are_bad_pixels_and_a_warning(tmp_path):
    error = np.ones((3, 4))
    error[2, 1] = -1
    path = write_with(tmp_path / "a.fits", {"flux_error": error})
    with pytest.warns(SlamWarning, match=r"a.fits: 1 negative flux errors \(first in row 2\)"):
        assert read_table(path).ivar[2, 1] == 0


def test_missing_numbers_and_strings_are_nan_and_empty(tmp_path):
    table = Table({"teff": MaskedColumn([1.0, 2, 3], mask=[0, 1, 0]), "name": ["a", "", "c"]})
    write_table(make(table=table), tmp_path / "a.fits")
    columns = read_table(tmp_path / "a.fits").columns()
    np.testing.assert_array_equal(columns["teff"], [1, np.nan, 3])
    np.testing.assert_array_equal(columns["name"], ["a", "", "c"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spectra_columns": {"flux": None}}, "HDU SPECTRA of .*a.fits has no column 'flux'; it has: teff"),
        ({"spectra_columns": {"flux": np.ones((3, 5))}}, r"flux of .*a.fits has shape \(3, 5\)"),
        ({"spectra_columns": {"flux": np.ones(3)}}, "flux of .*a.fits has shape"),
        ({"spectra_columns": {"flux": np.array(["a", "b", "c"])}}, "flux of .*a.fits is not an array of numbers"),
        ({"spectra_columns": {"ivar": np.ones((3, 5))}}, "ivar of .*a.fits has shape"),
        ({"spectra_columns": {"flux_error": np.ones((3, 5))}}, "error of .*a.fits has shape"),
        ({"wave_column": Table.Column(WAVE, "lam", unit="nm")}, "has no column 'wavelength'; it has .*lam"),
        ({"wave_column": Table.Column(WAVE, "wavelength")}, "'wavelength' of .*a.fits states no unit"),
        ({"wave_column": Table.Column(WAVE, "wavelength", unit="K")}, "'K' of .*a.fits is not a unit of length"),
        ({"header": [("TUNIT1", "furlong")]}, "'furlong' of .*a.fits is not a unit of length"),
        ({"wave_column": Table.Column(WAVE[::-1], "wavelength", unit="nm")}, "of .*a.fits do not increase at pixel 0"),
        ({"header": [("WAVEMED", "aether")]}, "medium of .*a.fits is 'aether'"),
        ({"header": [("FRAME", "lab")]}, "frame of .*a.fits is 'lab'"),
        ({"header": [("WAVEMED", 3)]}, "medium of .*a.fits is"),
    ],
)
def test_errors_name_the_file_and_what_is_wrong_with_it(tmp_path, change, message):
    path = write_with(tmp_path / "a.fits", **change)
    with pytest.raises(SlamError, match=message):
        read_table(path)


@pytest.mark.parametrize(("kept", "lacking"), [([0, 1], "WAVELENGTH"), ([0, 2], "SPECTRA"), ([0], "SPECTRA")])
def test_a_missing_hdu_is_named_with_those_present(tmp_path, kept, lacking):
    with fits.open(DATA / "miles.fits") as hdus:
        fits.HDUList([hdus[k] for k in kept]).writeto(tmp_path / "a.fits")
    with pytest.raises(SlamError, match=f"a.fits has no HDU {lacking}; it has PRIMARY"):
        read_table(tmp_path / "a.fits")


@pytest.mark.parametrize("number", [1, 2])
def test_an_image_instead_of_a_table_is_an_error(tmp_path, number):
    with fits.open(DATA / "miles.fits") as hdus:
        parts = [hdus[0], hdus[1], hdus[2]]
        parts[number] = fits.ImageHDU(np.ones((3, 4)), name=hdus[number].name)
        fits.HDUList(parts).writeto(tmp_path / "a.fits")
    with pytest.raises(SlamError, match=r"a\.fits"):
        read_table(tmp_path / "a.fits")


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyUserWarning")
@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
@pytest.mark.parametrize("part", [0, 10, 2880, 2881, 9000, 0.3, 0.6, 0.9, 0.97])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, part):
    whole = (DATA / "miles.fits").read_bytes()
    (tmp_path / "cut.fits").write_bytes(whole[: part if isinstance(part, int) else int(part * len(whole))])
    with pytest.raises(SlamError, match=r"cut\.fits"):
        read_table(tmp_path / "cut.fits")


def test_a_text_file_a_folder_and_a_missing_file_are_errors(tmp_path):
    (tmp_path / "a.fits").write_text("teff,logg\n4000,1\n" * 1000)
    with pytest.raises(SlamError, match=r"a.fits cannot be read: it is no FITS file"):
        read_table(tmp_path / "a.fits")
    with pytest.raises(SlamError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(SlamError, match=r"b.fits: no such file"):
        read_table(tmp_path / "b.fits")


@pytest.mark.parametrize("name", ["flux", "ivar", "flux_error"])
def test_a_column_with_a_reserved_name_is_an_error(tmp_path, name):
    with pytest.raises(SlamError, match=f"has a column '{name}', which is kept for the spectra; rename it"):
        write_table(make(table=Table({name: [1, 2, 3]})), tmp_path / "a.fits")
    assert os.listdir(tmp_path) == []


def test_writing_to_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(SlamError, match="does not exist; create it first"):
        write_table(make(), tmp_path / "nowhere" / "a.fits")


def test_a_full_disk_keeps_the_old_file_and_leaves_no_partial_file(tmp_path):
    """A limit on the file size makes the write fail half-way, as a full disk does."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "a.fits"
    write_table(make(), path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(SlamError, match=r"cannot write .*a.fits: File too large; nothing was written"):
            write_table(miles(), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.fits"]


def test_signed_bytes_are_kept_as_numbers(tmp_path):
    write_table(make(table=Table({"flag": np.array([-1, 2, 0], np.int8)})), tmp_path / "a.fits")
    np.testing.assert_array_equal(read_table(tmp_path / "a.fits").columns()["flag"], [-1, 2, 0])


def test_non_ascii_text_is_an_error_or_kept(tmp_path):
    with pytest.raises(SlamError, match="name"):
        write_table(make(table=Table({"name": ["α Cen", "b", "c"]})), tmp_path / "a.fits")


def test_a_full_temporary_folder_does_not_matter(tmp_path, monkeypatch):
    """astropy tries a memory map there before it writes to a file."""

    def full(self):
        raise OSError("No space left on device")

    monkeypatch.setattr(fits.file._File, "_mmap_available", property(full))
    with pytest.raises(OSError, match="No space left"):
        fits.PrimaryHDU().writeto(tmp_path / "plain.fits")
    write_table(make(), tmp_path / "stars.fits")
    assert_same(read_table(tmp_path / "stars.fits"), make())


def test_errors_in_another_unit_than_the_flux_are_converted(tmp_path):
    write_table(make(flux_unit="W / (m2 nm)"), tmp_path / "stars.fits")
    with fits.open(tmp_path / "stars.fits") as hdus:
        table = Table(hdus["SPECTRA"].data)
        table["flux"].unit = "W / (m2 nm)"
        table["flux_error"] = np.full((3, 4), 50.0)
        table["flux_error"].unit = "erg / (s cm2 AA)"
        table.remove_column("ivar")
        sheet = fits.table_to_hdu(table)
        sheet.name = "SPECTRA"
        fits.HDUList([hdus[0], sheet, hdus["WAVELENGTH"]]).writeto(tmp_path / "others.fits")
    spectra = read_table(tmp_path / "others.fits")
    factor = u.Unit("erg / (s cm2 AA)").to("W / (m2 nm)")
    np.testing.assert_allclose(spectra.ivar, (50 * factor) ** -2, rtol=1e-6)
    assert spectra.flux_unit == u.Unit("W / (m2 nm)")
