"""Tables of a validation as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.table import Table

from slamjax.validation.coverage import JOINT, LEVELS


def format_scatter(table: Table, by: str) -> str:
    """Format a table of `scatter_table` as Markdown.

    Parameters
    ----------
    table : Table
    by : str
        Heading of the bins.

    Returns
    -------
    str

    Examples
    --------
    >>> from astropy.table import Table
    >>> from slamjax.validation import format_scatter, scatter_table
    >>> fitted = Table({"logg": [2.6, 2.5], "logg_ref": [2.5, 2.5], "logg_err": [0.1, 0.1], "flags": [0, 0]})
    >>> print(format_scatter(scatter_table(fitted, ["logg"], [80, 90], [50, 100]), "S/N"))
    |        S/N | label | N | median |   STD |   MAD | robust scatter | pull width |
    |------------|-------|---|--------|-------|-------|----------------|------------|
    |        all |  logg | 2 |  0.050 | 0.050 | 0.050 |          0.074 |       0.74 |
    | 50.0-100.0 |  logg | 2 |  0.050 | 0.050 | 0.050 |          0.074 |       0.74 |
    """
    shown = Table()
    shown[by] = _bin_names(table)
    shown["label"] = table["label"]
    shown["N"] = table["n"]
    for name, title in (("median", "median"), ("std", "STD"), ("mad", "MAD"), ("scatter", "robust scatter")):
        shown[title] = [short(value) for value in table[name]]
    shown["pull width"] = [f"{value:.2f}" for value in table["pull"]]
    return markdown(shown)


def format_calibration(table: Table, by: str) -> str:
    """Format a table of `calibration_table` as Markdown, with coverage in per cent.

    Parameters
    ----------
    table : Table
    by : str
        Heading of the bins.

    Returns
    -------
    str

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.validation import calibration_table, compare_draws, format_calibration
    >>> draws = np.random.default_rng(0).normal(size=(1, 100, 1))
    >>> table = calibration_table(compare_draws([[0.0]], draws, ["logg"]))
    >>> format_calibration(table, "stars").splitlines()[0][:19]
    '| stars |   label |'
    """
    shown = Table()
    shown[by] = _bin_names(table)
    shown["label"] = table["label"]
    shown["N"] = table["n"]
    shown["flagged"] = table["flagged"]
    shown["bias"] = [_with_error(row["bias"], row["bias_err"]) for row in table]
    shown["bias/scatter"] = [_fixed(value) for value in table["bias_scatter"]]
    shown["pull width"] = [_fixed(value) for value in table["pull_width"]]
    shown["pull sd"] = [_fixed(value) for value in table["pull_sd"]]
    for level in LEVELS:
        name = f"cover{100 * level:.0f}"
        shown[f"{100 * level:.0f} %"] = ["-" if np.isnan(value) else f"{100 * value:.1f}" for value in table[name]]
    shown["± at 68 %"] = ["-" if np.isnan(value) else f"{100 * value:.1f}" for value in table["cover68_err"]]
    shown["chi2/dof"] = [_fixed(row["chi2_dof"]) if row["label"] == JOINT else "" for row in table]
    return markdown(shown)


def markdown(shown: Table) -> str:
    """A table as Markdown with aligned columns."""
    widths = [max([len(name), *(len(str(cell)) for cell in shown[name])]) for name in shown.colnames]
    lines = [_line(shown.colnames, widths), "|" + "|".join("-" * (w + 2) for w in widths) + "|"]
    lines += [_line([str(row[name]) for name in shown.colnames], widths) for row in shown]
    return "\n".join(lines)


def rounded(table: Table) -> Table:
    """The same with four significant digits, as text."""

    def text(value: Any) -> Any:
        return f"{value:.4g}" if isinstance(value, float | np.floating) else value

    return Table({name: [text(value) for value in table[name]] for name in table.colnames})


def short(value: float) -> str:
    """A label or its error in few digits."""
    return "-" if np.isnan(value) else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _bin_names(table: Table) -> list[str]:
    dash = " to " if np.any(table["low"] < 0) else "-"
    return ["all" if np.isnan(row["low"]) else f"{short(row['low'])}{dash}{short(row['high'])}" for row in table]


def _fixed(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"


def _with_error(value: float, error: float) -> str:
    if np.isnan(value):
        return "-"
    digits = int(np.clip(1 - np.floor(np.log10(error)), 0, 6)) if error > 0 else 3
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "|" + "|".join(f" {cell:>{width}} " for cell, width in zip(cells, widths, strict=True)) + "|"
