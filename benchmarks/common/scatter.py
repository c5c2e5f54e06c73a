"""Differences between fitted and reference labels."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from astropy.table import Table
from scipy.stats import median_abs_deviation


@dataclass(frozen=True)
class Scatter:
    """Differences fitted minus reference of one label, over the stars whose fitted label is finite.

    Attributes
    ----------
    n : stars counted
    bias : median difference
    robust : 1.4826 times the median absolute deviation about the median
    pull_width : the same of difference / error; NaN where no errors are given
    """

    n: int
    bias: float
    robust: float
    pull_width: float

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


def robust_width(values: np.ndarray) -> float:
    """1.4826 · MAD about the median: the standard deviation, if the values were Gaussian."""
    return float(median_abs_deviation(values, scale="normal"))


def scatter(fitted: np.ndarray, reference: np.ndarray, error: np.ndarray | None = None) -> Scatter:
    """Scatter of one label, (N,) arrays."""
    counted = np.isfinite(fitted) & np.isfinite(reference)
    difference = (fitted - reference)[counted]
    pull = difference / error[counted] if error is not None else np.empty(0)
    bias = float(np.median(difference)) if difference.size else float("nan")
    return Scatter(int(counted.sum()), bias, robust_width(difference), robust_width(pull))


def column(table: Table, name: str) -> np.ndarray:
    """A column of a label table as plain numbers, without its unit."""
    return np.asarray(table[name], dtype=float)
