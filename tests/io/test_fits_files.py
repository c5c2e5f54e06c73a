"""Files that are not as they were written are told before anything is read of them."""

import bz2
import gzip
import lzma
import os
import shutil

import numpy as np
import pytest
from astropy.io import fits
from helpers import DATA, xp_giants
from survey_files import LAMOST, SDSS, xp_csv

import slamjax
from slamjax.errors import SlamError
from slamjax.io.fits_files import open_fits


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "stars.fits"
    slamjax.write_table(xp_giants()[:5], path)
    return path


def test_a_flipped_bit_anywhere_in_a_table_is_told(table):
    """Without it, damaged fluxes moved labels by 18 of their errors, and no flag said so."""
    whole = table.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(len(whole), size=100):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        table.write_bytes(damaged)
        with pytest.raises(SlamError, match=r"stars\.fits"):
            slamjax.read_table(table)
    table.write_bytes(whole)
    assert len(slamjax.read_table(table)) == 5


def test_rows_of_a_damaged_table_are_told_too(table):
    damaged = bytearray(table.read_bytes())
    damaged[-3000] ^= 1
    table.write_bytes(damaged)
    with pytest.raises(SlamError, match=r"stars\.fits is damaged: the checksum of HDU \d does not match; copy"):
        slamjax.read_table(table, slice(0, 1))


def test_damaged_labels_are_told(tmp_path):
    path = tmp_path / "labels.fits"
    slamjax.write_labels(slamjax.io.LabelTable({"teff": [4500.0], "flags": [0]}, meta={"labels": "teff"}), path)
    damaged = bytearray(path.read_bytes())
    damaged[-2880] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(SlamError, match=r"labels\.fits is damaged: the checksum of HDU 1"):
        slamjax.read_labels(path)


def test_the_walk_agrees_with_astropy_on_real_files():
    """Sizes and sums of every HDU of every file at hand, with checksums that astropy has made and checks."""
    files = [*(DATA / "surveys").glob("*.fits"), *DATA.glob("*.fits")]
    assert len(files) > 8
    for path in files:
        with open_fits(path) as hdus, fits.open(path, checksum=True) as known:
            assert [hdu.name for hdu in hdus] == [hdu.name for hdu in known]


def test_a_stated_checksum_of_a_survey_file_counts(tmp_path):
    path = tmp_path / "spec.fits"
    with fits.open(SDSS) as hdus:
        hdus.writeto(path, checksum=True, output_verify="silentfix")
    assert slamjax.read([path, path]).good.any()
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"XTENSION") + 2880 * 4] ^= 0x40
    path.write_bytes(damaged)
    with pytest.raises(SlamError, match=r"spec\.fits: is damaged: the checksum of HDU 1"):
        slamjax.read(path)


def test_data_that_a_header_declares_and_a_file_lacks_are_told(tmp_path):
    path = tmp_path / "cut.fits"
    path.write_bytes(SDSS.read_bytes()[:30_000])
    with pytest.raises(SlamError, match=r"cut\.fits: ends after .* bytes of data that HDU \d declares; it is cut off"):
        slamjax.read(path)


@pytest.mark.parametrize("packed", [gzip.compress, bz2.compress, lzma.compress])
def test_a_small_file_that_unpacks_to_gigabytes_is_told(tmp_path, packed, monkeypatch):
    """A file of zeros behind a header, packed a thousand times smaller; here of megabytes, under a smaller limit."""
    monkeypatch.setattr("slamjax.io.fits_files._SMALL", 2**20)
    path = tmp_path / "bomb.fits.gz"
    path.write_bytes(packed(LAMOST[0].read_bytes() + bytes(20 * 2**20)))
    with pytest.raises(SlamError, match=r"bomb\.fits\.gz: unpacks to more than \d+ MiB, out of proportion"):
        slamjax.read(path)


def test_a_packed_file_is_read_as_before(tmp_path):
    path = tmp_path / "star.fits.gz"
    path.write_bytes(gzip.compress(LAMOST[0].read_bytes()))
    np.testing.assert_array_equal(slamjax.read(path).flux, slamjax.read(LAMOST[0]).flux)


def test_a_card_that_astropy_cannot_parse_stops_one_file_only(tmp_path):
    """VerifyError was not among the errors that a broken file may raise."""
    bad = tmp_path / "bad.fits"
    content = LAMOST[0].read_bytes()
    place = content.index(b"TELESCOP=")
    bad.write_bytes(content[:place] + b"TELESCOP= 'LAM\xff\x00ST" + content[place + 17 :])
    good = tmp_path / "good.fits"
    shutil.copy(LAMOST[1], good)
    with pytest.warns(slamjax.SlamWarning, match=r"1 of 2 files give no spectrum; the first is .*bad\.fits"):
        spectra = slamjax.read([bad, good])
    assert spectra.good.any(axis=1).tolist() == [False, True]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_among_files_does_not_wait_for_ever(tmp_path):
    pipe = tmp_path / "pipe.fits"
    os.mkfifo(pipe)
    with pytest.warns(slamjax.SlamWarning, match="is a named pipe"):
        spectra = slamjax.read([LAMOST[0], pipe])
    assert spectra.good.any(axis=1).tolist() == [True, False]
    with pytest.raises(SlamError, match="is a named pipe"):
        slamjax.read(pipe)


def changed(path, keyword, value):
    content = path.read_bytes()
    place = content.index(keyword.ljust(8).encode() + b"=")
    return content[:place] + f"{keyword:<8}= {value}".ljust(80).encode() + content[place + 80 :]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: changed(LAMOST[0], "TFIELDS", "999999999999"), "HDU 1 has a TFIELDS that cannot be"),
        (lambda: changed(LAMOST[0], "PCOUNT", "(1, 2"), "HDU 1 has a PCOUNT that cannot be"),
        (lambda: changed(LAMOST[0], "NAXIS1", "999999999999"), "bytes of data that HDU 1 declares; it is cut off"),
        (lambda: changed(SDSS, "NAXIS2", "1"), "HDU 1 declares fewer data than it has"),
        (lambda: SDSS.read_bytes() * 2, "has a second file behind HDU 2"),
        (
            lambda: LAMOST[0].read_bytes().replace(b"END     ", b"NOEND   "),
            "the header of HDU 0 has no end",
        ),
        (lambda: SDSS.read_bytes() + bytes(65 * 2**20), "bytes behind its last HDU"),
        (lambda: b"teff,logg", "it is no FITS file"),
    ],
)
def test_what_astropy_would_pass_by_or_never_end_with_is_told(tmp_path, content, message):
    """It skips HDUs that it cannot parse, an arm of a spectrum among them, and reads headers to the end of the file."""
    path = tmp_path / "bad.fits"
    path.write_bytes(content())
    with pytest.raises(SlamError, match=rf"bad\.fits: .*{message}"):
        slamjax.read(path)


def test_a_gaia_file_that_is_cut_off_within_a_number_is_told(tmp_path):
    """Its last number would be another one, and nothing else would show it."""
    path = xp_csv(tmp_path / "gaia.csv")
    text = path.read_text().rstrip()
    path.write_text(text[: text.rindex(",") + 5])
    with pytest.raises(
        SlamError, match=r"gaia\.csv: has a value of flux_error in row 3 that begins with \( and does not end"
    ):
        slamjax.read(path)


def test_a_gaia_file_of_zeros_ends_quickly(tmp_path):
    path = xp_csv(tmp_path / "gaia.csv")
    with path.open("r+b") as file:
        file.truncate(2**33)
    with pytest.raises(SlamError, match=r"gaia\.csv: has a line that is no text"):
        slamjax.read(path)
