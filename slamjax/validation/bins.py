"""Bins of stars, for every table."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import median_abs_deviation

from slamjax.errors import SlamError


def numbers(column: object) -> np.ndarray:
    """A column of a table as plain numbers, without its unit."""
    return np.asarray(getattr(column, "value", column), float)


def finite_median(values: Any) -> float:
    """Median of the finite values; NaN of none."""
    numbers = np.asarray(values, float)
    finite = numbers[np.isfinite(numbers)]
    return float(np.median(finite)) if finite.size else float("nan")


def robust_width(values: Any) -> float:
    """1.4826 times the median absolute deviation; NaN of no values."""
    numbers = np.asarray(values, float)
    return float(median_abs_deviation(numbers, scale="normal")) if numbers.size else float("nan")


def checked_edges(bins: Sequence[float] | None) -> list[float] | None:
    """The edges as numbers; raises SlamError unless there are two or more, rising."""
    if bins is None:
        return None
    edges = [float(edge) for edge in bins]
    if len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise SlamError(f"bins are {', '.join(f'{edge:g}' for edge in edges)}; give at least two edges, rising")
    return edges


def bins_of(values: np.ndarray, edges: Sequence[float] | None) -> list[tuple[float, float, np.ndarray]]:
    """(low, high, members) of each bin: first all stars (edges NaN), then low <= value < high; default: quartiles."""
    values = np.asarray(values, float)
    if edges is None:
        finite = values[np.isfinite(values)]
        edges = [] if finite.size == 0 else list(np.unique(np.percentile(finite, [0, 25, 50, 75, 100])))
        if edges:
            edges[-1] = np.nextafter(edges[-1], np.inf)  # the largest belongs to the last bin
    everyone = [(float("nan"), float("nan"), np.ones(len(values), bool))]
    return everyone + [(low, high, (values >= low) & (values < high)) for low, high in itertools.pairwise(edges)]
