"""Selected columns of a FITS table in an open file.

astropy prepares every column of a table before it returns one, which dominates the reading time of survey files whose
tables have hundreds of columns and one row. Plain columns are therefore taken from the table's bytes here; others
(scaled values, bits, variable-length vectors) are left to astropy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits

#: NumPy types of the FITS letters for plain values (standard 4.0, section 7.3.2).
_PLAIN = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
#: Bytes per value of the other letters.
_SIZES = {"A": 1, "L": 1, "C": 8, "M": 16, "P": 8, "Q": 16}
_KEYWORDS = (b"TTYPE", b"TFORM", b"TSCAL", b"TZERO")
_TEXT = re.compile(rb"'([^']*)'")
_FORM = re.compile(r"(\d*)([A-Z])")
_CARD_LENGTH = 80


@dataclass(frozen=True)
class _Column:
    name: str
    repeat: int
    letter: str
    offset: int
    plain: bool


def column_names(hdu: Any) -> set[str]:
    """Lower-case names of a table's columns; empty if the HDU is no table."""
    return {column.name.lower() for column in _columns(hdu)} if isinstance(hdu, fits.BinTableHDU) else set()


def read_columns(hdu: fits.BinTableHDU, names: Iterable[str], *, required: bool = True) -> dict[str, np.ndarray]:
    """Columns (N,) or (N, P) under the given names, in the table's byte order; strings as bytes.

    Names are compared without regard to case. A missing column raises KeyError, or is left out if not ``required``.
    """
    columns = {column.name.lower(): column for column in _columns(hdu)}
    wanted = {name: columns[name.lower()] for name in names if required or name.lower() in columns}
    if not wanted:
        return {}
    if not all(column.plain for column in wanted.values()):
        return {name: np.asarray(hdu.data[column.name]) for name, column in wanted.items()}
    width, n_rows = int(hdu.header["NAXIS1"]), int(hdu.header["NAXIS2"])
    formats = [_format(column) for column in wanted.values()]
    offsets = [column.offset for column in wanted.values()]
    dtype = np.dtype({"names": list(wanted), "formats": formats, "offsets": offsets, "itemsize": width})
    rows = np.frombuffer(_bytes(hdu, "datLoc", width * n_rows), dtype)
    return {name: rows[name] == b"T" if column.letter == "L" else rows[name] for name, column in wanted.items()}


def _format(column: _Column) -> Any:
    if column.letter in "AL":
        return f"S{column.repeat}"
    return _PLAIN[column.letter] if column.repeat == 1 else (_PLAIN[column.letter], (column.repeat,))


def _columns(hdu: fits.BinTableHDU) -> list[_Column]:
    """All columns in order, from the text of the header, because astropy parses its cards one by one."""
    info = hdu.fileinfo()
    text = _bytes(hdu, "hdrLoc", info["datLoc"] - info["hdrLoc"])
    cards: dict[tuple[bytes, int], str] = {}
    for start in range(0, len(text), _CARD_LENGTH):
        keyword, digits = text[start : start + 5], text[start + 5 : start + 8].strip()
        if keyword in _KEYWORDS and digits.isdigit():
            value = _TEXT.search(text, start, start + _CARD_LENGTH)
            cards[keyword, int(digits)] = value[1].decode().strip() if value else ""
    columns, offset = [], 0
    for number in range(1, int(hdu.header["TFIELDS"]) + 1):
        form = cards[b"TFORM", number]
        count, letter = _FORM.match(form).groups()  # type: ignore[union-attr]
        repeat = int(count or 1)
        scaled = (b"TSCAL", number) in cards or (b"TZERO", number) in cards
        plain = not scaled and (letter in _PLAIN or letter == "A" or form in ("L", "1L")) and repeat > 0
        columns.append(_Column(cards.get((b"TTYPE", number), ""), repeat, letter, offset, plain))
        offset += -(-repeat // 8) if letter == "X" else repeat * _size(letter)
    return columns


def _size(letter: str) -> int:
    return np.dtype(_PLAIN[letter]).itemsize if letter in _PLAIN else _SIZES[letter]


def _bytes(hdu: Any, start: str, size: int) -> bytes:
    """``size`` bytes from the start of a HDU's header or data, decompressed by astropy if need be."""
    info = hdu.fileinfo()
    info["file"].seek(info[start])
    data = info["file"].read(size)
    if len(data) < size:
        raise OSError("the file ends before its table does")
    return bytes(data)
