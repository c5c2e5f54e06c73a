"""Stars with like numbers of spectra, as arrays of one shape: absent spectra are padded and masked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from slamjax.model.joint import Layout

#: Numbers of spectra of one kind that programs are made for; a star with others has empty places.
_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


@dataclass(frozen=True, eq=False)
class Group:
    """Stars of one layout.

    Attributes
    ----------
    layout : how many places for spectra of each kind
    stars : (n,) numbers
    rows : of each kind (n, K) rows of its spectra; −1 where a place is empty
    """

    layout: Layout
    stars: np.ndarray
    rows: dict[str, np.ndarray]


def groups(stars: Mapping[str, np.ndarray], n: int) -> Iterator[Group]:
    """Groups of the stars 0 … n − 1 that have any spectrum, from the star of every row of each kind."""
    counts = np.stack([np.bincount(of, minlength=n) for of in stars.values()], axis=1)
    sizes = np.array([0, *_SIZES])
    if counts.max(initial=0) > sizes[-1]:
        more = int(counts.max())
        sizes = np.append(sizes, 16 * -(-more // 16))
    places = sizes[np.searchsorted(sizes, counts)]
    for wanted in np.unique(places, axis=0):
        if not wanted.any():
            continue
        members = np.flatnonzero((places == wanted).all(axis=1))
        layout = tuple((name, int(k)) for name, k in zip(stars, wanted, strict=True) if k)
        rows = {name: _rows(stars[name], members, n, k) for name, k in layout}
        yield Group(layout, members, rows)


def _rows(star: np.ndarray, members: np.ndarray, n: int, k: int) -> np.ndarray:
    """(members, k) rows of each star, in order; −1 behind the last."""
    order = np.argsort(star, kind="stable")
    first = np.searchsorted(star[order], members)
    count = np.bincount(star, minlength=n)[members]
    place = first[:, None] + np.arange(k)
    there = np.arange(k) < count[:, None]
    return np.where(there, order[np.minimum(place, len(order) - 1)], -1)
