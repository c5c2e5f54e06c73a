"""Gaia XP spectra in their continuous form: coefficients of basis functions, with their covariances.

Gaia DR3, xp_continuous_mean_spectrum (Gaia archive documentation, section 20.12.3), as DataLink delivers it and as
GaiaXPy takes it: for ``bp`` and ``rp`` each ``_coefficients``, ``_coefficient_errors`` and
``_coefficient_correlations``, which holds the upper triangle of the correlation matrix without its diagonal, column by
column: r₀₁, r₀₂, r₁₂, r₀₃, …. Errors are scaled by ``_standard_deviation`` already, so that the covariance is
diag(e) R diag(e). ``_n_relevant_bases`` coefficients stand out of the noise. BP and RP are independent.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table, vstack
from jaxtyping import Float

from slamjax._util.files import existing_file
from slamjax.errors import SlamError
from slamjax.io.fits_files import open_fits
from slamjax.io.reading import expand_pattern
from slamjax.io.surveys.base import hdu_at
from slamjax.io.surveys.fits_columns import column_names, read_columns
from slamjax.io.surveys.gaia import is_text, read_text_columns, vectors
from slamjax.spectra.columns import float_column
from slamjax.spectra.covariance import are_positive_definite, of_norm_one
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.tables import as_table

#: The two photometers; their coefficients stand one behind the other.
BANDS = ("bp", "rp")
_ARRAYS = ("coefficients", "coefficient_errors", "coefficient_correlations")
_WANTED = {f"{band}_{name}" for band in BANDS for name in _ARRAYS}
#: Scalar columns that are kept where a file has them.
_SCALARS = (
    "source_id", "ra", "dec", "phot_g_mean_mag", "phot_g_mean_flux", "bp_rp",
    *(f"{band}_{name}" for band in BANDS for name in ("n_relevant_bases", "standard_deviation", "n_measurements")),
)  # fmt: skip


def read_xp_coefficients(source: Any, *, truncate: bool = False, scale: Any = None) -> Spectra:
    """Gaia XP coefficients with their covariances: what the archive calls continuous mean spectra.

    A model is trained on them and fits them as it does spectra, but for steps that need wavelengths. `slamjax.fit` and
    `slamjax.sample` take the covariance of each star as it is; `slamjax.train` takes
    ``spectra.with_independent_pixels()``.

    Parameters
    ----------
    source : path, glob pattern, Table or DataFrame, or a sequence of these
        FITS, CSV or ECSV files of the archive's xp_continuous_mean_spectrum, as GaiaXPy takes them.
    truncate : bool
        Leave out coefficients behind the first ``bp_n_relevant_bases`` and ``rp_n_relevant_bases``, which are noise.
        The covariance of the others stays: the rest is integrated out.
    scale : str or (N,) array, optional
        What each star's coefficients are divided by: a column, such as that of its flux in G, or values. By default
        the root of their sum of squares, of which the covariance loses the part that scales all of them.

    Returns
    -------
    Spectra
        Coefficient k at "wavelength" k + 1, in pixels: 55 of BP, then 55 of RP. Its table has ``source_id``, ``id``,
        ``scale`` and ``problem`` (empty, or why a star has no good pixel).

    Raises
    ------
    SlamError
        If a file cannot be read, or a column is missing or damaged.

    Examples
    --------
    Two coefficients of each band, with correlations of 0.5 and −0.2:

    >>> import slamjax
    >>> stars = {"source_id": [7]}
    >>> for band, correlation in (("bp", 0.5), ("rp", -0.2)):
    ...     stars[f"{band}_coefficients"] = [[30.0, 40.0]]
    ...     stars[f"{band}_coefficient_errors"] = [[1.0, 2.0]]
    ...     stars[f"{band}_coefficient_correlations"] = [[correlation]]
    >>> slamjax.read_xp_coefficients(stars, scale=[10.0]).covariance[0].round(4)
    array([[ 0.01 ,  0.01 ,  0.   ,  0.   ],
           [ 0.01 ,  0.04 ,  0.   ,  0.   ],
           [ 0.   ,  0.   ,  0.01 , -0.004],
           [ 0.   ,  0.   , -0.004,  0.04 ]])
    """
    parts = [_columns(each) for each in _sources(source)]
    table = vstack(parts, metadata_conflicts="silent") if len(parts) > 1 else parts[0]
    name = str(source) if isinstance(source, (str, os.PathLike)) else "XP coefficients"
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
    kept = Table({column: table[column] for column in _SCALARS if column in table.colnames})
    kept["id"], kept["scale"], kept["problem"] = np.asarray(table["source_id"]).astype(str), divisor, problem
    wave = np.arange(1.0, flux.shape[1] + 1)
    ivar = good.astype(float)
    return Spectra(wave, flux, ivar, kept, u.pix, frame="rest", covariance=covariance, source=name)


def _sources(source: Any) -> list[Any]:
    if isinstance(source, (str, os.PathLike)):
        return list(expand_pattern(os.fspath(source)))
    if isinstance(source, Sequence):
        return [one for each in source for one in _sources(each)]
    return [source]


def _columns(source: Any) -> Table:
    """The columns that are used of one file or table."""
    if not isinstance(source, str):
        table = as_table(source, "the table of XP coefficients")
    else:
        path = existing_file(source)
        try:
            table = _text(path) if is_text(path) else _fits(path)
        except SlamError as error:
            raise SlamError(f"{source} {str(error).removeprefix(f'{source} ')}") from error
    missing = sorted((_WANTED | {"source_id"}) - set(table.colnames))
    if missing:
        where = source if isinstance(source, str) else "the table of XP coefficients"
        raise SlamError(
            f"{where} has no column {', '.join(missing)}: it holds no continuous XP spectra; ask the archive for "
            "XP_CONTINUOUS in the structure RAW"
        )
    return table


def _fits(path: Path) -> Table:
    with open_fits(path) as hdus:
        hdu = hdu_at(hdus, 1)
        names = column_names(hdu)
        if not names:
            raise SlamError("has no table in its first extension; it is no file of XP coefficients")
        found = read_columns(hdu, sorted((_WANTED | set(_SCALARS)) & names))
        return Table({name: _native(values) for name, values in found.items()})


def _native(values: np.ndarray) -> np.ndarray:
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def _text(path: Path) -> Table:
    columns = read_text_columns(path)
    table = Table()
    for name, cells in columns.items():
        if name in _WANTED:
            table[name] = vectors(cells, name)
        elif name == "source_id":
            table[name] = np.array(cells, np.int64)
        elif name in _SCALARS:
            table[name] = [float(cell) if cell.strip() not in ("", "null") else np.nan for cell in cells]
    return table


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
