import json
import os
import shutil
import sys
import tracemalloc

import numpy as np
import pytest
from astropy.io import fits
from helpers import DATA, xp_giants
from models import tiny_miles_model
from survey.comparisons import assert_same
from survey.conftest import SIZE, N

import slamjax
from slamjax import Flag, SlamError, SlamWarning
from slamjax.survey import Reading, collect_shards, runner
from slamjax.survey.cluster import SetAside
from slamjax.survey.engines import Fits
from slamjax.survey.parts import shard_folders, shard_of

FILES = [str(DATA / "surveys" / name) for name in ("3709013.fits", "3703110.fits")]


def stopped(monkeypatch, after):
    """Let a run stop when it wants to keep one more part than ``after``."""
    write, kept = runner.write_part, []

    def stop(*given):
        if len(kept) == after:
            raise KeyboardInterrupt
        kept.append(given)
        write(*given)

    monkeypatch.setattr(runner, "write_part", stop)


def test_a_table_is_fitted_as_by_one_call(expected, fitter, table):
    whole = fitter.fit(slamjax.read_table(table))
    assert expected.colnames == whole.colnames
    np.testing.assert_array_equal(expected["row"], np.arange(N))
    np.testing.assert_array_equal(expected["apogee_id"], whole["apogee_id"])
    off = np.abs(expected["teff"] - whole["teff"]) / whole["teff_err"]
    assert np.nanmax(off) < 1e-3


def test_a_stopped_run_goes_on_with_the_same_result(expected, fitter, table, tmp_path, monkeypatch):
    out = tmp_path / "labels.fits"
    with monkeypatch.context() as patched:
        stopped(patched, 2)
        with pytest.raises(KeyboardInterrupt):
            slamjax.fit_survey(fitter, table, out, piece_size=SIZE)
    assert os.listdir(tmp_path) == [".labels.fits.parts"]
    with pytest.raises(SlamError, match="parts of another run \\(different piece_size, pieces\\)"):
        slamjax.fit_survey(fitter, table, out, piece_size=SIZE * 2)
    reports = []
    report = slamjax.fit_survey(fitter, table, out, piece_size=SIZE, on_progress=lambda *at: reports.append(at))
    assert report.done_now == N - 2 * SIZE
    assert reports == sorted(reports)
    assert (reports[0][0], reports[-1]) == (2 * SIZE, (N, N))
    assert sorted(os.listdir(tmp_path)) == ["labels.fits", "labels.fits.report.json"]
    assert_same(slamjax.read_labels(out), expected)


def test_a_damaged_part_is_done_again(expected, fitter, table, tmp_path, monkeypatch):
    out = tmp_path / "labels.fits"
    with monkeypatch.context() as patched:
        stopped(patched, 3)
        with pytest.raises(KeyboardInterrupt):
            slamjax.fit_survey(fitter, table, out, piece_size=SIZE)
    first, second, _ = sorted((tmp_path / ".labels.fits.parts").glob("*.part"))
    first.write_bytes(first.read_bytes()[:-20])
    data = bytearray(second.read_bytes())
    data[data.find(b"column3") + 200] ^= 1
    second.write_bytes(data)
    with pytest.warns(SlamWarning, match="is damaged; its spectra are done again"):
        report = slamjax.fit_survey(fitter, table, out, piece_size=SIZE)
    assert report.done_now == N - SIZE
    assert_same(slamjax.read_labels(out), expected)


def test_pieces_that_were_set_aside_are_tried_again_by_the_same_call(expected, fitter, table, tmp_path, monkeypatch):
    out = tmp_path / "labels.fits"

    def one_is_deadly(client, job, pieces):
        for piece in pieces:
            done = runner.do_piece(Fits(fitter), job.reading, piece, runner.read_piece(job.reading, piece))
            yield piece, SetAside("3 workers died with this piece") if piece.number == 1 else done, 0

    with monkeypatch.context() as patched:
        patched.setattr(runner, "on_cluster", one_is_deadly)
        report = slamjax.fit_survey(fitter, table, out, piece_size=SIZE, client="a cluster")
    assert report.set_aside == (f"rows 40 to 79 of {table}",)
    assert report.file is not None
    assert json.loads(report.file.read_text())["set_aside"] == list(report.set_aside)
    assert np.sum(slamjax.read_labels(out)["problem"] == "3 workers died with this piece") == SIZE
    report = slamjax.fit_survey(fitter, table, out, piece_size=SIZE)
    assert (report.done_now, report.set_aside) == (SIZE, ())
    assert sorted(os.listdir(tmp_path)) == ["labels.fits", "labels.fits.report.json"]
    assert_same(slamjax.read_labels(out), expected)


