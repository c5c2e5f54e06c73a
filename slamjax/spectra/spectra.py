"""Spectra: what every stage takes and gives."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, overload

import numpy as np
from astropy import units as u
from astropy.table import Table
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from slamjax.errors import SlamError, SlamWarning
from slamjax.spectra.selection import evaluate_selection

#: Names of columns that identify stars even where most stars have several spectra.
_ID_NAME = re.compile(r"(^|_)(id|name|star|source|target|object|obj)(_|$)|id$")
#: Names of columns that say where or when a spectrum was taken, not of which star.
_NO_ID_NAME = re.compile(r"fib|plate|spid|mjd|field|ccd|row|index|night|plan|tile|run|split")

Medium = Literal["vacuum", "air", "unknown"]
Frame = Literal["rest", "observed", "unknown"]


@dataclass(frozen=True, eq=False)
class Spectra:
    """N spectra on one wavelength grid of P pixels, with a table of labels and metadata.

    A bad pixel is ``ivar = 0``: flux that is not finite, an ivar that is negative or NaN becomes one, so NaN
    never goes further. ``ivar = inf`` is a good pixel whose error is not stated (no ``ivar`` given); its
    photon noise is then part of the model error that training measures.

    Parameters
    ----------
    wave : (P,) array, strictly increasing, in ``wave_unit``
    flux : (N, P) array, any linear unit
    ivar : (N, P) array, optional
        Inverse variance of the flux.
    table : astropy Table of N rows, optional
        Labels, their errors (``<label>_err``), identifiers, anything else known of each star.
    wave_unit : astropy unit or str
    medium : "vacuum", "air" or "unknown"
        Where the wavelengths are measured.
    frame : "rest", "observed" or "unknown"
    fwhm : float, optional
        Width of the line-spread function in ``wave_unit``.
    rows : (N,) int array, optional
        Where each spectrum stood in its file (0-based); kept through selections.
    source, selection : str
        Where the spectra came from and by which expressions they were chosen, for messages and provenance.

    Raises
    ------
    SlamError
        If shapes disagree or the wavelengths do not increase.
    """

    wave: Float[np.ndarray, " pixel"]
    flux: Float[np.ndarray, "star pixel"]
    ivar: Float[np.ndarray, "star pixel"] = None  # type: ignore[assignment]
    table: Table = None
    wave_unit: u.UnitBase | str = u.nm
    medium: Medium = "unknown"
    frame: Frame = "unknown"
    fwhm: float | None = None
    rows: Int[np.ndarray, " star"] = None  # type: ignore[assignment]
    source: str = "spectra"
    selection: str = ""
    _checked: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        if not self._checked:
            for name, value in _checked_fields(self).items():
                object.__setattr__(self, name, value)
        # holds for this construction only: what a user makes by dataclasses.replace is checked again
        object.__setattr__(self, "_checked", False)

    def __len__(self) -> int:
        return self.flux.shape[0]

    @property
    def n_pix(self) -> int:
        return self.flux.shape[1]

    @property
    def good(self) -> np.ndarray:
        """(N, P) bool: pixels that may be used."""
        return self.ivar > 0

    @property
    def has_errors(self) -> bool:
        """Whether any pixel states its error."""
        return bool(np.any(np.isfinite(self.ivar) & (self.ivar > 0)))

    def __repr__(self) -> str:
        return (
            f"Spectra({len(self)} x {self.n_pix} pixels, {self.wave[0]:g}-{self.wave[-1]:g} {self.wave_unit} "
            f"{self.medium}, {self.frame} frame, table: {', '.join(self.table.colnames) or 'empty'})"
        )

    def __getitem__(self, rows: Any) -> Spectra:
        """Some of the spectra: a slice, an index array or a mask. One integer gives one spectrum, N = 1."""
        if isinstance(rows, (int, np.integer)):
            if not -len(self) <= rows < len(self):
                raise IndexError(f"spectrum {rows} of {len(self)}")
            rows = [int(rows)]
        if isinstance(rows, list):
            rows = np.asarray(rows, dtype=bool if rows and isinstance(rows[0], (bool, np.bool_)) else int)
        return replace(
            self,
            flux=self.flux[rows],
            ivar=self.ivar[rows],
            table=self.table[rows],
            rows=self.rows[rows],
            _checked=True,
        )

    def on_pixels(self, pixels: slice | np.ndarray) -> Spectra:
        """The same spectra on some of their pixels."""
        return replace(
            self, wave=self.wave[pixels], flux=self.flux[:, pixels], ivar=self.ivar[:, pixels], _checked=True
        )

    def with_arrays(self, flux: np.ndarray, ivar: np.ndarray) -> Spectra:
        """The same stars and wavelengths with other flux and ivar; what is not finite becomes a bad pixel."""
        flux, ivar = _clean(flux, ivar)
        return replace(self, flux=flux, ivar=ivar, _checked=True)

    def with_metadata(self, medium: str | None = None, frame: str | None = None, fwhm: float | None = None) -> Spectra:
        """The same spectra with what their file does not say of itself: medium, frame, line spread in ``wave_unit``.

        Raises SlamError where the file says otherwise.
        """
        for name, given, own, allowed in (
            ("medium", medium, self.medium, ("vacuum", "air")),
            ("frame", frame, self.frame, ("rest", "observed")),
        ):
            if given is not None and given not in allowed:
                raise SlamError(f"{name} is {given!r}; give one of {', '.join(allowed)}")
            if given is not None and own not in ("unknown", given):
                raise SlamError(f"{self.source} says that its {name} is {own}, not {given}; leave {name} out")
        if fwhm is not None and not (np.isfinite(fwhm) and fwhm > 0):
            raise SlamError(f"fwhm is {fwhm}; give a width above 0")
        if fwhm is not None and self.fwhm is not None and abs(fwhm / self.fwhm - 1) > 1e-6:
            raise SlamError(f"{self.source} says that its line spread is {self.fwhm:g}, not {fwhm:g}; leave fwhm out")
        return replace(
            self,
            medium=medium or self.medium,  # type: ignore[arg-type]
            frame=frame or self.frame,  # type: ignore[arg-type]
            fwhm=self.fwhm if fwhm is None else float(fwhm),
            _checked=True,
        )

    def select(self, expression: str) -> Spectra:
        """The spectra whose table row satisfies ``expression``, such as ``"logg < 3.6 & teff > 3600"``.

        See `slamjax.spectra.selection.evaluate_selection`. Raises SlamError if nothing is left.
        """
        kept = evaluate_selection(expression, self.columns(), len(self))
        if not kept.any():
            raise SlamError(
                f"the selection {expression!r} keeps none of the {len(self)} rows of {self.source}; loosen it"
            )
        both = f"({self.selection}) & ({expression})" if self.selection else expression
        return replace(self[kept], selection=both, _checked=True)

    def columns(self) -> dict[str, np.ndarray]:
        """The table's scalar columns as plain arrays; missing: NaN for a float, 0 for an integer, "" for a string."""
        return {name: _plain(self.table[name]) for name in self.table.colnames if self.table[name].ndim == 1}

    @overload
    def values(self, names: str) -> Float[np.ndarray, " star"]: ...
    @overload
    def values(self, names: Sequence[str]) -> Float[np.ndarray, "star label"]: ...
    def values(self, names: str | Sequence[str]) -> Float[np.ndarray, " star"] | Float[np.ndarray, "star label"]:
        """Columns of the table as plain numbers, NaN where they are missing.

        Parameters
        ----------
        names : str or sequence of str
            One column, or several.

        Returns
        -------
        (N,) float64 array for a string, (N, L) for a sequence; in the units of the table

        Raises
        ------
        SlamError
            If a column does not exist or holds no numbers.

        Examples
        --------
        >>> from slamjax.datasets import load_xp_giants
        >>> train, _ = load_xp_giants()
        >>> train.values("teff").shape, train.values(["teff", "logg"]).shape
        ((1000,), (1000, 2))
        """
        if isinstance(names, str):
            return self._numbers(names)
        self.require(names)
        return np.stack([self._numbers(name) for name in names], axis=1) if len(names) else np.empty((len(self), 0))

    def _numbers(self, name: str) -> Float[np.ndarray, " star"]:
        self.require([name])
        column = self.table[name]
        try:
            return np.where(_masked(column), np.nan, _plain(column).astype(float))
        except (TypeError, ValueError) as error:
            raise SlamError(f"column {name!r} of {self.source} holds no numbers; choose another") from error

    def require(self, names: Sequence[str]) -> None:
        """Raise unless every one of ``names`` is a column of the table."""
        absent = [name for name in names if name not in self.table.colnames]
        if absent:
            raise SlamError(
                f"{self.source} has no column {', '.join(map(repr, absent))}; "
                f"it has: {', '.join(self.table.colnames) or 'none'}"
            )

    def identifiers(self) -> list[str]:
        """Names of the columns that tell stars apart.

        A string or integer column named like an identifier (``source_id``, ``name``) of which three in ten values
        differ, so that several visits of a star may be listed; any other string column if nine in ten differ.
        """
        shares: dict[str, float] = {}
        for name, column in self.columns().items():
            named = bool(_ID_NAME.search(name.lower()))
            text = column.dtype.kind in "SU"
            if (
                len(self) == 0
                or _NO_ID_NAME.search(name.lower())
                or not (text or (column.dtype.kind in "iu" and named))
            ):
                continue
            known = column[is_known(column)]
            if len(known) <= 0.5 * len(self) or _is_count(column):
                continue
            share = len(np.unique(known)) / len(known)
            if share >= (0.3 if named else 0.9):
                shares[name] = share
        # a column that tells far fewer stars apart than another is something else
        return [name for name, share in shares.items() if share >= 0.5 * max(shares.values())]

    def star_groups(self) -> Int[np.ndarray, " star"]:
        """(N,) the number of the star that each spectrum is of: equal where any identifier is equal.

        Repeat spectra of a star must not stand on both sides of a cross-validation fold.
        """
        n = len(self)
        columns = self.columns()
        left: list[np.ndarray] = []
        right: list[np.ndarray] = []
        for name in self.identifiers():
            token = columns[name]
            values = np.unique(token, return_inverse=True)[1]
            rows = np.flatnonzero(is_known(token))
            first = np.zeros(n, dtype=int)
            first[values[rows[::-1]]] = rows[::-1]
            left.append(rows)
            right.append(first[values[rows]])
        if not left:
            return np.arange(n)
        edges = np.concatenate(left), np.concatenate(right)
        graph = coo_array((np.ones(len(edges[0]), dtype=bool), edges), shape=(n, n))
        return connected_components(graph, directed=False)[1]

    def digests(self) -> np.ndarray:
        """(N,) a 16-character digest of each spectrum's flux: the same data gives the same digest."""
        flux = np.ascontiguousarray(self.flux, dtype="<f8")
        return np.array([hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in flux], dtype="U16")

    def snr(self) -> Float[np.ndarray, " star"]:
        """(N,) median signal-to-noise ratio a pixel; NaN where no errors are stated or no pixel is good."""
        good = self.good & np.isfinite(self.ivar)
        ratio = np.where(good, self.flux * np.sqrt(np.where(good, self.ivar, 0)), np.nan)
        found = np.full(len(self), np.nan, ratio.dtype)
        whole, part = good.all(axis=1) & (self.n_pix > 0), good.any(axis=1)
        found[whole] = np.median(ratio[whole], axis=1)  # NumPy goes row by row where there may be NaN
        found[part & ~whole] = np.nanmedian(ratio[part & ~whole], axis=1)
        return found


