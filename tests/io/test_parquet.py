"""Spectra in Parquet: round trips, rows and selections, files of other software, broken files."""

import json
import os

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, Table
from helpers import miles, xp_giants
from hypothesis import given, settings
from spectra_tables import WAVE, assert_same, make, spectra_of_any_kind

import slamjax
from slamjax.errors import SlamError, SlamWarning
from slamjax.io import read_table, write_table
from slamjax.io.parquet import count_parquet, read_parquet, row_groups
from slamjax.io.parquet_writing import write_parquet
from slamjax.spectra.spectra import Spectra


@given(spectra_of_any_kind())
@settings(max_examples=40)
def test_written_spectra_are_read_back_exactly(tmp_path_factory, spectra):
    path = tmp_path_factory.mktemp("parquet") / "stars.parquet"
    write_table(spectra, path)
    assert_same(read_table(path), spectra)


@pytest.mark.parametrize("load", [xp_giants, miles])
def test_real_spectra_are_those_of_the_fits_table(load, tmp_path):
    for name in ("stars.fits", "stars.parquet"):
        write_table(load(), tmp_path / name)
    from_fits, from_parquet = (slamjax.read(tmp_path / name) for name in ("stars.fits", "stars.parquet"))
    assert_same(from_parquet, from_fits)
    assert from_parquet.table.meta["comments"] == from_fits.table.meta["comments"]


def test_masked_text_and_vector_columns_keep_their_values_and_masks(tmp_path):
    table = Table(
        {
            "teff": MaskedColumn([1.0, np.nan, 3], mask=[0, 0, 1], unit=u.K),
            "id": MaskedColumn(np.array([2**62 + 1, 5, -1]), mask=[0, 1, 0]),
            "name": MaskedColumn(["α Cen", "", "c"], mask=[0, 0, 1]),
            "ok": MaskedColumn([True, False, True], mask=[1, 0, 0]),
            "cov": np.arange(18.0, dtype="f4").reshape(3, 2, 3),
            "words": np.array([["a", "bc"], ["d", ""], ["e", "f"]]),
        }
    )
    write_table(make(table=table), tmp_path / "a.parquet")
    again = read_table(tmp_path / "a.parquet").table
    assert again.colnames == table.colnames
    for name in table.colnames:
        mask = np.ma.getmaskarray(np.ma.asarray(table[name]))
        np.testing.assert_array_equal(np.ma.getmaskarray(np.ma.asarray(again[name])), mask)
        np.testing.assert_array_equal(np.asarray(again[name])[~mask], np.asarray(table[name])[~mask])
        assert again[name].dtype.kind == table[name].dtype.kind
        assert again[name].unit == table[name].unit


@pytest.mark.parametrize("rows", [slice(3, 9), slice(140, 20, -7), slice(4, 4), np.array([7, 149, 2]), slice(-3, None)])
def test_rows_across_row_groups_are_those_of_the_whole(tmp_path, rows):
    write_parquet(xp_giants(), tmp_path / "a.parquet", row_group_size=16)
    some = read_parquet(tmp_path / "a.parquet", rows)
    assert_same(some, xp_giants()[rows])
    np.testing.assert_array_equal(some.rows, np.arange(150)[rows])


def test_only_row_groups_with_these_rows_are_read(tmp_path):
    """Bytes of all other row groups are overwritten: page checksums would tell if they were read."""
    path = tmp_path / "a.parquet"
    write_parquet(xp_giants(), path, row_group_size=50)
    assert row_groups(path) == [slice(0, 50), slice(50, 100), slice(100, 150)]
    group = pq.ParquetFile(path).metadata.row_group(1)
    starts = [group.column(k).dictionary_page_offset or group.column(k).data_page_offset for k in range(2)]
    content = bytearray(path.read_bytes())
    content[4 : min(starts)] = bytes(min(starts) - 4)
    path.write_bytes(content)
    assert_same(read_parquet(path, slice(60, 70)), xp_giants()[60:70])
    with pytest.raises(SlamError, match=r"a.parquet cannot be read as Parquet"):
        read_parquet(path, slice(40, 70))