def test_shards_join_to_the_whole(expected, fitter, table, tmp_path):
    out = tmp_path / "labels.fits"
    for k in (3, 1):
        slamjax.fit_survey(fitter, table, out, piece_size=SIZE, shard=(k, 3))
    assert not out.exists()
    with pytest.raises(SlamError, match=r"2 of 5 pieces are not finished \(1, 4\)"):
        collect_shards(shard_folders(out), out)
    slamjax.fit_survey(fitter, table, out, piece_size=SIZE, shard=(2, 3))
    folders = shard_folders(out)
    shutil.copy(next(folders[0].glob("*.part")), folders[1])
    with pytest.raises(SlamError, match=r"piece 3 is in .* give each shard once"):
        collect_shards(folders, out)
    (folders[1] / "00000003.part").unlink()
    slamjax.fit_survey(fitter, table, tmp_path / "other.fits", piece_size=SIZE * 2, shard=(1, 1))
    with pytest.raises(SlamError, match=r"is of another run than .*different piece_size, pieces"):
        collect_shards([*folders, *shard_folders(tmp_path / "other.fits")], out)
    collected = collect_shards(shard_folders(out), out)
    assert (collected.n, collected.n_good) == (N, int(np.sum(expected["flags"] == 0)))
    assert_same(slamjax.read_labels(out), expected)
    left = [name for name in os.listdir(tmp_path) if not name.endswith(".report.json")]
    assert sorted(left) == [".other.fits.shard-1-of-1.parts", "labels.fits"]
    with pytest.raises(SlamError, match="there are no shards of"):
        collect_shards(shard_folders(out), out)


def test_a_share_is_named_by_two_numbers():
    assert shard_of("3/8") == (3, 8)
    for text in ("0/4", "5/4", "1", "a/b", "1/2/3"):
        with pytest.raises(SlamError, match="give i/N, from 1/N to N/N"):
            shard_of(text)


def test_the_table_must_have_one_row_of_each_spectrum(fitter, table, tmp_path, monkeypatch):
    do_piece = runner.do_piece

    def twice(*given):
        done = do_piece(*given)
        done.table["row"][1] = 0
        return done

    monkeypatch.setattr(runner, "do_piece", twice)
    with pytest.raises(SlamError, match=r"00000000\.part has not one row for each of its 40 spectra"):
        slamjax.fit_survey(fitter, table, tmp_path / "labels.fits", piece_size=SIZE)


def test_a_selection_leaves_out_rows_and_pieces(expected, fitter, table, tmp_path):
    name = str(expected["apogee_id"][77])
    out = tmp_path / "one.fits"
    slamjax.fit_survey(fitter, table, out, piece_size=SIZE, reading=Reading(f"apogee_id == '{name}'"))
    found = slamjax.read_labels(out)
    assert found["row"].tolist() == [77]
    np.testing.assert_allclose(found["teff"].value, expected["teff"][77].value, rtol=1e-5)
    with pytest.raises(SlamError, match="the selection keeps none of the 200 spectra; loosen it"):
        slamjax.fit_survey(fitter, table, tmp_path / "none.fits", piece_size=SIZE, reading=Reading("logg > 100"))
    assert sorted(os.listdir(tmp_path)) == ["one.fits", "one.fits.report.json"]


def test_a_piece_that_fails_has_rows_that_say_why(expected, fitter, table, tmp_path, monkeypatch):
    fit = slamjax.Fitter.fit

    def fails(self, spectra, *given):
        if str(spectra.table["apogee_id"][0]) == str(expected["apogee_id"][SIZE]):
            raise ValueError("out of luck")
        return fit(self, spectra, *given)

    monkeypatch.setattr(slamjax.Fitter, "fit", fails)
    report = slamjax.fit_survey(fitter, table, tmp_path / "labels.fits", piece_size=SIZE)
    found = slamjax.read_labels(tmp_path / "labels.fits")
    rows = np.arange(N)
    failed = (rows >= SIZE) & (rows < 2 * SIZE)
    np.testing.assert_array_equal(found["row"], rows)
    np.testing.assert_array_equal(found["problem"] == "ValueError: out of luck", failed)
    assert np.all(found["flags"][failed] == Flag.NO_DATA)
    assert np.all(np.isnan(found["teff"][failed]))
    assert np.all(np.isinf(found["teff_err"][failed]))
    np.testing.assert_array_equal(found["teff"][~failed], expected["teff"][~failed])
    assert found["teff"].unit == expected["teff"].unit
    assert report.collected.worst[0] == (1, 1.0)
    assert report.names[1].startswith("rows 40 to 79 of ")


