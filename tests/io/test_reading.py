"""Survey files from the archives, intact and broken, compared with the numbers in the files."""

import shutil
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from survey_files import APSTAR, APVISIT, BOSS, LAMOST, SDSS, SURVEYS, altered, aspcap, opened, xp_csv

from slamjax.errors import SlamError, SlamWarning
from slamjax.io import join_labels, read, reading
from slamjax.io.surveys import bitmasks
from slamjax.spectra.wavelengths import doppler_shift, to_air


def test_lamost_spectra_agree_with_the_file():
    spectra = read(LAMOST)
    row = opened(LAMOST[0])[1][1][0]
    np.testing.assert_allclose(spectra.wave, row["WAVELENGTH"], rtol=2e-7)
    np.testing.assert_array_equal(spectra.flux[0][spectra.good[0]], row["FLUX"][spectra.good[0]])
    np.testing.assert_array_equal(spectra.ivar[0][spectra.good[0]], row["IVAR"][spectra.good[0]])
    assert (spectra.medium, spectra.frame, str(spectra.wave_unit)) == ("vacuum", "observed", "Angstrom")
    assert list(spectra.table["file"]) == [path.name for path in LAMOST]
    assert list(spectra.table["obsid"]) == [3703110, 3709013]
    assert spectra.table["id"][0] == "LAMOST J091219.42+275336.4"
    assert spectra.table["snr_g"][0] == pytest.approx(19.35)
    assert list(spectra.table["problem"]) == ["", ""]


@pytest.mark.parametrize("vacuum", [True, False])
def test_the_older_lamost_layout_gives_the_same_spectrum(tmp_path, vacuum):
    """Up to DR7 the file is an image; here the new file's numbers are written in the old layout, also in air."""
    (header, _), (_, data) = opened(LAMOST[0])
    row = data[0]
    wave = row["WAVELENGTH"].astype(float)
    image = [row["FLUX"], row["IVAR"], wave if vacuum else to_air(wave), row["ANDMASK"], row["ORMASK"]]
    old = fits.PrimaryHDU(np.array(image, np.float64), header)
    old.header["VACUUM"] = vacuum
    old.writeto(tmp_path / "old.fits", output_verify="silentfix")
    new, result = read(LAMOST[0]), read(tmp_path / "old.fits")
    np.testing.assert_allclose(result.wave, new.wave, rtol=1e-7)
    np.testing.assert_allclose(result.flux, new.flux, rtol=1e-6)
    np.testing.assert_array_equal(result.good, new.good)


def test_sdss_and_boss_spectra_start_at_different_pixels_of_one_grid():
    both = read([SDSS, BOSS])
    np.testing.assert_allclose(np.diff(np.log10(both.wave)), 1e-4, rtol=1e-6)
    for row, path in enumerate((SDSS, BOSS)):
        data = opened(path)[1][1]
        at = np.searchsorted(both.wave, 10 ** data["loglam"].astype(float) * (1 - 1e-6))
        bad = (data["and_mask"] & bitmasks.bits(bitmasks.SDSS)) != 0
        np.testing.assert_array_equal(both.ivar[row, at], np.where(bad, 0, data["ivar"]))
        outside = np.setdiff1d(np.arange(both.n_pix), at)
        assert outside.size
        assert np.all(both.ivar[row, outside] == 0)
    assert list(both.table["id"]) == ["0266-51602-0031", "3586-55181-0500"]
    assert both.table["subclass"][1].startswith("G1V")


def test_only_bad_bits_mask_pixels(tmp_path):
    def mask(hdus):
        hdus[1].data["and_mask"][100:110] = 1 << bitmasks.SDSS["BRIGHTSKY"]
        hdus[1].data["and_mask"][200:210] = 1 << 19  # rejected in some of the exposures

    good = read(altered(BOSS, tmp_path / "masked.fits", mask)).good[0]
    before = read(BOSS).good[0]
    assert before[100:110].all()
    assert not good[100:110].any()
    np.testing.assert_array_equal(np.delete(good, np.s_[100:110]), np.delete(before, np.s_[100:110]))


def test_an_apstar_gives_its_combined_spectrum_at_rest():
    spectra = read(APSTAR)
    files = opened(APSTAR)
    header, flux = files[1]
    error, mask = files[2][1][0], files[3][1][0]
    wave = 10 ** (header["CRVAL1"] + header["CDELT1"] * np.arange(flux.shape[1]))
    at = np.searchsorted(spectra.wave, wave * (1 - 1e-9))
    np.testing.assert_allclose(spectra.wave[at], wave, rtol=1e-10)
    good = spectra.good[0, at]
    np.testing.assert_allclose(spectra.flux[0, at][good], flux[0][good], rtol=1e-6)
    np.testing.assert_allclose(spectra.ivar[0, at][good], error[good] ** -2.0, rtol=1e-5)
    np.testing.assert_array_equal(good, (mask & bitmasks.bits(bitmasks.APOGEE)) == 0)
    assert 0.5 < good.mean() < 1
    assert spectra.frame == "rest"
    assert spectra.table["rv"][0] == pytest.approx(15.6814, abs=1e-3)


