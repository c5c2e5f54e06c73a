"""Figures: made without a display, titled in the field's notation, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from slamjax._util.files import atomic_path, check_writable
from slamjax.errors import SlamError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMES = {"teff": r"$T_{\rm eff}$", "logg": r"$\log g$", "fe_h": "[Fe/H]", "alpha_m": r"[$\alpha$/M]"}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SlamError("plots need matplotlib; install it with: pip install 'slamjax[plots]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def check_figure_path(path: str | os.PathLike[str]) -> None:
    """Raise unless a figure can be written there: matplotlib, the format and the folder, asked before long work."""
    formats = new_figure(1, 1).canvas.get_supported_filetypes()
    check_writable(path)
    if Path(path).suffix.lower().removeprefix(".") not in formats:
        raise SlamError(f"cannot write {path}: matplotlib goes by the ending; give one of {', '.join(sorted(formats))}")


def write_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Save a figure in the format of the name's ending; the file appears whole or not at all."""
    check_figure_path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def title_of(name: str, unit: str = "") -> str:
    """A label's name as it stands on an axis."""
    return _NAMES.get(name, name) + (f" [{unit}]" if unit else "")
