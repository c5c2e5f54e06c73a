"""Label tables of any length as FITS, written block by block with the checksums that `write_labels` gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from typing import BinaryIO

import numpy as np
from astropy.io import fits

from slamjax._util.files import atomic_path
from slamjax.errors import SlamError
from slamjax.io.fits_files import ALL_ONES, folded, sum_of_words
from slamjax.io.label_table import LabelTable
from slamjax.io.labels import label_sheet

_BLOCK = 2880


def write_label_blocks(
    like: LabelTable,
    n: int,
    blocks: Iterable[LabelTable],
    path: str | os.PathLike[str],
    *,
    sheet_of: Callable[[LabelTable], fits.BinTableHDU] = label_sheet,
    behind: Sequence[fits.BinTableHDU] = (),
) -> None:
    """Write a label table whose rows come in blocks; `slamjax.read_labels` reads it.

    Parameters
    ----------
    like : LabelTable
        One row with the columns, types, units and widths of texts of all blocks.
    n : int
        Rows in all.
    blocks : iterable of LabelTable
        With the columns of ``like``.
    path : path
    sheet_of : callable
        Makes the FITS extension of a table.
    behind : sequence of extensions
        Further ones, behind the table.

    Raises
    ------
    SlamError
        If the file cannot be written, or blocks have another number of rows than ``n``.
    """
    header = sheet_of(like).header.copy()
    header["NAXIS2"] = n
    header["CHECKSUM"] = ("0" * 16, "HDU checksum")
    header["DATASUM"] = ("0", "data unit checksum")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        fits.PrimaryHDU().writeto(file, checksum=True)
        place = file.tell()
        file.write(header.tostring().encode())
        data = _Summed(file)
        written = 0
        for block in blocks:
            data.write(_rows_of(sheet_of(block), header))
            written += len(block)
        if written != n:
            raise SlamError(f"{written} rows came for the {n} of {path}; nothing was written")
        data.write(bytes(-data.size % _BLOCK))
        header["DATASUM"] = str(data.total)
        text = header.tostring().encode()
        header["CHECKSUM"] = encoded_checksum(folded(data.total + sum_of_words(text)))
        file.seek(place)
        file.write(header.tostring().encode())
        file.seek(0, os.SEEK_END)
        for extension in behind:
            buffer = BytesIO()
            fits.HDUList([fits.PrimaryHDU(), extension]).writeto(buffer, checksum=True)
            file.write(buffer.getvalue()[len(fits.PrimaryHDU().header.tostring()) :])


def _rows_of(sheet: fits.BinTableHDU, header: fits.Header) -> bytes:
    """The rows as FITS holds them."""
    buffer = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), sheet]).writeto(buffer)
    for keyword, value in header["TFORM*"].items():
        if sheet.header[keyword] != value:
            raise ValueError(f"column {keyword} is {sheet.header[keyword]} in a block and {value} in the header")
    start = len(fits.PrimaryHDU().header.tostring()) + len(sheet.header.tostring())
    return buffer.getvalue()[start : start + sheet.header["NAXIS1"] * sheet.header["NAXIS2"]]


class _Summed:
    """Writes to a file, and adds up what is written in words of 32 bits (FITS standard 4.0, section 4.4.2.7)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._rest = file, b""
        self.size = self.total = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.size += len(data)
        data = self._rest + data
        whole = len(data) // 4 * 4
        self.total, self._rest = folded(self.total + sum_of_words(data[:whole])), data[whole:]


def encoded_checksum(total: int) -> str:
    """The value of CHECKSUM for an HDU whose words, with sixteen zeros in its place, add up to this.

    FITS standard 4.0, appendix J: the complement's bytes are each divided into four characters, none of which is
    punctuation; the string is rotated by one, for it begins in the fourth byte of a word.
    """
    left = ALL_ONES - total
    characters = np.zeros((4, 4), int)  # of each byte, in the places of its four characters
    for k, byte in enumerate(left.to_bytes(4, "big")):
        four = np.full(4, byte // 4 + ord("0"))
        four[0] += byte % 4
        while any(chr(one) in ":;<=>?@[\\]^_`" for one in four):  # in pairs, so that the sum stays
            for low in (0, 2):
                if any(chr(one) in ":;<=>?@[\\]^_`" for one in four[low : low + 2]):
                    four[low] += 1
                    four[low + 1] -= 1
        characters[:, k] = four
    text = "".join(chr(one) for one in characters.ravel())
    return text[-1] + text[:-1]
