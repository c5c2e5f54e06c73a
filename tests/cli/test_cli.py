"""The commands from end to end on 150 real giants, and what is said when something is wrong."""

import dataclasses
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from astropy.table import Table
from helpers import DATA, miles, xp_giants
from typer.testing import CliRunner

import slamjax
from slamjax.cli.app import app, main
from slamjax.cli.options import velocity

GIANTS = str(DATA / "xp_giants.fits")
SMALL = ["--wave-range", "500", "540", "--cv", "2", "--C", "10", "--epsilon", "0.05", "--gamma", "0.1"]
SELECT = "logg < 3.6 & teff > 3600"
COMMANDS = ("read", "train", "fit", "sample", "validate", "calibrate", "compare", "info", "plot", "demo")


def run(*arguments):
    """Output of a command that succeeds."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def refused(monkeypatch, capsys):
    """The one sentence on stderr of a command line that fails, without the name before it."""

    def call(*arguments):
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main sets it: undone after the test
        monkeypatch.setattr(sys, "argv", ["slamjax", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 1
        out, err = capsys.readouterr()
        assert out == ""
        lines = [line for line in err.splitlines() if line.strip()]
        assert len(lines) == 1, err
        assert lines[0].startswith("slamjax: error: ")
        return lines[0].removeprefix("slamjax: error: ")

    return call


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model file of 90 drawn stars, and what its training printed."""
    path = tmp_path_factory.mktemp("model") / "giants.h5"
    said = run("train", GIANTS, "-o", path, "--labels", "teff,logg,fe_h", "--n-train", 90, "--select", SELECT, *SMALL)
    return path, said


def test_a_polynomial_trains_and_fits_like_slam(tmp_path):
    options = ["--emulator", "polynomial", "--ridge", "1,10", "--label-window", "logg:500-520,530-540", *SMALL[:5]]
    said = run("train", GIANTS, "-o", tmp_path / "q.h5", "--labels", "teff,logg", "--n-train", 90, *options)
    assert said.startswith("polynomial of the labels of degree 2 (quadratic), 21 of 21 pixels trained, 90 stars")
    assert "logg is used at 500 to 520, 530 to 540 nm only" in said
    run("fit", tmp_path / "q.h5", GIANTS, "-o", tmp_path / "labels.fits", "--n-starts", 1)
    assert len(slamjax.read_labels(tmp_path / "labels.fits")) == 150


def test_survey_files_become_a_table_with_the_labels_of_a_catalogue(tmp_path):
    files = [DATA / "surveys" / name for name in ("3709013.fits", "3703110.fits")]
    catalog = Table({"file": [path.name for path in files], "teff": [5791.0, 4034.0]})
    catalog.write(tmp_path / "lasp.csv")
    table = tmp_path / "stars.fits"
    said = run("read", *files, "-o", table, "--labels", tmp_path / "lasp.csv")
    assert "2 x 400 pixels" in said
    spectra = slamjax.read_table(table)
    assert list(spectra.table["file"]) == ["3709013.fits", "3703110.fits"]
    assert list(spectra.table["teff"]) == [5791, 4034]
    assert (spectra.medium, spectra.frame) == ("vacuum", "observed")
    np.testing.assert_array_equal(spectra.flux, slamjax.read(files).flux)


