"""Empty figures without a display, names of labels on axes, and files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slamjax._util.files import atomic_path, check_writable
from slamjax.errors import SlamError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMES = {"teff": r"$T_{\rm eff}$", "logg": r"$\log g$", "fe_h": "[Fe/H]", "alpha_m": r"[$\alpha$/M]"}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches; matplotlib is imported only here, when it is needed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SlamError(f"figures need matplotlib ({error}); install it with: pip install matplotlib") from error
    except OSError as error:  # it keeps fonts in the user's cache folder
        raise SlamError(f"matplotlib cannot be loaded: {error}") from error

    return Figure(figsize=(width, height), layout="constrained")


def check_figure_path(path: str | os.PathLike[str]) -> None:
    """Raise unless a figure can be written to a file; ask before long work.

    Parameters
    ----------
    path : path

    Raises
    ------
    SlamError
        If the folder cannot be written to, matplotlib does not know the suffix, or it is not installed.

    Examples
    --------
    >>> from slamjax.plots import check_figure_path
    >>> check_figure_path("spectra.png")
    """
    formats = new_figure(1, 1).canvas.get_supported_filetypes()
    check_writable(path)
    if Path(path).suffix.lower().removeprefix(".") not in formats:
        raise SlamError(
            f"cannot write {path}: the suffix gives the format of a figure; use one of {', '.join(sorted(formats))}"
        )


def write_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Save a figure in the format of the file's suffix; the file appears whole or not at all.

    Parameters
    ----------
    figure : matplotlib Figure
    path : path
        An existing file is replaced.

    Raises
    ------
    SlamError
        As for `check_figure_path`.

    Examples
    --------
    >>> import tempfile
    >>> from matplotlib.figure import Figure
    >>> from slamjax.plots import write_figure
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_figure(Figure(), f"{folder}/empty.png")
    """
    check_figure_path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def title_of(name: str, unit: str = "") -> str:
    """A label's name as it is written on an axis.

    Parameters
    ----------
    name, unit : str

    Returns
    -------
    str

    Examples
    --------
    >>> from slamjax.plots import title_of
    >>> title_of("fe_h", "dex"), title_of("vmic")
    ('[Fe/H] [dex]', 'vmic')
    """
    return _NAMES.get(name, name) + (f" [{unit}]" if unit else "")


def balanced(n: int, columns: int) -> tuple[int, int]:
    """Rows of at most so many columns that hold n axes, as equally long as can be: (rows, columns)."""
    rows = -(-n // columns)
    return rows, -(-n // rows)


def in_rows(figure: Figure, n: int, columns: int, height_ratios: Sequence[float] = (1,)) -> np.ndarray:
    """(n, H) axes: n stacks of H axes of these heights, side by side in balanced rows."""
    rows, wide = balanced(n, columns)
    each = len(height_ratios)
    axes = figure.subplots(each * rows, wide, squeeze=False, height_ratios=[*height_ratios] * rows)
    stacks = axes.reshape(rows, each, wide).swapaxes(1, 2).reshape(-1, each)
    for spare in stacks[n:].ravel():
        spare.remove()
    return stacks[:n]


def robust_limits(observed: np.ndarray, *whole: np.ndarray, margin: float = 0.08) -> tuple[float, float]:
    """Limits of an axis: the first array without its outliers, and all of the others.

    Outliers lie beyond the central 96 % by more than half their width.
    """
    ends = []
    finite = observed[np.isfinite(observed)]
    if finite.size:
        low, high = np.percentile(finite, [2, 98])
        reach = 0.5 * (high - low)
        ends += [max(finite.min(), low - reach), min(finite.max(), high + reach)]
    for one in whole:
        known = one[np.isfinite(one)]
        ends += [known.min(), known.max()] if known.size else []
    if not ends:
        return 0.0, 1.0
    low, high = float(np.min(ends)), float(np.max(ends))
    room = margin * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def mark_beyond(axis: Axes, x: np.ndarray, y: np.ndarray, colour: str) -> None:
    """Triangles at the edge of an axis for points that lie beyond it."""
    low, high = axis.get_ylim()
    for beyond, edge, marker in ((y > high, high, "^"), (y < low, low, "v")):
        if np.any(beyond):
            at = np.full(int(beyond.sum()), edge)
            axis.plot(x[beyond], at, marker, ms=4, color=colour, mew=0, clip_on=False, zorder=5)
    axis.set_ylim(low, high)


def shade(axis: Axes, wave: np.ndarray, mask: np.ndarray, label: str | None = None) -> None:
    """Grey where pixels are masked, half a pixel beyond them on both sides."""
    half = np.gradient(wave) / 2 if wave.size > 1 else np.full(1, 0.5)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    for start, stop in zip(edges[::2], edges[1::2] - 1, strict=True):
        axis.axvspan(wave[start] - half[start], wave[stop] + half[stop], color="0.9", lw=0, label=label, zorder=0)
        label = None
