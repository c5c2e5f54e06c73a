"""Spectra from what users have: lists, Quantities, columns, masked arrays, DataFrames; errors of either kind."""

import dataclasses
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.utils.masked import Masked
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slamjax import describe
from slamjax.errors import SlamError, SlamWarning
from slamjax.io import read_table, write_table
from slamjax.preprocessing import BadPixels, GaussianContinuum, WaveRange, onto_grid
from slamjax.spectra.spectra import Spectra

WAVE = np.array([400.0, 401, 402])
FLUX = np.array([[1.0, 2, 3], [4, 5, 6]])


def make(flux=FLUX, **given):
    return Spectra(WAVE, flux, wave_unit="nm", **given)


@pytest.mark.parametrize(
    "convert",
    [
        np.ndarray.tolist,
        lambda values: tuple(map(tuple, values.tolist())) if values.ndim == 2 else tuple(values.tolist()),
        lambda values: values.astype("f4"),
        lambda values: values.astype(">f8"),
        lambda values: values.astype("i4"),
        lambda values: u.Quantity(values, u.dimensionless_unscaled),
        Column,
        MaskedColumn,
        np.ma.array,
        lambda values: values * u.one if values.ndim == 1 else [row * u.one for row in values],
    ],
    ids=[
        "lists",
        "tuples",
        "float32",
        "big-endian",
        "int",
        "Quantity",
        "Column",
        "MaskedColumn",
        "masked",
        "Quantities",
    ],
)
def test_array_likes_of_every_kind_are_the_same_spectra(convert):
    spectra = Spectra(convert(WAVE), convert(FLUX), convert(4 * FLUX), wave_unit="nm")
    np.testing.assert_array_equal(spectra.wave, WAVE)
    np.testing.assert_array_equal(spectra.flux, FLUX)
    np.testing.assert_array_equal(spectra.ivar, 4 * FLUX)
    for array in (spectra.wave, spectra.flux, spectra.ivar):
        assert type(array) is np.ndarray
        assert array.dtype.isnative


@pytest.mark.parametrize("hidden", [np.ma.array, MaskedColumn, lambda values, mask: Masked(values, mask=mask)])
def test_masked_pixels_are_bad_pixels(hidden):
    mask = np.array([[False, True, False], [False, False, True]])
    plain = np.ones_like(FLUX)
    for name, values in {"flux": FLUX, "ivar": plain, "error": plain}.items():
        np.testing.assert_array_equal(make(**{name: hidden(values, mask=mask)}).good, ~mask)


positive = st.floats(1e-10, 1e10)


@given(hnp.arrays(np.float64, (2, 3), elements=positive), st.sampled_from(["float32", "float64"]))
def test_errors_are_inverse_variances(error, dtype):
    spectra = make(FLUX.astype(dtype), error=error)
    np.testing.assert_allclose(spectra.ivar, error**-2.0, rtol=1e-6)
    assert spectra.has_errors


def test_errors_of_tiny_fluxes_keep_their_digits():
    spectra = make((1e-17 * FLUX).astype("f4"), error=np.full((2, 3), 1e-20, "f4"))
    np.testing.assert_allclose(spectra.ivar, 1e40, rtol=1e-6)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf, -np.inf, -1.0])
def test_an_error_that_is_none_marks_a_bad_pixel(bad):
    error = np.ones((2, 3))
    error[1, 2] = bad
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        spectra = make(error=error)
    np.testing.assert_array_equal(spectra.good, [[True, True, True], [True, True, False]])
    assert [str(one.message) for one in told] == (
        ["spectra: 1 negative flux errors (first in row 1) are treated as bad pixels"] if bad < 0 else []
    )
    assert all(one.filename == __file__ for one in told)


def test_units_of_flux_and_errors_are_brought_together():
    flux = FLUX * u.Unit("W / (m2 nm)")
    error = (0.1 * FLUX * flux.unit).to("erg / (s cm2 AA)")
    np.testing.assert_allclose(make(flux, error=error).ivar, (0.1 * FLUX) ** -2.0, rtol=1e-12)
    np.testing.assert_allclose(make(flux, ivar=error**-2).ivar, (0.1 * FLUX) ** -2.0, rtol=1e-12)
    np.testing.assert_array_equal(make(flux, error=FLUX).ivar, 1 / FLUX**2)
    with pytest.raises(SlamError, match="error of spectra is in K, but flux in W / "):
        make(flux, error=FLUX * u.K)


def test_the_unit_of_flux_is_kept_wherever_spectra_go():
    unit = u.Unit("erg / (s cm2 AA)")
    spectra = make(FLUX * unit, table={"teff": [4800.0, 5200.0]})
    assert spectra.flux_unit == unit
    assert make(Column(FLUX, unit="erg/s/cm2/A")).flux_unit == unit  # astropy's A is the ampere
    assert make(flux_unit="erg/s/cm2/AA").flux_unit == unit
    assert make(u.Quantity(FLUX)).flux_unit == u.dimensionless_unscaled
    assert make().flux_unit is None
    assert make(Column(FLUX, unit=u.Unit("counts of Anna", parse_strict="silent"))).flux_unit is None
    steps = [spectra[1], spectra.select("teff > 5000"), spectra.on_pixels([0, 2]), spectra.with_metadata("air")]
    steps += [spectra.with_arrays(2 * FLUX, FLUX), dataclasses.replace(spectra, frame="rest")]
    steps += [
        BadPixels(max_flux=5.0)(spectra),
        WaveRange(400, 401, "nm")(spectra),
        onto_grid(spectra, [400.2, 401], "nm"),
    ]
    assert all(one.flux_unit == unit for one in steps)
    assert GaussianContinuum(50.0, "nm")(spectra).flux_unit == u.dimensionless_unscaled
    assert "flux         in erg / (Angstrom s cm2)" in describe(spectra)
    assert "flux         unit not stated" in describe(make())


