"""Files of XP coefficients in surveys: each star keeps its covariance, in whatever pieces the files are read."""

import numpy as np
import pytest
from astropy.table import Table
from xp_coefficient_files import coefficient_model, three_files

import slamjax
from slamjax import SlamError


@pytest.fixture
def files(tmp_path):
    return three_files(tmp_path)


def test_fits_of_pieces_use_the_covariance_of_every_star(tmp_path, files):
    stars = slamjax.read(files)
    expected = slamjax.fit(coefficient_model(), stars)
    without = slamjax.fit(coefficient_model(), stars.with_independent_pixels())
    labels, spectra = tmp_path / "labels.fits", tmp_path / "best.fits"
    slamjax.fit_survey(coefficient_model(), files, labels, piece_size=2, spectra_out=spectra)
    found, best = slamjax.read_labels(labels), Table.read(spectra, hdu="BEST_FITS")
    in_parts = slamjax.fit_table(coefficient_model(), files[0], part_size=2)
    assert found["source_id"].tolist() == stars.table["source_id"].tolist()
    for name in ("teff", "logg", "teff_err", "logg_err", "chi2"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
        np.testing.assert_allclose(in_parts[name], expected[name][:5], rtol=1e-5)
        assert np.max(np.abs(without[name] / expected[name] - 1)) > 1e-2
    np.testing.assert_allclose(best["flux"], stars.flux, rtol=1e-6)
    assert np.isfinite(best["model_flux"]).all()


@pytest.mark.slow
def test_samples_of_pieces_use_the_covariance_of_every_star(tmp_path, files):
    stars = slamjax.read(files)
    sampler = slamjax.Sampler(coefficient_model(), sampler="importance")
    slamjax.sample_survey(sampler, files, tmp_path / "posteriors.fits", piece_size=4)
    found, expected = slamjax.read_labels(tmp_path / "posteriors.fits"), sampler.sample(stars).table()
    without = sampler.sample(stars.with_independent_pixels()).table()
    for name in ("teff_err", "logg_err"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0.1)
        assert np.max(np.abs(without[name] / expected[name] - 1)) > 0.3


def test_a_damaged_row_or_file_is_told(tmp_path, files):
    lines = files[0].read_text().splitlines()
    files[0].write_text("\n".join([*lines[:3], lines[3][:200], *lines[4:]]))
    slamjax.fit_survey(coefficient_model(), files, tmp_path / "labels.fits", piece_size=2)
    found = slamjax.read_labels(tmp_path / "labels.fits")
    assert np.isfinite(found["teff"]).tolist() == [True, False, False] + [True] * 12
    assert all("cut off" in problem for problem in found["problem"][1:3])
    with pytest.raises(SlamError, match="cut off"):
        slamjax.fit_table(coefficient_model(), files[0])