def is_known(column: np.ndarray) -> np.ndarray:
    """Which identifiers are really given: not empty, not 0, not a negative sentinel."""
    if column.dtype.kind in "iu":
        return column > 0
    stripped = np.char.lower(np.char.strip(column.astype(str)))
    return ~np.isin(stripped, ["", "none", "nan", "n/a", "-"])


def _is_count(column: np.ndarray) -> bool:
    """Whether a column only numbers the rows of its own table, as another table's does too."""
    return column.dtype.kind in "iu" and len(column) > 1 and bool(np.all(np.diff(column.astype(np.int64)) == 1))


def _masked(column: Any) -> Any:
    """Which rows of a table column are masked (an integer has no NaN to say so)."""
    mask = getattr(column, "mask", None)
    return False if mask is None else np.asarray(mask)


def _plain(column: Any) -> np.ndarray:
    """A table column as a plain array in native byte order, masked numbers as NaN."""
    mask = getattr(column, "mask", None)
    values = np.asarray(getattr(column, "unmasked", column))
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if mask is not None and np.any(mask):
        if values.dtype.kind in "iub":
            # an integer column that is an identifier must stay exact: 0 reads as "not given"
            values = np.where(mask, 0, values)
        elif values.dtype.kind == "f":
            values = np.where(mask, np.nan, values)
        else:
            values = np.where(mask, "", values)
    return values


