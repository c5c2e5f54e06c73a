"""Tables of a validation as people read them, and as files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table

from slamjax.validation.calibration import JOINT, LEVELS


def format_scatter(table: Table, by: str) -> str:
    """The table as a person reads it, in Markdown: a block of labels for each bin."""
    shown = Table()
    shown[by] = _bin_names(table)
    shown["label"] = table["label"]
    shown["N"] = table["n"]
    for name, title in (("median", "median"), ("std", "STD"), ("mad", "MAD"), ("scatter", "robust scatter")):
        shown[title] = [short(value) for value in table[name]]
    shown["pull width"] = [f"{value:.2f}" for value in table["pull"]]
    return markdown(shown)


def format_calibration(table: Table, by: str) -> str:
    """The calibration table in Markdown; coverage of central intervals in per cent."""
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
    """A table of things to print, as a Markdown table whose columns stand below each other."""
    widths = [max([len(name), *(len(str(cell)) for cell in shown[name])]) for name in shown.colnames]
    lines = [_line(shown.colnames, widths), "|" + "|".join("-" * (w + 2) for w in widths) + "|"]
    lines += [_line([str(row[name]) for name in shown.colnames], widths) for row in shown]
    return "\n".join(lines)


def short(value: float) -> str:
    """A number as short as a table of labels needs it."""
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
