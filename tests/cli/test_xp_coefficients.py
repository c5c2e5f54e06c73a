"""Commands on files of XP coefficients, as the archive gives them."""

import numpy as np
from commands import run
from xp_coefficient_files import coefficient_model, three_files

import slamjax


def test_commands_take_files_of_coefficients(tmp_path, refused):
    files = three_files(tmp_path)
    coefficient_model().write(tmp_path / "model.h5")
    described = run("info", files[0])
    assert "5 spectra of 16 pixels" in described
    assert "covariances between pixels" in described
    run("fit", tmp_path / "model.h5", *files, "-o", tmp_path / "labels.fits", "--select", "teff > 4500")
    found = slamjax.read_labels(tmp_path / "labels.fits")
    kept = slamjax.read(files).select("teff > 4500")
    np.testing.assert_allclose(found["teff"], slamjax.fit(coefficient_model(), kept)["teff"], rtol=1e-5)
    assert "whose covariances a table of slamjax does not hold" in refused("read", *files, "-o", tmp_path / "all.fits")
