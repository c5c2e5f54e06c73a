"""Groups of stars that were fitted together, with all that what follows needs of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np

from slamjax.fitting.joint.ends import GroupData, GroupResult
from slamjax.fitting.postprocess import Ends
from slamjax.fitting.problem import Problem
from slamjax.model.joint import Layout

Rows = TypeVar("Rows")


@dataclass(frozen=True, eq=False)
class Concluded:
    """A group of stars that were fitted together: ``rows`` of each kind count within a chunk."""

    stars: np.ndarray
    rows: dict[str, np.ndarray]
    layout: Layout
    problem: Problem
    ends: Ends
    data: GroupData
    result: GroupResult

    def some(self, kept: np.ndarray) -> Concluded:
        """Some of the stars."""
        ends, data, result = rows_of(self.ends, kept), rows_of(self.data, kept), rows_of(self.result, kept)
        rows = {name: each[kept] for name, each in self.rows.items()}
        return Concluded(self.stars[kept], rows, self.layout, self.problem, ends, data, result)

    def behind(self, first: int) -> Concluded:
        """The same with stars numbered from ``first`` on."""
        return dataclasses.replace(self, stars=self.stars + first)


def latest(concluded: list[Concluded], n: int) -> list[Concluded]:
    """Groups with those stars only that no later one has."""
    last = np.full(n, -1)
    for k, each in enumerate(concluded):
        last[each.stars] = k
    parts = [each.some(last[each.stars] == k) for k, each in enumerate(concluded)]
    return [each for each in parts if each.stars.size]


def rows_of(arrays: Rows, rows: np.ndarray) -> Rows:
    """Some rows of all arrays of a dataclass."""
    given: Any = arrays
    fields = {field.name: getattr(given, field.name) for field in dataclasses.fields(given)}
    picked = {name: jax.tree_util.tree_map(lambda leaf: leaf[rows], value) for name, value in fields.items()}
    return type(arrays)(**picked)
