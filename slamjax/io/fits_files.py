"""Opening FITS files: whole, as they were written, and no larger than they look.

Before astropy opens a file its bytes are walked through once, header by header: a file must hold the data that it
declares, a compressed one must not grow out of proportion, and checksums (FITS standard 4.0, section 4.4.2.7) must
match where they are stated, as they are in all tables that slamjax writes.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import time
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from slamjax._util.files import existing_file
from slamjax.errors import SlamError

_BLOCK, _CARD = 2880, 80
_PIECE = 2**20
#: Bytes that any compressed file may have, and bytes per compressed byte beyond that.
_SMALL, _MOST_PER_BYTE = 2**28, 30
_COMPRESSIONS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_ZIP = b"PK"
_SIZES = re.compile(rb"(?:BITPIX  |NAXIS(?: {3}|\d {2}|\d\d |\d{3})|PCOUNT  |GCOUNT  |TFIELDS )=")
_NUMBER = re.compile(rb".{8}= *(-?\d+) *(?:/|$)", re.DOTALL)
#: Bytes behind the last HDU, and blocks of a header, that astropy may be left to read.
_MOST_BEHIND, _MOST_BLOCKS = 2**26, 2**12
_SUMS = re.compile(rb"(CHECKSUM|DATASUM ) *= *'([^']*)'")
ALL_ONES = 0xFFFFFFFF
#: Seconds after which a file that was written is taken to be complete.
_SETTLED = 2.0


@contextmanager
def open_fits(path: str | os.PathLike[str], **options: Any) -> Iterator[fits.HDUList]:
    """An open FITS file, without astropy's warnings of header cards that violate the standard.

    Raises
    ------
    SlamError
        Naming the file, if it is missing, cut off, out of proportion, or not as it was written.
    """
    source = existing_file(path)
    try:
        magic = _first_bytes(source)
        if magic != b"SIMPLE" and not magic.startswith((*_COMPRESSIONS, _ZIP)):
            raise SlamError("cannot be read: it is no FITS file; check the path")
        check_fits(source)
    except (OSError, EOFError, ValueError, lzma.LZMAError, zipfile.BadZipFile) as error:
        if isinstance(error, SlamError):
            raise SlamError(f"{source} {error}") from error
        raise SlamError(f"{source} cannot be read ({error}); is it complete?") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        with fits.open(source, memmap=False, **options) as hdus:
            yield hdus


def check_fits(path: Path) -> None:
    """Raise SlamError, without the file's name, unless a file is whole and as it was written; others are passed by.

    A file is read for its checksums once, and again only after it has changed.
    """
    state = path.stat()
    identity = (state.st_ino, state.st_size, state.st_mtime_ns)
    # clocks of file systems are coarse: a file may change twice within one tick
    is_settled = time.time() - state.st_mtime > _SETTLED
    (_check if is_settled else _check.__wrapped__)(path, identity)


@lru_cache(maxsize=64)
def _check(path: Path, identity: tuple[int, int, int]) -> None:
    size, magic = identity[1], _first_bytes(path)
    if magic == b"SIMPLE":
        with path.open("rb") as plain:
            _walk(_Plain(plain, size))
        return
    opener = next((opener for start, opener in _COMPRESSIONS.items() if magic.startswith(start)), None)
    if opener is not None:
        with opener(path, "rb") as stream:
            _walk(_Compressed(stream, size))
    elif magic.startswith(_ZIP):
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as stream:
            _walk(_Compressed(cast(BinaryIO, stream), size))


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(6)


class _Plain:
    """A file in which data without a checksum are skipped."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def read(self, count: int) -> bytes:
        data = self._file.read(count)
        self._left -= len(data)
        return data

    def skip(self, count: int) -> int:
        """Pass by some bytes; returns how many there are."""
        there = min(count, self._left)
        self._file.seek(there, os.SEEK_CUR)
        self._left -= there
        return there


