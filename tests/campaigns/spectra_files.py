"""Spectra files of every reader: damaged at random, with broken headers, packed, of other kinds; text in numbers.

Each is refused by its name, or what is read of it is what was there, or its row or pixels are marked as bad. Damage at
random is done to files that state checksums; in files without, another number in the place of a number cannot be told,
so only what breaks the structure is tried there.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import os
import re
import shutil
import socket
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from astropy.io import fits
from helpers import xp_giants
from survey_files import APSTAR, APVISIT, BOSS, DESI, LAMOST, SDSS, aspcap, mrs, mwm, xp_csv, xp_ecsv, xp_fits

from campaigns.frame import Campaign, Outcome, Report, judged
from campaigns.mutations import damaged
from slamjax.io import read, write_table
from slamjax.spectra import Spectra

_TEXT = ("gaia.csv", "gaia.ecsv")
#: Cards without which a file is another valid file.
_OPTIONAL = re.compile(rb"VACUUM|TNULL|TDIM|TUNIT|FWHM|WAVEMED|FRAME|OBJID|TTYPE|CHECKSUM|DATASUM|EXTNAME|EXTVER|BUNIT")


def prepare(folder: Path) -> None:
    for name, source in {
        "lamost": LAMOST[0], "sdss": SDSS, "boss": BOSS, "apstar": APSTAR, "apvisit": APVISIT, "desi": DESI,
    }.items():  # fmt: skip
        shutil.copy(source, folder / f"{name}.fits")
    _image(folder / "image.fits")
    aspcap(folder / "aspcap.fits")
    mwm(folder / "mwm.fits", apogee=False)
    mwm(folder / "visits.fits", boss=False, visits=True)
    mrs(folder / "mrs.fits")
    mrs(folder / "mrs7.fits", vectors=False)
    xp_fits(folder / "gaia.fits")
    xp_csv(folder / "gaia.csv")
    xp_ecsv(folder / "gaia.ecsv")
    write_table(xp_giants()[:4], folder / "table.fits")
    for path in folder.glob("*.fits"):
        with fits.open(path) as hdus:
            for hdu in hdus:
                for keyword in ("CHECKSUM", "DATASUM"):
                    hdu.header.remove(keyword, ignore_missing=True)
            hdus.writeto(folder / f"plain-{path.name}", output_verify="silentfix")
            hdus.writeto(folder / f"summed-{path.name}", output_verify="silentfix", checksum=True)
        path.unlink()
    zeros = io.BytesIO()
    with gzip.GzipFile(fileobj=zeros, mode="wb", compresslevel=1) as packed:
        packed.write((folder / "plain-lamost.fits").read_bytes())
        for _ in range(500):
            packed.write(bytes(2**20))
    (folder / "bomb.gz").write_bytes(zeros.getvalue())
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("star.fits", (folder / "plain-lamost.fits").read_bytes() + bytes(2**29))


def _image(target: Path) -> None:
    """LAMOST's image of rows, up to DR7."""
    with fits.open(LAMOST[0]) as hdus:
        row = hdus["COADD"].data[0]
        names = ("FLUX", "IVAR", "WAVELENGTH", "ANDMASK", "ORMASK")
        image = np.array([np.asarray(row[name], np.float32) for name in names])
        fits.PrimaryHDU(image, hdus[0].header).writeto(target, output_verify="silentfix")


@cache
def _sources(folder: Path, kind: str) -> list[Path]:
    return sorted(folder.glob(f"{kind}-*.fits"))


@cache
def _sound(path: Path) -> Spectra:
    return read(path)


def attempt(number: int, folder: Path) -> Report:
    rng = np.random.default_rng(number)
    place = folder / "attempt"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    kind = number % 10
    if kind < 3:
        source = _choice(rng, _sources(folder, "summed"))
        target = place / "attempt.fits"
        target.write_bytes(damaged(source.read_bytes(), rng))
        what = "damaged"
    elif kind < 6:
        source = _choice(rng, _sources(folder, "plain"))
        target = place / "attempt.fits"
        what = _break_header(source, target, rng)
    elif kind < 8:
        source = _choice(rng, _sources(folder, "summed"))
        target = place / "attempt.fits"
        change = _choice(rng, _OTHER_KINDS)
        change(source, target, rng)
        what = change.__name__.strip("_")
    else:
        source = folder / _choice(rng, _TEXT)
        target = place / f"attempt{source.suffix}"
        if source.suffix == ".csv":
            shutil.copy(folder / "gaia_sampling.csv", place / "attempt_sampling.csv")
        what = _break_text(source, target, rng)
    report = judged(lambda: _compared(read(target), _sound(source)), named="attempt")
    return Report(report.outcome, f"{source.name}: {what}: {report.detail}")


def _choice(rng: np.random.Generator, choices):
    return choices[int(rng.integers(len(choices)))]


