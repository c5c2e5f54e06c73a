"""Gaia XP coefficients: `read_xp_coefficients`, and rows of their files, whose layout `gaia_coefficients` knows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table, vstack

from slamjax._util.files import existing_file
from slamjax.errors import SlamError
from slamjax.io.fits_files import open_fits
from slamjax.io.reading import expand_pattern
from slamjax.io.surveys.base import SurveySpectra, hdu_at
from slamjax.io.surveys.fits_columns import column_names
from slamjax.io.surveys.gaia import count_text_rows, is_text
from slamjax.io.surveys.gaia_coefficients import (
    BYTES_PER_STAR,
    check_columns,
    coefficients,
    columns_of_fits,
    columns_of_text,
    have_coefficients,
    is_text_of_coefficients,
)
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.tables import as_table

#: What a table in memory is called in errors.
_TABLE = "the table of XP coefficients"


def read_xp_coefficients(source: Any, *, truncate: bool = False, scale: Any = None) -> Spectra:
    """Gaia XP coefficients with their covariances: what the archive calls continuous mean spectra.

    `slamjax.read`, `slamjax.fit_survey` and the commands read such files, too, without these options.

    A model is trained on them and fits them as it does spectra, but for steps that need wavelengths. `slamjax.train`,
    `slamjax.fit` and `slamjax.sample` use the covariance of each star.

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
        Coefficient k at "wavelength" k + 1, in pixels: 55 of BP, then 55 of RP. Its table has the source's columns
        of single values, ``id``, ``scale`` and ``problem`` (empty, or why a star has no good pixel).

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
    parts = [as_table(each, _TABLE) if not isinstance(each, str) else _columns(each) for each in _sources(source)]
    table = vstack(parts, metadata_conflicts="silent") if len(parts) > 1 else parts[0]
    name = str(source) if isinstance(source, (str, os.PathLike)) else _TABLE
    return _spectra(coefficients(table, name, truncate=truncate, scale=scale), name)


def is_coefficients(path: str | os.PathLike[str]) -> bool:
    """Whether a file holds XP coefficients: FITS, CSV or ECSV, by its columns."""
    try:
        if is_text(path):
            return is_text_of_coefficients(existing_file(path))
        with open_fits(path) as hdus:
            return have_coefficients(column_names(hdu_at(hdus, 1)))
    except Exception:  # astropy raises errors of many types; they are reported when the file is read
        return False


def count_coefficients(path: Path) -> tuple[int, int]:
    """Stars in a file of XP coefficients, and bytes of each in memory."""
    if is_text(path):
        return count_text_rows(path), BYTES_PER_STAR
    with open_fits(path) as hdus:
        return int(hdus[1].header["NAXIS2"]), BYTES_PER_STAR


def read_coefficient_rows(path: Path, rows: slice | None = None) -> Spectra:
    """Some rows of a file of XP coefficients, read without the others, as `slamjax.read` reads them all."""
    table = _columns(str(path), rows)
    numbers = np.arange(len(table)) + ((rows.start or 0) if rows is not None else 0)
    return _spectra(coefficients(table, str(path)), str(path), numbers)


def _spectra(found: SurveySpectra, name: str, rows: np.ndarray | None = None) -> Spectra:
    return Spectra(
        found.wave,
        found.flux,
        found.ivar,
        Table(found.metadata),
        found.unit,
        frame=found.frame,
        covariance=found.covariance,
        source=name,
        rows=rows,
    )


def _sources(source: Any) -> list[Any]:
    if isinstance(source, (str, os.PathLike)):
        return list(expand_pattern(os.fspath(source)))
    if isinstance(source, Sequence):
        return [one for each in source for one in _sources(each)]
    return [source]


def _columns(source: str, rows: slice | None = None) -> Table:
    """The columns that are used of one file."""
    path = existing_file(source)
    try:
        if is_text(path):
            table = columns_of_text(path, rows)
        else:
            with open_fits(path) as hdus:
                table = columns_of_fits(hdu_at(hdus, 1), path, rows)
    except SlamError as error:
        raise SlamError(f"{source} {str(error).removeprefix(f'{source} ')}") from error
    check_columns(table, source)
    return table
