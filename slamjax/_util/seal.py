"""One digest over a whole HDF5 file, kept in its user block and checked before the file is opened.

HDF5's library can crash the process on a damaged file (it follows lengths and addresses as it finds them), so
checksums inside the file come too late. HDF5 leaves the first ``BLOCK`` bytes of a file to its user
(`the user block <https://docs.h5py.org/en/stable/high/file.html#user-block>`_): the digest of all that follows is
written there.
"""

from __future__ import annotations

import hashlib
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
