"""A real DESI coadd, cropped, compared with the arms that specutils reads."""

import warnings

import numpy as np
import pytest
from specutils import SpectrumList
from survey_files import DESI, altered, opened

from slamjax.errors import SlamError
from slamjax.io import read


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
