"""Model files of every schema: written by old code, read, used and written again by today's."""

from pathlib import Path

import numpy as np
import pytest
from helpers import DATA, in_precision, miles, xp_giants

from slamjax.fitting import fit
from slamjax.model import Model
from slamjax.model.storage import SCHEMA
from slamjax.noise import LowRankNoise

FOLDER = DATA / "old_models"
FILES = sorted(FOLDER.glob("*.h5"))


def stars_of(path):
    """Some stars on the pixels that the model was trained with."""
    if "masks" in path.stem:
        stars = miles()
        return stars.on_pixels(np.arange(0, stars.n_pix, 15))[100:104]
    return xp_giants()[100:104]


def test_there_is_a_file_of_every_schema():
    assert {path.stem.partition("_")[0] for path in FILES} == {f"schema{number}" for number in range(1, SCHEMA)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_old_file_predicts_the_flux_that_its_own_code_predicted(path):
    stored = np.load(path.with_suffix(".npz"))
    with in_precision("float64"):
        flux = np.asarray(Model.read(path)(stored["labels"]))
    np.testing.assert_allclose(flux, stored["flux"], rtol=1e-12)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_old_file_fits_and_can_be_written_again(path, tmp_path):
    model = Model.read(path)
    table = fit(model, stars_of(path))
    assert np.isfinite(table["teff"]).any()
    again = tmp_path / "again.h5"
    model.write(again)
    same = fit(Model.read(again), stars_of(path))
    for name in ("teff", "teff_err", "chi2", "flags"):
        np.testing.assert_array_equal(table[name], same[name])


def test_what_is_particular_to_a_file_is_read():
    models = {path.stem: Model.read(path) for path in FILES}
    assert np.isfinite(models["schema1"].info.calibration.chi2_limit)
    assert models["schema2"].emulator.scaling.log == (True, False, False, False)
    assert isinstance(models["schema2"].noise, LowRankNoise)
    assert len(models["schema2_calibrated"].info.calibration.label_scale) == 4
    assert models["schema3"].is_compressed
    assert len(models["schema4_masks"].host_emulator.blocks) > 1
    assert not models["schema5"].info.calibration.photons_as_stated
    blind = models["schema5_without_errors"]
    assert blind.info.calibration.photons_as_stated
    np.testing.assert_allclose(blind.noise.photon_scale, 1)  # was multiplied like all else
    assert models["schema6"].info.calibration.photons_as_stated
    assert models["schema6"].training_labels.metric is None


def test_files_are_as_small_as_fixtures_should_be():
    assert sum(Path(path).stat().st_size for path in FOLDER.iterdir()) < 1_000_000