def test_survey_files_are_fitted_without_further_option(tmp_path):
    """A model of stars at rest in air; spectra as observed in vacuum, on other pixels."""
    recipe, model, out = (tmp_path / name for name in ("recipe.toml", "miles.h5", "labels.fits"))
    recipe.write_text('[[steps]]\nstep = "gaussian_continuum"\nsigma = 100.0\nunit = "Angstrom"\n')
    settings = ["--recipe", recipe, "--cv", 2, "--C", 10, "--epsilon", 0.05, "--gamma", 0.1, "--noise", "diagonal"]
    run("train", DATA / "miles.fits", "-o", model, "--labels", "teff,logg,fe_h", "--log-labels", "teff", *settings)
    assert run("info", model, "--recipe").startswith('[[steps]]\nstep = "gaussian_continuum"\nsigma = 100.0')
    files = [DATA / "surveys" / name for name in ("3709013.fits", "3703110.fits")]
    run("fit", model, *files, "-o", out)
    labels = slamjax.read_labels(out)
    assert labels["file"].tolist() == ["3709013.fits", "3703110.fits"]
    np.testing.assert_allclose(labels["rv"].value, [46.2, -16.5], atol=15)
    assert np.all(labels["rv_err"].value < 20)
    assert np.all(np.abs(np.asarray(labels["teff"]) - [5791, 4034]) < 1000)


def test_what_a_table_does_not_say_is_told_by_options(trained, refused, tmp_path):
    table = dataclasses.replace(xp_giants()[:3], medium="unknown")
    slamjax.write_table(table, tmp_path / "unknown.fits")
    out = tmp_path / "labels.fits"
    run("fit", trained[0], tmp_path / "unknown.fits", "-o", out, "--medium", "vacuum")
    assert "says that its medium is vacuum, not air" in refused("fit", trained[0], GIANTS, "-o", out, "--medium", "air")
    said = refused("fit", trained[0], DATA / "surveys" / "3709013.fits", "-o", out, "--frame", "rest")
    assert "survey files say what they are" in said


def test_a_recipe_file_says_all_of_the_preparation(refused, tmp_path):
    (tmp_path / "recipe.toml").write_text("[[steps]]\nstep = 'bad_pixels'\n")
    given = ["train", GIANTS, "-o", tmp_path / "m.h5", "--labels", "teff", "--recipe", tmp_path / "recipe.toml"]
    assert "--recipe says all of the preparation" in refused(*given, "--continuum", "gaussian:50nm")


def test_a_survey_file_that_cannot_be_read_is_one_sentence(refused, tmp_path):
    (tmp_path / "broken.fits").write_bytes(b"SIMPLE  =")
    assert "broken.fits" in refused("read", tmp_path / "broken.fits", "-o", tmp_path / "out.fits")
    assert not (tmp_path / "out.fits").exists()


def test_train_prints_the_model_it_has_written(trained):
    path, said = trained
    model = slamjax.Model.read(path)
    assert said.startswith("SLAM, kernel rbf, 21 of 21 pixels trained, 90 stars\n")
    assert said.endswith(f"written: {path}\n")
    assert model.label_names == ("teff", "logg", "fe_h")
    assert [float(np.unique(model.info.pixels[name]).item()) for name in ("C", "epsilon", "gamma")] == [10, 0.05, 0.1]


def test_info_describes_the_model_and_its_pixels(trained):
    model = slamjax.Model.read(trained[0])
    assert run("info", trained[0]) == f"{slamjax.describe(model)}\n"
    lines = run("info", trained[0], "--pixels").splitlines()
    assert sum(line.endswith("trained") for line in lines) == 21
    assert lines[-1].split()[0] == "540.0"


def test_fit_writes_a_row_for_every_selected_star(trained, tmp_path):
    select = "logg < 1.1 & teff > 3600"
    said = run("fit", trained[0], GIANTS, "-o", tmp_path / "labels.fits", "--select", select, "--n-starts", 1)
    table = slamjax.read_labels(tmp_path / "labels.fits")
    giants = xp_giants()
    logg = giants.values("logg")
    rows = np.flatnonzero((logg < 1.1) & (giants.values("teff") > 3600))
    assert 5 < len(rows) <= 16  # few, as every larger batch compiles anew
    np.testing.assert_array_equal(table["row"], rows)  # 0-based, in the file
    np.testing.assert_array_equal(table["apogee_id"], giants.table["apogee_id"][rows])
    np.testing.assert_array_equal(table["logg_ref"], logg[rows])
    expected = slamjax.fit(slamjax.Model.read(trained[0]), giants[rows], n_starts=1)
    np.testing.assert_array_equal(table["teff"].value, expected["teff"].value)
    assert f"{np.sum(table['flags'] == 0)} of {len(rows)} stars without flags" in said
    for flag in slamjax.Flag:
        count = int(np.sum(table["flags"] & flag != 0))
        assert (f"{count:6d} {flag.name}" in said) == (count > 0)