def test_an_apvisit_is_shifted_to_the_barycentric_frame_and_resampled_to_apstars_grid():
    spectra = read(APVISIT)
    files = opened(APVISIT)
    header = files[0][0]
    assert spectra.frame == "observed"
    assert spectra.n_pix == 8575
    for chip in range(3):
        wave, flux = doppler_shift(files[4][1][chip], header["BC"])[::-1], files[1][1][chip][::-1].astype(float)
        covered = (spectra.wave > wave[2]) & (spectra.wave < wave[-3]) & spectra.good[0]
        assert covered.sum() > 50
        # pixels have nearly the same width, so linear interpolation is close
        near = np.interp(spectra.wave[covered], wave, flux)
        assert np.median(np.abs(spectra.flux[0, covered] / near - 1)) < 0.02
    gaps = [(files[4][1][k + 1].max(), files[4][1][k].min()) for k in range(2)]
    for low, high in gaps:
        between = (spectra.wave > doppler_shift(low, header["BC"]) + 1) & (
            spectra.wave < doppler_shift(high, header["BC"]) - 1
        )
        assert between.sum() > 10
        assert not spectra.good[0, between].any()


def test_spectra_are_resampled_to_given_wavelengths():
    wave = np.arange(4900.0, 5300, 2.5)
    spectra, plain = read([LAMOST[0], BOSS], wave=wave), read(LAMOST[0])
    np.testing.assert_array_equal(spectra.wave, wave)
    assert spectra.good[0].all()
    # one pixel covers 2.5 of LAMOST: the flux is about their mean, the error smaller
    at = np.searchsorted(plain.wave, wave)
    assert np.median(np.abs(spectra.flux[0] / plain.flux[0, at] - 1)) < 0.05
    # with shared pixels the ivar grows 2.1 to 2.9 times
    assert 2.1 < np.median(spectra.ivar[0] / plain.ivar[0, at]) < 2.9


def test_spectra_without_a_common_grid_or_frame_are_refused():
    with pytest.raises(SlamError, match="some are not; read them separately"):
        read([APSTAR, APVISIT])
    with pytest.raises(SlamError, match="have no grid in common; give the wavelengths"):
        read([LAMOST[0], APVISIT])


def truncated(path, target):
    target.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return target


def swapped(hdus):
    row = hdus[1].data
    wave = row["WAVELENGTH"].copy()
    row["WAVELENGTH"], row["FLUX"] = row["FLUX"], wave


def all_masked(hdus):
    hdus[1].data["IVAR"][:] = 0