def test_spectra_that_do_not_suit_the_model_are_refused_at_once(fitter, tmp_path):
    slamjax.write_table(xp_giants()[:3].on_pixels(slice(150, None)), tmp_path / "red.fits")
    with pytest.raises(SlamError, match="none of the model's 61 wavelengths"):
        slamjax.fit_survey(fitter, tmp_path / "red.fits", tmp_path / "labels.fits")
    assert os.listdir(tmp_path) == ["red.fits"]


def test_broken_and_missing_files_are_flagged_rows(tmp_path):
    broken, missing = tmp_path / "broken.fits", tmp_path / "missing.fits"
    broken.write_bytes(b"SIMPLE  =")
    out, fitter = tmp_path / "labels.fits", slamjax.Fitter(tiny_miles_model(), n_starts=1)
    with pytest.warns(SlamWarning, match="files give no spectrum"):
        report = slamjax.fit_survey(fitter, [FILES[0], broken, missing, FILES[1]], out, piece_size=2)
    found = slamjax.read_labels(out)
    assert found["file"].tolist() == ["3709013.fits", "broken.fits", "missing.fits", "3703110.fits"]
    assert found["row"].tolist() == [0, 1, 2, 3]
    assert (found["flags"] == Flag.NO_DATA).tolist() == [False, True, True, False]
    assert "no such file" in found["problem"][2]
    assert np.isfinite(found["teff"][[0, 3]]).all()
    told = json.loads((tmp_path / "labels.fits.report.json").read_text())
    assert told == json.loads(report.file.read_text())
    assert (told["inputs"], told["pieces"], told["spectra"], told["fitted"]) == (4, 2, 4, 2)
    assert told["flags"]["NO_DATA"] == 2
    assert told["problems"]["rows"] == 2
    assert [file["file"] for file in told["problems"]["files"]] == ["broken.fits", "missing.fits"]
    assert "no such file" in told["problems"]["files"][1]["problem"]
    assert len(told["warnings"]) == 2  # one of each piece
    assert told["began"] <= told["ended"]
    with pytest.raises(SlamError, match=r"missing\.fits: no such file"):
        slamjax.fit_survey(fitter, missing, tmp_path / "none.fits")
    assert not (tmp_path / "none.fits").exists()


def test_a_full_disk_is_told_and_the_run_goes_on_after_it(expected, fitter, table, tmp_path, monkeypatch):
    full = OSError(28, "No space left on device")
    fsync, calls = os.fsync, []

    def no_space(handle):
        calls.append(handle)
        if len(calls) > 4:
            raise full
        fsync(handle)

    out = tmp_path / "labels.fits"
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", no_space)
        with pytest.raises(SlamError, match="No space left on device; nothing was"):
            slamjax.fit_survey(fitter, table, out, piece_size=SIZE)
    assert len(list((tmp_path / ".labels.fits.parts").glob("[0-9]*.part"))) == 3
    slamjax.fit_survey(fitter, table, out, piece_size=SIZE)
    assert_same(slamjax.read_labels(out), expected)