class _Compressed:
    """A stream that must be read to its end, of which there is a limit."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._done, self._most = stream, 0, _SMALL + _MOST_PER_BYTE * size

    def read(self, count: int) -> bytes:
        data = self._stream.read(count)
        self._done += len(data)
        if self._done > self._most:
            raise SlamError(
                f"unpacks to more than {self._most / 2**20:.0f} MiB, out of proportion to its size; unpack it yourself "
                "if it is sound"
            )
        return data

    def skip(self, count: int) -> int:
        passed = 0
        while passed < count and (data := self.read(min(_PIECE, count - passed))):
            passed += len(data)
        return passed


def _walk(file: _Plain | _Compressed) -> None:
    """Read all headers, and the data of those HDUs that state a checksum."""
    number = 0
    while header := _header(file, number):
        sizes, sums = _cards(header, number)
        size = _data_size(sizes)
        padded = -(-size // _BLOCK) * _BLOCK
        stated = {name: text for name, text in sums.items() if text.strip(b" 0")}
        total = None
        if stated:
            total, there = _sum_of_data(file, padded)
        else:
            there = file.skip(padded)
        if there < size:
            raise SlamError(
                f"ends after {there:,} of the {size:,} bytes of data that HDU {number} declares; it is cut off or "
                "damaged"
            )
        if total is not None and not _matches(header, total, stated):
            raise SlamError(
                f"is damaged: the checksum of HDU {number} does not match; copy the file again, or, if a program "
                "changed it and left the checksum as it was, delete the keywords CHECKSUM and DATASUM"
            )
        number += 1
    behind = 0
    while block := file.read(_BLOCK):
        behind += len(block)
        if block.startswith(b"XTENSION"):
            raise SlamError(f"is damaged: HDU {number - 1} declares fewer data than it has")
        if behind > _MOST_BEHIND:
            raise SlamError(f"has more than {behind:,} bytes behind its last HDU; it is damaged")


def _header(file: _Plain | _Compressed, number: int) -> bytes:
    """The header that begins here, with its padding; empty if none does."""
    block = file.read(_BLOCK)
    if number and block.startswith(b"SIMPLE  ="):
        raise SlamError(f"has a second file behind HDU {number - 1}; give each file by itself")
    if not block.startswith(b"XTENSION" if number else b"SIMPLE"):
        return b""
    blocks = [block]
    while not _has_end(block):
        block = file.read(_BLOCK)
        if len(block) < _BLOCK or block.startswith(b"XTENSION") or len(blocks) > _MOST_BLOCKS:
            raise SlamError(f"is damaged: the header of HDU {number} has no end")
        blocks.append(block)
    return b"".join(blocks)


def _has_end(block: bytes) -> bool:
    return any(block[at : at + 8] == b"END     " for at in range(0, len(block), _CARD))


def _cards(header: bytes, number: int) -> tuple[dict[str, int], dict[str, bytes]]:
    """The numbers that say how large the data are, and the checksums."""
    sizes: dict[str, int] = {}
    sums: dict[str, bytes] = {}
    for at in range(0, len(header), _CARD):
        card = header[at : at + _CARD]
        if card[:1] in b"BNPGT" and _SIZES.match(card):
            found = _NUMBER.match(card)
            keyword = card[:8].decode().strip()
            if found is None or (keyword in ("NAXIS", "TFIELDS") and not 0 <= int(found[1]) <= 999):
                raise SlamError(f"is damaged: HDU {number} has a {keyword} that cannot be")
            sizes.setdefault(keyword, int(found[1]))
        elif card[:1] in b"CD" and (found := _SUMS.match(card)):
            sums.setdefault(found[1].decode().strip(), found[2])
    return sizes, sums


def _data_size(sizes: dict[str, int]) -> int:
    """Bytes of data without padding (FITS standard 4.0, equation 2)."""
    lengths = [sizes.get(f"NAXIS{axis + 1}", 0) for axis in range(sizes.get("NAXIS", 0))]
    if len(lengths) > 1 and lengths[0] == 0:  # random groups
        lengths = lengths[1:]
    product = 1 if lengths else 0
    for length in lengths:
        product *= max(length, 0)
    return (
        abs(sizes.get("BITPIX", 8)) // 8 * max(sizes.get("GCOUNT", 1), 0) * (max(sizes.get("PCOUNT", 0), 0) + product)
    )


def _sum_of_data(file: _Plain | _Compressed, padded: int) -> tuple[int, int]:
    """Sum of all 32-bit words, and how many bytes there were."""
    total = there = 0
    while there < padded and (data := file.read(min(_PIECE, padded - there))):
        total, there = total + sum_of_words(data), there + len(data)
    return total, there


def sum_of_words(data: bytes) -> int:
    """Of 32 bits each, zeros added at the end."""
    words = np.frombuffer(data.ljust(-(-len(data) // 4) * 4, b"\0"), ">u4")
    return int(words.sum(dtype=np.uint64))


def _matches(header: bytes, total: int, stated: dict[str, bytes]) -> bool:
    """Whether the ones' complement sum of the HDU is all ones, or that of its data what DATASUM says."""
    if "CHECKSUM" in stated:
        return folded(total + sum_of_words(header)) in (0, ALL_ONES)
    text = stated["DATASUM"].strip()
    return text.isdigit() and folded(total) in (int(text), ALL_ONES if int(text) == 0 else int(text))


def folded(total: int) -> int:
    """A sum in ones' complement: carries are added at the other end."""
    while total > ALL_ONES:
        total = (total & ALL_ONES) + (total >> 32)
    return total
