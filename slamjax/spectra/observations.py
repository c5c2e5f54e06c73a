"""All that was observed of each of many stars: which spectra, of which kinds, belong to which star."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from slamjax.errors import SlamError
from slamjax.spectra.covariance import refuse_covariance
from slamjax.spectra.identifiers import is_known
from slamjax.spectra.spectra import Spectra


@dataclass(frozen=True, eq=False, init=False)
class Observations:
    """N stars, each with any number of spectra of several kinds.

    Parameters
    ----------
    spectra : mapping of str to Spectra
        Of each kind: one survey, one arm, one model's wavelengths. A star may have several rows, or none.
    star : str or mapping of str to array, optional
        The column, in the tables of all kinds, that says whose spectrum a row is; or its values for each kind. Without
        it all kinds have the same number of rows, and row k of each is star k's.

    Raises
    ------
    SlamError
        If the column is missing, a row does not say whose it is, or spectra have covariances between pixels.

    Attributes
    ----------
    spectra : dict of str to Spectra
    stars : dict of str to (rows,) int array
        Number of the star of each row.
    identifiers : (N,) array
        Values of the column, sorted; numbers of rows without it.

    Examples
    --------
    >>> import slamjax
    >>> stars, others = slamjax.datasets.load_xp_giants()
    >>> blue = stars[[0, 1, 1]].on_pixels(slice(0, 100))
    >>> red = stars[[1, 2]].on_pixels(slice(100, 200))
    >>> observed = slamjax.Observations({"blue": blue, "red": red}, star="source_id")
    >>> observed
    Observations(3 stars; blue: 3 spectra of 2 stars, red: 2 spectra of 2 stars)
    >>> observed.counts()["blue"].sum()
    np.int64(3)
    """

    spectra: dict[str, Spectra]
    stars: dict[str, Int[np.ndarray, " row"]]
    identifiers: np.ndarray

    def __init__(self, spectra: Mapping[str, Spectra], star: str | Mapping[str, Any] | None = None) -> None:
        if not spectra or not all(isinstance(each, Spectra) for each in spectra.values()):
            raise SlamError("observations are a mapping of names to Spectra; read them first (slamjax.read)")
        for name, each in spectra.items():
            refuse_covariance(each, f"a joint fit (spectra {name!r})")
        if star is None:
            counts = {name: len(each) for name, each in spectra.items()}
            if len(set(counts.values())) > 1:
                found = ", ".join(f"{name} {count}" for name, count in counts.items())
                raise SlamError(f"numbers of spectra differ ({found}); name the column that identifies stars: star=...")
            n = next(iter(counts.values()))
            keys, stars = np.arange(n), {name: np.arange(n) for name in spectra}
        else:
            columns = {name: _identifiers(name, each, star) for name, each in spectra.items()}
            kinds = {column.dtype.kind in "iu" for column in columns.values()}
            values = [column if len(kinds) == 1 else column.astype(str) for column in columns.values()]
            keys, numbers = np.unique(np.concatenate(values), return_inverse=True)
            ends = np.cumsum([len(column) for column in values])[:-1]
            stars = dict(zip(columns, np.split(numbers, ends), strict=True))
        for name, value in (("spectra", dict(spectra)), ("stars", stars), ("identifiers", keys)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.identifiers)

    def __repr__(self) -> str:
        parts = [
            f"{name}: {len(each)} spectra of {len(np.unique(self.stars[name]))} stars"
            for name, each in self.spectra.items()
        ]
        return f"Observations({len(self)} stars; {', '.join(parts)})"

    def __getitem__(self, rows: Any) -> Observations:
        """These stars: a slice, an index array or a mask."""
        wanted = np.arange(len(self))[rows]
        number = np.full(len(self), -1)
        number[wanted] = np.arange(len(wanted))
        kept = {name: number[stars] >= 0 for name, stars in self.stars.items()}
        other = object.__new__(Observations)
        spectra = {name: each[kept[name]] for name, each in self.spectra.items()}
        stars = {name: number[each[kept[name]]] for name, each in self.stars.items()}
        for name, value in (("spectra", spectra), ("stars", stars), ("identifiers", self.identifiers[wanted])):
            object.__setattr__(other, name, value)
        return other

    def with_spectra(self, spectra: Mapping[str, Spectra]) -> Observations:
        """The same stars with other spectra of some kinds, row by row in place of those that they have."""
        other = object.__new__(Observations)
        for name, value in (
            ("spectra", self.spectra | dict(spectra)), ("stars", self.stars), ("identifiers", self.identifiers),
        ):  # fmt: skip
            object.__setattr__(other, name, value)
        return other

    def counts(self) -> dict[str, Int[np.ndarray, " star"]]:
        """(N,) number of spectra of each kind."""
        return {name: np.bincount(stars, minlength=len(self)) for name, stars in self.stars.items()}


def _identifiers(name: str, spectra: Spectra, star: str | Mapping[str, Any]) -> np.ndarray:
    if isinstance(star, str):
        if star not in spectra.table.colnames:
            found = ", ".join(spectra.table.colnames) or "none"
            raise SlamError(f"{name!r} has no column {star!r} that says whose its spectra are; its columns are {found}")
        column = np.asarray(spectra.table[star])
    else:
        if name not in star:
            raise SlamError(f"star says nothing of {name!r}; give the identifiers of its {len(spectra)} spectra")
        column = np.asarray(star[name])
    if column.shape != (len(spectra),):
        raise SlamError(
            f"identifiers of {name!r} have shape {column.shape}; give one for each of {len(spectra)} spectra"
        )
    if column.dtype.kind in "SUO":
        column = np.char.strip(column.astype(str))
    unknown = np.flatnonzero(~is_known(column)) if column.dtype.kind == "U" else np.empty(0, int)
    if unknown.size:
        raise SlamError(f"row {unknown[0]} of {name!r} does not say whose spectrum it is ({star})")
    return column