def test_validate_leaves_the_training_stars_out_and_reports(trained, tmp_path):
    snr = xp_giants().values("apogee_snr")
    seen = np.isin(np.arange(150), slamjax.Model.read(trained[0]).info.record.rows)
    fresh = (snr > 200) & ~seen
    options = ("--select", "apogee_snr > 200", "--by", "apogee_snr", "--bins", "200,230,400", "--n-starts", 1)
    said = run("validate", trained[0], GIANTS, "-o", tmp_path / "report.csv", *options)
    assert said.startswith(f"fit - known, {fresh.sum()} stars; {np.sum((snr > 200) & seen)} training stars left out\n|")
    report = Table.read(tmp_path / "report.csv")
    assert list(report["label"]) == ["teff", "logg", "fe_h", "jointly"] * 3
    assert list(report["n"][::4]) == [fresh.sum(), np.sum(fresh & (snr < 230)), np.sum(fresh & (snr >= 230))]
    assert f" {report['std'][0]:.1f} " in said


def test_validate_also_says_how_honest_the_errors_are(trained):
    options = ("--select", "apogee_snr > 220", "--n-starts", 1)
    without, added = (run("validate", trained[0], GIANTS, *options, *more) for more in ([], ["--reference-errors"]))
    assert "pull width" in without
    assert without.count("| jointly |") == 5  # all stars, and the quartiles
    scatter, errors = (said.split("\n\n")[::2] for said in (without, added))
    assert scatter[0] == errors[0]
    assert scatter[1] != errors[1]


