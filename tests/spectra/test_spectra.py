"""Spectra: checks, bad pixels, selection of rows and pixels, columns, metadata."""

import dataclasses
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table
from helpers import miles, xp_giants
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slamjax.errors import SlamError, SlamWarning
from slamjax.spectra.spectra import Spectra

WAVE = np.array([400.0, 401.0, 403.0, 406.0])


def make(n=3, **given):
    fields = {"wave": WAVE, "flux": np.ones((n, 4)), "ivar": np.full((n, 4), 4.0), "wave_unit": "nm"}
    return Spectra(**{**fields, **given})


any_number = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(
    hnp.arrays(np.float32, (3, 4), elements=any_number),
    hnp.arrays(np.float32, (3, 4), elements=any_number),
    st.sampled_from(["float32", "float64", ">f4", ">f8"]),
)
def test_non_finite_input_becomes_bad_pixels(flux, ivar, dtype):
    """A pixel is either good, with finite flux and ivar > 0, or has ivar = 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SlamWarning)
        spectra = make(flux=flux.astype(dtype), ivar=ivar.astype(dtype))
    assert np.all(np.isfinite(spectra.flux))
    good = np.isfinite(flux) & (ivar > 0)
    np.testing.assert_array_equal(spectra.good, good)
    np.testing.assert_array_equal(spectra.flux[good], flux[good])
    np.testing.assert_array_equal(spectra.ivar, np.where(good, ivar, 0))
    assert spectra.flux.dtype.isnative


def test_an_all_nan_spectrum_is_masked():
    flux = np.ones((3, 4))
    flux[1] = np.nan
    spectra = make(flux=flux)
    np.testing.assert_array_equal(spectra.ivar[1], 0)
    assert spectra.good[[0, 2]].all()


def test_zero_ivar_everywhere_means_no_good_pixel():
    spectra = make(ivar=np.zeros((3, 4)))
    assert not spectra.good.any()
    assert not spectra.has_errors
    assert np.isnan(spectra.snr()).all()


def test_negative_ivar_is_a_bad_pixel_and_a_warning():
    ivar = np.ones((3, 4))
    ivar[1, 2] = -1
    with pytest.warns(SlamWarning, match=r"stars.fits: 1 negative inverse variances \(first in row 1\)"):
        spectra = make(ivar=ivar, source="stars.fits")
    assert spectra.ivar[1, 2] == 0
    assert spectra.good.sum() == 11


def test_without_ivar_errors_are_unknown():
    spectra = make(ivar=None, flux=np.array([[1.0, np.nan, 1, 1]] * 3))
    np.testing.assert_array_equal(spectra.ivar, [[np.inf, 0, np.inf, np.inf]] * 3)
    assert not spectra.has_errors
    assert np.isnan(spectra.snr()).all()


def test_the_callers_arrays_are_not_changed():
    flux, ivar = np.full((3, 4), np.nan), np.ones((3, 4))
    make(flux=flux, ivar=ivar)
    assert np.isnan(flux).all()
    assert (ivar == 1).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"wave": [1.0, 2, 2, 3]}, "do not increase at pixel 1; sort them"),
        ({"wave": [4.0, 3, 2, 1]}, "do not increase at pixel 0"),
        ({"wave": [1.0, np.nan, 3, 4]}, "do not increase at pixel 0"),
        ({"wave": np.ones((2, 2))}, r"wave of spectra has shape \(2, 2\)"),
        ({"wave": []}, r"wave of spectra has shape \(0,\)"),
        ({"wave": [1.0, 2, 3]}, r"flux of spectra has shape \(3, 4\) but there are 3 wavelengths"),
        ({"flux": np.ones((1, 3, 4))}, r"flux of spectra has shape \(1, 3, 4\)"),
        ({"flux": [[1, 2, 3, 4], [1, 2]]}, "flux of spectra is not an array of numbers"),
        ({"flux": [["a"] * 4] * 3}, "flux of spectra is not an array of numbers"),
        ({"ivar": np.ones((3, 3))}, r"ivar of spectra has shape \(3, 3\) but flux has \(3, 4\)"),
        ({"ivar": np.ones(4)}, r"ivar of spectra has shape \(1, 4\)"),
        ({"table": Table({"teff": [5000.0]})}, "table of spectra has 1 rows but there are 3 spectra"),
        ({"wave_unit": "furlong"}, "'furlong' of spectra is not a unit of length; use nm or Angstrom"),
        ({"wave_unit": "K"}, "'K' of spectra is not a unit of length"),
        ({"wave_unit": None}, 'the wavelengths of spectra have no unit; give wave_unit="Angstrom", wave_unit="nm"'),
        ({"wave_unit": u.K}, "'K' of spectra is not a unit of length"),
        ({"fwhm": 0}, "fwhm of spectra is 0; give a width above 0"),
        ({"fwhm": "wide"}, "fwhm of spectra is wide; give a width above 0"),
        ({"fwhm": 3 * u.K}, "'K' of the line spread of spectra is not a unit of length"),
        ({"error": np.ones((3, 4))}, "ivar and error of spectra are both given; give the one that is known"),
        ({"ivar": None, "error": np.ones((3, 3))}, r"error of spectra has shape \(3, 3\) but flux has \(3, 4\)"),
        ({"table": "stars.fits"}, "the table of spectra is a str that makes no table"),
        ({"medium": "aether"}, "medium of spectra is 'aether'; it is one of vacuum, air, unknown"),
        ({"frame": "lab"}, "frame of spectra is 'lab'; it is one of rest, observed, unknown"),
    ],
)
def test_invalid_fields_raise_errors_that_name_them(given, message):
    with pytest.raises(SlamError, match=message):
        make(**given)


def test_an_infinite_wavelength_is_an_error():
    with pytest.raises(SlamError, match="wavelengths of spectra"):
        make(wave=[1.0, 2, 3, np.inf])


def test_there_must_be_as_many_rows_as_spectra():
    with pytest.raises(SlamError, match="rows"):
        make(rows=[0, 1])


def test_one_spectrum_may_be_given_as_a_vector():
    assert Spectra(WAVE, np.ones(4), np.ones(4), wave_unit="nm").flux.shape == (1, 4)


def test_spectra_without_a_table_are_numbered():
    np.testing.assert_array_equal(make().table["id"], [0, 1, 2])


@pytest.mark.parametrize(
    ("chosen", "rows"),
    [
        (slice(1, None), [1, 2]),
        (slice(None, None, -1), [2, 1, 0]),
        (np.array([2, 0]), [2, 0]),
        (np.array([True, False, True]), [0, 2]),
        ([True, False, True], [0, 2]),
        ([2, 2], [2, 2]),
        (-1, [2]),
        (np.int64(1), [1]),
        ([], []),
    ],
)
def test_every_kind_of_index_applies_to_flux_ivar_table_and_rows(chosen, rows):
    flux, ivar = np.arange(12.0).reshape(3, 4), 1 + np.arange(12.0).reshape(3, 4)
    taken = make(flux=flux, ivar=ivar, table=Table({"star": [0, 1, 2]}))[chosen]
    assert len(taken) == len(rows)
    np.testing.assert_array_equal(taken.rows, rows)
    np.testing.assert_array_equal(taken.table["star"], rows)
    np.testing.assert_array_equal(taken.flux, flux[rows])
    np.testing.assert_array_equal(taken.ivar, ivar[rows])


def test_an_index_out_of_range_is_an_index_error():
    """Iteration and ``list`` rely on it."""
    with pytest.raises(IndexError, match="spectrum 3 of 3"):
        make()[3]
    assert [len(one) for one in make()] == [1, 1, 1]


def test_rows_refer_to_the_file_after_several_selections():
    giants = xp_giants()
    cool = giants.select("teff < 4800")
    metal_poor = cool[::2].select("fe_h < -0.3")
    assert 0 < len(metal_poor) < len(cool) < len(giants)
    np.testing.assert_array_equal(giants.flux[metal_poor.rows], metal_poor.flux)
    np.testing.assert_array_equal(giants.table["source_id"][metal_poor.rows], metal_poor.table["source_id"])


def test_given_row_numbers_are_selected_too():
    np.testing.assert_array_equal(make(rows=[7, 9, 4])[1:].rows, [9, 4])


def test_an_empty_selection_names_the_expression_and_the_source():
    message = (
        r"'teff > 90000' keeps none of the 150 rows of .*xp_giants.fits, where teff goes from 3.* to 5.*; loosen it"
    )
    with pytest.raises(SlamError, match=message):
        xp_giants().select("teff > 90000")


def test_pixels_can_be_chosen_by_slice_and_mask():
    spectra = make(flux=np.arange(12.0).reshape(3, 4))
    for pixels in (slice(1, 3), np.array([False, True, True, False])):
        cut = spectra.on_pixels(pixels)
        np.testing.assert_array_equal(cut.wave, [401, 403])
        np.testing.assert_array_equal(cut.flux, spectra.flux[:, 1:3])
        assert cut.ivar.shape == (3, 2)


def test_new_arrays_get_their_bad_pixels_marked():
    spectra = make().with_arrays(np.array([[1, np.inf, 1, 1.0]] * 3), np.array([[1, 1, -1, np.nan]] * 3))
    np.testing.assert_array_equal(spectra.good, [[True, False, False, False]] * 3)
    assert np.isfinite(spectra.flux).all()


def test_values_are_float64_columns_side_by_side():
    table = Table({"teff": np.array([4000, 5000, 6000], dtype=np.int16), "logg": np.array([1, np.nan, 3], np.float32)})
    spectra = make(table=table)
    np.testing.assert_array_equal(spectra.values(["logg", "teff"]), [[1, 4000], [np.nan, 5000], [3, 6000]])
    np.testing.assert_array_equal(spectra.values("teff"), [4000, 5000, 6000])
    assert spectra.values("teff").dtype == spectra.values(["teff"]).dtype == np.float64
    assert spectra.values([]).shape == (3, 0)


def test_a_missing_column_is_named():
    spectra = make(table=Table({"teff": [1.0, 2, 3]}), source="stars.fits")
    with pytest.raises(SlamError, match=r"stars\.fits has no column 'logg', 'fe_h'; it has: teff"):
        spectra.values(["teff", "logg", "fe_h"])


def test_a_column_of_strings_is_no_label():
    with pytest.raises(SlamError, match="column 'name' of spectra holds no numbers"):
        make(table=Table({"name": ["a", "b", "c"]})).values(["name"])


def test_masked_numbers_are_nan_and_masked_strings_are_empty():
    table = Table(
        {"teff": MaskedColumn([1.0, 2, 3], mask=[0, 1, 0]), "name": MaskedColumn(["a", "b", "c"], mask=[0, 0, 1])}
    )
    columns = make(table=table).columns()
    np.testing.assert_array_equal(columns["teff"], [1, np.nan, 3])
    np.testing.assert_array_equal(columns["name"], ["a", "b", ""])


def test_masked_integers_are_nan_as_labels():
    table = Table({"teff": MaskedColumn([4000, 5000, 6000], mask=[0, 1, 0])})
    np.testing.assert_array_equal(make(table=table).values(["teff"]), [[4000], [np.nan], [6000]])


def test_columns_with_units_bytes_or_foreign_byte_order_become_plain_arrays():
    table = QTable({"teff": [1, 2, 3] * u.K, "name": np.array([b"a", b"bc", b"d"]), "id": np.array([1, 2, 3], ">i8")})
    columns = make(table=table).columns()
    np.testing.assert_array_equal(columns["teff"], [1.0, 2, 3])
    np.testing.assert_array_equal(columns["name"], ["a", "bc", "d"])
    assert columns["id"].dtype == np.int64


def test_vector_columns_are_left_out_of_selections():
    assert "pair" not in make(table=Table({"pair": np.ones((3, 2)), "teff": [1.0, 2, 3]})).columns()


def test_snr_is_the_median_over_good_pixels():
    flux = np.array([[1.0, 2, 3, 100], [1, 1, 1, 1]])
    ivar = np.array([[4.0, 4, 4, 0], [np.inf, np.inf, np.inf, np.inf]])
    np.testing.assert_allclose(make(flux=flux, ivar=ivar).snr(), [4, np.nan])


def test_digests_are_equal_for_equal_spectra_only():
    stars = miles()
    digests = stars.digests()
    assert len(set(digests)) == len(stars)
    np.testing.assert_array_equal(stars[::-1].digests(), digests[::-1])
    double = stars.with_arrays(stars.flux.astype(np.float64), stars.ivar)
    np.testing.assert_array_equal(double.digests(), digests)


def test_wavelengths_with_a_unit_keep_it():
    spectra = Spectra(np.array([5000.0, 5001.0]) * u.AA, np.ones((1, 2)))
    assert spectra.wave_unit == u.AA
    np.testing.assert_array_equal(spectra.wave, [5000, 5001])


def test_dataclasses_replace_checks_its_fields():
    spectra = Spectra(np.array([1.0, 2.0]), np.ones((3, 2)), wave_unit="nm")
    with pytest.raises(SlamError, match="flux of spectra has shape"):
        dataclasses.replace(spectra[:2], flux=np.ones((2, 5)))


def test_missing_metadata_can_be_supplied():
    spectra = make().with_metadata("air", "rest", 2.5)
    assert (spectra.medium, spectra.frame, spectra.fwhm) == ("air", "rest", 2.5)
    again = spectra.with_metadata("air", None, 2.5)
    assert (again.medium, again.frame, again.fwhm) == ("air", "rest", 2.5)


def test_a_line_spread_of_each_pixel_follows_its_pixels_and_gives_way_to_a_measured_one():
    spectra = Spectra(np.linspace(400, 403, 4), np.ones((2, 4)), wave_unit="nm", fwhm=np.array([0.1, 0.2, 0.3, 0.4]))
    np.testing.assert_array_equal(spectra.on_pixels(slice(1, 3)).fwhm, [0.2, 0.3])
    np.testing.assert_array_equal(spectra[:1].fwhm, spectra.fwhm)
    np.testing.assert_allclose(spectra.fwhm_at(np.array([4005.0, 4020.0]), "Angstrom"), [1.5, 3.0])
    assert spectra.with_metadata(fwhm=0.25).fwhm == 0.25
    with pytest.raises(
        SlamError, match="give one width, one for each of 4 pixels, or one for each pixel of each spectrum"
    ):
        Spectra(spectra.wave, spectra.flux, wave_unit="nm", fwhm=np.ones(3))
    with pytest.raises(SlamError, match="give a width above 0"):
        Spectra(spectra.wave, spectra.flux, wave_unit="nm", fwhm=np.array([1.0, 1.0, 0.0, 1.0]))


def test_line_spreads_of_each_spectrum_follow_their_rows_and_pixels():
    own = np.array([[0.1, 0.2, np.nan, 0.4], [0.2, 0.2, 0.3, 0.3], [0.5, 0.5, 0.5, 0.5]])
    spectra = Spectra(np.linspace(400, 403, 4), np.ones((3, 4)), wave_unit="nm", fwhm=own)
    assert spectra.has_own_line_spreads
    np.testing.assert_array_equal(spectra[[2, 0]].fwhm, own[[2, 0]])
    np.testing.assert_array_equal(spectra[1].fwhm, own[1:2])
    np.testing.assert_array_equal(spectra.on_pixels(slice(1, 3)).fwhm, own[:, 1:3])
    found = spectra.fwhm_at(np.array([3990.0, 4005.0, 4010.0, 4015.0, 4030.0]), "Angstrom")
    unknown = [1.0, 1.5, 2.0, np.nan, 4.0]  # beside a pixel of which nothing is known
    np.testing.assert_allclose(found, [unknown, [2.0, 2.0, 2.0, 2.5, 3.0], [5.0] * 5])
    assert "FWHM 0.1 to 0.5 nm" in spectra.facts()["wavelengths"]
    shared = spectra.with_metadata(fwhm=0.25)
    assert not shared.has_own_line_spreads
    with pytest.raises(SlamError, match="fwhm of spectra has shape"):
        Spectra(spectra.wave, spectra.flux, wave_unit="nm", fwhm=np.ones((2, 4)))
    with pytest.raises(SlamError, match="give a width above 0"):
        Spectra(spectra.wave, spectra.flux, wave_unit="nm", fwhm=np.where(own > 0.4, np.inf, own))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"medium": "vacuum"}, "says that its medium is air, not vacuum"),
        ({"frame": "observed"}, "says that its frame is rest, not observed"),
        ({"fwhm": 3.0}, "says that its line spread is 2.5, not 3"),
        ({"fwhm": 0.0}, "give a width above 0"),
        ({"medium": "water"}, "give one of vacuum, air"),
    ],
)
def test_metadata_of_a_file_cannot_be_contradicted(given, message):
    with pytest.raises(SlamError, match=message):
        make().with_metadata("air", "rest", 2.5).with_metadata(**given)


@pytest.mark.parametrize("values", [np.ones(2, complex), np.ones((2, 3)), np.array(["a", "b"])])
def test_a_column_that_holds_no_single_numbers_is_named(values):
    spectra = Spectra([400.0, 410.0], np.ones((2, 2)), table=Table({"teff": values}), wave_unit="nm")
    for names in ("teff", ["teff"]):
        with pytest.raises(SlamError, match="column 'teff' of spectra holds no numbers"):
            spectra.values(names)
