"""Gaia XP spectra in their continuous form: coefficients of basis functions, with their covariances.

Gaia DR3, xp_continuous_mean_spectrum (Gaia archive documentation, section 20.12.3), as DataLink delivers it and as
GaiaXPy takes it: for ``bp`` and ``rp`` each ``_coefficients``, ``_coefficient_errors`` and
``_coefficient_correlations``, which holds the upper triangle of the correlation matrix without its diagonal, column by
column: r₀₁, r₀₂, r₁₂, r₀₃, …. Errors are scaled by ``_standard_deviation`` already, so that the covariance is
diag(e) R diag(e). ``_n_relevant_bases`` coefficients stand out of the noise. BP and RP are independent.

All columns of single values are kept: labels that were joined to such a table are labels of its stars.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from jaxtyping import Float

from slamjax.errors import SlamError
from slamjax.io.fits_tables import hdu_of_rows
from slamjax.io.surveys.base import Loader, SurveySpectra, hdu_at
from slamjax.io.surveys.fits_columns import column_names
from slamjax.io.surveys.gaia import COEFFICIENTS, read_text_columns, text_names, vectors
from slamjax.spectra.columns import float_column, plain_column
from slamjax.spectra.covariance import are_positive_definite, of_norm_one

NAME = "gaia-xp-coefficients"
#: The two photometers; their coefficients stand one behind the other.
BANDS = ("bp", "rp")
_ARRAYS = ("coefficients", "coefficient_errors", "coefficient_correlations")
WANTED = {f"{band}_{name}" for band in BANDS for name in _ARRAYS}
#: Bytes of a star in memory: a matrix of all its coefficients.
BYTES_PER_STAR = 8 * 110**2


def have_coefficients(names: set[str]) -> bool:
    """Whether columns (lower case) are those of continuous spectra; sampled ones may have them besides."""
    return {"source_id", COEFFICIENTS} <= names and not {"flux", "flux_error"} <= names


def is_text_of_coefficients(path: Path) -> bool:
    """Whether a CSV or ECSV file holds continuous spectra."""
    return have_coefficients(text_names(path))


def columns_of_fits(hdu: Any, path: Path | None = None, rows: slice | None = None) -> Table:
    """The columns of a table in an open FITS file, or some of its rows, read alone where all have one size."""
    if not column_names(hdu):
        raise SlamError("has no table in its first extension; it is no file of XP coefficients")
    if path is None or rows is None:
        data = hdu.data
    elif any(column.format.lstrip("0123456789")[0] in "PQ" for column in hdu.columns):
        data = hdu.data[rows]
    else:
        data = hdu_of_rows(hdu, np.arange(int(hdu.header["NAXIS2"]))[rows], path).data
    table = Table()
    for name in hdu.columns.names:
        values = data[name]
        if name.lower() in WANTED:
            table[name.lower()] = np.asarray(values)
        elif values.ndim == 1 and values.dtype.kind in "biufSU":
            known = name.lower() if name.lower() == "source_id" or name.lower().startswith(BANDS) else name
            values = plain_column(np.asarray(values))
            table[known] = np.char.strip(values) if values.dtype.kind == "U" else values
    return table


def columns_of_text(path: Path, rows: slice | None = None) -> Table:
    """The columns of a CSV or ECSV file, or some of its rows."""
    table = Table()
    for name, cells in read_text_columns(path, rows).items():
        if name in WANTED:
            table[name] = vectors(cells, name)
        elif not cells[0].startswith(("(", "[")):
            table[name] = _values(cells)
    return table


def _values(cells: list[str]) -> np.ndarray:
    """Whole numbers, numbers with NaN for what is missing, or text."""
    known = [cell.strip() if cell.strip() != "null" else "" for cell in cells]
    for kind in (np.int64, np.float64):
        try:
            return np.array([cell if kind is np.int64 or cell else "nan" for cell in known]).astype(kind)
        except ValueError:
            continue
    return np.array(known)


def check_columns(table: Table, name: str) -> None:
    """Raise SlamError if a column is missing."""
    missing = sorted((WANTED | {"source_id"}) - set(table.colnames))
    if missing:
        raise SlamError(
            f"{name} has no column {', '.join(missing)}: it holds no continuous XP spectra; ask the archive for "
            "XP_CONTINUOUS in the structure RAW"
        )


def coefficients(table: Table, name: str, *, truncate: bool = False, scale: Any = None) -> SurveySpectra:
    """The stars of a table with the columns of the archive; see `slamjax.read_xp_coefficients`.

    Parameters
    ----------
    table : Table
    name : str
        Whose columns these are, for errors.
    truncate, scale
        As of `slamjax.read_xp_coefficients`.
    """
    check_columns(table, name)
    flux = np.concatenate([_vector(table, f"{band}_coefficients", name) for band in BANDS], axis=1)
    covariance = _covariance(table, name)
    good = np.isfinite(flux) & (np.einsum("npp->np", covariance) > 0)
    if truncate:
        good &= _relevant(table, flux.shape[1] // 2, name)
    problem = _problems(covariance, good, flux.shape[1] // 2)
    flux, good = np.where(good, flux, 0), good & (problem == "")[:, None]
    covariance = np.where(good[:, :, None] & good[:, None, :], covariance, 0)
    if scale is None:
        flux, covariance, divisor = of_norm_one(flux, covariance)
    else:
        divisor = _scale(table, scale, name)
        flux, covariance = flux / divisor[:, None], covariance / np.square(divisor)[:, None, None]
    metadata: dict[str, Any] = {
        column: plain_column(table[column]) for column in table.colnames if table[column].ndim == 1
    }
    metadata = {column: values for column, values in metadata.items() if values.dtype.kind in "biufU"}
    metadata |= {"id": np.asarray(table["source_id"]).astype(str), "scale": divisor, "problem": problem}
    variance = np.einsum("npp->np", covariance)
    return SurveySpectra(
        np.arange(1.0, flux.shape[1] + 1), flux, np.where(good, 1 / np.where(good, variance, 1), 0), NAME, "rest",
        metadata, medium="unknown", unit="pix", covariance=covariance,
    )  # fmt: skip


def _vector(table: Table, name: str, source: str) -> Float[np.ndarray, "star coefficient"]:
    """A column of vectors of one length; NaN for stars that have none."""
    column = table[name]
    rows: list[np.ndarray] = [np.ma.filled(np.ma.asarray(row, float).reshape(-1), np.nan) for row in column]
    size = max((len(row) for row in rows), default=0)
    wrong = [number for number, row in enumerate(rows) if len(row) not in (size, 0, 1)]
    if not size or wrong:
        where = f"row {wrong[0]} of {source}" if wrong else source
        raise SlamError(f"{name} of {where} has not as many values as that of other stars; the file is damaged")
    return np.array([row if len(row) == size else np.full(size, np.nan) for row in rows])


def _covariance(table: Table, source: str) -> Float[np.ndarray, "star coefficient coefficient"]:
    """diag(e) R diag(e) of each band, and no covariance between the bands; 0 where a band is missing."""
    blocks = []
    for band in BANDS:
        error = _vector(table, f"{band}_coefficient_errors", source)
        triangle = _vector(table, f"{band}_coefficient_correlations", source)
        n = error.shape[1]
        if triangle.shape[1] != n * (n - 1) // 2:
            raise SlamError(
                f"{band}_coefficient_correlations of {source} has {triangle.shape[1]} values, but {n} coefficients "
                f"have {n * (n - 1) // 2} correlations; the file is damaged"
            )
        correlation = np.broadcast_to(np.eye(n), (len(error), n, n)).copy()
        row, column = np.tril_indices(n, -1)  # the lower triangle by rows is the upper one by columns
        correlation[:, row, column] = correlation[:, column, row] = triangle
        known = np.isfinite(error) & (error > 0)
        error = np.where(known, error, 0)
        blocks.append(np.nan_to_num(error[:, :, None] * correlation * error[:, None, :]))
    sizes = [block.shape[1] for block in blocks]
    whole = np.zeros((len(table), sum(sizes), sum(sizes)))
    whole[:, : sizes[0], : sizes[0]], whole[:, sizes[0] :, sizes[0] :] = blocks
    return whole


def _relevant(table: Table, n: int, source: str) -> np.ndarray:
    """(N, 2 n) the first n_relevant_bases of each band."""
    parts = []
    for band in BANDS:
        name = f"{band}_n_relevant_bases"
        if name not in table.colnames:
            raise SlamError(f"{source} has no column {name}; leave truncate out")
        parts.append(np.arange(n) < np.nan_to_num(float_column(table[name]), nan=n)[:, None])
    return np.concatenate(parts, axis=1)


def _problems(covariance: np.ndarray, good: np.ndarray, n: int) -> np.ndarray:
    """(N,) why a star's coefficients are not used; empty if they are."""
    missing = ~good[:, :n].any(axis=1) | ~good[:, n:].any(axis=1)
    error = np.sqrt(np.where(good, np.einsum("npp->np", covariance), 1))
    both = good[:, :, None] & good[:, None, :]
    sound = are_positive_definite(np.where(both, covariance, 0) / error[:, :, None] / error[:, None, :])
    problem = np.where(sound, "", "the correlations are those of no noise")
    return np.where(missing, "a photometer has no coefficients", problem)


def _scale(table: Table, scale: Any, source: str) -> np.ndarray:
    if isinstance(scale, str):
        if scale not in table.colnames:
            raise SlamError(f"{source} has no column {scale!r} to divide by; give its values, one for each star")
        scale = float_column(table[scale])
    values = np.asarray(scale, float)
    if values.shape != (len(table),) or not np.all(np.isfinite(values) & (values > 0)):
        raise SlamError(f"scale of {source} has to be one number above 0 for each of its {len(table)} stars")
    return values


def _is_file(hdus: fits.HDUList) -> bool:
    return have_coefficients(column_names(hdu_at(hdus, 1)))


def _file(hdus: fits.HDUList) -> SurveySpectra:
    return coefficients(columns_of_fits(hdu_at(hdus, 1)), "the file")


def load_text(path: Path) -> SurveySpectra:
    """The stars of a CSV or ECSV file."""
    return coefficients(columns_of_text(path), "the file")


LOADERS: dict[str, Loader] = {NAME: (_is_file, _file)}
