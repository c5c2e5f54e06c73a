"""``slamjax compare``."""

import numpy as np
import pytest
from astropy.table import Table
from commands import run
from helpers import xp_giants
from models import recipe

import slamjax


@pytest.fixture(scope="module")
def spectra(tmp_path_factory):
    """A table of 150 giants on 11 pixels."""
    prepared = recipe()(xp_giants())
    path = tmp_path_factory.mktemp("compare") / "stars.fits"
    slamjax.write_table(prepared.on_pixels(np.arange(0, 61, 6)), path)
    return path


@pytest.mark.slow
def test_the_folder_holds_tables_figures_and_models(spectra, tmp_path):
    arguments = ["compare", spectra, "--labels", "teff,logg", "-o", tmp_path / "out", "--folds", 2, "--search-folds", 2]
    arguments += ["--C", "10", "--epsilon", "0.05", "--gamma", "0.1", "--noise", "diagonal", "--n-starts", "1"]
    arguments += ["--label-window", "logg:500-560", "--pixel", "524", "--at", "logg:2.4:0.5", "--ridge", "1,10"]
    run(*arguments)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {
        "report.md", "flux_error.ecsv", "label_scatter.ecsv", "labels_slam.fits", "labels_polynomial.fits",
        "flux_error.png", "label_scatter.png", "pixels.png", "slam.h5", "polynomial.h5",
    }  # fmt: skip
    assert "| polynomial |" in (tmp_path / "out" / "report.md").read_text()
    flux = Table.read(tmp_path / "out" / "flux_error.ecsv")
    assert np.all(flux["polynomial_rms"] > 0)
    model = slamjax.Model.read(tmp_path / "out" / "polynomial.h5")
    assert model.info.provenance["settings"]["label_windows"]["logg"] == [[500, 560]]
    assert set(model.info.candidates["ridge"]) == {1, 10}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--label-window", "logg=500"], "--label-window is 'logg=500'"),
        (["--at", "logg"], "--at is 'logg'"),
        (["--at", "logg:99"], "hardly any training star"),
        (["--labels", ""], "no labels are given"),
        (["--at", "age:3"], "age cannot be held fixed"),
        (["--along", "age"], "'age' is not among the labels"),
        (["--pixel", "900"], "no pixel at 900 nm"),
    ],
)
def test_bad_options_are_explained_before_training(option, message, spectra, refused, tmp_path):
    assert message in refused("compare", spectra, "--labels", "teff,logg", "-o", tmp_path / "out", *option)
    assert not (tmp_path / "out").exists()