def _compared(spectra: Spectra, known: Spectra) -> Report:
    """What is read must be what was there, less what is marked as bad."""
    if not spectra.good.any():
        return Report(Outcome.FLAGGED, "no good pixel")
    if not np.array_equal(spectra.wave, known.wave):
        return Report(Outcome.WRONG, f"other wavelengths: {spectra}")
    if len(spectra) > len(known):
        return Report(Outcome.WRONG, f"more rows: {spectra}")
    if {"source_id"} <= set(known.table.colnames) & set(
        spectra.table.colnames
    ):  # a file without one of its lines is a file of fewer stars
        kept = np.isin(known.table["source_id"], spectra.table["source_id"])
        known = known[kept] if kept.sum() == len(spectra) else known
    good, n = spectra.good, len(spectra)
    if not np.array_equal(spectra.flux[good], known.flux[:n][good]):
        return Report(Outcome.WRONG, "other fluxes")
    if not np.array_equal(spectra.ivar[good], known.ivar[:n][good]):
        return Report(Outcome.WRONG, "other errors")
    fewer = bool(np.any(known.good[:n] & ~good))
    return Report(Outcome.FLAGGED if fewer else Outcome.SAME, "read")


_GARBAGE = [
    b"'LAM\xff\x00ST", b"= = = =", b"'unbalanced", b"NaN", b"1.2.3", b"0x10", b"(1, 2", b"\x00\x00\x00", b"''''''",
    b"T F", b"1E999", b"-", b"\xe2\x98\x83",
]  # fmt: skip
_SIZES = [b"-1", b"999999999999", b"0", b"1", b"7", b"4294967296", b"99999999999999999999"]


