"""Differences between fitted and known labels, for all stars and in bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from astropy.table import Table
from scipy.stats import median_abs_deviation

from slamjax.validation.bins import bins_of, numbers


def scatter_table(
    labels: Table,
    names: Sequence[str],
    values: np.ndarray,
    edges: Sequence[float] | None = None,
    *,
    good_only: bool = False,
) -> Table:
    """Tabulate fitted minus known labels, for all stars and for bins of ``values``, as Zhang et al. (2020) do.

    Parameters
    ----------
    labels : Table
        As `slamjax.fit` returns it, of N stars with known labels (columns <label>_ref).
    names : sequence of str
        Labels.
    values : (N,) array
        What to bin by.
    edges : sequence of float, optional
        Rising edges of the bins; default: the quartiles.
    good_only : bool
        Only stars without flags.

    Returns
    -------
    Table
        One row per label and bin: ``label``, ``low`` and ``high`` edge (NaN for all stars), ``n`` stars, ``median``,
        ``std``, ``mad`` (median absolute deviation), ``scatter`` (1.4826 MAD) in the labels' units, and ``pull``, the
        robust scatter of difference / error: 1 if errors are honest. Errors of the known labels are not added, because
        the model error, which is learnt from held-out residuals, includes them.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from slamjax.validation import scatter_table
    >>> fitted = Table({"logg": [2.6, 2.5, 2.2], "logg_ref": [2.5] * 3, "logg_err": [0.1] * 3, "flags": [0] * 3})
    >>> row = scatter_table(fitted, ["logg"], [80, 90, 100])[0]
    >>> print(f"{row['n']} stars: median {row['median']:.2f}, scatter {row['scatter']:.2f}, pull {row['pull']:.2f}")
    3 stars: median 0.00, scatter 0.15, pull 1.48
    """
    usable = np.asarray(labels["flags"]) == 0 if good_only else np.ones(len(labels), bool)
    rows = []
    for low, high, members in bins_of(values, edges):
        for name in names:
            difference = numbers(labels[name]) - numbers(labels[f"{name}_ref"])
            error = numbers(labels[f"{name}_err"])
            counted = members & usable & np.isfinite(difference)
            statistics = _statistics(difference[counted], error[counted])
            rows.append({"label": name, "low": low, "high": high, **statistics})
    return Table(rows=rows)


def _statistics(difference: np.ndarray, error: np.ndarray) -> dict[str, float]:
    known = np.isfinite(error) & (error > 0)
    n = len(difference)
    return {
        "n": n,
        "median": float(np.median(difference)) if n else np.nan,
        "std": float(np.std(difference)) if n else np.nan,
        "mad": _deviation(difference, 1.0),
        "scatter": _deviation(difference, "normal"),
        "pull": _deviation(difference[known] / error[known], "normal"),
    }


def _deviation(values: np.ndarray, scale: float | Literal["normal"]) -> float:
    """Median absolute deviation; NaN for no values, where SciPy also warns."""
    return float(median_abs_deviation(values, scale=scale)) if values.size else np.nan
