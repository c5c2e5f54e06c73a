"""Labels of a catalogue joined to spectra."""

import re
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slamjax.errors import SlamError, SlamWarning
from slamjax.io import join_labels
from slamjax.spectra.spectra import Spectra


def spectra(**columns):
    table = Table({"file": ["a.fits", "b.fits", "c.fits"], "rv": [1.0, 2, 3]} | columns)
    return Spectra(np.arange(4.0) + 500, np.ones((3, 4)), None, table, "nm")


def catalog(**columns):
    return Table({"file": ["c.fits", "x.fits", "a.fits", "b.fits"], "teff": [4300.0, 0, 4100, 4200]} | columns)


def test_rows_are_matched_in_any_order():
    given = spectra()
    joined = join_labels(given, catalog(name=["C", "X", "A", "B"], n=[3, 0, 1, 2]))
    assert list(joined.table["teff"]) == [4100, 4200, 4300]
    assert list(joined.table["name"]) == ["A", "B", "C"]
    assert list(joined.table["n"]) == [1, 2, 3]
    assert joined.table["n"].dtype.kind == "i"
    assert given.table.colnames == ["file", "rv"], "the spectra that were given stay what they were"
    np.testing.assert_array_equal(joined.flux, given.flux)


def test_units_are_kept_and_the_catalogue_replaces_metadata_of_files():
    table = catalog(rv=[30.0, 0, 10, 20])
    table["teff"].unit = "K"
    joined = join_labels(spectra(), table)
    assert str(joined.table["teff"].unit) == "K"
    assert list(joined.table["rv"]) == [10, 20, 30]


def test_labels_missing_in_the_catalogue_are_nan_or_empty():
    table = catalog(name=["C", "X", "A", "B"], n=[3, 0, 1, 2])[[1, 2, 3]]
    table["fe_h"] = MaskedColumn([0.1, 0.2, 0.3], mask=[False, False, True])
    with pytest.warns(SlamWarning, match="1 of 3 spectra are not in the catalogue"):
        joined = join_labels(spectra(), table)
    np.testing.assert_array_equal(joined.table["teff"], [4100, 4200, np.nan])
    np.testing.assert_array_equal(joined.table["fe_h"], [0.2, np.nan, np.nan])
    np.testing.assert_array_equal(joined.table["n"], [1, 2, np.nan])
    assert list(joined.table["name"]) == ["A", "B", ""]


def test_integers_and_strings_can_be_keys(tmp_path):
    catalog(obsid=[13, 0, 11, 12]).write(tmp_path / "labels.csv")
    text = (tmp_path / "labels.csv").read_text()
    (tmp_path / "labels.csv").write_text(f"# where it comes from, with a comma\n{text}")
    joined = join_labels(spectra(obsid=[11, 12, 13]), tmp_path / "labels.csv", on="obsid")
    assert list(joined.table["teff"]) == [4100, 4200, 4300]


@pytest.mark.parametrize(
    ("table", "on", "message"),
    [
        (catalog(), "id", r"the catalogue has no column 'id' to join on; it has file, teff"),
        (catalog(id=list("abcd")), "id", r"spectra has no column 'id'"),
        (catalog()[[0, 2, 3, 3]], "file", r"b\.fits more than once in column 'file'"),
        (catalog()[[1]], "file", r"none of the 3 spectra .*: it has x.fits and so on, and column 'file' .* has a.fits"),
        (catalog(), "star=file", r"the catalogue has no column 'star' to join on; it has file, teff"),
        (catalog(), "file=star", r"spectra has no column 'star' to join on; it has file, rv"),
        (catalog(), "file=rv=id", r"on is 'file=rv=id'; give one column, or CATALOGCOLUMN=HEADERCOLUMN"),
        (catalog(), "=file", r"on is '=file'; give one column"),
        (catalog(), (), r"on is \(\); give one column"),
        (catalog(), "", r"on is ''; give one column"),
        (5, "file", "the catalogue is a int that makes no table"),
    ],
)
def test_tables_that_cannot_be_joined_are_an_error(table, on, message):
    with pytest.raises(SlamError, match=message):
        join_labels(spectra(), table, on)


def test_a_catalogue_that_is_no_table_is_an_error(tmp_path):
    (tmp_path / "labels.fits").write_bytes(b"nothing of the kind")
    with pytest.raises(SlamError, match=r"labels\.fits cannot be read as a table"):
        join_labels(spectra(), tmp_path / "labels.fits")


def test_the_two_tables_may_name_the_column_differently():
    table = catalog(star=[13, 0, 11, 12])
    for on in ("star=obsid", ("star", "obsid"), " star = obsid "):
        joined = join_labels(spectra(obsid=[11, 12, 13]), table, on)
        assert list(joined.table["teff"]) == [4100, 4200, 4300]
        assert joined.table.colnames == ["file", "rv", "obsid", "teff"]


def test_a_dataframe_and_a_mapping_are_catalogues():
    pytest.importorskip("pandas")
    frame = catalog(name=["C", "X", "A", "B"]).to_pandas().sample(frac=1, random_state=1)
    for table in (frame, frame.set_index("file"), {name: frame[name].to_list() for name in frame}):
        joined = join_labels(spectra(), table)
        assert list(joined.table["teff"]) == [4100, 4200, 4300]
        assert list(joined.table["name"]) == ["A", "B", "C"]