def test_a_selection_keeps_rows_and_reads_spectra_of_those_only(tmp_path):
    write_parquet(xp_giants(), tmp_path / "a.parquet", row_group_size=16)
    expression = "teff < 4500 & logg > 1.5"
    some = read_parquet(tmp_path / "a.parquet", slice(10, 100), select=expression)
    expected = xp_giants()[10:100].select(expression)
    assert_same(some, expected)
    np.testing.assert_array_equal(some.rows, expected.rows)
    assert some.selection == expression
    with pytest.raises(SlamError, match=r"'teff > 1e5' keeps none of the 150 rows of .*, where teff goes from 3"):
        read_parquet(tmp_path / "a.parquet", select="teff > 1e5")
    with pytest.raises(SlamError, match="did you mean 'teff'"):
        read_parquet(tmp_path / "a.parquet", select="tef > 1e5")


def test_parts_are_written_one_after_the_other(tmp_path):
    stars = xp_giants()
    write_parquet((stars[k : k + 40] for k in range(0, 150, 40)), tmp_path / "a.parquet")
    assert_same(read_table(tmp_path / "a.parquet"), stars)
    assert len(row_groups(tmp_path / "a.parquet")) == 4
    with pytest.raises(SlamError, match="other wavelengths, medium or frame"):
        write_parquet([stars, stars.on_pixels(slice(5))], tmp_path / "b.parquet")
    with pytest.raises(SlamError, match="has other columns than"):
        write_parquet([make(), make(table=Table({"x": [1, 2, 3]}))], tmp_path / "b.parquet")
    with pytest.raises(SlamError, match=r"has errors and .* has none"):
        write_parquet([make(ivar=None), make()], tmp_path / "b.parquet")
    assert os.listdir(tmp_path) == ["a.parquet"]


def test_memory_does_not_grow_with_the_row_group(tmp_path, monkeypatch):
    """The end of a row group of 30 MB is read in batches of 256 KiB."""
    monkeypatch.setattr("slamjax.io.parquet._GROUP", 2**18)
    part = xp_giants()
    write_parquet((part for _ in range(40)), tmp_path / "a.parquet", row_group_size=6000)
    path, n = tmp_path / "b.parquet", 40 * 150
    pq.write_table(pq.read_table(tmp_path / "a.parquet"), path, row_group_size=n)
    pool, before = pa.proxy_memory_pool(pa.default_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        some = read_parquet(path, slice(n - 150, n))
    finally:
        pa.set_memory_pool(before)
    assert_same(some, part)
    assert row_groups(path) == [slice(0, n)]
    assert count_parquet(path) == (n, 8 * part.n_pix)
    assert pool.max_memory() < n * part.n_pix * 8 / 4


# ---------------------------------------------------------------------------------------------- files of other software


def lists(values, kind="float64"):
    return pa.array([None if row is None else list(row) for row in values], pa.list_(pa.type_for_alias(kind)))


def write_arrow(path, metadata=None, **columns):
    """A file written by pyarrow alone; ``flux`` and the metadata are given unless they are changed."""
    columns = {"flux": lists(np.ones((3, 4))), **columns}
    table = pa.table({name: values for name, values in columns.items() if values is not None})
    stated = {"wave": WAVE.tolist(), "wave_unit": "nm"} if metadata is None else metadata
    pq.write_table(table.replace_schema_metadata({"slamjax": json.dumps(stated)} if stated else None), path)
    return path


def test_null_and_nan_pixels_and_missing_rows_are_bad_pixels(tmp_path):
    path = write_arrow(
        tmp_path / "a.parquet",
        flux=lists([[1, None, np.nan, 2], None, [1, 2, 3, 4]], "float32"),
        ivar=lists([[1, 1, 1, None], [1, 1, 1, 1], [4, np.nan, -1, np.inf]], "float32"),
    )
    with pytest.warns(SlamWarning, match="1 negative inverse variances"):
        spectra = read_table(path)
    np.testing.assert_array_equal(spectra.ivar, [[1, 0, 0, 0], [0, 0, 0, 0], [4, 0, 0, np.inf]])
    np.testing.assert_array_equal(spectra.flux, [[1, 0, 0, 2], [0, 0, 0, 0], [1, 2, 3, 4]])
    assert spectra.flux.dtype == np.float32


@pytest.mark.parametrize("name", ["error", "flux_error"])
def test_errors_become_inverse_variances(tmp_path, name):
    error = lists([[0.5, 2, 0, np.nan], [np.inf, 1, 4, 0.1], [1, 1, 1, None]])
    spectra = read_table(write_arrow(tmp_path / "a.parquet", **{name: error}))
    np.testing.assert_allclose(spectra.ivar, [[4, 0.25, 0, 0], [0, 1, 0.0625, 100], [1, 1, 1, 0]])
    assert name not in spectra.table.colnames


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32(), 4), pa.large_list(pa.float64()), pa.list_(pa.int16()), pa.list_(pa.float16())]
)
def test_lists_of_every_kind_are_read(tmp_path, kind):
    values = np.arange(12).reshape(3, 4)
    flux = pa.array([row.tolist() for row in values], pa.list_(pa.float32())).cast(kind)
    spectra = read_table(write_arrow(tmp_path / "a.parquet", flux=flux))
    np.testing.assert_array_equal(spectra.flux, values)


