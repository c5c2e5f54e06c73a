"""Names, numbers and columns as a report writes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from astropy.table import Table
from jaxtyping import Float

from slamjax.explorer.explorer import LABEL_TITLES
from slamjax.model.model import Model
from slamjax.spectra import star_names as naming
from slamjax.spectra.columns import float_column


def title(name: str, unit: str = "") -> str:
    """A label's name in plain text; dimensionless labels are without a unit."""
    shown = LABEL_TITLES.get(name, name)
    return f"{shown} [{unit}]" if unit and unit != "dex" else shown


def titles(model: Model) -> dict[str, str]:
    """The labels of a model with their units, by name."""
    return {name: title(name, unit) for name, unit in zip(model.label_names, model.info.label_units, strict=True)}


def short(value: float) -> str:
    """Four digits, and no exponent where none is needed."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def fixed(digits: int) -> Any:
    """A format of so many decimals."""
    return lambda value: f"{value:z.{digits}f}"


def share(count: float, total: float) -> str:
    return f"{100 * count / total:.1f} %" if total else "-"


def counted(n: int, noun: str) -> str:
    """1 star, 2 stars."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def numbers(table: Table, name: str) -> Float[np.ndarray, " row"]:
    """A column as plain numbers; NaN where there is none."""
    if name not in table.colnames:
        return np.full(len(table), np.nan)
    return np.asarray(float_column(getattr(table[name], "value", table[name])), float)


def chi2_per_pixel(table: Table) -> Float[np.ndarray, " row"]:
    return numbers(table, "chi2") / np.maximum(numbers(table, "n_pix"), 1)


def star_names(table: Table, rows: Iterable[int]) -> list[str]:
    """What to call the stars of a table of labels."""
    columns = {name: table[name] for name in table.colnames if table[name].ndim == 1}
    return naming.star_names(columns, rows)


def plane_of(model: Model) -> tuple[int, int | None]:
    """Labels of a diagram, abscissa and ordinate: temperature and gravity where they are, else the first two."""
    names = list(model.label_names)
    if {"teff", "logg"} <= set(names):
        return names.index("teff"), names.index("logg")
    return 0, 1 if len(names) > 1 else None
