"""A real DESI coadd, cropped, compared with the arms that specutils reads."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from scipy.sparse import dia_array
from specutils import SpectrumList
from survey_files import DESI, altered, opened

from slamjax.errors import SlamError
from slamjax.io import read
from slamjax.io.surveys.desi import widths_of_bands


@pytest.fixture(scope="module")
def arms():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {one.meta["band"]: one for one in SpectrumList.read(DESI, format="DESI coadd")}


def test_arms_are_weighted_with_ivar_where_they_overlap(arms):
    spectra = read(DESI)
    assert len(spectra) == 5
    np.testing.assert_allclose(np.diff(spectra.wave), 0.8, atol=1e-9)
    total, weighted = np.zeros((2, 5, spectra.n_pix))
    covered = np.zeros(spectra.n_pix, int)
    for arm in arms.values():
        at = np.searchsorted(spectra.wave, arm.spectral_axis.to_value("AA") - 0.1)
        np.testing.assert_allclose(spectra.wave[at], arm.spectral_axis.to_value("AA"), rtol=1e-12)
        ivar = np.where(arm.mask, 0, arm.uncertainty.array).astype(float)
        total[:, at] += ivar
        weighted[:, at] += ivar * arm.flux.value
        covered[at] += 1
    assert (covered == 2).sum() == 51
    np.testing.assert_allclose(spectra.ivar, total, rtol=1e-6)
    good = spectra.good
    assert good[2, covered > 0].mean() > 0.9
    np.testing.assert_allclose(spectra.flux[good], (weighted[good] / total[good]), rtol=1e-5, atol=1e-6)
    assert not good[:, covered == 0].any()
    assert (spectra.medium, spectra.frame) == ("vacuum", "observed")


def test_one_row_per_target_with_metadata_of_the_fibermap():
    spectra = read(DESI)
    fibers = opened(DESI)[1][1]
    np.testing.assert_array_equal(spectra.table["targetid"], fibers["TARGETID"])
    np.testing.assert_allclose(spectra.table["ra"], fibers["TARGET_RA"])
    assert set(spectra.table["objtype"]) <= {"TGT", "SKY", ""}
    assert list(spectra.table["problem"]) == ["no good pixel", "no good pixel", "", "no good pixel", ""]
    assert "snr_b" in spectra.table.colnames


def test_errors_of_broken_files_say_what_is_wrong(tmp_path):
    def shifted(hdus):
        hdus["R_WAVELENGTH"].data = hdus["R_WAVELENGTH"].data + 0.3

    with pytest.raises(SlamError, match="share no wavelength grid"):
        read(altered(DESI, tmp_path / "shifted.fits", shifted))
    with pytest.raises(SlamError, match=r"lost\.fits.*cannot be read"):
        read(altered(DESI, tmp_path / "lost.fits", lambda hdus: hdus.pop(hdus.index_of("R_IVAR"))))
    with pytest.raises(SlamError, match="of no survey that slamjax knows"):
        read(altered(DESI, tmp_path / "none.fits", lambda hdus: hdus.pop(hdus.index_of("FIBERMAP"))))


def test_a_file_with_one_arm_is_read(tmp_path):
    def only_blue(hdus):
        for name in [hdu.name for hdu in hdus if hdu.name[:2] in ("R_", "Z_")]:
            hdus.pop(hdus.index_of(name))

    one, all_arms = read(altered(DESI, tmp_path / "blue.fits", only_blue)), read(DESI)
    assert one.n_pix == 150
    np.testing.assert_array_equal(one.flux[:, :99], all_arms.flux[:, :99])


@pytest.mark.parametrize("n_bands", [11, 12])
def test_line_widths_are_those_of_the_rows_of_the_resolution_matrix(n_bands):
    """Rows are Gaussians of given widths; SciPy's matrix of diagonals says where an element belongs."""
    n_pix = 60
    fwhm = np.stack([np.linspace(2.0, 3.0, n_pix), np.full(n_pix, 2.5)])
    at = np.arange(n_pix)
    offsets = np.arange(n_bands // 2, n_bands // 2 - n_bands, -1)
    bands = np.zeros((2, n_bands, n_pix))
    for star in range(2):
        sigma = fwhm[star] / np.sqrt(8 * np.log(2))
        for k, offset in enumerate(offsets):
            rows = at - offset  # SciPy: data[k, j] is the element in column j of the diagonal ``offset``
            known = (rows >= 0) & (rows < n_pix)
            width = sigma[np.clip(rows, 0, n_pix - 1)]
            bands[star, k] = np.where(known, np.exp(-0.5 * np.square(offset / width)) / width, 0)
        dense = dia_array((bands[star], offsets), shape=(n_pix, n_pix)).toarray()
        np.testing.assert_allclose(dense[30, 31] / dense[30, 30], np.exp(-0.5 / sigma[30] ** 2))
    found = widths_of_bands(bands)
    np.testing.assert_allclose(found[:, 8:-8], fwhm[:, 8:-8], rtol=0.01)
    np.testing.assert_array_equal(found[:, 0], found[:, 5])
    assert np.all(np.isnan(widths_of_bands(np.zeros((1, 11, 5)))))


def test_the_arms_line_widths_are_joined_as_their_flux_is(tmp_path):
    def with_matrices(hdus):
        for arm, width in (("B", 1.0), ("R", 0.8), ("Z", 0.7)):
            shape = hdus[f"{arm}_FLUX"].shape
            profile = np.exp(-0.5 * np.square(np.arange(5, -6, -1) / width)) / width
            bands = np.broadcast_to(profile[:, None], (shape[0], 11, shape[1])).astype(np.float32)
            hdus.append(fits.ImageHDU(np.array(bands), name=f"{arm}_RESOLUTION"))

    path = altered(DESI, tmp_path / "matrices.fits", with_matrices)
    spectra, plain = read(path), read(DESI)
    assert spectra.fwhm.shape == spectra.flux.shape
    np.testing.assert_array_equal(spectra.flux, plain.flux)
    blue = np.nanmedian(spectra.fwhm[:, spectra.wave < 5700], axis=1)
    np.testing.assert_allclose(blue, 1.0 * 0.8 * np.sqrt(8 * np.log(2)), rtol=0.01)
    known = np.isfinite(spectra.fwhm)
    assert np.all(known[spectra.good])
    sigma = spectra.fwhm[known] / (0.8 * np.sqrt(8 * np.log(2)))
    assert sigma.min() > 0.65
    assert sigma.max() < 1.01


def test_damaged_resolution_matrices_are_told(tmp_path):
    def cut(hdus):
        hdus.append(fits.ImageHDU(np.ones((5, 11, 3), np.float32), name="B_RESOLUTION"))

    with pytest.raises(SlamError, match="has resolution matrices of"):
        read(altered(DESI, tmp_path / "cut.fits", cut))
