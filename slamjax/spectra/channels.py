"""What is known of stars beside their spectra, magnitudes or colours, as the pixels of a model of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table

from slamjax.errors import SlamError
from slamjax.spectra.columns import float_column
from slamjax.spectra.spectra import Spectra

#: Endings of the names of columns with errors.
_ERRORS = ("_err", "_error")


def channels(stars: Any, columns: Sequence[str], errors: Mapping[str, Any] | None = None) -> Spectra:
    """Columns of a table as channels: what `slamjax.train` takes for pixels, without wavelengths.

    A model of channels is trained as one of spectra is, and fitted with it by a `slamjax.JointModel`: magnitudes,
    colours, a luminosity from the parallax, or log g. Its noise is a block of its own.

    Parameters
    ----------
    stars : Spectra, Table, DataFrame, or mapping of columns
    columns : sequence of str
        Numbers; one that is NaN or masked is a bad pixel.
    errors : mapping of str to float or str, optional
        Standard errors: a number for all stars, or the name of a column. By default the column <name>_err or
        <name>_error; without any, errors are part of the model error that training estimates.

    Returns
    -------
    Spectra
        Channel k at "wavelength" k + 1, in pixels; the table is kept.

    Raises
    ------
    SlamError
        If a column is missing, or holds no numbers.

    Examples
    --------
    >>> import slamjax
    >>> nan = float("nan")
    >>> stars = {"g_mag": [12.1, 13.0], "g_mag_err": [0.01, 0.02], "bp_rp": [1.1, nan], "teff": [4800.0, 4500.0]}
    >>> photometry = slamjax.channels(stars, ["g_mag", "bp_rp"], errors={"bp_rp": 0.02})
    >>> photometry
    Spectra(2 x 2 pixels, 1-2 pix unknown, rest frame, table: g_mag, g_mag_err, bp_rp, teff)
    >>> photometry.good.tolist()
    [[True, True], [True, False]]
    """
    table = stars.table if isinstance(stars, Spectra) else Table(stars) if isinstance(stars, Mapping) else stars
    table = table if isinstance(table, Table) else Table.from_pandas(table)
    if not columns:
        raise SlamError("channels are no columns; name at least one")
    given = dict(errors or {})
    unknown = set(given) - set(columns)
    if unknown:
        raise SlamError(
            f"errors are given for {min(unknown)!r}, which is no channel; the channels are {', '.join(columns)}"
        )
    flux = np.stack([_numbers(table, name) for name in columns], axis=1)
    ivar = np.stack([_ivar(table, name, given.get(name)) for name in columns], axis=1)
    wave = np.arange(1.0, len(columns) + 1)
    return Spectra(wave, flux, np.where(np.isfinite(flux), ivar, 0), table, u.pix, frame="rest", source="channels")


def _ivar(table: Table, name: str, given: Any) -> np.ndarray:
    """(N,) inverse variances; infinite where no error is stated."""
    if given is None:
        given = next((name + ending for ending in _ERRORS if name + ending in table.colnames), None)
    if given is None:
        return np.full(len(table), np.inf)
    error = _numbers(table, given) if isinstance(given, str) else np.full(len(table), float(given))
    sound = np.isfinite(error) & (error > 0)
    return np.where(sound, 1 / np.square(np.where(sound, error, 1)), 0)


def _numbers(table: Table, name: str) -> np.ndarray:
    if name not in table.colnames:
        raise SlamError(f"channel {name!r} is no column of the table; its columns are {', '.join(table.colnames)}")
    try:
        return np.asarray(float_column(table[name]), float)
    except (TypeError, ValueError) as error:
        raise SlamError(f"channel {name!r} holds no numbers, one for each star: {error}") from error