def test_calibrate_simulates_with_the_errors_of_real_stars_and_draws(trained, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    given = {}

    def sbc(model, ivar, *, on_progress, **options):
        given.update(options, ivar=ivar)
        rng = np.random.default_rng(0)
        n, names = options["n_stars"], model.label_names
        truth, draws = rng.normal(size=(n, len(names))), rng.normal(size=(n, 99, len(names)))
        return slamjax.validation.SimulatedCalibration.of(truth, draws, names)

    monkeypatch.setattr(slamjax.validation, "sbc", sbc)
    options = ("--n-stars", 60, "--seed", 3, "--draws", 99, "--select", "apogee_snr > 220")
    said = run("calibrate", trained[0], GIANTS, "-o", tmp_path / "ranks.png", *options)
    some = xp_giants().select("apogee_snr > 220")
    np.testing.assert_array_equal(given.pop("ivar"), slamjax.Model.read(trained[0]).prepare(some).ivar)
    assert given == {"n_stars": 60, "seed": 3, "sampler": slamjax.SamplerSpec(draws=99), "prior": "uniform"}
    assert said.startswith("ranks of 60 truths among 99 draws in 10 bins: ")
    assert "| teff |" in said.replace("  ", " ")
    assert (tmp_path / "ranks.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("what", ["spectra", "labels", "errors", "training"])
def test_plot_writes_each_kind_of_figure(what, trained, tmp_path):
    pytest.importorskip("matplotlib")
    spectra = [] if what == "training" else [GIANTS]
    select = ["--select", "apogee_snr > 220"] if what in ("labels", "errors") else []
    run("plot", trained[0], *spectra, "-o", tmp_path / "plot.png", "--what", what, *select)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert os.listdir(tmp_path) == ["plot.png"]


def test_several_values_are_searched(tmp_path):
    options = ["--wave-range", "500", "510", "--cv", "2", "--C", "1,10", "--gamma", "0.1,scale"]
    path = tmp_path / "searched.h5"
    run("train", GIANTS, "-o", path, "--labels", "teff,logg", *options, "--search", "random", "--n-iter", 3)
    tried = slamjax.Model.read(path).info.candidates
    assert len(tried) == 3
    assert set(tried["C"]) == {1.0, 10.0}
    # scale: one over two labels of unit variance
    np.testing.assert_allclose(np.unique(tried["gamma"]), [0.1, 0.5], rtol=1e-6)


def test_preparation_is_kept_in_the_model(tmp_path):
    path = tmp_path / "model.h5"
    options = ["--continuum", "gaussian:20nm", "--flux-range", "0", "3", "--min-pixel-snr", "5"]
    run("train", GIANTS, "-o", path, "--labels", "teff", *SMALL, *options)
    steps = {step.pop("step"): step for step in slamjax.Model.read(path).recipe.to_list()}
    assert list(steps) == ["wave_range", "gaussian_continuum", "bad_pixels"]
    assert {"min_flux": 0.0, "max_flux": 3.0, "min_snr": 5.0}.items() <= steps["bad_pixels"].items()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    assert f"Example: slamjax {command} " in " ".join(run(command, "--help").split())


def test_version_is_printed():
    assert run("--version") == f"{slamjax.__version__}\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "teff,age"], "has no column 'age'; it has: apogee_id"),
        (["--select", "teff < 0"], "the selection 'teff < 0' keeps none of the 150 rows"),
        (["--select", "tef < 0"], "names a column 'tef' that the table does not have; did you mean 'teff'?"),
        (["--C", "0"], "C is 0; give a number above 0"),
        (["--C", "one"], "--C has 'one', which is not a number; give a number or a comma list"),
        (["--C", ","], "--C is empty; give a number or a comma list such as 0.1,1,10"),
        (["--gamma", "big"], "--gamma has 'big', which is not a number"),
        (["--n-train", "151"], "n_train is 151 but 150 stars can train; give 2 to 150"),
        (["--cv", "1"], "folds is 1; give at least 2"),
        (["--wave-range", "600", "500"], "the wavelength range 600 to 500 nm is empty; give low < high"),
        (
            ["--continuum", "median"],
            "unknown continuum 'median'; write gaussian:50nm, spline:60nm, chebyshev:4 or none",
        ),
    ],
)
def test_training_that_cannot_be_is_one_sentence(options, message, refused, tmp_path):
    labels = [] if "--labels" in options else ["--labels", "teff,logg"]
    assert message in refused("train", GIANTS, "-o", tmp_path / "m.h5", *SMALL, *labels, *options)
    assert os.listdir(tmp_path) == []


def test_missing_and_damaged_files_are_one_sentence(trained, refused, tmp_path):
    out = tmp_path / "out.fits"
    nowhere = tmp_path / "nowhere.fits"
    assert f"{nowhere}: no such file" in refused("fit", trained[0], nowhere, "-o", out)
    assert f"{nowhere}: no such file" in refused("info", nowhere)
    assert "cannot be read as a slamjax model" in refused("fit", GIANTS, GIANTS, "-o", out)
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(trained[0].read_bytes()[:5000])
    assert f"{damaged} is damaged: the checksum of the file" in refused("validate", damaged, GIANTS)
    assert os.listdir(tmp_path) == ["damaged.h5"]


def test_spectra_that_do_not_cover_the_model_are_told(trained, refused, tmp_path):
    slamjax.write_table(xp_giants()[:3].on_pixels(slice(150, None)), tmp_path / "red.fits")
    message = refused("fit", trained[0], tmp_path / "red.fits", "-o", tmp_path / "out.fits")
    assert "covers 636 to 1020 nm and has none of the model's 21 wavelengths" in message
    slamjax.write_table(miles()[:3], tmp_path / "miles.fits")
    refused("fit", trained[0], tmp_path / "miles.fits", "-o", tmp_path / "out.fits")
    assert sorted(os.listdir(tmp_path)) == ["miles.fits", "red.fits"]


