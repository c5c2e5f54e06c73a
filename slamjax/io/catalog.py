"""Labels of a catalogue joined to spectra, so that survey files can train a model."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from astropy.table import Table

from slamjax._util.files import existing_file, existing_text
from slamjax.errors import SlamError, SlamWarning
from slamjax.io.fits_files import check_fits
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.tables import as_table

#: The column that matches rows to spectra: one name for both tables, or the catalogue's and that of the spectra.
On = str | Sequence[str]
#: What a catalogue may be: an astropy Table, a pandas DataFrame, a mapping of columns, or a path.
CatalogueLike = Any
#: Names of columns that hold names of files.
_FILES = re.compile(r"file|path", re.IGNORECASE)
#: Suffixes of text tables that astropy does not recognise by themselves.
_TEXT = (".txt", ".dat", ".tsv", ".tab")
#: Integers up to this are exact as floats.
_EXACT = 2**53


def join_labels(spectra: Spectra, catalog: CatalogueLike, on: On = "file") -> Spectra:
    """The spectra with a catalogue's columns added to their table; number and order of rows stay.

    Parameters
    ----------
    spectra : Spectra
    catalog : Table, DataFrame, mapping of columns, or path
        One row per star; a path to any table that astropy reads (CSV, ECSV, FITS, ...).
    on : str or pair of str
        Column of both tables that matches rows to spectra; ``"star=id"`` or ``("star", "id")`` if it is ``star`` in the
        catalogue and ``id`` in the spectra's table. Names of files match by as much of their path as both tables give:
        ``lamost/a.fits`` is ``a.fits``. Spectra that are not in the catalogue get NaN or empty strings, with a warning.
        If both tables have another column of the same name, that of the catalogue is taken.

    Returns
    -------
    Spectra

    Raises
    ------
    SlamError
        If one of the tables lacks the column ``on``, the catalogue has a star twice, or no spectrum is in it.

    Examples
    --------
    >>> import numpy as np
    >>> import slamjax
    >>> wave, files = np.arange(500.0, 503.0), {"file": ["a.fits", "b.fits"]}
    >>> spectra = slamjax.Spectra(wave, np.ones((2, 3)), table=files, wave_unit="nm")
    >>> catalog = {"path": ["lamost/b.fits", "lamost/a.fits"], "teff": [5000.0, 4000.0]}  # or a Table, a DataFrame
    >>> slamjax.join_labels(spectra, catalog, on="path=file").values("teff")
    array([4000., 5000.])
    """
    return Catalogue.from_option(catalog, on).joined(spectra)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """A catalogue that was checked as far as it can be without the spectra.

    Attributes
    ----------
    table : Table
    source : str
        What messages call it.
    column, of_spectra : str
        The columns that match, here and in the table of the spectra.
    """

    table: Table
    source: str
    column: str
    of_spectra: str

    @classmethod
    def from_option(cls, catalog: CatalogueLike, on: On) -> Catalogue:
        """The catalogue that `join_labels` is given; raises SlamError if it has no such column or a star twice."""
        is_path = isinstance(catalog, str | os.PathLike)
        source = os.fspath(catalog) if is_path else "the catalogue"
        table = _read(catalog) if is_path else as_table(catalog, source)
        catalogue = cls(table, source, *_columns(on, table.colnames))
        _require(catalogue.column, table.colnames, source)
        repeated = [key for key, count in Counter(catalogue._keys).items() if key and count > 1]
        if repeated:
            raise SlamError(
                f"{source} has {repeated[0]} more than once in column {catalogue.column!r}; keep one row for each"
            )
        return catalogue

    def check(self, names: Sequence[str], source: str) -> None:
        """Raise SlamError unless the table of the spectra, of which these are the columns, can be joined."""
        _require(self.of_spectra, names, source)

    def joined(self, spectra: Spectra) -> Spectra:
        """The spectra with the catalogue's columns."""
        self.check(spectra.table.colnames, spectra.source)
        keys = _keys(spectra.table[self.of_spectra])
        rows = self._rows(keys)
        if not np.any(rows >= 0):
            here, there = (next((key for key in some if key), "nothing") for some in (self._keys, keys))
            raise SlamError(
                f"{self.source} has none of the {len(spectra)} spectra in its column {self.column!r}: it has {here} "
                f"and so on, and column {self.of_spectra!r} of the spectra has {there} and so on"
            )
        if np.any(rows < 0):
            warnings.warn(
                f"{int(np.sum(rows < 0))} of {len(rows)} spectra are not in {self.source}; their labels are NaN",
                SlamWarning,
                stacklevel=3,
            )
        joined = spectra.table.copy()
        for name in self.table.colnames:
            if name != self.column:
                joined[name] = _take(self.table[name], rows)
                joined[name].unit = getattr(self.table[name], "unit", None)
        return replace(spectra, table=joined)

    @cached_property
    def _keys(self) -> list[str]:
        return _keys(self.table[self.column])

    def _rows(self, keys: Sequence[str]) -> np.ndarray:
        """(N,) the row of each key, -1 for those that are not here."""
        row_of = {key: row for row, key in enumerate(self._keys) if key}
        rows = np.array([row_of.get(key, -1) for key in keys], dtype=int)
        if _FILES.search(self.of_spectra) or _FILES.search(self.column):
            unmatched = {key for key, row in zip(keys, rows, strict=True) if key and row < 0}
            by_path = self._rows_by_path(unmatched)
            rows = np.array([by_path.get(key, row) for key, row in zip(keys, rows, strict=True)], dtype=int)
        return rows

    def _rows_by_path(self, keys: set[str]) -> dict[str, int]:
        """Rows whose path ends in the key, or that the key ends in; raises SlamError where that is ambiguous."""
        by_name: dict[str, list[int]] = {}
        for row, key in enumerate(self._keys):
            if key:
                by_name.setdefault(_parts(key)[-1], []).append(row)
        found: dict[str, int] = {}
        for key in sorted(keys):
            near = [row for row in by_name.get(_parts(key)[-1], []) if _same_file(key, self._keys[row])]
            if len(near) > 1:
                first, second = (self._keys[row] for row in near[:2])
                raise SlamError(f"{key} of the spectra may be {first} or {second} in {self.source}; name the folders")
            if near:
                found[key] = near[0]
        taken: dict[int, str] = {}
        for key, row in found.items():
            if row in taken:
                raise SlamError(
                    f"{self._keys[row]} of {self.source} may be {taken[row]} or {key} of the spectra; name the folders"
                )
            taken[row] = key
        return found


