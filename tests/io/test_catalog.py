"""Labels of a catalogue joined to spectra."""

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

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
        (catalog()[[1]], "file", r"none of the 3 spectra"),
    ],
)
def test_tables_that_cannot_be_joined_are_an_error(table, on, message):
    with pytest.raises(SlamError, match=message):
        join_labels(spectra(), table, on)


def test_a_catalogue_that_is_no_table_is_an_error(tmp_path):
    (tmp_path / "labels.fits").write_bytes(b"nothing of the kind")
    with pytest.raises(SlamError, match=r"labels\.fits cannot be read as a table"):
        join_labels(spectra(), tmp_path / "labels.fits")