def test_a_data_frame_with_wavelengths_in_each_row_is_read(tmp_path):
    frame = pandas.DataFrame({"id": [1, 2], "flux": [[1.0, 2, 3, 4], [5, 6, 7, 8]], "wave": [WAVE.tolist()] * 2})
    frame.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(SlamError, match=r"wavelengths of .*a.parquet state no unit; put .*wave_unit"):
        read_table(tmp_path / "a.parquet")
    path = write_arrow(
        tmp_path / "b.parquet", {"wave_unit": "nm"}, flux=lists(frame["flux"]), wave=lists(frame["wave"])
    )
    spectra = read_table(path)
    np.testing.assert_array_equal(spectra.wave, WAVE)
    np.testing.assert_array_equal(spectra.flux, np.stack(frame["flux"]))
    assert spectra.wave_unit == u.nm


@pytest.mark.parametrize("kind", ["structure of lists", "list of structures"])
def test_nested_spectra_are_found_or_named(tmp_path, kind):
    flux, ivar = np.arange(12.0).reshape(3, 4), np.full((3, 4), 2.0)
    if kind == "structure of lists":
        nested = pa.StructArray.from_arrays([lists(flux), lists(ivar)], ["flux", "ivar"])
    else:
        inside = pa.StructArray.from_arrays([pa.array(flux.ravel()), pa.array(ivar.ravel())], ["flux", "ivar"])
        nested = pa.ListArray.from_arrays(pa.array([0, 4, 8, 12], pa.int32()), inside)
    path = write_arrow(tmp_path / "a.parquet", flux=None, xp=nested, id=pa.array([3, 1, 2]))
    for columns in (None, {"flux": "xp.flux", "ivar": "xp.ivar"}):
        spectra = read_parquet(path, slice(1, 3), columns=columns)
        np.testing.assert_array_equal(spectra.flux, flux[1:])
        np.testing.assert_array_equal(spectra.ivar, ivar[1:])
        assert spectra.table.colnames == ["id"]


def test_columns_that_tables_do_not_hold_are_left_out_with_a_warning(tmp_path):
    path = write_arrow(tmp_path / "a.parquet", id=pa.array([1, 2, 3]), epochs=lists([[1], [2, 3], []]))
    with pytest.warns(SlamWarning, match="columns epochs hold structures or lists of different lengths"):
        assert read_table(path).table.colnames == ["id"]


# ----------------------------------------------------------------------------------------------------- what goes wrong

RAGGED = lists([[1.0, 2, 3, 4], [1, 2, 3], [1, 2, 3, 4]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flux": None, "teff": pa.array([1.0, 2, 3])}, "a.parquet has no column 'flux'; it has: teff"),
        ({"flux": pa.array([1.0, 2, 3])}, "column 'flux' of .*a.parquet holds double, no lists of numbers"),
        ({"flux": pa.array([["a"], ["b"], ["c"]])}, "column 'flux' of .*a.parquet holds lists of string"),
        ({"flux": RAGGED}, "column 'flux' of .*a.parquet has 3 pixels instead of 4 in row 1; "),
        ({"ivar": RAGGED}, "column 'ivar' of .*a.parquet has 3 pixels instead of 4 in row 1; "),
        ({"wave": lists([WAVE, WAVE, WAVE + 1])}, "column 'wave' of .*a.parquet has other wavelengths .* in row 2"),
        ({"metadata": {}}, "a.parquet states no wavelengths; add a column 'wave'"),
        ({"metadata": {"wave": WAVE.tolist()}}, "wavelengths of .*a.parquet state no unit"),
        ({"metadata": {"wave": WAVE.tolist(), "wave_unit": "K"}}, "'K' of .*a.parquet is not a unit of length"),
        ({"metadata": {"wave": [3, 2, 1, 0], "wave_unit": "nm"}}, "wavelengths of .*a.parquet do not increase"),
        ({"metadata": {"wave": "abc", "wave_unit": "nm"}}, "metadata 'slamjax' of .*a.parquet cannot be read"),
        ({"metadata": {"wave": WAVE.tolist(), "wave_unit": "nm", "medium": "aether"}}, "medium of .*'aether'"),
        ({"metadata": {"wave": WAVE.tolist(), "wave_unit": "nm", "crc32": 1}}, "checksum does not match"),
    ],
)
def test_errors_name_the_file_the_column_and_the_row(tmp_path, change, message):
    with pytest.raises(SlamError, match=message):
        read_table(write_arrow(tmp_path / "a.parquet", **change))


