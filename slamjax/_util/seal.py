"""One digest over a whole HDF5 file, kept in its user block and checked before the file is opened.

HDF5's own library can crash the process on a damaged file (it follows lengths and addresses as it finds them), so
checksums inside the file come too late. HDF5 leaves the first ``BLOCK`` bytes of a file to its user
(`the user block <https://docs.h5py.org/en/stable/high/file.html#user-block>`_): the digest of all that follows stands
there.
"""

from __future__ import annotations

import hashlib
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


def is_whole(path: Path) -> bool:
    """Whether a file with a user block is as it was sealed. Files without one (older slamjax's, or no HDF5) pass."""
    with path.open("rb") as file:
        first = file.read(BLOCK)
        has_block = first.startswith(_MAGIC) or file.read(len(_HDF5)) == _HDF5
        return first.startswith(_HDF5) or not has_block or first == _line(file)


def _line(file: BufferedRandom | BufferedReader) -> bytes:
    """The user block of an open file."""
    file.seek(BLOCK)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    return (_MAGIC + digest.encode() + b"\n").ljust(BLOCK, b"\0")
