"""How far fitted labels lie from known ones, bin by bin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table

from slamjax.validation.bins import MAD_TO_SIGMA, bins_of, numbers, robust_width


def scatter_table(
    labels: Table,
    names: Sequence[str],
    values: np.ndarray,
    edges: Sequence[float] | None = None,
    *,
    good_only: bool = False,
) -> Table:
    """Differences fit − known for all stars and for bins of ``values``, as Zhang et al. (2020) show them.

    Columns: ``label``, ``low`` and ``high`` edge (NaN for all stars), ``n`` stars counted, ``median``, ``std``
    (standard deviation), ``mad`` (median absolute deviation from the median), ``scatter`` (1.4826 mad), ``pull``
    (robust scatter of difference / error: 1 where errors are honest). The known labels' own errors are not added to
    a pull's: held-out residuals, from which the model error is learnt, hold them already.
    """
    usable = np.asarray(labels["flags"]) == 0 if good_only else np.ones(len(labels), bool)
    rows = []
    for low, high, members in bins_of(values, edges):
        for name in names:
            difference = numbers(labels[name]) - numbers(labels[f"{name}_ref"])
            error = numbers(labels[f"{name}_err"])
            counted = members & usable & np.isfinite(difference)
            rows.append((name, low, high, *_statistics(difference[counted], error[counted])))
    columns = ("label", "low", "high", "n", "median", "std", "mad", "scatter", "pull")
    return Table(rows=rows, names=columns)


def _statistics(difference: np.ndarray, error: np.ndarray) -> tuple[int, float, float, float, float, float]:
    n = len(difference)
    if n == 0:
        return (0, *([float("nan")] * 5))  # type: ignore[return-value]
    median = float(np.median(difference))
    mad = float(np.median(np.abs(difference - median)))
    finite = np.isfinite(error) & (error > 0)
    width = robust_width(difference[finite] / error[finite])
    return n, median, float(np.std(difference)), mad, MAD_TO_SIGMA * mad, width