def _clean(flux: np.ndarray, ivar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bad = ~np.isfinite(flux) | ~(ivar > 0)
    return np.where(np.isfinite(flux), flux, flux.dtype.type(0)), np.where(bad, ivar.dtype.type(0), ivar)


def _float_array(values: Any, name: str, source: str) -> np.ndarray:
    try:
        array = np.asarray(values)
        if array.dtype != np.float32:
            array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise SlamError(f"{name} of {source} is not an array of numbers: {error}") from error
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _checked_fields(given: Spectra) -> dict[str, Any]:
    """Every field of a Spectra, checked and cleaned; called once, at the door."""
    source = given.source
    stated_unit = getattr(given.wave, "unit", None)
    wave_unit = given.wave_unit if stated_unit is None else stated_unit  # a Quantity knows better than a default
    wave = _float_array(given.wave, "wave", source).astype(np.float64)
    flux = np.atleast_2d(_float_array(given.flux, "flux", source))
    if wave.ndim != 1 or wave.size == 0:
        raise SlamError(f"wave of {source} has shape {wave.shape}; give one wavelength a pixel, shape (P,)")
    if flux.ndim != 2 or flux.shape[1] != wave.size:
        raise SlamError(
            f"flux of {source} has shape {flux.shape} but there are {wave.size} wavelengths; give (N, {wave.size})"
        )
    if not np.all(np.isfinite(wave)) or np.any(np.diff(wave) <= 0):
        wrong = np.flatnonzero(~(np.diff(wave) > 0) | ~np.isfinite(wave[1:]))
        at = int(wrong[0]) if wrong.size else 0
        raise SlamError(f"the wavelengths of {source} do not increase at pixel {at}; sort them and drop repeats")
    stated = given.ivar is not None
    ivar = np.full_like(flux, np.inf) if not stated else np.atleast_2d(_float_array(given.ivar, "ivar", source))
    if ivar.shape != flux.shape:
        raise SlamError(f"ivar of {source} has shape {ivar.shape} but flux has {flux.shape}; they must agree")
    negative = ivar < 0
    if negative.any():
        warnings.warn(
            f"{source}: {int(negative.sum())} negative inverse variances (first in row {np.nonzero(negative)[0][0]}) "
            "are taken as bad pixels",
            SlamWarning,
            stacklevel=4,
        )
    flux, ivar = _clean(flux, ivar)
    table = Table() if given.table is None else Table(given.table, copy=False)
    if given.table is not None and len(table.colnames) and len(table) != len(flux):
        raise SlamError(
            f"the table of {source} has {len(table)} rows but there are {len(flux)} spectra; they must agree"
        )
    if not table.colnames:
        table = Table({"id": np.arange(len(flux))})
    rows = np.arange(len(flux)) if given.rows is None else np.asarray(given.rows, dtype=np.int64)
    if rows.shape != (len(flux),):
        raise SlamError(f"rows of {source} has shape {rows.shape} but there are {len(flux)} spectra; they must agree")
    for name, value, allowed in (
        ("medium", given.medium, ("vacuum", "air", "unknown")),
        ("frame", given.frame, ("rest", "observed", "unknown")),
    ):
        if value not in allowed:
            raise SlamError(f"{name} of {source} is {value!r}; it is one of {', '.join(allowed)}")
    try:
        unit = u.Unit(wave_unit)
        unit.to(u.nm)
    except (ValueError, TypeError, u.UnitConversionError) as error:
        raise SlamError(f"{wave_unit!r} of {source} is not a unit of length; use nm or Angstrom") from error
    return {
        "wave": wave, "flux": flux, "ivar": ivar, "table": table, "rows": rows, "wave_unit": unit,
    }  # fmt: skip
