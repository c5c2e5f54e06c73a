import dataclasses
import gzip
import tracemalloc

import numpy as np
import pytest
from helpers import DATA, xp_giants
from models import giants_model, miles_model

import slamjax
from slamjax import SlamError
from slamjax.fitting import Fitter, fitter, parts
from slamjax.fitting.starts import make_templates
from slamjax.io import count_rows
from slamjax.preprocessing import MatchResolution, Recipe

TABLE = DATA / "xp_giants.fits"


def test_rows_of_a_table_are_read_as_from_the_whole():
    whole, part = xp_giants(), slamjax.read_table(TABLE, slice(40, 55))
    np.testing.assert_array_equal(part.flux, whole.flux[40:55])
    np.testing.assert_array_equal(part.ivar, whole.ivar[40:55])
    np.testing.assert_array_equal(part.rows, np.arange(40, 55))
    assert part.table.colnames == whole.table.colnames
    for name in whole.table.colnames:
        np.testing.assert_array_equal(part.table[name], whole.table[name][40:55])
        assert part.table[name].unit == whole.table[name].unit
    np.testing.assert_array_equal(part.digests(), whole[40:55].digests())


@pytest.mark.parametrize(
    ("kind", "rows"), [("fits", slice(10, 50, 7)), ("fits.gz", slice(20, 31)), ("fits", slice(5, 5))]
)
def test_separate_rows_compressed_files_and_no_rows(kind, rows, tmp_path):
    path = tmp_path / f"stars.{kind}"
    raw = TABLE.read_bytes()
    path.write_bytes(gzip.compress(raw) if kind.endswith("gz") else raw)
    part, whole = slamjax.read_table(path, rows), xp_giants()
    np.testing.assert_array_equal(part.rows, np.arange(150)[rows])
    np.testing.assert_array_equal(part.flux, whole.flux[rows])
    np.testing.assert_array_equal(part.table["logg"], whole.table["logg"][rows])


def test_a_part_needs_memory_for_its_rows_only(tmp_path):
    path, n, n_pix = tmp_path / "long.fits", 3000, 1000
    rng = np.random.default_rng(0)
    flux = rng.random((n, n_pix))
    slamjax.write_table(slamjax.Spectra(np.arange(n_pix) + 400.0, flux, np.ones((n, n_pix)), wave_unit="nm"), path)
    slamjax.read_table(path, slice(0, 1))  # what is imported once does not count
    tracemalloc.start()
    part = slamjax.read_table(path, slice(n - 20, n))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(part) == 20
    assert peak < path.stat().st_size / 10


def test_a_truncated_file_is_an_error(tmp_path):
    path = tmp_path / "cut.fits"
    path.write_bytes(TABLE.read_bytes()[:200_000])
    with pytest.raises(SlamError, match=r"cut\.fits"):
        slamjax.read_table(path, slice(100, 150))


def test_rows_are_counted_without_reading_them():
    count, width = count_rows(TABLE)
    assert count == 150
    assert width > 343 * 8


@pytest.mark.slow
@pytest.mark.parametrize("select", ["", "logg < 2"])
def test_parts_give_the_same_labels_as_the_whole_table(select):
    model, reports = giants_model(), []
    parts = slamjax.fit_table(model, TABLE, select=select, part_size=60, on_progress=lambda *at: reports.append(at))
    stars = xp_giants().select(select) if select else xp_giants()
    whole = slamjax.fit(model, stars)
    assert parts.colnames == whole.colnames
    np.testing.assert_array_equal(parts["row"], whole["row"])
    np.testing.assert_array_equal(parts["apogee_id"], whole["apogee_id"])
    fine = np.asarray(whole["flags"]) == 0
    off = np.abs(parts["teff"] - whole["teff"])[fine] / whole["teff_err"][fine]
    assert np.percentile(off, 90) < 0.05  # sums of another batch are rounded elsewhere, and minima are flat
    assert reports == sorted(reports)
    assert reports[-1] == (150, 150)
    assert len({done for done, _ in reports}) >= 3


@pytest.mark.slow
def test_templates_are_made_once_for_all_parts(monkeypatch):
    made = []
    monkeypatch.setattr(fitter, "make_templates", lambda *given: made.append(1) or make_templates(*given))
    whole, parts = Fitter(giants_model(), n_starts=1), Fitter(giants_model(), n_starts=1)
    assert len(slamjax.fit_table(whole, TABLE)) == len(slamjax.fit_table(parts, TABLE, part_size=50)) == 150
    assert len(made) == 2