def test_texts_and_parquet_have_the_same_labels(expected, fitter, table, tmp_path):
    slamjax.fit_survey(fitter, table, tmp_path / "labels.ecsv", piece_size=SIZE)
    np.testing.assert_allclose(slamjax.read_labels(tmp_path / "labels.ecsv")["teff"], expected["teff"])
    parquet = pytest.importorskip("pyarrow.parquet")
    for _ in range(2):  # the second takes the place of the first
        slamjax.fit_survey(fitter, table, tmp_path / "labels.parquet", piece_size=SIZE)
    assert_same(slamjax.read_labels(tmp_path / "labels.parquet"), expected)
    part = next((tmp_path / "labels.parquet").glob("part-*"))
    assert_same(slamjax.read_labels(part), expected)
    slamjax.write_table(slamjax.read_table(table), tmp_path / "stars.parquet")
    with pytest.raises(SlamError, match=r"stars\.parquet does not name its labels"):
        slamjax.read_labels(tmp_path / "stars.parquet")
    assert parquet.read_metadata(tmp_path / "labels.parquet" / "_metadata").num_rows == N
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("")
    with pytest.raises(SlamError, match="mine is a folder with other files in it"):
        slamjax.fit_survey(fitter, table, tmp_path / "mine")
    left = [name for name in os.listdir(tmp_path) if not name.endswith(".report.json")]
    assert sorted(left) == ["labels.ecsv", "labels.parquet", "mine", "stars.parquet"]


def test_spectra_in_parquet_are_fitted_as_those_in_fits(expected, fitter, table, tmp_path):
    pytest.importorskip("pyarrow")
    slamjax.write_table(slamjax.read_table(table), tmp_path / "stars.parquet")
    slamjax.fit_survey(fitter, tmp_path / "stars.parquet", tmp_path / "labels.fits", piece_size=SIZE)
    assert_same(slamjax.read_labels(tmp_path / "labels.fits"), expected)


def test_a_row_of_parquet_that_is_no_spectrum_is_flagged(expected, fitter, table, tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    slamjax.write_table(slamjax.read_table(table), tmp_path / "stars.parquet")
    arrow = parquet.read_table(tmp_path / "stars.parquet")
    flux = arrow["flux"].to_pylist()
    flux[7] = flux[7][:9]
    place, field = arrow.schema.get_field_index("flux"), arrow.schema.field("flux")
    parquet.write_table(arrow.set_column(place, field, pa.array(flux, field.type)), tmp_path / "stars.parquet")
    slamjax.fit_survey(fitter, tmp_path / "stars.parquet", tmp_path / "labels.fits", piece_size=SIZE)
    labels = slamjax.read_labels(tmp_path / "labels.fits")
    assert labels["problem"][7] == "flux has 9 pixels instead of 343"
    assert labels["flags"][7] & slamjax.Flag.NO_DATA
    others = np.delete(np.arange(N), 7)
    np.testing.assert_allclose(labels["teff"][others], expected["teff"][others], rtol=1e-5)


def test_without_pyarrow_parquet_is_refused_in_a_sentence(fitter, table, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SlamError, match=r"Parquet needs pyarrow .* pip install 'slamjax\[survey\]'"):
        slamjax.fit_survey(fitter, table, tmp_path / "labels.parquet")


def test_a_file_of_labels_is_as_written_in_one_go(expected, tmp_path):
    from slamjax.io.label_stream import write_label_blocks

    slamjax.write_labels(expected, tmp_path / "whole.fits")
    blocks = (expected[k : k + 7] for k in range(0, N, 7))
    write_label_blocks(expected[:1], N, blocks, tmp_path / "blocks.fits")
    whole, parts = (fits.open(tmp_path / name, checksum=True) for name in ("whole.fits", "blocks.fits"))
    with whole, parts:
        assert fits.FITSDiff(whole, parts, ignore_keywords=["CHECKSUM", "DATASUM"]).identical
        assert whole[1].header["DATASUM"] == parts[1].header["DATASUM"]
        assert parts[1].verify_checksum() == parts[1].verify_datasum() == parts[0].verify_checksum() == 1
    with pytest.raises(SlamError, match="7 rows came for the 8 of"):
        write_label_blocks(expected[:1], 8, [expected[:7]], tmp_path / "cut.fits")
    assert not (tmp_path / "cut.fits").exists()


def test_writing_needs_memory_for_one_part_only(expected, tmp_path):
    from slamjax.io.label_stream import write_label_blocks

    table = expected[np.arange(1000) % N]
    write_label_blocks(table[:1], 1000, [table], tmp_path / "few.fits")  # what is imported once does not count
    peaks = []
    for n in (5, 25):
        tracemalloc.start()
        write_label_blocks(table[:1], 1000 * n, (table for _ in range(n)), tmp_path / "many.fits")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert len(slamjax.read_labels(tmp_path / "many.fits")) == 25_000
    assert peaks[1] < 1.05 * peaks[0]
