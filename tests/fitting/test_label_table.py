"""The label table and its file."""

import dataclasses
import os

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Column, MaskedColumn, QTable, Table, vstack
from models import giants_model, held_out

from slamjax.errors import SlamError
from slamjax.fitting import fit
from slamjax.fitting.label_table import label_table
from slamjax.fitting.postprocess import FitResult
from slamjax.flags import FLAG_MEANINGS, Flag, flag_names
from slamjax.io.labels import read_labels, write_labels
from slamjax.spectra.spectra import Spectra

N = 4


def spectra(**columns):
    table = Table({"name": ["a", "bb", "", "d"], "gaia_id": np.array([7, 2**62 + 1, 0, 3]), "mag": np.ones(N)})
    table["teff"] = Column([4000.0, 5000, np.nan, 4500], unit="K")
    for name, column in columns.items():
        table[name] = column
    return Spectra(np.arange(5.0) + 1, np.ones((N, 5)), None, table, "nm", rows=[3, 5, 8, 9])


def fitted(stars=None, units=("K", "")):
    """Four stars, the third a failure and the fourth without a constraint on logg."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(N, 2, 2))
    covariance = root @ np.swapaxes(root, 1, 2)
    covariance[2] = [[np.inf, np.nan], [np.nan, np.inf]]
    covariance[3] = [[4, np.nan], [np.nan, np.inf]]
    labels = rng.normal(size=(N, 2))
    labels[2] = np.nan
    result = FitResult(
        labels=labels,
        covariance=covariance,
        half_widths=np.array([[1.0, 1.1], [2.0, 3.0]]) * np.sqrt(np.einsum("nll->nl", covariance))[:, None],
        chi2=np.array([1.0, 2, np.nan, 4]),
        n_pix=np.array([5, 5, 0, 5]),
        snr=np.array([10, 20, np.nan, 40], np.float32),
        n_iter=np.array([3, 4, 60, 5]),
        flags=np.array([0, Flag.AT_BOUND | Flag.HIGH_CHI2, Flag.NO_DATA, Flag.UNCONSTRAINED]),
        noise_scale=np.array([1.0, 1.2, np.nan, 0.9]),
    )
    return label_table(("teff", "logg"), units, spectra() if stars is None else stars, result)


def test_flags_are_single_bits_and_each_is_explained():
    assert [int(flag) for flag in Flag] == [2**k for k in range(len(Flag))]
    assert set(FLAG_MEANINGS) == set(Flag)
    assert len(set(FLAG_MEANINGS.values())) == len(Flag)


def test_coordinates_and_booleans_of_the_input_are_kept():
    some = spectra(ra=[1.0, 2, 3, 4], dec=[5.0, 6, 7, 8], mask_ignored=[True, False, False, True], gmag=[9.0] * 4)
    table = fitted(some)
    assert table["ra"].tolist() == [1, 2, 3, 4]
    assert table["mask_ignored"].tolist() == [True, False, False, True]
    assert "gmag" not in table.colnames


def test_flags_have_names():
    assert flag_names(0) == ""
    assert flag_names(Flag.AT_BOUND | Flag.HIGH_CHI2) == "AT_BOUND, HIGH_CHI2"
    assert flag_names(np.int32(2)) == "NOT_CONVERGED"


def test_columns_are_in_the_documented_order():
    table = fitted()
    assert table.colnames == [
        *("row", "name", "gaia_id"),
        *("teff", "teff_err", "teff_err68", "teff_err95", "teff_ref"),
        *("logg", "logg_err", "logg_err68", "logg_err95"),
        *("chi2", "n_pix", "snr", "unlike", "n_iter", "flags", "noise_scale", "cov"),
    ]
    assert list(table["row"]) == [3, 5, 8, 9]  # of the file, not of the selection
    assert list(table["name"]) == ["a", "bb", "", "d"]
    assert table["gaia_id"][1] == 2**62 + 1
    assert {table[name].unit for name in ("teff", "teff_err", "teff_err68", "teff_err95", "teff_ref")} == {u.K}
    assert {table[name].unit for name in ("logg", "logg_err", "logg_err95")} == {u.dimensionless_unscaled}
    assert table["cov"].shape == (N, 2, 2)
    assert table.meta["labels"] == "teff,logg"


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("dex", u.dex), ("dex(cm / s2)", u.dex), ("log(cm.s**-2)", u.dimensionless_unscaled), ("mag", u.mag)],
)
def test_label_columns_are_quantities_that_can_be_calculated_with(unit, expected):
    table = fitted(units=("K", unit))
    assert table["logg"].unit == table["logg_err"].unit == expected
    pull = (table["logg"] - np.median(table["logg"])) / table["logg_err"]
    assert pull.unit == u.dimensionless_unscaled
    assert np.abs(table["logg"]).unit == expected
    assert isinstance(table["logg"].value, np.ndarray)
    assert vstack([table, table])["logg"].unit == expected


def test_errors_are_the_diagonal_of_the_covariance():
    table = fitted()
    np.testing.assert_array_equal(table["teff_err"].value, np.sqrt(table["cov"][:, 0, 0]))
    np.testing.assert_array_equal(table["logg_err"], np.sqrt(table["cov"][:, 1, 1]))
    assert np.isposinf(table["logg_err"][3])


def test_a_masked_integer_label_is_unknown():
    """A masked integer reads as 0 in the plain columns, which would be a label of 0."""
    masked = MaskedColumn([1, 2, 3, 4], mask=[False, True, False, False])
    np.testing.assert_array_equal(fitted(spectra(logg=masked))["logg_ref"], [1, np.nan, 3, 4])


def test_a_label_column_of_strings_is_no_reference():
    assert "logg_ref" not in fitted(spectra(logg=["dwarf", "giant", "giant", "?"])).colnames


def test_columns_of_the_input_do_not_replace_those_of_the_fit():
    table = fitted(spectra(row=[1, 1, 1, 1], flags=[9, 9, 9, 9], n_pix=["x", "x", "x", "x"]))
    assert list(table["row"]) == [3, 5, 8, 9]
    assert table["flags"][0] == 0
    assert table["n_pix"][0] == 5


@pytest.mark.parametrize("unit", ["", "dex", "dex(cm / s2)", "log(cm.s**-2)", "mag"])
def test_a_file_reads_back_exactly(tmp_path, unit):
    table = fitted(units=("K", unit))
    write_labels(table, tmp_path / "labels.fits")
    back = read_labels(tmp_path / "labels.fits")
    assert isinstance(back, QTable)
    assert back.colnames == table.colnames
    assert back.meta == table.meta
    for name in table.colnames:
        assert type(back[name]) is type(table[name]), name
        assert getattr(back[name], "unit", None) == getattr(table[name], "unit", None)
        assert back[name].dtype == table[name].dtype or table[name].dtype.kind == "U"
        np.testing.assert_array_equal(np.asarray(back[name]), np.asarray(table[name]))
    assert os.listdir(tmp_path) == ["labels.fits"]


def test_the_file_explains_itself(tmp_path):
    write_labels(fitted(), tmp_path / "labels.fits")
    with fits.open(tmp_path / "labels.fits", checksum=True) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "LABELS"]
        header = hdus["LABELS"].header
        assert header["LABELS"] == "teff,logg"
        message = "".join(str(line) for line in header["COMMENT"]).replace(" ", "")  # lines break at spaces
    for flag in Flag:
        assert f"flags & {int(flag)}: {flag.name}: {FLAG_MEANINGS[flag]}".replace(" ", "") in message


def test_writing_does_not_change_the_table(tmp_path):
    table = fitted()
    write_labels(table, tmp_path / "labels.fits")
    assert table.meta == {"labels": "teff,logg"}


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_labels(fitted(), tmp_path / "labels.fits")
    before = (tmp_path / "labels.fits").read_bytes()
    broken = fitted()
    broken["what"] = np.array([{}, {}, {}, {}], dtype=object)
    with pytest.raises(Exception, match=r"(?i)object|dtype|column|type"):
        write_labels(broken, tmp_path / "labels.fits")
    assert (tmp_path / "labels.fits").read_bytes() == before
    assert os.listdir(tmp_path) == ["labels.fits"]


def test_files_without_a_label_table_are_errors(tmp_path):
    with pytest.raises(SlamError, match=r"nothing.fits: no such file"):
        read_labels(tmp_path / "nothing.fits")
    fits.PrimaryHDU().writeto(tmp_path / "other.fits")
    with pytest.raises(SlamError, match=r"other.fits has no HDU LABELS; it is not a table that slamjax fit"):
        read_labels(tmp_path / "other.fits")
    (tmp_path / "text.fits").write_text("hello")
    with pytest.raises(SlamError, match=r"text.fits cannot be read: it is no FITS file"):
        read_labels(tmp_path / "text.fits")


def test_identifiers_without_a_table_are_row_numbers():
    table = fitted(Spectra(np.arange(5.0) + 1, np.ones((N, 5)), wave_unit="nm"))
    assert table.colnames[:3] == ["row", "id", "teff"]
    assert "teff_ref" not in table.colnames


def test_units_unknown_to_astropy_are_accepted():
    """Catalogues write log(cm.s**-2) for log g."""
    spectra = held_out()[:3]
    table = spectra.table.copy()
    table["logg"].unit = "log(cm.s**-2)"
    table["teff"].unit = "mK"
    odd = dataclasses.replace(spectra, table=table)
    fitted = fit(giants_model(), odd, n_starts=1)
    np.testing.assert_allclose(fitted["teff_ref"].value, spectra.values("teff") / 1000, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(fitted["logg_ref"]), spectra.values("logg"), rtol=1e-6)


def test_a_label_in_an_incompatible_unit_is_an_error_before_the_fit():
    table = held_out().table.copy()
    table["teff"].unit = "km"
    with pytest.raises(SlamError, match=r"'teff' of .* is in km, the model's label in K"):
        fit(giants_model(), dataclasses.replace(held_out(), table=table))
