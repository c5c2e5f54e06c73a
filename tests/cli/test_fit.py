"""``slamjax read`` and ``slamjax fit``."""

import dataclasses
import os

import numpy as np
import pytest
from astropy.table import Table
from commands import GIANTS, run
from helpers import DATA, miles, xp_giants
from models import miles_model

import slamjax
from slamjax.cli.nuisance_options import NuisanceOptions, velocity

SURVEY_FILES = [DATA / "surveys" / name for name in ("3709013.fits", "3703110.fits")]
#: A dozen of the 150 giants: larger batches compile anew.
SELECT = "logg < 1.1 & teff > 3600"


def test_survey_files_become_a_table_with_the_labels_of_a_catalogue(tmp_path):
    catalog = Table({"file": [path.name for path in SURVEY_FILES], "teff": [5791.0, 4034.0]})
    catalog.write(tmp_path / "lasp.csv")
    table = tmp_path / "stars.fits"
    printed = run("read", *SURVEY_FILES, "-o", table, "--labels", tmp_path / "lasp.csv")
    assert "2 x 400 pixels" in printed
    spectra = slamjax.read_table(table)
    assert list(spectra.table["file"]) == ["3709013.fits", "3703110.fits"]
    assert list(spectra.table["teff"]) == [5791, 4034]
    assert (spectra.medium, spectra.frame) == ("vacuum", "observed")
    np.testing.assert_array_equal(spectra.flux, slamjax.read(SURVEY_FILES).flux)


def test_quoted_patterns_and_a_catalogue_with_other_names(tmp_path, refused):
    known = slamjax.read(SURVEY_FILES).table
    catalog = Table(
        {"star": known["obsid"], "path": [f"dr10/{name}" for name in known["file"]], "teff": [5791.0, 4034.0]}
    )
    catalog.write(tmp_path / "lasp.csv")
    command = ["read", DATA / "surveys" / "37*.fits", "-o", tmp_path / "stars.fits", "--labels", tmp_path / "lasp.csv"]
    for on in ("star=obsid", "path=file"):
        run(*command, "--on", on)
        spectra = slamjax.read_table(tmp_path / "stars.fits")
        assert dict(zip(spectra.table["file"], spectra.values("teff"), strict=True)) == {
            "3703110.fits": 4034, "3709013.fits": 5791,
        }  # fmt: skip
    message = refused(*command, "--on", "star=star")
    assert "has no column 'star' to join on; it has file, problem, " in message
    assert "obsid" in message
    assert "lasp.csv has no column 'id' to join on; it has star, path, teff" in refused(*command, "--on", "id=obsid")


