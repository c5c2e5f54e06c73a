"""LAMOST: what the survey is known for at low resolution; medium resolution in simulated files of both layouts."""

import numpy as np
import pytest
from survey_files import LAMOST, altered, mrs, opened

from slamjax.errors import SlamError, SlamWarning
from slamjax.io import read
from slamjax.io.surveys import bitmasks
from slamjax.io.surveys.lamost import BAD_REGIONS
from slamjax.spectra.resampling import pixel_edges, resample
from slamjax.spectra.wavelengths import to_air


def low_resolution(tmp_path, first):
    """A real spectrum of 400 pixels, as if it began at ``first`` (number of the pixel in log10 wavelength)."""

    def move(hdus):
        hdus["COADD"].data["WAVELENGTH"][0] = 10 ** (1e-4 * (first + np.arange(400)))

    return read(altered(LAMOST[0], tmp_path / f"{first}.fits", move))


@pytest.mark.parametrize(("first", "regions"), [(37400, 2), (37900, 2), (38500, 2), (38800, 2), (36800, 0)])
def test_what_sky_and_calibration_spoil_at_low_resolution_is_bad_and_nothing_else(tmp_path, first, regions):
    spectra = low_resolution(tmp_path, first)
    inside = [(spectra.wave >= low) & (spectra.wave <= high) for low, high in BAD_REGIONS]
    assert sum(region.any() for region in inside) == regions
    stated = opened(LAMOST[0])[1][1][0]["IVAR"] > 0
    np.testing.assert_array_equal(spectra.good[0], stated & ~np.any(inside, axis=0))


def test_each_arm_of_low_resolution_has_its_line_spread(tmp_path):
    spectra = low_resolution(tmp_path, 37600)
    assert spectra.wave[0] < 5900 < spectra.wave[-1]
    np.testing.assert_array_equal(spectra.fwhm, np.where(spectra.wave < 5900, 2.5, 3.9))


@pytest.mark.parametrize("vectors", [True, False])
def test_both_arms_are_joined_and_the_gap_between_them_is_bad(tmp_path, vectors):
    spectra = read(mrs(tmp_path / "med.fits", vectors))
    np.testing.assert_allclose(np.diff(np.log10(spectra.wave)), 1e-5, rtol=1e-6)
    assert spectra.n_pix == 379940 + 400 - 369460
    for k, start in enumerate((0, 379940 - 369460)):
        row, arm = opened(LAMOST[k])[1][1][0], slice(start, start + 400)
        np.testing.assert_allclose(np.log10(spectra.wave[arm]), 1e-5 * (369460 + start + np.arange(400)), rtol=1e-9)
        bad = (row["ANDMASK"].astype(int) & bitmasks.bits(bitmasks.LAMOST)) != 0
        np.testing.assert_array_equal(spectra.ivar[0, arm], np.where(bad, 0, row["IVAR"]))
        good = spectra.good[0, arm]
        np.testing.assert_array_equal(spectra.flux[0, arm][good], row["FLUX"][good])
    assert not spectra.good[0, 400 : 379940 - 369460].any()
    assert (spectra.medium, spectra.frame) == ("vacuum", "observed")
    assert (spectra.table["snr_b"][0], spectra.table["snr_r"][0]) == (30, 31)
    assert spectra.table["obsid"][0] == 3703110


def test_each_arm_of_medium_resolution_has_its_line_spread(tmp_path):
    spectra = read(mrs(tmp_path / "med.fits"))
    seen = spectra.good[0]
    assert {spectra.wave[seen].min() // 1000, spectra.wave[seen].max() // 1000} == {4, 6}
    expected = np.where(spectra.wave < 6000, 5163 / 7500, 6593 / 7500)
    np.testing.assert_allclose(spectra.fwhm[seen], expected[seen], rtol=1e-9)


def test_files_with_other_ranges_or_a_missing_arm_share_the_grid(tmp_path):
    paths = [mrs(tmp_path / "a.fits"), mrs(tmp_path / "b.fits", arms="R", start=(0, 379920))]
    spectra = read(paths)
    one = read(paths[0])
    np.testing.assert_allclose(spectra.wave[: one.n_pix], one.wave)
    np.testing.assert_array_equal(spectra.flux[0, : one.n_pix], one.flux[0])
    assert not spectra.good[1, :400].any()
    first = int(np.flatnonzero(spectra.good[1])[0])
    assert abs(np.log10(spectra.wave[first]) / 1e-5 - 379920) < 5
    assert np.isnan(spectra.table["snr_b"][1])


def test_linear_wavelengths_are_resampled_arm_by_arm(tmp_path):
    def linear(hdus):
        for name in ("COADD_B", "COADD_R"):
            wave = hdus[name].data["WAVELENGTH"]
            wave[0] = wave[0, 0] + 0.12 * np.arange(wave.shape[1])

    spectra = read(altered(mrs(tmp_path / "med.fits"), tmp_path / "linear.fits", linear))
    row = opened(tmp_path / "linear.fits")[1][1][0]
    bad = (row["ANDMASK"].astype(int) & bitmasks.bits(bitmasks.LAMOST)) != 0
    ivar = np.where(bad, 0, row["IVAR"]).astype(float)
    (expected,), _ = resample(row["WAVELENGTH"], row["FLUX"][None].astype(float), ivar[None], pixel_edges(spectra.wave))
    arm = (spectra.wave < 5500) & spectra.good[0]
    assert arm.sum() > 350
    np.testing.assert_allclose(spectra.flux[0, arm], expected[arm], rtol=1e-6)
    assert not spectra.good[0, (spectra.wave > 5100) & (spectra.wave < 6200)].any()


def test_arms_in_air_are_converted_to_vacuum(tmp_path):
    def into_air(hdus):
        for name in ("COADD_B", "COADD_R"):
            hdus[name].data["WAVELENGTH"] = to_air(hdus[name].data["WAVELENGTH"].astype(float))
        hdus[0].header["VACUUM"] = False

    vacuum = read(mrs(tmp_path / "med.fits"))
    air = read(altered(tmp_path / "med.fits", tmp_path / "air.fits", into_air))
    np.testing.assert_allclose(air.wave, vacuum.wave, rtol=1e-9)
    np.testing.assert_array_equal(air.flux, vacuum.flux)


def cut(hdus):
    hdus["COADD_B"].data["WAVELENGTH"] = 5000.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda hdus: hdus.__delitem__(slice(1, 5)), "of no survey"),
        (lambda hdus: hdus["COADD_B"].columns.change_name("FLUX", "FLUKS"), "no flux or ivar in HDU COADD_B"),
        (cut, "wavelengths that do not increase"),
    ],
)
def test_broken_files_give_an_error_that_says_what_is_broken(tmp_path, change, message):
    path = altered(mrs(tmp_path / "med.fits"), tmp_path / "broken.fits", change)
    with pytest.raises(SlamError, match=rf"broken\.fits.*{message}"):
        read(path)
    with pytest.warns(SlamWarning, match="1 of 2 files give no spectrum"):
        spectra = read([tmp_path / "med.fits", path])
    assert message in spectra.table["problem"][1]


def test_a_file_without_either_arm_is_an_error(tmp_path):
    def empty(hdus):
        for name in ("COADD_B", "COADD_R"):
            hdus[name].data = hdus[name].data[:0]

    with pytest.raises(SlamError, match="no coadded spectrum of either arm"):
        read(altered(mrs(tmp_path / "med.fits"), tmp_path / "empty.fits", empty))