def _columns(on: On, names: Sequence[str]) -> tuple[str, str]:
    """The columns of the catalogue, which has these names, and of the spectra."""
    pair = [on] if isinstance(on, str) else list(on)
    if len(pair) == 1 and "=" in pair[0] and pair[0] not in names:
        pair = [part.strip() for part in pair[0].split("=")]
    if len(pair) not in (1, 2) or not all(isinstance(part, str) and part for part in pair):
        raise SlamError(f"on is {on!r}; give one column, or CATALOGCOLUMN=HEADERCOLUMN, as in star=id")
    return pair[0], pair[-1]


def _require(column: str, names: Sequence[str], source: str) -> None:
    if column not in names:
        raise SlamError(f"{source} has no column {column!r} to join on; it has {', '.join(names) or 'none'}")


def _take(column: Any, rows: np.ndarray) -> np.ndarray:
    """The column's values in these rows; NaN or "" if masked or if the row is negative."""
    mask = np.asarray(getattr(column, "mask", np.zeros(column.shape, bool)))[rows]
    values = np.asarray(getattr(column, "unmasked", column))[rows]
    known = ~mask & (rows >= 0).reshape(-1, *[1] * (values.ndim - 1))
    if values.dtype.kind in "SUO":
        return np.where(known, values.astype(str), "")
    if known.all():
        return values
    if values.dtype.kind in "iu" and np.abs(values.astype(float)).max() > _EXACT:
        return np.where(known, values, 0)  # an identifier must stay exact; 0 reads as "not given"
    return np.where(known, values.astype(float), np.nan)


def _keys(column: Any) -> list[str]:
    """Text of every key, "" for a masked one; whole numbers are written alike whether they are floats or not."""
    mask = np.broadcast_to(np.asarray(getattr(column, "mask", False)), (len(column),))
    values = np.asarray(getattr(column, "unmasked", column))
    if values.dtype.kind == "f":
        return [
            "" if hidden or not np.isfinite(value) else str(int(value)) if value == np.floor(value) else str(value)
            for value, hidden in zip(values, mask, strict=True)
        ]
    texts = [str(value).strip() for value in values.astype(str)]
    return ["" if hidden else text for text, hidden in zip(texts, mask, strict=True)]


def _parts(path: str) -> list[str]:
    """Folders and name of a file."""
    return [part for part in re.split(r"[\\/]+", path) if part not in ("", ".")] or [path]


def _same_file(a: str, b: str) -> bool:
    """Whether one path is the end of the other."""
    ours, theirs = _parts(a), _parts(b)
    n = min(len(ours), len(theirs))
    return ours[-n:] == theirs[-n:]


def _read(path: str | os.PathLike[str]) -> Table:
    source = existing_file(path)
    suffix = source.suffix.lower()
    try:
        if suffix in (".csv", ".ecsv", *_TEXT):
            existing_text(source)
        if suffix == ".csv":
            return Table.read(source, format="ascii.csv", comment="#")
        check_fits(source)  # passes other files by
        return Table.read(source, format="ascii") if suffix in _TEXT else Table.read(source)
    except Exception as error:  # astropy's readers raise exceptions of many types
        raise SlamError(f"{source} cannot be read as a table ({error}); give CSV, ECSV or FITS") from error
