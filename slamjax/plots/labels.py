"""Fitted against known labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table
from scipy.stats import median_abs_deviation

from slamjax.errors import SlamError
from slamjax.plots.canvas import new_figure, title_of
from slamjax.validation.bins import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GOOD, _FLAGGED = "#2e5e8c", "#e08e45"


def plot_labels(labels: Table, names: Sequence[str]) -> Figure:
    """Fitted against known labels and their differences, with bias and robust scatter; flagged stars stand out.

    Parameters
    ----------
    labels : Table
        With columns ``<label>``, ``<label>_ref`` (the known value) and ``flags``, as of `slamjax.validate` or of
        `slamjax.fit` where the spectra's table has the labels.
    names : sequence of str
        Labels to draw; those without known values are left out.

    Returns
    -------
    matplotlib Figure
        Two axes per label.

    Raises
    ------
    SlamError
        If no label has both fitted and known values.

    Examples
    --------
    >>> import slamjax
    >>> from astropy.table import Table
    >>> labels = Table({"teff": [4510, 4790], "teff_ref": [4500, 4800], "flags": [0, 0]})
    >>> figure = slamjax.plots.plot_labels(labels, ["teff"])
    >>> figure.axes[0].get_title()
    'bias 0.000, robust scatter 15'
    """
    known = [name for name in names if _is_known(labels, name)]
    if not known:
        raise SlamError("no label of this table has both fitted and known values (columns <label>_ref) to compare")
    figure = new_figure(3.2 * len(known), 4.6)
    axes = figure.subplots(2, len(known), squeeze=False, sharex="col", height_ratios=[3, 1.2])
    for (top, bottom), name in zip(axes.T, known, strict=True):
        _draw_label(top, bottom, labels, name)
    axes[0, 0].legend(frameon=False, fontsize=8, markerscale=3)
    return figure


def _is_known(labels: Table, name: str) -> bool:
    reference = f"{name}_ref"
    return reference in labels.colnames and bool(np.isfinite(numbers(labels[name]) - numbers(labels[reference])).any())


def _draw_label(top: Axes, bottom: Axes, labels: Table, name: str) -> None:
    """One label: fitted against known above, their difference below."""
    title = title_of(name, str(getattr(labels[name], "unit", None) or ""))
    known, fitted = numbers(labels[f"{name}_ref"]), numbers(labels[name])
    difference = fitted - known
    finite, flagged = np.isfinite(difference), np.asarray(labels["flags"]) != 0
    bias, scatter = np.median(difference[finite]), median_abs_deviation(difference[finite], scale="normal")
    low, high = np.percentile(np.concatenate([known[finite], fitted[finite]]), [0.2, 99.8])
    margin = 0.05 * (high - low)
    for shown, colour, text in ((finite & ~flagged, _GOOD, "good"), (finite & flagged, _FLAGGED, "flagged")):
        style: dict[str, Any] = {"ms": 2.5, "color": colour, "alpha": 0.7, "rasterized": True}
        top.plot(known[shown], fitted[shown], ".", label=text, **style)
        bottom.plot(known[shown], difference[shown], ".", **style)
    top.plot([low, high], [low, high], color="k", lw=0.8)
    top.set_xlim(low - margin, high + margin)
    top.set_ylim(low - margin, high + margin)
    top.set_title(f"bias {_short(bias)}, robust scatter {_short(scatter)}", fontsize=8)
    top.set_ylabel(f"fitted {title}")
    bottom.axhline(0, color="k", lw=0.8)
    limit = 5 * scatter if scatter > 0 else 1
    bottom.set_ylim(-limit, limit)
    bottom.set_xlabel(f"reference {title}")
    bottom.set_ylabel("difference")


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.3f}"
