"""Tables of calibration: bias, pull widths and coverage of central intervals, for all stars and in bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.table import Table
from scipy.stats import chi2

from slamjax.validation.bins import bins_of, finite_median, robust_width
from slamjax.validation.pulls import Comparison

#: Probabilities of the central intervals whose coverage is counted.
LEVELS = (0.50, 0.68, 0.90, 0.95)
#: What the table calls the row of all labels together.
JOINT = "jointly"
#: Standard error of a median over the standard deviation / √n, for normal values.
_MEDIAN_ERROR = float(np.sqrt(np.pi / 2))


def calibration_table(
    comparison: Comparison,
    values: np.ndarray | None = None,
    edges: Sequence[float] | None = None,
    *,
    good_only: bool = False,
) -> Table:
    """Tabulate how honest the errors are, for all stars and for bins of ``values``.

    A bin of a known label includes stars that scattered into it: where stars are rare, part of its bias is regression
    towards the mean, which is not the model's.

    Parameters
    ----------
    comparison : Comparison
        Of N stars, from `compare_fit`, `compare_draws` or `compare_posterior`.
    values : (N,) array, optional
        What to bin by; default: no bins.
    edges : sequence of float, optional
        Rising edges of the bins; default: the quartiles.
    good_only : bool
        Only stars without flags.

    Returns
    -------
    Table
        One row per label and bin, and one for all labels together (label "jointly", ellipsoids instead of intervals):

        - ``label``, ``low``, ``high`` (NaN for all stars), ``n`` stars with a fitted and a known label, ``flagged`` of
          them;
        - ``bias``, the median difference, its standard error ``bias_err`` (1.2533 robust scatter / √n), and
          ``bias_scatter``, bias / scatter;
        - ``pull_width`` (1.4826 MAD) and ``pull_sd``; for all labels together √(median distance / that of χ² with L
          degrees of freedom) and √(mean distance / L): 1 if errors and correlations are honest;
        - ``cover50`` … ``cover95``, the fraction of stars inside the interval, and ``cover50_err`` …, the binomial
          standard error √(p (1 − p) / n) of honest errors. Labels without a finite error are in ``n`` but in neither
          pulls nor coverage;
        - ``chi2_dof``, the median.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.validation import calibration_table, compare_draws
    >>> rng = np.random.default_rng(0)
    >>> middle = rng.normal(size=(500, 1))
    >>> truth = middle + rng.normal(size=(500, 1))
    >>> draws = middle[:, None] + rng.normal(size=(500, 200, 1))
    >>> table = calibration_table(compare_draws(truth, draws, ["logg"]))
    >>> f"{table['cover68'][0]:.1f}"
    '0.7'
    """
    usable = comparison.flags == 0 if good_only else np.ones(len(comparison), bool)
    if values is None:
        values, edges = np.full(len(comparison), np.nan), None
    rows = []
    for low, high, members in bins_of(values, edges):
        chosen = members & usable
        for k, name in enumerate(comparison.names):
            rows.append({"label": name, "low": low, "high": high, **_label_row(comparison, k, chosen)})
        rows.append({"label": JOINT, "low": low, "high": high, **_joint_row(comparison, chosen)})
    return Table(rows=rows)


def _label_row(comparison: Comparison, k: int, chosen: np.ndarray) -> dict[str, Any]:
    counted = chosen & np.isfinite(comparison.difference[:, k])
    difference = comparison.difference[counted, k]
    pull, pit = comparison.pull[counted, k], comparison.pit[counted, k]
    pull, pit = pull[np.isfinite(pull)], pit[np.isfinite(pit)]
    n = int(counted.sum())
    bias = float(np.median(difference)) if n else np.nan
    scatter = robust_width(difference)
    return {
        "n": n,
        "flagged": int(np.sum(comparison.flags[counted] != 0)),
        "bias": bias,
        "bias_err": _MEDIAN_ERROR * scatter / np.sqrt(n) if n else np.nan,
        "bias_scatter": bias / scatter if scatter > 0 else np.nan,
        "pull_width": robust_width(pull),
        "pull_sd": float(np.std(pull)) if pull.size else np.nan,
        **_coverage([np.abs(pit - 0.5) < level / 2 for level in LEVELS]),
        "chi2_dof": finite_median(comparison.chi2_dof[counted]),
    }


def _joint_row(comparison: Comparison, chosen: np.ndarray) -> dict[str, Any]:
    counted = chosen & np.all(np.isfinite(comparison.difference), axis=1)
    distance = comparison.distance[counted]
    distance = distance[np.isfinite(distance)]
    n_labels = len(comparison.names)
    return {
        "n": int(counted.sum()),
        "flagged": int(np.sum(comparison.flags[counted] != 0)),
        "bias": np.nan,
        "bias_err": np.nan,
        "bias_scatter": np.nan,
        "pull_width": np.sqrt(finite_median(distance) / chi2.median(n_labels)),
        "pull_sd": np.sqrt(np.mean(distance) / n_labels) if distance.size else np.nan,
        **_coverage([distance < chi2.ppf(level, n_labels) for level in LEVELS]),
        "chi2_dof": finite_median(comparison.chi2_dof[counted]),
    }


def _coverage(inside: Sequence[np.ndarray]) -> dict[str, float]:
    """Coverage and its standard error for each level."""
    columns: dict[str, float] = {}
    for level, within in zip(LEVELS, inside, strict=True):
        name, n = f"cover{100 * level:.0f}", within.size
        columns[name] = float(within.mean()) if n else np.nan
        columns[f"{name}_err"] = float(np.sqrt(level * (1 - level) / n)) if n else np.nan
    return columns