def test_wrong_rows_can_be_flagged_instead(tmp_path):
    path = write_arrow(
        tmp_path / "a.parquet", flux=RAGGED, wave=lists([WAVE, WAVE, WAVE[::-1]]), problem=pa.array(["", "x", "y"])
    )
    spectra = read_table(path, bad_rows="flag")
    np.testing.assert_array_equal(spectra.good.any(axis=1), [True, False, False])
    assert list(spectra.table["problem"]) == [
        "", "flux has 3 pixels instead of 4", "wave has other wavelengths than the rows before it",
    ]  # fmt: skip


@pytest.mark.parametrize("part", [0, 3, 4, 10, 0.3, 0.6, 0.9, 0.99, 0.9999])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, part):
    write_table(xp_giants(), tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: part if isinstance(part, int) else int(part * len(whole))])
    with pytest.raises(SlamError, match=r"cut\.parquet"):
        read_table(tmp_path / "cut.parquet")


def test_damaged_bytes_are_found_by_checksums(tmp_path):
    path = tmp_path / "a.parquet"
    write_table(xp_giants(), path)
    whole, rng = path.read_bytes(), np.random.default_rng(1)
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for place in rng.integers(4, footer, 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1 :])
        with pytest.raises(SlamError, match=r"a.parquet cannot be read as Parquet"):
            read_table(path)


def test_a_unit_that_is_not_as_it_was_written_is_told(tmp_path):
    path = tmp_path / "a.parquet"
    write_table(make(table=Table({"teff": [1.0, 2, 3] * u.K})), path)
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "teff", table["teff"]), path)
    with pytest.raises(SlamError, match=r"column 'teff' of .*a.parquet is in no unit, but was written in K"):
        read_table(path)
    pq.write_table(table.drop_columns(["teff"]).append_column("t", pa.array([1, 2, 3])), path)
    assert read_table(path).table.colnames == ["t"]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (np.array([1j, 2, 3]), "column 'x' of spectra holds complex128 values, which Parquet cannot"),
        (np.array([{}, 1, "a"], object), "column 'x' of spectra holds object values"),
        (np.zeros((3, 0)), "column 'x' of spectra has cells .* without values"),
    ],
)
def test_columns_that_parquet_cannot_hold_are_errors(tmp_path, column, message):
    with pytest.raises(SlamError, match=message):
        write_table(make(table=Table({"x": column})), tmp_path / "a.parquet")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["flux", "ivar", "flux_error"])
def test_a_column_with_a_reserved_name_is_an_error(tmp_path, name):
    with pytest.raises(SlamError, match=f"has a column '{name}', which is kept for the spectra; rename it"):
        write_table(make(table=Table({name: [1, 2, 3]})), tmp_path / "a.parquet")


def test_a_full_disk_keeps_the_old_file_and_leaves_no_partial_file(tmp_path):
    """A limit on the file size makes the write fail half-way, as a full disk does."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "a.parquet"
    write_table(make(), path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(SlamError, match=r"cannot write .*a.parquet: File too large; nothing was written"):
            write_table(miles(), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.parquet"]


def test_a_table_of_parquet_is_fitted_and_joined_like_one_of_fits(tmp_path):
    write_table(xp_giants()[:5], tmp_path / "a.parquet")
    spectra = slamjax.read(tmp_path / "a.parquet")
    catalog = {"source_id": np.asarray(spectra.table["source_id"])[::-1], "rank": np.arange(5.0)}
    joined = slamjax.read(tmp_path / "a.parquet", labels=catalog, on="source_id")
    np.testing.assert_array_equal(joined.values("rank"), np.arange(5.0)[::-1])
    assert isinstance(joined, Spectra)


def test_parts_that_come_one_after_the_other_are_one_table(tmp_path):
    stars = xp_giants()
    write_table((stars[start : start + 40] for start in range(0, len(stars), 40)), tmp_path / "a.parquet")
    np.testing.assert_array_equal(read_table(tmp_path / "a.parquet").flux, stars.flux)
