"""Gaia XP spectra, calibrated and sampled, as GaiaXPy writes them: many per file, FITS, CSV or ECSV.

https://gaia-dpci.github.io/GaiaXPy-website/ and its source (gaiaxpy/output/sampled_spectra_data.py): one row per source
with ``source_id``, ``flux`` and ``flux_error`` in W nm⁻¹ m⁻². Wavelengths in nm, vacuum, as observed, are in a keyword
(FITS: SAMPLING), in a line of the header (ECSV) or in a separate file (CSV: NAME_sampling.csv).

Flux is that of the file, not divided by each star's median; a recipe with a continuum takes either. Errors are those of
single pixels; GaiaXPy's correlations are not read.
"""

from __future__ import annotations

import csv
import itertools
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from astropy.io import fits
from jaxtyping import Float

from slamjax._util.files import existing_file
from slamjax.errors import SlamError
from slamjax.io.surveys.base import Loader, SurveySpectra, hdu_at, inverse_square, survey_spectra, table_metadata
from slamjax.io.surveys.fits_columns import column_names, read_columns

#: nm: the default sampling of GaiaXPy and of the archive.
DEFAULT_SAMPLING = 336.0 + 2 * np.arange(343)
_SAMPLING = "_sampling"
#: A column of continuous spectra.
COEFFICIENTS = "bp_coefficients"
_SUFFIXES = (".csv", ".ecsv")
_CLOSING = {"(": ")", "[": "]"}
#: Characters of a line: a row with a correlation matrix has millions.
_LONGEST_LINE = 2**27


def is_text(path: str | os.PathLike[str]) -> bool:
    """Whether a file is CSV or ECSV, by its name."""
    return Path(path).suffix.lower() in _SUFFIXES


def is_sampling(path: str) -> bool:
    """Whether a file holds only the wavelengths of another one beside it."""
    return is_text(path) and Path(path).stem.endswith(_SAMPLING) and _spectra_file(Path(path)).exists()


def load_text(path: Path) -> SurveySpectra:
    """Spectra of a CSV or ECSV file."""
    if is_sampling(str(path)):
        raise SlamError(f"has wavelengths only; read {_spectra_file(path).name}, which has the spectra")
    columns, comments = _read_csv(path)
    _check(set(columns), ", ".join(columns))
    flux, error = (vectors(columns[name], name) for name in ("flux", "flux_error"))
    metadata: dict[str, Any] = {"source_id": _integers(columns["source_id"])}
    metadata |= {name: np.array(columns[name], float) for name in ("ra", "dec") if name in columns}
    return _spectra(_read_sampling(path, comments), flux, error, metadata)


def read_text_columns(path: Path, rows: slice | None = None) -> dict[str, list[str]]:
    """The cells of a CSV or ECSV file, or of neighbouring rows, under the lower-case names of their columns."""
    return _read_csv(path, rows)[0]


def text_names(path: Path) -> set[str]:
    """The lower-case names of the columns of a CSV or ECSV file."""
    with path.open(newline="") as file, _long_fields():
        return set(_header(_lines(file))[0])


def count_text_rows(path: Path) -> int:
    """The rows of a CSV or ECSV file."""
    with path.open(newline="") as file, _long_fields():
        lines = _lines(file)
        _header(lines)
        return sum(1 for line in lines if line.strip())


def _is_xp(hdus: fits.HDUList) -> bool:
    names = column_names(hdu_at(hdus, 1))
    return {"source_id", "flux", "flux_error"} <= names


def _xp(hdus: fits.HDUList) -> SurveySpectra:
    """Spectra of a FITS file: a table with vectors, the wavelengths as text in its header."""
    names, header = column_names(hdus[1]), hdus[1].header
    _check(names, ", ".join(sorted(names)))
    columns = read_columns(hdus[1], ("flux", "flux_error"))
    sampling = _numbers(str(header["SAMPLING"])) if "SAMPLING" in header else None
    metadata = table_metadata(hdus[1], source_id="source_id", ra="ra", dec="dec")
    return _spectra(sampling, _equal_rows(columns["flux"]), _equal_rows(columns["flux_error"]), metadata)


def _spectra(
    sampling: np.ndarray | None, flux: np.ndarray, error: np.ndarray, metadata: dict[str, Any]
) -> SurveySpectra:
    if sampling is None:
        sampling = DEFAULT_SAMPLING
        if flux.shape[1] != len(sampling):
            raise SlamError(
                f"does not state the wavelengths of its {flux.shape[1]} pixels; put GaiaXPy's sampling file, "
                f"NAME{_SAMPLING}.csv, beside it"
            )
    metadata["id"] = metadata["source_id"].astype(str)
    metadata["problem"] = np.where(np.isfinite(flux).any(axis=1), "", "the file has no spectrum of this source")
    ivar = inverse_square(error)
    return survey_spectra(
        10 * sampling, flux, ivar, "gaia-xp", "observed", metadata, unit="nm", flux_unit="W / (m2 nm)"
    )


def _check(names: set[str], listed: str) -> None:
    if "xp" in names:
        raise SlamError("has separate BP and RP spectra in pixels (gaiaxpy.convert); write it with gaiaxpy.calibrate")
    missing = [name for name in ("source_id", "flux", "flux_error") if name not in names]
    if missing and COEFFICIENTS in names:
        raise SlamError("has coefficients of XP spectra; read it without a survey, or sample it first")
    if missing:
        raise SlamError(f"has no column {', '.join(missing)}: it is no file of GaiaXPy spectra; it has {listed}")