def test_flux_and_its_errors_are_brought_to_the_unit_that_is_asked_for():
    flux = FLUX * u.Unit("W / (m2 nm)")
    wanted = u.Unit("erg / (s cm2 AA)")
    factor = flux.unit.to(wanted)
    for errors in ({"error": 0.1 * FLUX}, {"error": 0.1 * flux}, {"ivar": (0.1 * FLUX) ** -2.0}):
        spectra = make(flux, flux_unit=wanted, **errors)
        np.testing.assert_allclose(spectra.flux, FLUX * factor, rtol=1e-12)
        np.testing.assert_allclose(spectra.ivar, (0.1 * FLUX * factor) ** -2.0, rtol=1e-12)
        assert spectra.flux_unit == wanted


@pytest.mark.parametrize(
    ("flux", "unit", "message"),
    [
        (FLUX * u.Jy, "K", "flux of spectra is in Jy, which is not K"),
        (FLUX, "counts of Anna", "'counts of Anna' is not a unit of flux of spectra"),
        (FLUX, object(), "is not a unit of flux"),
        (FLUX, "mag(AB)", "flux of spectra is in mag.AB.; convert it to a linear unit"),
        (FLUX * u.mag, None, "flux of spectra is in mag; convert it to a linear unit"),
    ],
)
def test_units_that_are_none_of_flux_are_refused(flux, unit, message):
    with pytest.raises(SlamError, match=message):
        make(flux, flux_unit=unit)


def test_a_unit_of_flux_cannot_be_contradicted():
    with pytest.raises(SlamError, match="says that its flux is in Jy, not in erg"):
        make(FLUX * u.Jy).with_metadata(flux_unit="erg / (s cm2 AA)")


def test_a_misspelt_argument_is_refused():
    with pytest.raises(TypeError, match="Spectra has no argument 'errors'; errors are given as error= or ivar="):
        make(errors=FLUX)


def test_positional_arguments_keep_their_places():
    spectra = Spectra(WAVE, FLUX, FLUX, Table({"teff": [1.0, 2]}), "A")
    assert spectra.wave_unit == u.AA
    np.testing.assert_array_equal(spectra.values("teff"), [1, 2])


@pytest.mark.parametrize(
    "kind", [dict, Table, QTable, lambda columns: np.rec.fromarrays(columns.values(), names=list(columns))]
)
def test_tables_of_every_kind_hold_labels(kind):
    spectra = make(table=kind({"teff": np.array([4800.0, 5200.0]), "name": np.array(["a", "b"])}))
    np.testing.assert_array_equal(spectra.values("teff"), [4800, 5200])
    assert list(spectra.table["name"]) == ["a", "b"]


def test_a_dataframe_holds_labels_and_metadata(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "teff": [4800.0, np.nan],
            "source_id": [4295806720123456789, 4295806720123456790],
            "n_visits": pandas.array([3, None], dtype="Int64"),
            "name": ["HD 1", None],
            "field": pandas.array(["a", None], dtype="string"),
            "kind": pandas.Categorical(["giant", "dwarf"]),
            "clean": [True, False],
            "date": pandas.to_datetime(["2020-01-02", "2021-02-03"]),
            7: [1, 2],
        }
    ).set_index(pandas.Index(["x", "y"], name="star"))
    spectra = make(table=frame)
    np.testing.assert_array_equal(spectra.values(["teff", "n_visits", "7"]), [[4800, 3, 1], [np.nan, np.nan, 2]])
    columns = spectra.columns()
    assert columns["source_id"].tolist() == frame["source_id"].tolist()
    assert columns["star"].tolist() == ["x", "y"]
    assert columns["name"].tolist() == ["HD 1", ""]
    assert columns["field"].tolist() == ["a", ""]
    assert columns["kind"].tolist() == ["giant", "dwarf"]
    assert columns["clean"].tolist() == [True, False]
    assert columns["date"].tolist() == ["2020-01-02", "2021-02-03"]
    write_table(spectra, tmp_path / "stars.fits")
    again = read_table(tmp_path / "stars.fits")
    np.testing.assert_array_equal(again.values("teff"), [4800, np.nan])
    assert list(again.table["star"]) == ["x", "y"]


def test_flux_may_be_a_dataframe_or_a_column_of_vectors():
    pandas = pytest.importorskip("pandas")
    np.testing.assert_array_equal(make(pandas.DataFrame(FLUX)).flux, FLUX)
    frame = pandas.DataFrame({"flux": list(FLUX)})
    np.testing.assert_array_equal(make(frame["flux"]).flux, FLUX)
    np.testing.assert_array_equal(Spectra(pandas.Series(WAVE), FLUX, wave_unit="nm").wave, WAVE)


def test_columns_of_one_name_are_an_error():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(SlamError, match="the table of spectra has more than one column 'teff'; keep one"):
        make(table=pandas.DataFrame([[1.0, 2], [3, 4]], columns=["teff", "teff"]))


def test_a_dataframe_of_other_length_is_an_error():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(SlamError, match="the table of spectra has 3 rows but there are 2 spectra"):
        make(table=pandas.DataFrame({"teff": [1.0, 2, 3]}))


def test_negative_ivar_is_warned_of_where_it_was_given():
    with pytest.warns(SlamWarning, match="1 negative inverse variances") as told:
        make(ivar=[[1, 1, -1], [1, 1, 1]])
    assert told[0].filename == __file__
