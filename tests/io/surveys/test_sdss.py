"""Simulated APOGEE and SDSS-V files, compared with specutils' loaders."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from specutils import Spectrum, SpectrumList
from survey_files import APSTAR, APVISIT, BOSS, BOSS_EXPOSURES, CROP, SDSS, altered, aspcap, mwm, opened

import slamjax
from slamjax.errors import SlamError, SlamWarning
from slamjax.io import read
from slamjax.io.surveys import bitmasks


@pytest.fixture(autouse=True)
def _quiet_specutils():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="astropy")
        warnings.filterwarnings("ignore", module="specutils")
        yield


def test_an_aspcap_spectrum_agrees_with_specutils(tmp_path):
    path = aspcap(tmp_path / "aspcapStar.fits")
    spectra, reference = read(path), Spectrum.read(path, format="APOGEE aspcapStar")
    np.testing.assert_allclose(spectra.wave, reference.spectral_axis.to_value("AA"), rtol=1e-9)
    good = spectra.good[0]
    np.testing.assert_array_equal(np.flatnonzero(good), np.arange(CROP.start, CROP.stop))
    np.testing.assert_allclose(spectra.flux[0, good], reference.flux.value[good], rtol=1e-7)
    np.testing.assert_allclose(spectra.ivar[0, good], reference.uncertainty.array[good].astype(float) ** -2, rtol=1e-6)
    assert (spectra.medium, spectra.frame) == ("vacuum", "rest")
    row = spectra.table[0]
    assert (row["id"], row["teff"], row["teff_err"]) == ("2M17335483-2753043", 3700, 60)
    assert row["rv"] == pytest.approx(15.6814, abs=1e-3)
    assert row["rv_err"] == pytest.approx(0.0278, abs=1e-3)
    assert np.isnan(row["logg"])  # -9999: not known
    assert "fparam" not in spectra.table.colnames


def test_aspcap_and_apstar_files_share_a_grid(tmp_path):
    both = read([APSTAR, aspcap(tmp_path / "aspcapStar.fits")])
    assert both.n_pix == 8575
    seen = both.good.all(axis=0)
    assert seen.sum() > 150
    ratio = both.flux[0, seen] / both.flux[1, seen]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


@pytest.mark.parametrize("survey", ["mwm-apogee", "mwm-boss"])
def test_mwm_coadds_agree_with_specutils(tmp_path, survey):
    path = mwm(tmp_path / "mwmStar.fits")
    spectra = read(path, survey)
    reference = {one.meta["instrument"]: one for one in SpectrumList.read(path, format="SDSS-V mwm")}
    reference = reference[survey.removeprefix("mwm-").upper()]
    wave = np.asarray(reference.spectral_axis.to_value("AA"), float)
    at = np.searchsorted(spectra.wave, wave * (1 - 1e-6))
    np.testing.assert_allclose(spectra.wave[at], wave, rtol=1e-7)
    good = spectra.good[0, at]
    assert 0.5 < good.mean() <= 1
    np.testing.assert_array_equal(spectra.flux[0, at][good], reference.flux.value[good])
    np.testing.assert_array_equal(spectra.ivar[0, at][good], reference.uncertainty.array[good])
    clean = ~reference.mask & (reference.uncertainty.array > 0)
    assert good[clean].all()  # specutils masks a pixel for any bit
    assert (spectra.medium, spectra.frame) == ("vacuum", "rest")
    row = spectra.table[0]
    assert (row["id"], row["source_id"], row["n_visits"]) == ("103020000", 4060525853, 3)
    assert (row["snr"], row["rv"], row["rv_err"]) == (50, -12.5, 0.25)
    assert row["telescope"] == ("apo25m" if survey == "mwm-apogee" else "lco25m")


def test_mwm_masks_follow_the_instrument(tmp_path):
    spectra = read(mwm(tmp_path / "mwmStar.fits", boss=False))
    bad = (opened(APSTAR)[3][1][0] & bitmasks.bits(bitmasks.APOGEE)) != 0
    assert bad.any()
    np.testing.assert_array_equal(spectra.good[0, CROP], ~bad)

    def flag(hdus):
        flags = hdus["BOSS/LCO"].data["pixel_flags"]
        flags[0, 100:110] = 1 << bitmasks.BOSS_STACK["NODATA"]
        flags[0, 200:210] = 1 << bitmasks.SDSS["FULLREJECT"]  # in some exposure

    path = mwm(tmp_path / "boss.fits", apogee=False)
    before, after = read(path).good[0], read(altered(path, tmp_path / "flagged.fits", flag)).good[0]
    np.testing.assert_array_equal(np.flatnonzero(before & ~after), np.arange(100, 110))


def test_a_file_of_two_instruments_needs_a_survey(tmp_path):
    path = mwm(tmp_path / "mwmStar.fits")
    with pytest.raises(SlamError, match=r"mwmStar\.fits: has spectra of both APOGEE and BOSS.*mwm-apogee or mwm-boss"):
        read(path)
    with pytest.raises(SlamError, match="has no BOSS spectrum"):
        read(mwm(tmp_path / "mwmStar.fits", boss=False), "mwm-boss")


def test_visits_that_are_not_at_rest_are_flagged(tmp_path):
    path = mwm(tmp_path / "mwmVisit.fits", boss=False, visits=True)
    spectra = read([path, path])
    reference = SpectrumList.read(path, format="SDSS-V mwm")[0]
    assert len(spectra) == 6
    assert list(spectra.table["file"]) == ["mwmVisit.fits"] * 6
    assert list(spectra.table["mjd"]) == [59800, 59801, 59802] * 2
    assert list(spectra.table["in_stack"]) == [True, True, False] * 2
    assert "not in the stack" in spectra.table["problem"][2]
    assert not spectra.good[2].any()
    for row in (0, 1):
        good = spectra.good[row, CROP]
        assert good.mean() > 0.5
        np.testing.assert_array_equal(spectra.flux[row, CROP][good], reference.flux.value[row][good])


def test_spectra_of_both_observatories_are_rows(tmp_path):
    def copy(hdus):
        hdus["APOGEE/LCO"].data = hdus["APOGEE/APO"].data.copy()
        hdus["APOGEE/LCO"].data["telescope"] = "lco25m"

    path = altered(mwm(tmp_path / "mwmStar.fits", boss=False), tmp_path / "both.fits", copy)
    spectra = read(path)
    assert list(spectra.table["telescope"]) == ["apo25m", "lco25m"]
    np.testing.assert_array_equal(spectra.flux[0], spectra.flux[1])


def test_boss_coadds_share_the_grid_of_spec_files(tmp_path):
    result, spec = read(mwm(tmp_path / "mwmStar.fits", apogee=False)), read(BOSS)
    np.testing.assert_allclose(result.wave, spec.wave, rtol=1e-6)
    with pytest.raises(SlamError, match="read them separately"):  # at rest and not
        read([tmp_path / "mwmStar.fits", BOSS])


def astra_results(hdus):
    for hdu in hdus[1:]:
        hdu.columns.change_name("flux", "model_flux")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (astra_results, "of no survey that slamjax knows"),
        (lambda hdus: hdus.__delitem__(slice(1, 5)), "of no survey that slamjax knows"),
        (lambda hdus: hdus["APOGEE/APO"].header.set("NPIXELS", 7), "has 7 wavelengths, 300 fluxes"),
        (lambda hdus: hdus["APOGEE/APO"].header.remove("CRVAL"), "cannot be read"),
    ],
)
def test_errors_of_broken_mwm_files_say_what_is_wrong(tmp_path, change, message):
    path = altered(mwm(tmp_path / "mwmStar.fits", boss=False), tmp_path / "broken.fits", change)
    with pytest.raises(SlamError, match=rf"broken\.fits.*{message}"):
        read(path)
    with pytest.warns(SlamWarning, match="1 of 2 files give no spectrum"):
        spectra = read([tmp_path / "mwmStar.fits", path])
    assert message in spectra.table["problem"][1]
    assert spectra.table["source_id"][1] == 0  # an identifier stays exact where another is missing
    assert spectra.table["source_id"][0] == 4060525853


def test_truncated_files_are_errors(tmp_path):
    for name, made in (("aspcap", aspcap(tmp_path / "a.fits")), ("mwm", mwm(tmp_path / "m.fits", boss=False))):
        path = tmp_path / f"{name}_cut.fits"
        path.write_bytes(made.read_bytes()[: made.stat().st_size // 3])
        with pytest.raises(SlamError, match=f"{name}_cut"):
            read(path)


def test_an_empty_aspcap_spectrum_gives_a_flagged_row(tmp_path):
    def empty(hdus):
        hdus[2].data[:] = 1e10

    path = altered(aspcap(tmp_path / "aspcapStar.fits"), tmp_path / "empty.fits", empty)
    spectra = read([tmp_path / "aspcapStar.fits", path])
    assert list(spectra.table["problem"]) == ["", "no good pixel"]


def test_the_simulated_files_follow_the_fits_standard(tmp_path):
    for path in (aspcap(tmp_path / "a.fits"), mwm(tmp_path / "m.fits"), mwm(tmp_path / "v.fits", visits=True)):
        with fits.open(path) as hdus, warnings.catch_warnings():
            warnings.simplefilter("error")
            hdus.verify("exception")


@pytest.mark.parametrize("path", [SDSS, BOSS])
def test_the_line_spread_of_sdss_spectra_is_that_of_the_file(tmp_path, path):
    spectra = read(path)
    row = opened(path)[1][1]
    known = row["wdisp"] > 0
    assert known.mean() > 0.9
    at = 10 ** row["loglam"].astype(float)
    sigma = row["wdisp"].astype(float) * at * (10**1e-4 - 1)
    np.testing.assert_allclose(np.interp(at, spectra.wave, spectra.fwhm[0])[known], 2.35482 * sigma[known], rtol=1e-3)
    assert np.all((spectra.fwhm > 2) & (spectra.fwhm < 5))  # Å: R is 1500 to 2500

    def none(hdus):
        hdus[1].data["wdisp"] = 0

    unknown = altered(path, tmp_path / "unknown.fits", none)
    assert read(unknown).fwhm is None
    both = read([unknown, path])
    assert np.all(np.isnan(both.fwhm[0]))
    np.testing.assert_array_equal(both.fwhm[1], spectra.fwhm[0])


def test_boss_visits_of_mwm_files_state_their_line_spread(tmp_path):
    """Astra's glossary: ``wresl`` is the spectral resolution in Å, as the FWHM of arc lines."""
    path = mwm(tmp_path / "mwmVisit.fits", apogee=False, visits=True)

    def more(hdus):  # visits of the other observatory, the second of which has no resolution
        hdus["BOSS/APO"].data = hdus["BOSS/LCO"].data[np.array([0, 0])]
        hdus["BOSS/APO"].data["wresl"] *= [[1.25], [0]]

    spectra = read(altered(path, tmp_path / "more.fits", more))
    assert spectra.fwhm.shape == spectra.flux.shape == (3, spectra.n_pix)
    stated = np.arange(spectra.n_pix) >= 20
    np.testing.assert_allclose((spectra.wave / spectra.fwhm[2])[stated], 1500, rtol=1e-5)
    np.testing.assert_allclose((spectra.wave / spectra.fwhm[0])[stated], 1200, rtol=1e-5)
    np.testing.assert_array_equal(spectra.fwhm[:, ~stated], np.repeat(spectra.fwhm[:, 20:21], 20, axis=1))
    assert np.isnan(spectra.fwhm[1]).all()
    assert read(mwm(tmp_path / "mwmStar.fits", apogee=False)).fwhm is None  # coadds do not state it