@pytest.mark.parametrize(
    "command",
    [
        ["read", "-o", "s.fits"],
        ["train", "-o", "m.h5", "--labels", "teff"],
        ["fit", "MODEL", "-o", "l.fits"],
        ["sample", "MODEL", "-o", "p.nc"],
        ["validate", "MODEL"],
        ["calibrate", "MODEL"],
        ["plot", "MODEL", "-o", "p.png"],
        ["compare", "-o", "folder", "--labels", "teff"],
        ["compare", GIANTS, "-o", "folder", "--labels", "teff", "--test"],
        ["info"],
    ],
    ids=lambda command: f"{command[0]}{command[-1] if command[-1] == '--test' else ''}",
)
def test_every_command_that_takes_files_takes_quoted_patterns(command, refused, tmp_path, trained, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [trained[0] if argument == "MODEL" else argument for argument in command]
    assert refused(*arguments, "lamost/*.fits") == "lamost/*.fits matches no file; check the pattern"
    (tmp_path / "lamost").mkdir()
    (tmp_path / "lamost" / "a.fits").write_bytes(b"SIMPLE  =")
    assert "a.fits" in refused(*arguments, "lamost/*.fits")


def test_info_describes_every_file_of_a_pattern():
    printed = run("info", DATA / "surveys" / "37*.fits")
    assert [line for line in printed.splitlines() if line.endswith(".fits:")] == [
        f"{DATA / 'surveys' / name}:" for name in ("3703110.fits", "3709013.fits")
    ]


def test_an_unreadable_survey_file_is_named(refused, tmp_path):
    (tmp_path / "broken.fits").write_bytes(b"SIMPLE  =")
    assert "broken.fits" in refused("read", tmp_path / "broken.fits", "-o", tmp_path / "out.fits")
    assert not (tmp_path / "out.fits").exists()


@pytest.mark.slow
def test_survey_files_are_fitted_without_further_options(tmp_path):
    """A model of stars at rest in air; observed spectra in vacuum, on other pixels."""
    model, out = tmp_path / "miles.h5", tmp_path / "labels.fits"
    miles_model().write(model)
    assert run("info", model, "--recipe").startswith('[[steps]]\nstep = "gaussian_continuum"\nsigma = ')
    run("fit", model, *SURVEY_FILES, "-o", out)
    labels = slamjax.read_labels(out)
    assert labels["file"].tolist() == ["3709013.fits", "3703110.fits"]
    np.testing.assert_allclose(labels["rv"].value, [46.2, -16.5], atol=15)
    assert np.all(labels["rv_err"].value < 20)
    assert np.all(np.abs(np.asarray(labels["teff"]) - [5791, 4034]) < 1000)


def test_every_selected_star_has_a_row(trained, tmp_path):
    printed = run("fit", trained[0], GIANTS, "-o", tmp_path / "labels.fits", "--select", SELECT, "--n-starts", 1)
    table = slamjax.read_labels(tmp_path / "labels.fits")
    giants = xp_giants()
    logg = giants.values(["logg"])[:, 0]
    rows = np.flatnonzero((logg < 1.1) & (giants.values(["teff"])[:, 0] > 3600))
    assert 5 < len(rows) <= 16
    np.testing.assert_array_equal(table["row"], rows)  # 0-based, in the file
    np.testing.assert_array_equal(table["apogee_id"], giants.table["apogee_id"][rows])
    np.testing.assert_array_equal(np.asarray(table["logg_ref"]), logg[rows])
    expected = slamjax.fit(slamjax.Model.read(trained[0]), giants[rows], n_starts=1)
    np.testing.assert_array_equal(table["teff"].value, expected["teff"].value)
    assert f"{np.sum(table['flags'] == 0)} of {len(rows)} stars without flags" in printed
    for flag in slamjax.Flag:
        count = int(np.sum(table["flags"] & flag != 0))
        assert (f"{count:6d} {flag.name}" in printed) == (count > 0)


def test_missing_metadata_is_supplied_by_options(trained, refused, tmp_path):
    table = dataclasses.replace(xp_giants()[:3], medium="unknown")
    slamjax.write_table(table, tmp_path / "unknown.fits")
    out = tmp_path / "labels.fits"
    run("fit", trained[0], tmp_path / "unknown.fits", "-o", out, "--medium", "vacuum")
    message = refused("fit", trained[0], GIANTS, "-o", out, "--medium", "air")
    assert "medium" in message
    assert "vacuum" in message
    message = refused("fit", trained[0], SURVEY_FILES[0], "-o", out, "--frame", "rest")
    assert message == "--medium and --frame are for slamjax tables; survey files state both"


def test_spectra_that_do_not_cover_the_model_are_refused(trained, refused, tmp_path):
    slamjax.write_table(xp_giants()[:3].on_pixels(slice(150, None)), tmp_path / "red.fits")
    message = refused("fit", trained[0], tmp_path / "red.fits", "-o", tmp_path / "out.fits")
    assert "covers 636 to 1020 nm and has none of the model's 21 wavelengths" in message
    slamjax.write_table(miles()[:3], tmp_path / "miles.fits")
    refused("fit", trained[0], tmp_path / "miles.fits", "-o", tmp_path / "out.fits")
    assert sorted(os.listdir(tmp_path)) == ["miles.fits", "red.fits"]


def test_shards_are_joined_by_a_command(trained, refused, tmp_path):
    command = ["fit", trained[0], GIANTS, "--select", SELECT, "--n-starts", 1, "--piece-size", 30]
    run(*command, "-o", tmp_path / "whole.fits")
    for k in (2, 1):
        message = refused("collect", "-o", tmp_path / "labels.fits")
        assert "there are no shards" in message or "pieces are not finished (0, 2, 4)" in message
        printed = run(*command, "-o", tmp_path / "labels.fits", "--shard", f"{k}/2")
        assert f"slamjax collect -o {tmp_path / 'labels.fits'}" in printed
    printed = run("collect", "-o", tmp_path / "labels.fits")
    whole, joined = (slamjax.read_labels(tmp_path / name) for name in ("whole.fits", "labels.fits"))
    np.testing.assert_array_equal(joined["row"], whole["row"])
    np.testing.assert_array_equal(joined["teff"].value, whole["teff"].value)
    assert f"of {len(whole)} stars without flags" in printed
    assert sorted(path.name for path in tmp_path.glob("*.fits")) == ["labels.fits", "whole.fits"]
    assert not list(tmp_path.glob(".*.parts"))
    assert refused(*command, "-o", tmp_path / "x.fits", "--shard", "3/2").startswith("--shard is '3/2'; give i/N")
    message = refused(*command, "-o", tmp_path / "x.fits", "--workers", 2, "--scheduler", "tcp://localhost:1")
    assert message == "--workers and --scheduler exclude each other; give one of them"


def test_nuisances_are_options(trained, refused, tmp_path):
    options = ["--select", SELECT, "--n-starts", 1, "--polynomial", 1, "--no-compress"]
    run("fit", trained[0], GIANTS, "-o", tmp_path / "moved.fits", *options)
    table = slamjax.read_labels(tmp_path / "moved.fits")
    assert table["polynomial"].shape[1] == 2
    for flag, text in (("--rv", "fast"), ("--sigma-v", "1:2:3"), ("--vsini", "20+-")):
        message = refused("fit", trained[0], GIANTS, "-o", tmp_path / "x.fits", flag, text)
        assert message.startswith(f'{flag} is {text!r}; give "free", a range such as -300:300')


def test_a_prior_is_an_option(trained, refused, tmp_path):
    options = ["--select", SELECT, "--n-starts", 1, "--posterior-mean"]
    run(
        "fit",
        trained[0],
        GIANTS,
        "-o",
        tmp_path / "labels.fits",
        *options,
        "--prior",
        "training",
        "--prior",
        "logg:logg,0.01",
    )
    table = slamjax.read_labels(tmp_path / "labels.fits")
    model, giants = slamjax.Model.read(trained[0]), xp_giants()[table["row"]]
    prior = ["training", {"logg": ("logg", 0.01)}]
    expected = slamjax.fit(model, giants, n_starts=1, prior=prior, posterior_mean=True)
    np.testing.assert_allclose(table["teff_mean"].value, expected["teff_mean"].value, rtol=1e-5)
    inside = np.clip(giants.values("logg"), *model.label_range[1])
    assert np.median(np.abs(np.asarray(table["logg_mean"]) - inside)) < 0.02
    both = refused("fit", trained[0], GIANTS, "-o", tmp_path / "x.fits", "--posterior-mean", "--learnt-mean")
    assert both == "--posterior-mean and --learnt-mean make the same columns; give one of them"
    assert "no learnt means" in refused("fit", trained[0], GIANTS, "-o", tmp_path / "x.fits", "--learnt-mean")
    message = refused("fit", trained[0], GIANTS, "-o", tmp_path / "x.fits", "--prior", "logg:2")
    assert message == "--prior is 'logg:2'; give training, or LABEL:VALUE,ERROR, as in logg:logg_seismo,0.1"
    assert "no column 'seismic'" in refused(
        "fit", trained[0], GIANTS, "-o", tmp_path / "x.fits", "--prior", "logg:seismic,0.1"
    )


def test_velocities_are_parsed():
    assert velocity("--rv", None) is None
    assert velocity("--rv", "free") == "free"
    assert velocity("--rv", "-30:40.5") == slamjax.Free(-30, 40.5)
    assert velocity("--rv", "20+-5") == slamjax.Gaussian(20, 5)
    assert velocity("--rv", "-12") == -12.0


def test_all_nuisances_have_options():
    given = NuisanceOptions(rv="free", resolution="1800+-100", extinction="0:2", r_v="3.3", polynomial=1).nuisances()
    assert given == slamjax.Nuisances(
        rv="free", resolution=slamjax.Gaussian(1800, 100), extinction=slamjax.Free(0, 2), r_v=3.3, polynomial=1
    )
