"""``slamjax train`` and ``slamjax info``."""

import os

import numpy as np
import pytest
from commands import GIANTS, SMALL, run

import slamjax


def test_the_written_model_is_printed(trained):
    path, printed = trained
    model = slamjax.Model.read(path)
    assert printed.startswith("SLAM, kernel rbf, 21 of 21 pixels trained, 90 stars\n")
    assert printed.endswith(f"written: {path}\n")
    assert model.label_names == ("teff", "logg", "fe_h")
    assert [float(np.unique(model.info.pixels[name]).item()) for name in ("C", "epsilon", "gamma")] == [10, 0.05, 0.1]


def test_info_describes_the_model_and_its_pixels(trained):
    model = slamjax.Model.read(trained[0])
    assert run("info", trained[0]) == f"{slamjax.describe(model)}\n"
    lines = run("info", trained[0], "--pixels").splitlines()
    assert sum(line.endswith("trained") for line in lines) == 21
    assert lines[-1].split()[0] == "540.0"


@pytest.mark.slow
def test_a_polynomial_trains_and_fits_like_slam(tmp_path):
    options = ["--emulator", "polynomial", "--ridge", "1,10", "--label-window", "logg:500-520,530-540", *SMALL[:5]]
    printed = run("train", GIANTS, "-o", tmp_path / "q.h5", "--labels", "teff,logg", "--n-train", 90, *options)
    assert printed.startswith("polynomial of the labels of degree 2 (quadratic), 21 of 21 pixels trained, 90 stars")
    assert "logg is used only at 500 to 520, 530 to 540 nm" in printed
    assert set(slamjax.Model.read(tmp_path / "q.h5").info.candidates["ridge"]) == {1, 10}
    run("fit", tmp_path / "q.h5", GIANTS, "-o", tmp_path / "labels.fits", "--n-starts", 1)
    assert len(slamjax.read_labels(tmp_path / "labels.fits")) == 150


@pytest.mark.filterwarnings("ignore::slamjax.errors.SlamWarning")
def test_outliers_are_listed_by_info_and_kept_on_request(tmp_path):
    stars = slamjax.read_table(GIANTS)
    stars.table["teff"][12] = -9999
    slamjax.write_table(stars, tmp_path / "stars.fits")
    given = ["train", tmp_path / "stars.fits", "--labels", "teff,logg", "--emulator", "polynomial", *SMALL[:5]]
    run(*given, "-o", tmp_path / "a.h5")
    name = str(stars.table["apogee_id"][12]).strip()
    reason = "teff is -9999, which stands for an unknown number"
    assert f"  left out     1 star as outliers\n    {name}: {reason}\n" in run("info", tmp_path / "a.h5")
    assert "trained, 150 stars" in run(*given, "-o", tmp_path / "b.h5", "--no-screen")
    assert "left out" not in run("info", tmp_path / "b.h5")


def test_workers_and_a_scheduler_exclude_each_other(refused, tmp_path):
    options = ["--labels", "teff,logg", "--workers", 2, "--scheduler", "tcp://127.0.0.1:1"]
    told = refused("train", GIANTS, "-o", tmp_path / "m.h5", *options)
    assert told.startswith("--workers and --scheduler exclude each other")


def test_several_values_are_searched(tmp_path):
    options = ["--wave-range", "500", "506", "--folds", "2", "--C", "1,10", "--gamma", "0.1,scale"]
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
    run("train", GIANTS, "-o", path, "--labels", "teff", *SMALL, "--wave-range", "500", "506", *options)
    steps = {step.pop("step"): step for step in slamjax.Model.read(path).recipe.to_list()}
    assert list(steps) == ["wave_range", "gaussian_continuum", "bad_pixels"]
    assert {"min_flux": 0.0, "max_flux": 3.0, "min_snr": 5.0}.items() <= steps["bad_pixels"].items()


def test_a_recipe_file_replaces_the_options_of_preparation(refused, tmp_path):
    text = '[[steps]]\nstep = "wave_range"\nlow = 500.0\nhigh = 506.0\nunit = "nm"\n'
    (tmp_path / "recipe.toml").write_text(text)
    command = ["train", GIANTS, "-o", tmp_path / "m.h5", "--labels", "teff", "--recipe", tmp_path / "recipe.toml"]
    run(*command, "--emulator", "polynomial", "--log-labels", "teff")
    model = slamjax.Model.read(tmp_path / "m.h5")
    assert model.wave[-1] == 506
    assert model.info.provenance["settings"]["log_labels"] == ["teff"]
    assert run("info", tmp_path / "m.h5", "--recipe").startswith('[[steps]]\nstep = "wave_range"\n')
    assert "--recipe states the whole preparation" in refused(*command, "--continuum", "gaussian:50nm")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ridge", "1"], "--ridge belongs to the polynomial; leave it out, or give --emulator polynomial"),
        (
            ["--emulator", "polynomial"],
            "--C, --epsilon, --gamma belong to the SVR; leave them out, or give --emulator svr",
        ),
        (["--labels", "teff,age"], "has no column 'age'; it has: apogee_id"),
        (["--select", "teff < 0"], "the selection 'teff < 0' keeps none of the 150 rows"),
        (["--select", "tef < 0"], "names a column 'tef' that the table does not have; did you mean 'teff'?"),
        (["--C", "0"], "C is 0; give a number above 0"),
        (["--C", "one"], "--C has 'one', which is not a number; give numbers separated by commas"),
        (["--C", ","], "--C is empty; give a number, or several separated by commas, such as 0.1,1,10"),
        (["--gamma", "big"], "--gamma has 'big', which is not a number"),
        (["--n-train", "151"], "n_train is 151 but 150 stars can be used; give 2 to 150"),
        (["--folds", "1"], "folds is 1; give at least 2"),
        (["--label-window", "logg=500"], "--label-window is 'logg=500'; give a label and its windows"),
        (["--wave-range", "600", "500"], "the wavelength range 600 to 500 nm is empty; give low < high"),
        (
            ["--continuum", "median"],
            "unknown continuum 'median'; write gaussian:50nm, spline:60nm, chebyshev:4 or none",
        ),
    ],
)
def test_bad_options_are_explained_before_training(options, message, refused, tmp_path):
    labels = [] if "--labels" in options else ["--labels", "teff,logg"]
    assert message in refused("train", GIANTS, "-o", tmp_path / "m.h5", *SMALL, *labels, *options)
    assert os.listdir(tmp_path) == []