def test_parts_are_as_large_as_memory_allows():
    assert parts.rows_within(1.0, 4096) == 2**30 // (4096 * parts._COPIES)
    assert parts.rows_within(1e-9, 4096) == 512


def test_a_part_without_a_selected_row_is_skipped():
    stars = xp_giants()
    name = str(stars.table["apogee_id"][77])
    found = slamjax.fit_table(giants_model(), TABLE, select=f"apogee_id == '{name}'", part_size=10)
    assert list(found["row"]) == [77]


def test_an_empty_selection_is_an_error():
    with pytest.raises(SlamError, match=r"keeps none of the 150 rows .*; loosen it"):
        slamjax.fit_table(giants_model(), TABLE, select="logg > 100")


def test_a_file_that_is_no_table_is_an_error(tmp_path):
    (tmp_path / "x.fits").write_text("no")
    with pytest.raises(SlamError, match=r"x\.fits cannot be read: it is no FITS file"):
        slamjax.fit_table(giants_model(), tmp_path / "x.fits")


# --- survey files


FILES = [str(DATA / "surveys" / name) for name in ("3709013.fits", "3703110.fits")]


def test_files_are_fitted_in_the_given_order_for_any_part_size():
    whole = slamjax.fit(miles_model(), slamjax.read(FILES))
    found = slamjax.fit_files(miles_model(), FILES)
    assert found["file"].tolist() == ["3709013.fits", "3703110.fits"]
    parted = slamjax.fit_files(miles_model(), FILES, part_size=1)
    assert parted["row"].tolist() == [0, 1]
    for name in ("teff", "logg", "fe_h", "rv", "rv_err"):
        np.testing.assert_allclose(np.asarray(found[name]), np.asarray(whole[name]))
        # the second is on a grid of its own then
        np.testing.assert_allclose(np.asarray(parted[name]), np.asarray(whole[name]), rtol=0.02, atol=0.02)


def test_files_of_several_surveys_are_fitted_in_one_go():
    """Each by itself: they have no grid in common."""
    infrared = str(DATA / "surveys" / "apVisit-r13-9518-57729-104.fits")
    found = slamjax.fit_files(miles_model(), [FILES[0], infrared, FILES[1]])
    assert [str(name) for name in found["file"]] == ["3709013.fits", "apVisit-r13-9518-57729-104.fits", "3703110.fits"]
    assert found["row"].tolist() == [0, 1, 2]
    assert found["flags"][1] == slamjax.Flag.NO_DATA
    assert "do not" in found["problem"][1] or "none of" in found["problem"][1]
    alone = slamjax.fit_files(miles_model(), FILES[1:])
    np.testing.assert_allclose(np.asarray(found["teff"])[2], np.asarray(alone["teff"])[0], rtol=1e-5)
    with pytest.raises(SlamError, match=r"15\d\d\d"):
        slamjax.fit_files(miles_model(), [infrared])


def test_broken_files_are_flagged_rows_wherever_they_are(tmp_path):
    broken = tmp_path / "broken.fits"
    broken.write_bytes(b"SIMPLE  =")
    found = slamjax.fit_files(miles_model(), [str(broken), FILES[1]], part_size=1)
    assert found["file"].tolist() == ["broken.fits", "3703110.fits"]
    assert found["flags"][0] == slamjax.Flag.NO_DATA
    assert "broken.fits" in found["problem"][0]
    assert np.isnan(found["teff"][0])
    assert np.isfinite(found["teff"][1])
    with pytest.raises(SlamError, match=r"broken\.fits"):
        slamjax.fit_files(miles_model(), [str(broken)])


def test_a_line_spread_that_was_measured_replaces_the_surveys_nominal_one(recwarn):
    nominal, sharper, wider = (slamjax.fit_files(miles_model(), FILES, fwhm=fwhm) for fwhm in (None, 1.5, 4.0))
    assert not [w for w in recwarn if "line spread" in str(w.message)]
    # spectra are blurred to the model's 2.5 Å, or the model to the spectra's 4 Å
    assert np.all(nominal["chi2"] != sharper["chi2"])
    assert np.all(nominal["chi2"] != wider["chi2"])


def test_files_without_a_line_spread_are_named(tmp_path):
    model = dataclasses.replace(
        miles_model(),
        info=dataclasses.replace(miles_model().info, recipe=Recipe((MatchResolution(5.0, "Angstrom"),)), fwhm=5.0),
    )
    path = tmp_path / "stars.fits"
    slamjax.write_table(dataclasses.replace(slamjax.read(FILES), fwhm=None), path)
    with pytest.warns(slamjax.SlamWarning, match="does not state its line spread"):
        slamjax.fit_table(model, path)