@pytest.mark.parametrize("command", ["train", "fit", "validate", "plot"])
def test_an_output_that_cannot_be_written_is_told_first(command, refused, tmp_path):
    """Inputs that do not exist are not even looked at."""
    output = ["-o", tmp_path / "nowhere" / "out.png"]
    inputs = ["no.fits", "--labels", "teff"] if command == "train" else ["no.h5", "no.fits"]
    assert f"the folder {tmp_path / 'nowhere'} does not exist" in refused(command, *inputs, *output)


def test_figures_are_refused_before_any_fit(refused, trained, tmp_path):
    assert "matplotlib goes by the ending" in refused("plot", "no.h5", "-o", tmp_path / "plot")
    assert "--what labels needs spectra" in refused("plot", trained[0], "-o", tmp_path / "a.png", "--what", "labels")
    assert os.listdir(tmp_path) == []


def test_choices_and_ranges_are_typers_to_refuse():
    result = CliRunner().invoke(app, ["train", GIANTS, "-o", "m.h5", "--labels", "teff", "--kernel", "cubic"])
    assert result.exit_code == 2
    assert "cubic" in result.stderr
    assert CliRunner().invoke(app, ["plot", "m.h5", "--count", "0"]).exit_code == 2


def test_warnings_are_one_line(trained, tmp_path):
    """Through a real process, as astropy and pytest both put themselves before Python's warnings."""
    stars = xp_giants()[:3]
    silent = slamjax.Spectra(stars.wave, stars.flux, None, stars.table, wave_unit="nm", medium="vacuum")
    slamjax.write_table(silent, tmp_path / "silent.fits")
    command = ["fit", str(trained[0]), str(tmp_path / "silent.fits"), "-o", str(tmp_path / "out.fits")]
    done = subprocess.run([sys.executable, "-m", "slamjax", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "3 NO_ERRORS" in done.stdout
    told = [line for line in done.stderr.splitlines() if "warning" in line.lower()]
    assert len(told) == 1
    assert told[0].startswith("slamjax: warning: ")
    assert "states no flux errors" in told[0]
    assert len(slamjax.read_labels(tmp_path / "out.fits")) == 3


def test_errors_of_a_real_process_are_one_sentence(tmp_path):
    command = [sys.executable, "-m", "slamjax", "info", str(tmp_path / "no.h5")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"slamjax: error: {tmp_path / 'no.h5'}: no such file; check the path\n"


def test_an_input_that_is_missing_is_told_even_where_the_output_exists(tmp_path, capsys, monkeypatch):
    (tmp_path / "labels.fits").write_text("old")
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr("sys.argv", ["slamjax", "fit", "absent.h5", "absent.fits", "-o", str(tmp_path / "labels.fits")])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "absent.h5: no such file" in capsys.readouterr().err
    assert (tmp_path / "labels.fits").read_text() == "old"


def test_nuisances_are_given_in_words_and_numbers(trained, refused, tmp_path):
    select = "logg < 1.1 & teff > 3600"
    run(
        "fit", trained[0], GIANTS, "-o", tmp_path / "moved.fits", "--select", select, "--n-starts", 1,
        "--polynomial", 1,
    )  # fmt: skip
    table = slamjax.read_labels(tmp_path / "moved.fits")
    assert table["polynomial"].shape[1] == 2
    for given in ("fast", "1:2:3", "20+-"):
        said = refused("fit", trained[0], GIANTS, "-o", tmp_path / "x.fits", "--rv", given)
        assert said.startswith(f'--rv is {given!r}; give "free", a range such as -300:300')


def test_velocities_are_read_from_words():
    assert velocity("--rv", None) is None
    assert velocity("--rv", "free") == "free"
    assert velocity("--rv", "-30:40.5") == slamjax.Free(-30, 40.5)
    assert velocity("--rv", "20+-5") == slamjax.Gaussian(20, 5)
    assert velocity("--rv", "-12") == -12.0