def _equal_rows(column: np.ndarray) -> Float[np.ndarray, "star pixel"]:
    """A column of vectors; GaiaXPy writes variable lengths if some source has no spectrum."""
    if column.dtype != object:
        return np.atleast_2d(np.asarray(column, float))
    size = max(len(value) for value in column)
    return np.array([value if len(value) == size else np.full(size, np.nan) for value in column], float)


# ---- text -----------------------------------------------------------------------------------------------------------
# Python's csv, not astropy.io.ascii: of a file of 2,000 sources (32 MB) it makes columns in 0.12 s instead of 0.20 s,
# with 32 MB of memory instead of 364 MB; the whole file is read in 0.60 s instead of 0.79 s.


def _spectra_file(sampling: Path) -> Path:
    return sampling.with_name(sampling.stem.removesuffix(_SAMPLING) + sampling.suffix)


def _read_sampling(path: Path, comments: Sequence[str]) -> np.ndarray | None:
    """Wavelengths in nm from the comments of a file or from the sampling file beside it; None if there are none."""
    for line in comments:
        if line.lstrip("# ").startswith("sampling:"):
            return _numbers(line.partition(":")[2])
    sampling = path.with_name(f"{path.stem}{_SAMPLING}.csv")
    if not sampling.exists():
        return None
    columns, _ = _read_csv(existing_file(sampling))
    if "pos" not in columns:
        raise SlamError(f"has a sampling file, {sampling.name}, without column 'pos'")
    return _numbers(columns["pos"][0])


def _read_csv(path: Path, rows: slice | None = None) -> tuple[dict[str, list[str]], list[str]]:
    """Columns under their lower-case names, and the comment lines before them."""
    with path.open(newline="") as file, _long_fields():
        lines = _lines(file)
        names, comments = _header(lines)
        if rows is not None:
            lines = itertools.islice((line for line in lines if line.strip()), rows.start, rows.stop)
        read = [row for row in csv.reader(lines) if row]
    if not read:
        raise SlamError("has no row")
    for number, row in enumerate(read, start=0 if rows is None else rows.start or 0):
        if len(row) != len(names):
            raise SlamError(f"has {len(row)} fields in row {number} and {len(names)} columns; it is cut off or damaged")
    return {name: list(column) for name, column in zip(names, zip(*read, strict=True), strict=True)}, comments


def _header(lines: Iterator[str]) -> tuple[list[str], list[str]]:
    """The lower-case names of columns, and the comment lines before them."""
    comments = []
    line = next(lines, "")
    while line.startswith("#"):
        comments.append(line.rstrip())
        line = next(lines, "")
    return [name.strip().lower() for name in next(csv.reader([line]), [])], comments


def _lines(file: TextIO) -> Iterator[str]:
    """Lines of text; raises SlamError for what is no text, or has no lines."""
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE or "\0" in line:
            raise SlamError("has a line that is no text, or is too long to be one; it is damaged")
        yield line


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lift the size limit of Python's csv: a correlation matrix is a field of a million characters."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def vectors(cells: Sequence[str], name: str) -> Float[np.ndarray, "star pixel"]:
    """Vectors of cells such as "(1.0, nan, 2.0)" or "[1.0, null]"; a row of NaN for an empty cell."""
    for row, cell in enumerate(cells):
        first, last = cell.strip()[:1], cell.strip()[-1:]
        if _CLOSING.get(first, last) != last:
            raise SlamError(
                f"has a value of {name} in row {row} that begins with {first} and does not end; it is cut off"
            )
    counts = np.array([cell.count(",") + 1 if cell.strip() else 0 for cell in cells])
    size = int(counts.max())
    wrong = np.flatnonzero((counts != size) & (counts > 0))
    if wrong.size:
        raise SlamError(f"has {counts[wrong[0]]} values of {name} in row {wrong[0]} and {size} in others")
    values = np.full((len(cells), size), np.nan)
    if size:
        numbers = _numbers(",".join(_without_brackets(cell) for cell in cells if cell.strip()))
        if numbers.size != size * np.sum(counts > 0):
            raise SlamError(f"has a value of {name} that is no number")
        values[counts > 0] = numbers.reshape(-1, size)
    return values


def _without_brackets(text: str) -> str:
    """Numbers separated by commas, without brackets and what NumPy writes around each (np.float64(1.0))."""
    if "np." in text:
        text = re.sub(r"np\.\w+\(([^()]*)\)", r"\1", text)
    return text.strip().strip("()[]").rstrip(", ")


def _numbers(text: str) -> Float[np.ndarray, " number"]:
    """Numbers as Python or JSON (null) write them; those before the first text that is no number."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="string or file could not be read", category=DeprecationWarning)
        try:
            return np.fromstring(_without_brackets(text).replace("null", "nan"), sep=",")
        except ValueError:
            return np.zeros(0)


def _integers(cells: Sequence[str]) -> np.ndarray:
    try:
        return np.array([int(cell) for cell in cells], np.int64)
    except ValueError as error:
        raise SlamError("has a source_id that is no whole number") from error


LOADERS: dict[str, Loader] = {"gaia-xp": (_is_xp, _xp)}
