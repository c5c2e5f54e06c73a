"""``slamjax info``: every file of slamjax."""

import json

import numpy as np
import pytest
from astropy.io import fits
from commands import GIANTS, run
from helpers import DATA

import slamjax
from slamjax.sampling import Diagnostics, Posterior


def test_models_spectra_and_recipes_are_described(trained, tmp_path):
    assert run("info", trained[0]) == f"{slamjax.describe(trained[0])}\n"
    assert run("info", GIANTS) == f"{slamjax.describe(GIANTS)}\n"
    (tmp_path / "r.toml").write_text(run("info", trained[0], "--recipe"))
    assert run("info", tmp_path / "r.toml") == "Recipe of 1 step\n  1.           wavelengths 500 to 540 nm\n"


def test_options_of_models_are_refused_for_other_files(refused):
    assert "cannot be read as a slamjax model" in refused("info", GIANTS, "--pixels")
    assert "cannot be read as a slamjax model" in refused("info", GIANTS, "--recipe")


def posterior():
    draws = np.random.default_rng(0).normal([4500, 2.0], [50, 0.1], size=(2, 100, 2, 2))
    draws[:, :, 1] = np.nan
    ess = np.full((2, 2), 150.0)
    return Posterior(
        ("teff", "logg"), ("K", ""), draws, np.zeros(draws.shape[:3]), np.zeros(draws.shape[:3], bool),
        Diagnostics(np.full((2, 2), np.nan), ess, ess), np.full(2, 0.1), np.array(["importance", ""]), np.array([0, 4]),
        {"row": np.arange(2)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def files(trained, tmp_path_factory):
    """A file of each kind."""
    folder = tmp_path_factory.mktemp("files")
    model = slamjax.Model.read(trained[0])
    slamjax.write_labels(slamjax.fit(model, slamjax.read_table(GIANTS)[:3]), folder / "labels.fits")
    posterior().write(folder / "posterior.nc")
    model.recipe.write(folder / "recipe.toml")
    names = [folder / name for name in ("labels.fits", "posterior.nc", "recipe.toml")]
    return [trained[0], GIANTS, *names, DATA / "surveys" / "3703110.fits"]


def test_json_holds_what_every_file_is(files):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    found = json.loads(run("info", "--json", *files), parse_constant=refuse)
    assert [one["kind"] for one in found] == ["model", "spectra", "labels", "posterior", "recipe", "spectra"]
    assert [one["file"] for one in found] == [str(file) for file in files]
    model, spectra, labels, draws, recipe, lamost = found
    assert model["training"]["stars"] == 90
    assert model["trained_pixels"] == model["wavelengths"]["pixels"] == 21
    assert model["recipe"] == recipe["recipe"] == [{"step": "wave_range", "low": 500.0, "high": 540.0, "unit": "nm"}]
    table = slamjax.read_table(GIANTS)
    assert spectra["spectra"] == len(table)
    assert spectra["wavelengths"]["high"] == table.wave[-1]
    assert spectra["columns"]["teff"]["low"] == table.values("teff").min()
    with fits.open(files[2]) as hdus:
        assert labels["stars"] == hdus["LABELS"].header["NAXIS2"]
        assert labels["columns"]["cov"]["shape"] == [3, 3]
    assert labels["labels"] == ["teff", "logg", "fe_h"]
    assert (draws["chains"], draws["draws"], draws["samplers"]) == (2, 100, ["importance"])
    assert draws["flags"]["none"] == 1
    assert draws["columns"]["teff"]["unknown"] == 1
    assert lamost["wavelengths"]["medium"] == "vacuum"


def test_json_of_a_damaged_file_is_one_sentence(refused, tmp_path):
    (tmp_path / "model.h5").write_bytes(b"\x89HDF nothing")
    assert "model.h5" in refused("info", "--json", tmp_path / "model.h5")
    assert "leave --pixels and --recipe out" in refused("info", "--json", "--pixels", GIANTS)