def test_each_file_keeps_its_own_line_spread():
    alone, together = [read(path) for path in (SDSS, BOSS)], read([BOSS, SDSS])
    assert together.fwhm.shape == together.flux.shape
    for row, one in zip((1, 0), alone, strict=True):
        at = np.searchsorted(together.wave, one.wave * (1 - 1e-6))
        np.testing.assert_allclose(together.fwhm[row, at], one.fwhm[0], rtol=1e-6)
        outside = (together.wave < one.wave[0] * 0.999) | (together.wave > one.wave[-1] * 1.001)
        assert np.all(np.isnan(together.fwhm[row, outside]))


def test_apogee_files_of_all_kinds_state_the_same_line_spread(tmp_path):
    paths = (APSTAR, APVISIT, aspcap(tmp_path / "aspcapStar.fits"), mwm(tmp_path / "mwmStar.fits", boss=False))
    for path in paths:
        spectra = read(path)
        seen = spectra.good.any(axis=0)
        assert seen.any()
        np.testing.assert_allclose((spectra.wave / spectra.fwhm)[seen], 22500, rtol=1e-6)


def test_single_visits_of_an_apstar_file_are_rows_with_their_own_velocities():
    spectra, combined = (read(APSTAR, name).on_pixels(CROP) for name in ("apogee-star-visits", None))
    hdus = opened(APSTAR)
    header, flux = hdus[0][0], hdus[1][1]
    assert len(spectra) == header["NVISITS"] == 3
    assert (spectra.frame, spectra.medium) == ("rest", "vacuum")
    np.testing.assert_array_equal(spectra.table["rv"], [header[f"VHELIO{k}"] for k in (1, 2, 3)])
    np.testing.assert_array_equal(spectra.table["rv_err"], [header[f"VERR{k}"] for k in (1, 2, 3)])
    assert set(spectra.table["id"]) == set(combined.table["id"])
    for row in range(3):
        good = spectra.good[row]
        np.testing.assert_allclose(spectra.flux[row, good], flux[2 + row, good], rtol=1e-6)
    both = spectra.good.all(axis=0) & combined.good[0]
    stacked = slamjax.stack(spectra, "id")
    ratio = stacked.flux[0, both] / combined.flux[0, both]
    assert np.std(ratio / np.median(ratio)) < 0.02


def test_single_exposures_of_a_boss_file_are_rows_on_the_grid_of_coadds(tmp_path):
    spectra = read(BOSS_EXPOSURES, "sdss-exposures")
    with fits.open(BOSS_EXPOSURES) as hdus:
        names = [hdu.name for hdu in hdus[2:]]
        own = {hdu.name: np.array(hdu.data) for hdu in hdus[2:]}
    assert list(spectra.table["exposure"]) == names
    assert spectra.frame == "observed"
    assert spectra.has_own_line_spreads
    steps = np.diff(np.log10(spectra.wave))
    np.testing.assert_allclose(steps, 1e-4, rtol=1e-6)
    for row, name in enumerate(names):
        data = own[name]
        wave, sound = 10.0 ** data["loglam"].astype(float), data["ivar"] > 0
        good = spectra.good[row] & (spectra.wave > wave[5]) & (spectra.wave < wave[-6])
        there = np.interp(spectra.wave[good], wave[sound], data["flux"][sound])
        off = (spectra.flux[row, good] - there) * np.sqrt(spectra.ivar[row, good])
        assert np.median(np.abs(off)) < 0.5
        assert good.sum() > 50
    with pytest.raises(SlamError, match="has no single exposures"):
        read(SDSS, "sdss-exposures")