def _break_header(source: Path, target: Path, rng: np.random.Generator) -> str:
    """Break one card of one header, or the frame of the file."""
    data = bytearray(source.read_bytes())
    if rng.random() < 0.15:
        cut = int(rng.integers(len(data)))
        target.write_bytes(data[:cut])
        return f"cut at {cut}"
    starts = [0, *(found.start() for found in re.finditer(b"XTENSION=", data))]
    start = _choice(rng, starts)
    end = next(at for at in range(start, len(data), 80) if data[at : at + 8] == b"END     ")
    at = start + 80 * int(rng.integers((end - start) // 80 + 1))
    if rng.random() < 0.4:
        structure = re.compile(rb"NAXIS|BITPIX|TFORM|TFIELDS|PCOUNT|GCOUNT|XTENSION|THEAP|SIMPLE")
        at = _choice(rng, [one for one in range(start, end, 80) if structure.match(data[one : one + 8])])
    keyword = bytes(data[at : at + 8])
    kind = int(rng.integers(6))
    if kind == 0 or _OPTIONAL.match(keyword):
        value = _choice(rng, _GARBAGE)
        data[at + 8 : at + 80] = (b"= " + value).ljust(72)[:72]
    elif kind == 1:
        if b"NAXIS" not in keyword and b"BITPIX" not in keyword and b"COUNT" not in keyword:
            return "nothing, then " + _break_header(source, target, rng)
        data[at + 8 : at + 80] = (b"= " + _choice(rng, _SIZES)).ljust(72)
    elif kind == 2 and keyword.startswith(b"TFORM"):
        forms = [b"'999999999999D'", b"'PD(5)   '", b"'Z'", b"''", b"'-3E'", b"'1QD(99999999999)'", b"'5X'", b"'1E1E'"]
        data[at + 8 : at + 80] = (b"= " + _choice(rng, forms)).ljust(72)
    elif kind == 3:
        data[at : at + 80] = bytes(rng.integers(0, 256, 80, dtype=np.uint8))
    elif kind == 4:
        data[end : end + 8] = b"NOEND   "
    else:
        data[at : at + 8] = bytes(rng.integers(32, 127, 8, dtype=np.uint8))
    target.write_bytes(data)
    return f"{keyword.decode('ascii', 'replace').strip()} kind {kind}"


def _gzipped(source: Path, target: Path, rng: np.random.Generator) -> None:
    target.write_bytes(gzip.compress(source.read_bytes()))


def _half_gzipped(source, target, rng):
    packed = gzip.compress(source.read_bytes())
    target.write_bytes(packed[: int(rng.integers(20, len(packed)))])


def _damaged_gzip(source, target, rng):
    target.write_bytes(damaged(gzip.compress(source.read_bytes()), rng))


def _gzip_bomb(source, target, rng):
    os.link(source.parent / "bomb.gz", target)


def _bzipped(source, target, rng):
    target.write_bytes(bz2.compress(source.read_bytes()))


def _zipped(source, target, rng):
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(source, "star.fits")


def _zip_bomb(source, target, rng):
    os.link(source.parent / "bomb.zip", target)


def _empty_zip(source, target, rng):
    zipfile.ZipFile(target, "w").close()


def _sparse(source, target, rng):
    """Four gigabytes that take no place on the disk."""
    content = source.read_bytes() if rng.random() < 0.5 else b""
    with target.open("wb") as file:
        file.write(content)
        file.truncate(2**32)


def _pipe(source, target, rng):
    os.mkfifo(target)


def _socket(source, target, rng):
    with contextlib.chdir(target.parent), socket.socket(socket.AF_UNIX) as one:  # names of sockets are short
        one.bind(target.name)


def _directory(source, target, rng):
    target.mkdir()
    shutil.copy(source, target)


def _link_to_itself(source, target, rng):
    target.symlink_to(target)


def _link_to_nothing(source, target, rng):
    target.symlink_to(target.parent / "nothing")


def _link_to_the_file(source, target, rng):
    target.symlink_to(source)


def _no_permission(source, target, rng):
    shutil.copy(source, target)
    target.chmod(0)


def _empty(source, target, rng):
    target.touch()


def _text(source, target, rng):
    target.write_text("flux 1 2 3\n" * 1000)


def _noise(source, target, rng):
    target.write_bytes(rng.bytes(int(rng.integers(1, 10_000))))


def _twice(source, target, rng):
    target.write_bytes(source.read_bytes() * 2)


def _junk_behind(source, target, rng):
    target.write_bytes(source.read_bytes() + rng.bytes(int(rng.integers(1, 10_000))))


def _many_hdus(source, target, rng):
    """Thousands of empty extensions behind the file."""
    cards = [f"{card:<80}" for card in ("XTENSION= 'IMAGE   '", "BITPIX  = 8", "NAXIS   = 0", "END")]
    target.write_bytes(source.read_bytes() + "".join(cards).ljust(2880).encode() * 3000)


def _endless_header(source, target, rng):
    target.write_bytes(b"SIMPLE  =                    T".ljust(80) + b"COMMENT x".ljust(80) * 500_000)


def _csv_of_zeros(source, target, rng):
    target.rename(target) if target.exists() else None
    with target.open("wb") as file:
        file.truncate(2**31)


_OTHER_KINDS: list[Callable[[Path, Path, np.random.Generator], None]] = [
    _gzipped, _half_gzipped, _half_gzipped, _damaged_gzip, _damaged_gzip, _gzip_bomb, _bzipped, _zipped, _zip_bomb,
    _empty_zip, _sparse, _pipe, _socket, _directory, _link_to_itself, _link_to_nothing, _link_to_the_file,
    _no_permission, _empty, _text, _noise, _twice, _junk_behind, _many_hdus, _endless_header, _csv_of_zeros,
]  # fmt: skip
_CELLS = [
    "abc",
    "",
    "1e999",
    "-inf",
    "nan",
    "null",
    "--",
    "1,2",
    "(1.0, 2.0",
    '"',
    "9" * 400,
    "١٢",
    "None",
    "[]",
    "0x1p3",
]


def _break_text(source: Path, target: Path, rng: np.random.Generator) -> str:
    """Cut off, or with something else in the place of a number, a cell, a name or a line."""
    text = source.read_text()
    kind = int(rng.integers(8))
    lines = text.splitlines()
    last = int(rng.integers(max(1, len(lines) - 4), len(lines)))
    if kind == 0:
        target.write_text(text[: int(rng.integers(len(text)))])
    elif kind == 1:  # text in the place of a number
        places = [found.span() for found in re.finditer(r"\d+\.\d+(e-?\d+)?", lines[last])]
        start, end = _choice(rng, places)
        lines[last] = (
            lines[last][:start]
            + _choice(rng, ["abc", "1.2.3", "1,5", "--", "1 2", "½", "1e", "'1.0'"])
            + (lines[last][end:])
        )
        target.write_text("\n".join(lines) + "\n")
    elif kind == 2:  # another cell
        cells = lines[last].split('","')
        cells[int(rng.integers(len(cells)))] = _choice(rng, _CELLS)
        lines[last] = '","'.join(cells)
        target.write_text("\n".join(lines) + "\n")
    elif kind == 3:
        names = next(number for number, line in enumerate(lines) if not line.startswith("#"))
        lines[names] = _choice(
            rng, ["", "flux,flux_error", "a,b,c", "source_id,flux,flux", "source_id;flux;flux_error"]
        )
        target.write_text("\n".join(lines) + "\n")
    elif kind == 4:
        target.write_bytes(text.encode().replace(b"e-1", _choice(rng, [b"\x00", b"\xff\xfe", b"\r"]), 3))
    elif kind == 5:
        del lines[int(rng.integers(len(lines) - 1))]
        target.write_text("\n".join(lines) + "\n")
    elif kind == 6:
        target.write_text(_choice(rng, ["", "\n\n\n", '"', "#" * 10**6, "a" * 10**7, '"' + "a\n" * 10**6, "," * 10**6]))
    else:
        with target.open("wb") as file:
            file.write(text.encode())
            file.truncate(2**32)
    return f"text, kind {kind}"


CAMPAIGN = Campaign("spectra files through `read`", attempt, prepare, tried=1200, short=60)