BROKEN = {
    "truncated": (lambda target: truncated(LAMOST[1], target), "the header of HDU 1 has no end"),
    "wrong HDU": (lambda target: altered(SDSS, target, lambda hdus: hdus.pop(1)), "of no survey that slamjax knows"),
    "swapped columns": (lambda target: altered(LAMOST[1], target, swapped), "wavelengths that do not increase"),
    "not FITS": (lambda target: shutil.copy(__file__, target), "cannot be read"),
    "missing": (lambda target: target, "no such file"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_alone_is_an_error_that_names_it(tmp_path, kind):
    make, message = BROKEN[kind]
    path = tmp_path / "broken.fits"
    make(path)
    with pytest.raises(SlamError, match=rf"broken\.fits.*{message}"):
        read(path)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_among_others_is_a_flagged_row(tmp_path, kind):
    make, message = BROKEN[kind]
    path = tmp_path / "broken.fits"
    make(path)
    with pytest.warns(SlamWarning, match=r"1 of 3 files give no spectrum; the first is .*broken\.fits"):
        spectra = read([LAMOST[0], path, LAMOST[1]])
    assert list(spectra.table["file"]) == [LAMOST[0].name, "broken.fits", LAMOST[1].name]
    assert message in spectra.table["problem"][1]
    assert not spectra.good[1].any()
    np.testing.assert_array_equal(spectra.flux[[0, 2]], read(LAMOST).flux)


def test_a_spectrum_without_a_good_pixel_has_a_problem(tmp_path):
    path = altered(LAMOST[0], tmp_path / "empty.fits", all_masked)
    spectra = read([path, LAMOST[1]])
    assert list(spectra.table["problem"]) == ["no good pixel", ""]


def test_a_mask_that_leaves_nothing_is_ignored_with_a_warning(tmp_path):
    def mask(hdus):
        hdus[1].data["ANDMASK"][:] = 1

    path = altered(LAMOST[0], tmp_path / "masked.fits", mask)
    with pytest.warns(SlamWarning, match=r"masks of 1 of 2 spectra would leave less than 10% of their pixels"):
        spectra = read([LAMOST[1], path])
    np.testing.assert_array_equal(spectra.ivar[1], read(LAMOST[0]).ivar[0])
    assert list(spectra.table["mask_ignored"]) == [False, True]


def test_patterns_tables_and_surveys_by_name(tmp_path):
    assert list(read(str(SURVEYS / "37*.fits")).table["file"]) == [path.name for path in LAMOST]
    table = read(SURVEYS.parent / "miles.fits")  # slamjax's own
    assert "teff" in table.table.colnames
    np.testing.assert_array_equal(read(SDSS, survey="sdss").flux, read(SDSS).flux)
    with pytest.raises(SlamError, match="unknown survey 'weave'; choose one of lamost"):
        read(SDSS, survey="weave")
    with pytest.raises(SlamError, match="matches no file"):
        read(str(tmp_path / "*.fits"))
    with pytest.raises(SlamError, match="no files to read"):
        read([])


@pytest.mark.slow
def test_many_files_are_read_in_processes_and_in_order(monkeypatch):
    monkeypatch.setattr("slamjax.io.reading._MANY_FILES", 4)
    calls = []
    spectra = read(LAMOST * 3, n_jobs=2, on_progress=lambda done, total: calls.append((done, total)))
    assert list(spectra.table["obsid"]) == [3703110, 3709013] * 3
    assert calls == [(k + 1, 6) for k in range(6)]


def test_reading_valid_files_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(LAMOST)
        read(APSTAR)


def test_patterns_may_be_in_a_list(monkeypatch):
    assert list(read([SURVEYS / "3709*.fits", str(SURVEYS / "3703*.fits")]).table["file"]) == [
        "3709013.fits",
        "3703110.fits",
    ]
    monkeypatch.setenv("HOME", str(SURVEYS))
    assert list(read("~/3709*.fits").table["file"]) == ["3709013.fits"]


def test_wavelengths_to_resample_to_may_have_a_unit():
    plain, stated = (
        read(LAMOST[0], wave=np.arange(5150.0, 5200)),
        read(LAMOST[0], wave=np.arange(515.0, 520, 0.1) * u.nm),
    )
    np.testing.assert_allclose(stated.wave, plain.wave)
    np.testing.assert_allclose(stated.flux, plain.flux, rtol=1e-6)


def test_files_of_one_name_keep_their_folders(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        shutil.copy(LAMOST[0], tmp_path / folder / "a.fits")
    spectra = read([tmp_path / "x" / "a.fits", tmp_path / "y" / "a.fits", LAMOST[1]])
    assert list(spectra.table["file"]) == [str(tmp_path / "x/a.fits"), str(tmp_path / "y/a.fits"), LAMOST[1].name]
    labels = {"file": ["y/a.fits", "x/a.fits", LAMOST[1].name], "teff": [2.0, 1.0, 3.0]}
    np.testing.assert_array_equal(join_labels(spectra, labels).values("teff"), [1, 2, 3])


def test_a_catalogue_is_joined_while_files_are_read():
    plain = read(LAMOST)
    labels = {"star": plain.table["obsid"][::-1], "teff": [4200.0, 4100.0]}
    joined = read(LAMOST, labels=labels, on="star=obsid")
    np.testing.assert_array_equal(joined.values("teff"), [4100, 4200])
    np.testing.assert_array_equal(joined.flux, plain.flux)
    table = SURVEYS.parent / "miles.fits"
    named = read(table, labels={"star": read(table).table["name"], "bv": np.arange(120.0)}, on="star=name")
    np.testing.assert_array_equal(named.values("bv"), np.arange(120))


@pytest.mark.parametrize("files", [LAMOST, SURVEYS.parent / "miles.fits"], ids=["surveys", "table"])
@pytest.mark.parametrize(
    ("labels", "on", "message"),
    [
        ({"star": ["a"], "teff": [1.0]}, "name", "the catalogue has no column 'name' to join on; it has star, teff"),
        ({"star": ["a", "a"], "teff": [1.0, 2]}, "star", "the catalogue has a more than once in column 'star'"),
        ({"star": ["a"], "teff": [1.0]}, "star=nothing", "has no column 'nothing' to join on; it has "),
        ("no.csv", "star", "no.csv: no such file"),
    ],
)
def test_columns_to_join_on_are_checked_before_files_are_read(files, labels, on, message, monkeypatch):
    def unread(*_):
        raise AssertionError("all files were read")

    whole = reading.read_table
    monkeypatch.setattr(reading, "_read_all", unread)
    monkeypatch.setattr(reading, "read_table", lambda path, rows=None: whole(path, rows) if rows else unread())
    with pytest.raises(SlamError, match=message):
        read(files, labels=labels, on=on)


def test_the_unit_of_flux_is_the_survey_s(tmp_path):
    of_sdss = u.Unit("1e-17 erg / (s cm2 AA)")
    for files in ([SDSS], [APSTAR], [APVISIT], [SDSS, BOSS], [SURVEYS / "coadd-sv3-dark-26065.fits"]):
        assert read(files).flux_unit == of_sdss
    assert read(LAMOST).flux_unit is None  # calibrated up to a factor
    assert read(aspcap(tmp_path / "aspcapStar.fits")).flux_unit == u.dimensionless_unscaled
    assert read([APSTAR, aspcap(tmp_path / "aspcapStar.fits")]).flux_unit is None
    assert read(xp_csv(tmp_path / "xp.csv")).flux_unit == u.Unit("W / (m2 nm)")
