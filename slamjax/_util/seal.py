"""One digest over a whole HDF5 file, kept in its user block and checked before the file is opened.

HDF5's library can crash the process on a damaged file (it follows lengths and addresses as it finds them), so
checksums inside the file come too late. HDF5 leaves the first ``BLOCK`` bytes of a file to its user
(`the user block <https://docs.h5py.org/en/stable/high/file.html#user-block>`_): the digest of all that follows is
written there.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from enum import Enum
from io import BufferedRandom, BufferedReader
from pathlib import Path

#: Bytes of the user block: the smallest that HDF5 allows.
BLOCK = 512
_MAGIC = b"slamjax, HDF5 after 512 bytes, sha256 "
_HDF5 = b"\x89HDF\r\n\x1a\n"


def seal(path: Path) -> None:
    """Write the digest of a closed file, made with ``userblock_size=BLOCK``, into its user block."""
    with path.open("r+b") as file:
        line = _line(file)
        file.seek(0)
        file.write(line)


def sealed(content: bytes) -> bytes:
    """An HDF5 file with its digest before it.

    HDF5 counts addresses from where the file's signature stands, so a block may be put before a file that was made
    without one.
    """
    return _block(hashlib.sha256(content).hexdigest()) + content


class Seal(Enum):
    """What the user block says of a file."""

    SOUND = "sound"
    BROKEN = "broken"
    NONE = "none"  # a file of an older slamjax, or no HDF5


def read_seal(path: Path) -> Seal:
    """Whether a file is as it was sealed."""
    with path.open("rb") as file:
        first = file.read(BLOCK)
        has_block = first.startswith(_MAGIC) or file.read(len(_HDF5)) == _HDF5
        if first.startswith(_HDF5) or not has_block:
            return Seal.NONE
        return Seal.SOUND if first == _line(file) else Seal.BROKEN


def _line(file: BufferedRandom | BufferedReader) -> bytes:
    """The user block of an open file."""
    file.seek(BLOCK)
    return _block(hashlib.file_digest(file, "sha256").hexdigest())


def _block(digest: str) -> bytes:
    return (_MAGIC + digest.encode() + b"\n").ljust(BLOCK, b"\0")


# ---- at the end -----------------------------------------------------------------------------------------------------
# Programs that read NetCDF expect HDF5's signature at the start of a file. HDF5 passes by what stands behind its data,
# so there the digest may be. A file that is cut off has lost it: a mark within the data says that there must be one.

#: To be put into an attribute of a file that is sealed at its end.
MARK = "slamjax: sealed at the end of the file"
_END_MAGIC = b"\nslamjax, HDF5 before this line, sha256 "
_END = len(_END_MAGIC) + 64 + 1
_PIECE = 2**22


def sealed_at_end(content: bytes) -> bytes:
    """An HDF5 file, `MARK` within it, with its digest behind it."""
    return content + _END_MAGIC + hashlib.sha256(content).hexdigest().encode() + b"\n"


def read_seal_at_end(path: Path) -> Seal:
    """Whether a file is as `sealed_at_end` made it."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return Seal.NONE
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            last = content[max(0, size - _END) :]
            if last.startswith(_END_MAGIC):
                digest = hashlib.sha256()
                for start in range(0, size - _END, _PIECE):
                    digest.update(content[start : min(start + _PIECE, size - _END)])
                is_sound = last == _END_MAGIC + digest.hexdigest().encode() + b"\n"
                return Seal.SOUND if is_sound else Seal.BROKEN
            if content[: len(_HDF5)] != _HDF5:
                return Seal.NONE  # no HDF5: a large file need not be searched
            is_marked = content.find(MARK.encode()) >= 0 or content.find(_END_MAGIC) >= 0
            return Seal.BROKEN if is_marked else Seal.NONE
