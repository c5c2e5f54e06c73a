"""How good the labels are: fits of stars whose labels are known, compared bin by bin."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import QTable, Table

from slamjax.errors import SlamError
from slamjax.files import atomic_path
from slamjax.fitting import fit
from slamjax.model import Model
from slamjax.spectra import Spectra
from slamjax.typing import Progress

#: Standard deviation of a normal distribution over its median absolute deviation.
MAD_TO_SIGMA = 1.4826
_FORMATS = {
    ".ecsv": "ascii.ecsv",
    ".csv": "ascii.csv",
    ".fits": "fits",
    ".html": "ascii.html",
    ".tex": "ascii.latex",
}


@dataclass(frozen=True, eq=False)
class Validation:
    """Labels of the validated stars, and the table of their differences from the known ones."""

    labels: QTable
    table: Table
    by: str
    n_excluded: int

    def __str__(self) -> str:
        return format_scatter(self.table, self.by)


def validate(
    model: Model,
    spectra: Spectra,
    *,
    by: str = "snr",
    bins: Sequence[float] | None = None,
    include_training: bool = False,
    good_only: bool = False,
    n_starts: int = 3,
    progress: Progress | None = None,
) -> Validation:
    """Fit stars with known labels that did not train the model, and compare.

    Parameters
    ----------
    model, spectra
        Stars without a known label, and (by identifier or by the very same flux) stars that trained the model, are
        left out.
    by : str
        ``"snr"``, the spectra's median signal-to-noise ratio a pixel, or a column of the table, to bin by.
    bins : sequence of float, optional
        Edges, rising; default: the quartiles.
    include_training : bool
        Keep the training stars.
    good_only : bool
        Count only stars without flags; otherwise all whose fit did not fail.

    Raises
    ------
    SlamError
        If no star is left, or ``by`` or ``bins`` cannot be used.
    """
    spectra.require(model.label_names)
    edges = _checked_edges(bins)
    if by != "snr":
        spectra.values([by])  # raises now, not after the fit
    known = np.all(np.isfinite(spectra.values(model.label_names)), axis=1)
    trained = np.zeros(len(spectra), bool) if include_training else model.info.record.contains(spectra)
    kept = known & ~trained
    if not kept.any():
        raise SlamError(
            f"{spectra.source} leaves no star to validate with: of {len(spectra)}, {int((~known).sum())} lack a label "
            f"and {int((known & trained).sum())} trained the model (include_training keeps those)"
        )
    some = spectra[kept]
    if by == "snr" and edges is not None and not some.has_errors and "snr" not in some.table.colnames:
        raise SlamError(
            f"{spectra.source} states no errors, so its S/N is not known; bin by a column (by, --by) instead"
        )
    labels = fit(model, some, n_starts=n_starts, progress=progress)
    column = np.asarray(labels["snr"] if by == "snr" else some.values([by])[:, 0], float)
    if by == "snr" and not np.any(np.isfinite(column)) and "snr" in some.table.colnames:
        column = some.values(["snr"])[:, 0]  # spectra without errors may still have a catalogue's S/N
    table = scatter_table(labels, model.label_names, column, edges, good_only=good_only)
    return Validation(labels, table, by, int((known & trained).sum()))


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
    values = np.asarray(values, float)
    if edges is None:
        finite = values[np.isfinite(values)]
        edges = [] if finite.size == 0 else list(np.unique(np.percentile(finite, [0, 25, 50, 75, 100])))
        if edges:
            edges[-1] = np.nextafter(edges[-1], np.inf)  # the largest belongs to the last bin
    usable = np.asarray(labels["flags"]) == 0 if good_only else np.ones(len(labels), bool)
    parts = [(np.nan, np.nan, usable)]
    parts += [(low, high, usable & (values >= low) & (values < high)) for low, high in itertools.pairwise(edges)]
    rows = []
    for low, high, chosen in parts:
        for name in names:
            difference = _numbers(labels[name]) - _numbers(labels[f"{name}_ref"])
            error = _numbers(labels[f"{name}_err"])
            counted = chosen & np.isfinite(difference)
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
    pull = difference[finite] / error[finite]
    width = MAD_TO_SIGMA * float(np.median(np.abs(pull - np.median(pull)))) if pull.size else float("nan")
    return n, median, float(np.std(difference)), mad, MAD_TO_SIGMA * mad, width


def format_scatter(table: Table, by: str) -> str:
    """The table as a person reads it, in Markdown: a block of labels for each bin."""
    shown = Table()
    dash = " to " if np.any(table["low"] < 0) else "-"
    shown[by] = ["all" if np.isnan(row["low"]) else f"{_short(row['low'])}{dash}{_short(row['high'])}" for row in table]
    shown["label"] = table["label"]
    shown["N"] = table["n"]
    for name, title in (("median", "median"), ("std", "STD"), ("mad", "MAD"), ("scatter", "robust scatter")):
        shown[title] = [_short(value) for value in table[name]]
    shown["pull width"] = [f"{value:.2f}" for value in table["pull"]]
    widths = [max(len(name), *(len(str(cell)) for cell in shown[name])) for name in shown.colnames]
    lines = [_line(shown.colnames, widths), "|" + "|".join("-" * (w + 2) for w in widths) + "|"]
    lines += [_line([str(row[name]) for name in shown.colnames], widths) for row in shown]
    return "\n".join(lines)


def write_report(validation: Validation, path: str | os.PathLike[str]) -> None:
    """Write the table: ECSV, CSV, FITS, HTML or LaTeX by the name's ending, else Markdown text."""
    with atomic_path(path) as temporary:
        kind = _FORMATS.get(Path(path).suffix.lower())
        if kind is None:
            temporary.write_text(format_scatter(validation.table, validation.by) + "\n")
        else:
            validation.table.write(temporary, format=kind, overwrite=True)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "|" + "|".join(f" {cell:>{width}} " for cell, width in zip(cells, widths, strict=True)) + "|"


def _short(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _numbers(column: object) -> np.ndarray:
    return np.asarray(getattr(column, "value", column), float)


def _checked_edges(bins: Sequence[float] | None) -> list[float] | None:
    if bins is None:
        return None
    edges = [float(edge) for edge in bins]
    if len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise SlamError(f"bins are {', '.join(f'{edge:g}' for edge in edges)}; give at least two edges, rising")
    return edges
