"""Empty figures without a display, names of labels on axes, and files that are written whole or not at all."""

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
    """An empty figure of a size in inches; matplotlib is imported only here, when it is needed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SlamError(f"figures need matplotlib ({error}); install it with: pip install matplotlib") from error

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
