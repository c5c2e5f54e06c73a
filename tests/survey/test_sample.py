"""Posteriors of a survey: a table that sums them up, and their draws beside it."""

import dataclasses
import json
import os
import pickle

import numpy as np
import pytest
from astropy.table import Table
from helpers import xp_giants
from models import tiny_model
from survey.comparisons import assert_same

import slamjax
from slamjax import Flag, SlamError
from slamjax.sampling import Diagnostics, Posterior
from slamjax.sampling import sampler as sampler_module
from slamjax.survey import Reading, collect_shards, work
from slamjax.survey.draws import begin_draws, renumber, write_draws
from slamjax.survey.engines import Samples
from slamjax.survey.parts import shard_folders
from slamjax.survey.pieces import Piece

#: Stars, and pieces of one shape; the last star has no good pixel.
N, SIZE = 36, 12
SPEC = slamjax.SamplerSpec("importance", draws=20)


@pytest.fixture(scope="module", autouse=True)
def _small_batches():
    """One compiled shape for all divisions."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sampler_module, "_LARGEST_BATCH", 16)
        yield


@pytest.fixture(scope="module")
def sampler():
    return slamjax.Sampler(tiny_model(), sampler=SPEC)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "stars.fits"
    stars = xp_giants()[110 - N : 110]
    ivar = stars.ivar.copy()
    ivar[-1] = 0
    slamjax.write_table(stars.with_arrays(stars.flux, ivar), path)
    return path


@pytest.fixture(scope="module")
def in_pieces(sampler, table, tmp_path_factory):
    """The folder of a run in three pieces, with draws."""
    folder = tmp_path_factory.mktemp("in_pieces")
    draws = folder / "draws" if _has_pyarrow() else None
    slamjax.sample_survey(sampler, table, folder / "sums.fits", seed=3, piece_size=SIZE, draws=draws)
    return folder


def _has_pyarrow():
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return False
    return True


def test_posteriors_do_not_depend_on_how_a_survey_is_divided(sampler, table, in_pieces, tmp_path):
    found = slamjax.read_labels(in_pieces / "sums.fits")
    whole = sampler.sample(slamjax.read_table(table), seed=3).table()
    assert found.colnames == [*whole.colnames]
    np.testing.assert_array_equal(found["row"], np.arange(N))
    np.testing.assert_array_equal(found["apogee_id"], whole["apogee_id"])
    np.testing.assert_array_equal(found["flags"], whole["flags"])
    assert found["flags"][-1] & Flag.NO_DATA
    for name in ("teff", "teff_q2_5", "teff_q16", "teff_q84", "teff_q97_5"):
        off = np.abs(found[name] - whole[name])[:-1] / whole["teff_err"][:-1]
        assert np.max(off) < 1e-3, name  # another seed moves them by a sixth of an error
    for k in (2, 1):
        slamjax.sample_survey(sampler, table, tmp_path / "sums.fits", seed=3, piece_size=SIZE, shard=(k, 2))
    collected = collect_shards(shard_folders(tmp_path / "sums.fits"), tmp_path / "sums.fits")
    assert (collected.n, collected.fitted) == (N, N - 1)
    assert_same(slamjax.read_labels(tmp_path / "sums.fits"), found)
    report = json.loads((tmp_path / "sums.fits.report.json").read_text())
    assert (report["task"], report["pieces"], report["spectra"], report["fitted"]) == ("sample", 3, N, N - 1)
    assert set(report["seconds"]) == {"reading", "preparing", "sampling", "writing"}


def test_draws_are_those_that_the_table_sums_up(in_pieces, sampler, table, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = in_pieces / "draws"
    names = ["_run.json", *(f"piece-{k:06d}.parquet" for k in range(3))]
    assert sorted(os.listdir(folder)) == names
    draws, found = parquet.read_table(folder), slamjax.read_labels(in_pieces / "sums.fits")
    assert draws["row"].to_pylist() == list(range(N - 1))  # the last one has none
    assert draws["apogee_id"].to_pylist() == found["apogee_id"].tolist()[:-1]
    teff = np.asarray(draws["teff"].to_pylist())
    assert teff.shape == (N - 1, SPEC.chains * SPEC.draws)
    np.testing.assert_allclose(teff.mean(axis=1), found["teff"].value[:-1], rtol=1e-6)
    with pytest.raises(SlamError, match=r"has the draws of another run \(different seed\); give another folder"):
        slamjax.sample_survey(sampler, table, tmp_path / "sums.fits", seed=4, piece_size=SIZE, draws=folder)


def test_a_stopped_run_makes_draws_that_are_gone_again(sampler, table, tmp_path):
    pytest.importorskip("pyarrow")
    out, folder = tmp_path / "sums.fits", tmp_path / "draws"
    again = {"piece_size": SIZE, "draws": folder, "shard": (1, 1)}
    assert slamjax.sample_survey(sampler, table, out, **again).done_now == N
    assert slamjax.sample_survey(sampler, table, out, **again).done_now == 0
    kept = (folder / "piece-000001.parquet").read_bytes()
    (folder / "piece-000001.parquet").unlink()
    with pytest.raises(SlamError, match="lacks the draws of piece 1; run what is in"):
        collect_shards(shard_folders(out), out)
    assert slamjax.sample_survey(sampler, table, out, **again).done_now == SIZE
    assert (folder / "piece-000001.parquet").read_bytes() == kept


def test_a_worker_samples_as_this_process_does(sampler, table, in_pieces):
    engine = Samples(sampler, seed=3)
    sampler.model.write(table.parent / "model.h5")
    digest = slamjax.fitting.checkpoint.model_digest(sampler.model)
    job = work.Job(str(table.parent / "model.h5"), digest, engine.options, Reading(), "sample")
    piece = Piece(1, "table", (str(table),), SIZE, 2 * SIZE, SIZE)
    done = work.work(*pickle.loads(pickle.dumps((job, piece))))
    found = slamjax.read_labels(in_pieces / "sums.fits")[SIZE : 2 * SIZE]
    np.testing.assert_array_equal(done.table["teff"].value, found["teff"].value)


def test_what_cannot_be_sampled_has_rows_that_say_why(sampler, table, tmp_path, monkeypatch):
    sample = slamjax.Sampler.sample

    def fails(self, spectra, **options):
        if options["numbers"][0, 0] == SIZE:
            raise ValueError("out of luck")
        return sample(self, spectra, **options)

    monkeypatch.setattr(slamjax.Sampler, "sample", fails)
    slamjax.sample_survey(sampler, table, tmp_path / "sums.fits", piece_size=SIZE)
    found = slamjax.read_labels(tmp_path / "sums.fits")
    failed = np.arange(N) // SIZE == 1
    np.testing.assert_array_equal(found["row"], np.arange(N))
    np.testing.assert_array_equal(found["problem"] == "ValueError: out of luck", failed)
    assert np.all(found["flags"][failed] == Flag.NO_DATA)
    assert np.isnan(found["teff"][failed]).all()
    assert np.isfinite(found["teff"][~failed][:-1]).all()
    problems = json.loads((tmp_path / "sums.fits.report.json").read_text())["problems"]
    assert problems == {
        "rows": SIZE,
        "files": [{"file": str(table), "rows": SIZE, "problem": f"row {SIZE}: ValueError: out of luck"}],
    }


def test_values_of_single_stars_are_refused(sampler, table, tmp_path):
    for given in ({"prior": {"teff": (np.full(N, 4500.0), 50.0)}}, {"fixed": {"teff": np.full(N, 4500.0)}}):
        with pytest.raises(SlamError, match="prior or fixed has arrays, which belong to spectra in memory"):
            slamjax.sample_survey(sampler, table, tmp_path / "sums.fits", **given)
    assert os.listdir(tmp_path) == []


def _posterior(n):
    draws, ess = np.arange(2 * 3 * n, dtype=float).reshape(2, 3, n, 1), np.full((n, 1), 100.0)
    one = np.zeros(draws.shape[:3])
    stars = {"row": np.arange(n), "file": np.array([f"{k}.fits" for k in range(n)]), "snr": np.ones(n)}
    quality, sampled = Diagnostics(ess, ess, ess), np.where(np.arange(n) == 1, "", "nuts")
    return Posterior(("teff",), ("K",), draws, one, one > 0, quality, np.ones(n), sampled, np.zeros(n, int), stars)


def test_draws_get_the_rows_of_the_table_where_files_have_several_spectra(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    begin_draws(tmp_path / "draws", {"seed": "0"})
    piece = Piece(7, "files", ("a.fits", "b.fits"), first=4)
    assert write_draws(tmp_path / "draws", piece, [_posterior(3)]) == 2
    path = tmp_path / "draws" / "piece-000007.parquet"
    for first in (9, 9):  # a second time is none too many
        renumber(tmp_path / "draws", 7, first)
        found = parquet.read_table(path)
        assert found["row"].to_pylist() == [first, first + 2]
    assert found.column_names == ["row", "file", "teff"]
    assert found["teff"].to_pylist() == [[0, 3, 6, 9, 12, 15], [2, 5, 8, 11, 14, 17]]  # chain by chain
    assert found.schema.metadata[b"slamjax.chains"] == b"2"
    (tmp_path / "draws" / "notes.txt").write_text("")
    with pytest.raises(SlamError, match=r"is a folder with other files in it \(notes\.txt\)"):
        begin_draws(tmp_path / "draws", {"seed": "0"})


def test_places_of_spectra_do_not_depend_on_what_was_read_before():
    """Files of one, two and one spectra, alone and together; a second number tells spectra of a file apart."""
    stars = xp_giants()[:4]
    stars = dataclasses.replace(stars, table=Table({"file": ["a.fits", "b.fits", "b.fits", "c.fits"]}))
    together = work._numbers(stars, Piece(0, "files", ("a.fits", "b.fits", "c.fits"), first=5), 0)
    assert together.tolist() == [[5, 0], [6, 0], [6, 1], [7, 0]]
    alone = work._numbers(stars[1:3], Piece(1, "files", ("b.fits",), first=6), 0)
    assert alone.tolist() == [[6, 0], [6, 1]]
    rows = work._numbers(stars, Piece(3, "table", ("t.fits",), 20, 24, first=31), 0)
    assert rows.tolist() == [[31, 0], [32, 0], [33, 0], [34, 0]]