def test_whole_numbers_are_keys_as_integers_and_as_floats():
    """pandas makes floats of integers as soon as one of them is missing."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"obsid": [13, None, 11, 12, None], "teff": [4300.0, 0, 4100, 4200, 0]})
    assert frame["obsid"].dtype.kind == "f"
    assert list(join_labels(spectra(obsid=[11, 12, 13]), frame, "obsid").table["teff"]) == [4100, 4200, 4300]
    text = spectra(obsid=["11", " 12", "13 "])
    assert list(join_labels(text, frame, "obsid").table["teff"]) == [4100, 4200, 4300]


@pytest.mark.parametrize("prefix", ["/data/lamost/", "./", "dr10/v2/", "C:\\spectra\\"])
def test_names_of_files_match_by_their_paths(prefix):
    table = catalog()
    table["file"] = [prefix + name for name in table["file"]]
    assert list(join_labels(spectra(), table).table["teff"]) == [4100, 4200, 4300]
    folders = spectra(file=[prefix + name for name in ("a.fits", "b.fits", "c.fits")])
    assert list(join_labels(folders, catalog()).table["teff"]) == [4100, 4200, 4300]


def test_folders_tell_files_of_one_name_apart():
    table = catalog(file=["x/c.fits", "y/a.fits", "x/a.fits", "b.fits"])
    given = spectra(file=["dr10/x/a.fits", "b.fits", "dr10/x/c.fits"])
    assert list(join_labels(given, table).table["teff"]) == [4100, 4200, 4300]


def test_files_that_cannot_be_told_apart_are_an_error():
    with pytest.raises(
        SlamError, match=r"a.fits of the spectra may be y/a.fits or x/a.fits in the catalogue; name the"
    ):
        join_labels(spectra(), catalog(file=["x/c.fits", "y/a.fits", "x/a.fits", "b.fits"]))
    with pytest.raises(
        SlamError, match=r"a.fits of the catalogue may be x/a.fits or y/a.fits of the spectra; name the"
    ):
        join_labels(spectra(file=["x/a.fits", "y/a.fits", "c.fits"]), catalog())


def test_only_names_of_files_match_by_a_part():
    given, table = spectra(star=["1/a", "1/b", "1/c"]), catalog(star=["c", "x", "a", "b"])
    with pytest.raises(SlamError, match="none of the 3 spectra"):
        join_labels(given, table, "star")


def test_stars_without_a_key_are_neither_joined_nor_counted_twice():
    names = MaskedColumn(["A", "?", "", "", "B"], mask=[0, 1, 0, 0, 0])
    table = Table({"star": names, "teff": [4100.0, 0, 1, 2, 4200]})
    with pytest.warns(SlamWarning, match="1 of 3 spectra are not in"):
        joined = join_labels(spectra(star=["A", "B", ""]), table, "star")
    np.testing.assert_array_equal(joined.table["teff"], [4100, 4200, np.nan])


def test_identifiers_stay_exact_where_a_star_is_missing():
    big = 4295806720123456789
    table = catalog(source_id=[big, 1, big + 1, big + 2])[[0, 1, 2]]
    with pytest.warns(SlamWarning):
        joined = join_labels(spectra(), table)
    assert list(joined.table["source_id"]) == [big + 1, 0, big]


def test_vector_columns_and_quantities_are_joined():
    table = QTable(catalog(cov=np.arange(16.0).reshape(4, 2, 2)))
    table["teff"] = table["teff"] * u.K
    joined = join_labels(spectra(), table)
    np.testing.assert_array_equal(joined.table["cov"], np.arange(16.0).reshape(4, 2, 2)[[2, 3, 0]])
    assert joined.table["teff"].unit == u.K
    with pytest.warns(SlamWarning):
        joined = join_labels(spectra(), table[[0, 2]])
    assert np.isnan(joined.table["cov"][1]).all()
    assert joined.table["cov"][0, 0, 0] == 8


def test_text_tables_with_blanks_are_read(tmp_path):
    (tmp_path / "labels.txt").write_text("file teff\nc.fits 4300\na.fits 4100\nb.fits 4200\n")
    assert list(join_labels(spectra(), tmp_path / "labels.txt").table["teff"]) == [4100, 4200, 4300]


keys = st.lists(st.text("abc/.\\ ", max_size=6), min_size=3, max_size=3)


@given(keys, st.lists(st.text("abc/.\\ ", max_size=6), min_size=1, max_size=5), st.sampled_from(["file", "star"]))
@settings(suppress_health_check=[HealthCheck.filter_too_much])
def test_any_keys_are_joined_to_equal_ones_or_refused(ours, theirs, column):
    """A label never comes from a row whose key is not the end of the spectrum's, or the other way round."""
    table = Table({column: theirs, "row": np.arange(len(theirs))})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SlamWarning)
        try:
            joined = join_labels(spectra(**{column: ours}), table, column)
        except SlamError:
            return
    for key, row in zip(ours, joined.values("row"), strict=True):
        if np.isfinite(row):
            found = theirs[int(row)].strip()
            assert found
            if column == "star":
                assert found == key.strip()
            else:
                name = re.split(r"[\\/]", found.strip("/\\."))[-1]
                assert name in key
