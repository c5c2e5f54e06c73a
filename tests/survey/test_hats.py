"""Label tables to HATS catalogues."""

import os

import lsdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from commands import run

import slamjax
from slamjax.errors import SlamError, SlamWarning
from slamjax.io import LabelTable
from slamjax.io.label_arrow import to_arrow
from slamjax.survey import to_hats


def labels(n=60, seed=0):
    rng = np.random.default_rng(seed)
    columns = {"row": np.arange(n), "id": [f"star{k}" for k in range(n)]}
    columns |= {"ra": rng.uniform(0, 360, n), "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, n)))}
    columns |= {"teff": rng.uniform(4000, 5000, n) * u.K, "teff_err": np.full(n, 50.0) * u.K}
    columns |= {"flags": np.zeros(n, np.int32), "cov": rng.normal(size=(n, 1, 1))}
    return LabelTable(columns, meta={"labels": "teff"})


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_label_tables_of_all_kinds_become_one_catalogue(tmp_path):
    table = labels(90)
    table["ra"][5] = np.nan
    slamjax.write_labels(table[:30], tmp_path / "a.fits")
    slamjax.write_labels(table[30:60], tmp_path / "b.ecsv")
    (tmp_path / "c").mkdir()
    pq.write_table(to_arrow(table[60:]), tmp_path / "c" / "part-0.parquet", row_group_size=20)
    with pytest.warns(SlamWarning, match="1 rows have no position"):
        told = run(
            "to-hats", *(tmp_path / name for name in ("a.fits", "b.ecsv", "c")), "-o", tmp_path / "stars", "--rows", 40
        )
    assert told.startswith("89 rows\n")
    assert sorted(os.listdir(tmp_path)) == ["a.fits", "b.ecsv", "c", "stars"]
    catalog = lsdb.open_catalog(tmp_path / "stars")
    assert catalog.npartitions > 1
    again = catalog.compute(progress_bar=False).sort_values("row")
    known = np.delete(np.arange(90), 5)
    for name in ("id", "ra", "dec", "teff"):
        np.testing.assert_array_equal(
            again[name].to_numpy(), np.asarray(getattr(table[name], "value", table[name]))[known]
        )
    assert catalog.original_schema.field("teff").metadata == {b"unit": b"K"}
    assert catalog.hc_structure.catalog_info.extra_dict()["slamjax_labels"] == "teff [K]"
    with pytest.raises(SlamError, match="stars exists; give the name of a new folder"):
        to_hats(tmp_path / "a.fits", tmp_path / "stars")


@pytest.mark.parametrize(
    ("change", "output", "message"),
    [
        (lambda table: table.remove_column("ra"), "out", "a.fits has no column 'ra'; a catalogue needs positions"),
        (lambda table: table["dec"].fill(np.nan), "out", "no row of .*a.fits has a position"),
        (lambda table: None, "two words", "'two words' cannot be the name of a catalogue"),
        (lambda table: None, "no/out", "does not exist; create it first"),
    ],
)
def test_what_makes_no_catalogue_is_told_and_nothing_is_left(tmp_path, change, output, message):
    table = labels(5)
    change(table)
    slamjax.write_labels(table, tmp_path / "a.fits")
    with pytest.raises(SlamError, match=message):
        to_hats(tmp_path / "a.fits", tmp_path / output)
    assert os.listdir(tmp_path) == ["a.fits"]


def test_files_with_other_columns_are_told(tmp_path):
    slamjax.write_labels(labels(5), tmp_path / "a.fits")
    other = labels(5)
    other["x"] = np.arange(5)
    slamjax.write_labels(other, tmp_path / "b.fits")
    (tmp_path / "c.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(SlamError, match=r"b.fits has other columns than .*a.fits \(x\)"):
        to_hats([tmp_path / "a.fits", tmp_path / "b.fits"], tmp_path / "out")
    with pytest.raises(SlamError, match=r"c.parquet cannot be read as a label table"):
        to_hats(tmp_path / "c.parquet", tmp_path / "out")
