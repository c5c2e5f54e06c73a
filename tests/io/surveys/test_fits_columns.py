"""Columns of FITS tables, compared with astropy."""

import gzip

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from survey_files import BOSS, DESI, LAMOST

from slamjax.io.surveys.fits_columns import column_names, read_columns

KINDS = {
    "E": np.float32, "D": np.float64, "I": np.int16, "J": np.int32, "K": np.int64, "B": np.uint8, "3E": np.float32,
    "5K": np.int64, "7A": "U7", "L": bool, "2L": bool, "17X": bool, "PD()": object, "C": np.complex64,
}  # fmt: skip


def values_of(form, n, rng):
    kind = KINDS[form]
    if kind is object:
        array = np.empty(n, object)
        array[:] = [rng.normal(size=k % 3) for k in range(n)]
        return array
    if kind == "U7":
        return np.array([f"s{k}" for k in range(n)])
    size = int("".join(c for c in form if c.isdigit()) or 1)
    values = rng.normal(size=(n, size)) * 100
    return (
        (values > 0 if kind is bool else values.astype(kind)).reshape(n, size)
        if size > 1
        else values[:, 0].astype(kind)
    )


@given(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=12), st.integers(0, 5), st.integers(0, 99))
def test_columns_of_every_type_agree_with_astropy(tmp_path_factory, forms, n, seed):
    rng = np.random.default_rng(seed)
    columns = [fits.Column(f"Col_{k}", form, array=values_of(form, n, rng)) for k, form in enumerate(forms)]
    path = tmp_path_factory.mktemp("columns") / "table.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns, nrows=n)]).writeto(path)
    with fits.open(path, memmap=False) as hdus:
        assert column_names(hdus[1]) == {f"col_{k}" for k in range(len(forms))}
        for k, form in enumerate(forms):  # one by one: what is not plain must not carry others over
            result, expected = read_columns(hdus[1], [f"COL_{k}"])[f"COL_{k}"], hdus[1].data[f"Col_{k}"]
            if KINDS[form] is object:
                assert all(np.array_equal(a, b) for a, b in zip(result, expected, strict=True))
            else:
                np.testing.assert_array_equal(result.astype(str) if KINDS[form] == "U7" else result, expected)


@pytest.mark.parametrize(
    ("path", "number"), [(LAMOST[0], 1), (BOSS, 1), (BOSS, 2), (DESI, "FIBERMAP"), (DESI, "SCORES")]
)
def test_columns_of_survey_files_agree_with_astropy(path, number):
    with fits.open(path, memmap=False) as hdus:
        names = [column.name for column in hdus[number].columns]
        result = read_columns(hdus[number], names)
        for name in names:
            expected = hdus[number].data[name]
            values = np.char.strip(result[name].astype(str)) if result[name].dtype.kind == "S" else result[name]
            np.testing.assert_array_equal(values, np.char.strip(expected) if expected.dtype.kind == "U" else expected)


def test_scaled_columns_compressed_files_and_tables_between_others(tmp_path):
    unsigned = np.array([1, 40_000, 65_535], np.uint16)
    tables = [fits.BinTableHDU.from_columns([fits.Column("x", "I", array=unsigned + k, bzero=32768)]) for k in range(3)]
    tables[1].columns.add_col(fits.Column("y", "E", array=[1.5, 2.5, 3.5]))
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(tmp_path / "table.fits")
    (tmp_path / "table.fits.gz").write_bytes(gzip.compress((tmp_path / "table.fits").read_bytes()))
    for name in ("table.fits", "table.fits.gz"):
        with fits.open(tmp_path / name) as hdus:
            np.testing.assert_array_equal(read_columns(hdus[1], ["x"])["x"], unsigned)
            np.testing.assert_array_equal(read_columns(hdus[2], ["y"])["y"], [1.5, 2.5, 3.5])
            np.testing.assert_array_equal(read_columns(hdus[3], ["x"])["x"], hdus[3].data["x"])


@pytest.mark.filterwarnings("ignore:File may have been truncated")
def test_missing_columns_and_truncated_files_are_errors(tmp_path):
    cut = tmp_path / "cut.fits"
    cut.write_bytes(LAMOST[0].read_bytes()[:-8000])
    with fits.open(cut, memmap=False) as hdus:
        with pytest.raises(KeyError, match="no_such"):
            read_columns(hdus[1], ["no_such"])
        assert read_columns(hdus[1], ["no_such"], required=False) == {}
        with pytest.raises(OSError, match="ends before its table does"):
            read_columns(hdus[1], ["FLUX"])
        assert column_names(hdus[0]) == set()
