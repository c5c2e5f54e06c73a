"""Views of a label table: rounded, flat, as a card; and files of text."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable, Table, vstack
from numpy.testing import assert_array_equal

import slamjax
from slamjax.flags import Flag
from slamjax.io import LabelTable
from slamjax.io.label_table import flag_summary


def labels(n=3, **columns):
    """Two labels of n stars; the second star is flagged, the third is a failure."""
    cov = np.tile([[43.1**2, 2.0], [2.0, 0.0996**2]], (n, 1, 1))
    bad = np.arange(n) == 2
    table = LabelTable({"row": np.arange(n), "name": [f"star {k}" for k in range(n)]}, meta={"labels": "teff,logg"})
    table["rv"], table["rv_err"] = np.full(n, -12.34) * u.km / u.s, np.full(n, 0.5) * u.km / u.s
    table["teff"] = np.where(bad, np.nan, 4512.3) * u.K
    table["teff_err"] = np.where(bad, np.inf, 43.1) * u.K
    table["logg"] = np.where(bad, np.nan, 2.137) * u.dex
    table["logg_err"] = np.where(bad, np.inf, 0.0996) * u.dex
    table["polynomial"] = np.tile([1.0, 0.5], (n, 1))
    table["flags"] = np.where(np.arange(n) == 1, Flag.AT_BOUND | Flag.HIGH_CHI2, np.where(bad, Flag.NO_DATA, 0))
    table["cov"] = cov
    for name, column in columns.items():
        table[name] = column
    return table


def test_the_short_view_is_rounded_to_the_errors_and_has_flags_in_words():
    brief = labels().brief()
    assert brief.colnames == ["row", "name", "rv", "teff", "logg", "flags"]
    assert list(brief["teff"]) == ["4512 ± 43", "4512 ± 43", "-"]
    assert list(brief["logg"]) == ["2.14 ± 0.10", "2.14 ± 0.10", "-"]
    assert brief["rv"][0] == "-12.34 ± 0.50"
    assert (str(brief["teff"].unit), str(brief["logg"].unit)) == ("K", "dex")
    assert list(brief["flags"]) == ["good", "AT_BOUND, HIGH_CHI2", "NO_DATA"]


def test_no_column_of_the_short_view_is_hidden():
    names = [f"label{k}" for k in range(12)]
    table = LabelTable({"row": [0], "flags": [0]}, meta={"labels": ",".join(names)})
    for name in names:
        table[name], table[f"{name}_err"] = [1.0], [0.1]
    header = str(table.brief()).splitlines()[0].split()
    assert header == ["row", *names, "flags"]


def test_an_unconstrained_label_has_an_infinite_error():
    table = labels()
    table["logg_err"][0] = np.inf * u.dex
    assert table.brief()["logg"][0] == "2.137 ± inf"


def test_csv_has_the_covariance_in_columns(tmp_path):
    table = labels()
    table.write(tmp_path / "l.csv")
    slamjax.write_labels(table, tmp_path / "same.csv")
    assert (tmp_path / "l.csv").read_text() == (tmp_path / "same.csv").read_text()
    back = Table.read(tmp_path / "l.csv", format="ascii.csv")
    assert back.colnames == [
        *("row", "name", "rv", "rv_err", "teff", "teff_err", "logg", "logg_err"),
        *("polynomial_0", "polynomial_1", "flags", "cov_teff_logg"),
    ]
    assert_array_equal(back["cov_teff_logg"], table["cov"][:, 0, 1])
    assert_array_equal(back["teff_err"][:2], np.sqrt(table["cov"][:2, 0, 0]))
    assert_array_equal(back["teff"], table["teff"].value)


@pytest.mark.parametrize("kind", ["csv", "ascii.csv", "ascii", "ascii.html", "ascii.latex", "ascii.tab"])
def test_formats_of_text_take_the_table(kind, tmp_path):
    labels().write(tmp_path / "l.txt", format=kind)
    assert "cov_teff_logg" in (tmp_path / "l.txt").read_text().replace("\\_", "_")


def test_a_plain_qtable_still_refuses_vectors(tmp_path):
    """What is registered for label tables leaves other tables alone."""
    with pytest.raises(ValueError, match="dimension > 1"):
        QTable(labels()).write(tmp_path / "l.csv", format="ascii.csv")


@pytest.mark.parametrize("suffix", ["fits", "ecsv"])
def test_fits_and_ecsv_give_the_table_back(suffix, tmp_path):
    table, path = labels(), tmp_path / f"l.{suffix}"
    slamjax.write_labels(table, path)
    back = slamjax.read_labels(path)
    assert isinstance(back, LabelTable)
    assert back.meta == table.meta
    assert back.colnames == table.colnames
    for name in table.colnames:
        assert getattr(back[name], "unit", None) == getattr(table[name], "unit", None), name
        assert_array_equal(np.asarray(back[name]), np.asarray(table[name]))


def test_text_that_is_no_label_table_is_refused_in_one_sentence(tmp_path):
    slamjax.write_labels(labels(), tmp_path / "l.csv")
    with pytest.raises(slamjax.SlamError, match=r"l\.csv is CSV, which states no units .* write \.fits or \.ecsv"):
        slamjax.read_labels(tmp_path / "l.csv")
    Table({"a": [1]}).write(tmp_path / "other.ecsv", format="ascii.ecsv")
    with pytest.raises(slamjax.SlamError, match=r"other\.ecsv does not name its labels"):
        slamjax.read_labels(tmp_path / "other.ecsv")
    (tmp_path / "cut.ecsv").write_text("# %ECSV 1.0\n# ---\n# datatype:\n")
    with pytest.raises(slamjax.SlamError, match=r"cut\.ecsv cannot be read as ECSV"):
        slamjax.read_labels(tmp_path / "cut.ecsv")


def test_selections_stacks_and_copies_stay_label_tables():
    table = labels()
    for one in (table[:2], table[table["flags"] == 0], vstack([table, table]), table.copy()):
        assert isinstance(one, LabelTable)
        assert one.label_names == ("teff", "logg")


def test_a_data_frame_has_the_flat_columns():
    pytest.importorskip("pandas")
    frame = labels().to_pandas()
    assert list(frame.columns) == labels().flat().colnames


def test_the_card_shows_the_first_stars_and_escapes_their_names():
    table = labels(8, name=["<script>alert(1)</script>", *(f"s{k}" for k in range(7))])
    card = table._repr_html_()
    assert "Labels of 8 stars" in card
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in card
    assert "<script>" not in card
    assert "s3" in card
    assert "s4" not in card
    assert "and 3 more" in card
    assert "teff ± 43 K, logg ± 0.10 dex (median errors)" in card
    assert "6 of 8 without flags; NO_DATA 1, AT_BOUND 1, HIGH_CHI2 1" in card


def test_some_columns_are_shown_as_astropy_shows_them():
    assert "<table" in labels()["teff", "flags"]._repr_html_()
    assert "<table" in labels()["name", "teff", "teff_err", "logg", "logg_err", "flags"]._repr_html_()
    assert "<table" not in labels()._repr_html_()


def test_a_card_of_no_stars_is_no_error():
    assert "Labels of 0 stars" in labels()[:0]._repr_html_()


def test_flags_are_counted():
    assert flag_summary([0, 0, 4]) == "2 of 3 without flags; AT_BOUND 1"
    assert flag_summary([0]) == "1 of 1 without flags"
