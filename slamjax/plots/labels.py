"""Fitted against known labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table
from scipy.stats import median_abs_deviation

from slamjax.errors import SlamError
from slamjax.plots.canvas import balanced, in_rows, mark_beyond, new_figure, title_of
from slamjax.validation.bins import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GOOD, _FLAGGED = "#2e5e8c", "#e08e45"
#: Labels side by side; stars of which all are within the axes, and drawn larger.
_COLUMNS, _FEW = 5, 30


def plot_labels(labels: Table, names: Sequence[str]) -> Figure:
    """Fitted against known labels and their differences, with bias and robust scatter; flagged stars stand out.

    Triangles at an edge stand for stars whose difference lies beyond it.

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
    'bias 0, robust scatter 15'
    """
    known = [name for name in names if _is_known(labels, name)]
    if not known:
        raise SlamError("no label of this table has both fitted and known values (columns <label>_ref) to compare")
    rows, columns = balanced(len(known), _COLUMNS)
    figure = new_figure(3.2 * columns, 4.6 * rows)
    stacks = in_rows(figure, len(known), _COLUMNS, (3, 1.2))
    for (top, bottom), name in zip(stacks, known, strict=True):
        top.sharex(bottom)
        top.tick_params(labelbottom=False)
        _draw_label(top, bottom, labels, name)
    stacks[0, 0].legend(frameon=False, fontsize=8, markerscale=2)
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
    low, high = np.percentile(np.concatenate([known[finite], fitted[finite]]), [0.2, 99.8])
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    size = 4 if finite.sum() > _FEW else 9
    for shown, colour, text in ((finite & ~flagged, _GOOD, "good"), (finite & flagged, _FLAGGED, "flagged")):
        if shown.any():
            style: dict[str, Any] = {"ms": size, "color": colour, "alpha": 0.7, "mew": 0, "rasterized": True}
            top.plot(known[shown], fitted[shown], ".", label=text, **style)
            bottom.plot(known[shown], difference[shown], ".", **style)
    top.axline((low, low), slope=1, color="k", lw=0.8)
    top.set_xlim(low - margin, high + margin)
    top.set_ylim(low - margin, high + margin)
    top.set_title(_summary(difference[finite]), fontsize=8)
    top.set_ylabel(f"fitted {title}")
    bottom.axhline(0, color="k", lw=0.8)
    limit = _limit(difference[finite])
    bottom.set_ylim(-limit, limit)
    for shown, colour in ((finite & ~flagged, _GOOD), (finite & flagged, _FLAGGED)):
        mark_beyond(bottom, known[shown], difference[shown], colour)
    bottom.set_xlabel(f"known {title}")
    bottom.set_ylabel("fitted − known")


def _summary(difference: np.ndarray) -> str:
    """Bias and scatter in words; of one star, how far off it is."""
    bias, scatter = float(np.median(difference)), float(median_abs_deviation(difference, scale="normal"))
    if difference.size == 1:
        return f"one star, fitted − known {_short(bias, bias)}"
    return f"bias {_short(bias, scatter)}, robust scatter {_short(scatter, scatter)}"


def _limit(difference: np.ndarray) -> float:
    """Half the height of the lower axis: five times the scatter, or all of a few stars."""
    scatter, largest = float(median_abs_deviation(difference, scale="normal")), float(np.max(np.abs(difference)))
    if difference.size <= _FEW:
        return 1.2 * largest or 1.0
    return 5 * scatter or largest or 1.0


def _short(value: float, scale: float) -> str:
    return f"{value:z.{0 if abs(scale) >= 10 else 3}f}"
