"""Files of which some rows can be read without the others: slamjax's tables, and files of XP coefficients."""

from __future__ import annotations

import os

from slamjax._util.files import existing_file
from slamjax.io.list_assembly import BadRows
from slamjax.io.reading import is_table
from slamjax.io.table import count_rows as count_table_rows
from slamjax.io.table import read_table
from slamjax.io.xp_coefficients import count_coefficients, is_coefficients, read_coefficient_rows
from slamjax.spectra.spectra import Spectra


def has_rows(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one of these, rather than a survey file that is read as a whole."""
    return is_table(path) or is_coefficients(path)


def count_rows(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Number of spectra in such a file, and bytes of each, those of covariances included."""
    source = existing_file(path)
    return count_coefficients(source) if is_coefficients(source) else count_table_rows(source)


def read_rows(path: str | os.PathLike[str], rows: slice | None = None, *, bad_rows: BadRows = "raise") -> Spectra:
    """Rows of such a file, as `slamjax.read_table` reads those of a table."""
    source = existing_file(path)
    return (
        read_coefficient_rows(source, rows) if is_coefficients(source) else read_table(source, rows, bad_rows=bad_rows)
    )
