"""What the commands share: progress bars, warnings and errors as a person wants to read them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import slamjax
from slamjax.errors import SlamError, SlamWarning
from slamjax.typing import Progress as Told

if TYPE_CHECKING:
    from slamjax.preprocessing import Recipe
    from slamjax.spectra.spectra import Spectra

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def progress_bar(title: str) -> Iterator[Told]:
    """A live bar on a terminal, one line at the end elsewhere; gives the function to tell (done, total)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors) as bar:
        task = bar.add_task(title, total=None)
        try:
            yield lambda done, total: bar.update(task, completed=done, total=total)
        except BaseException:
            bar.live.transient = True  # an error's sentence stands alone, without a bar that went nowhere
            raise


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """slamjax's own warnings as one line, others as Python shows them."""
    if issubclass(category, SlamWarning):
        errors.print(f"slamjax: warning: {message}", style="yellow", markup=False)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))


def numbers(text: str, option: str) -> Any:
    """A number, or a list of them from ``1,10,100``; words (scale, auto) stay words."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    values = [_number(part, option) for part in parts]
    if not values:
        raise SlamError(f"{option} is empty; give a number or a comma list such as 0.1,1,10")
    return values if len(values) > 1 else values[0]


def _number(part: str, option: str) -> float | str:
    try:
        return float(part)
    except ValueError:
        if option == "--gamma" and part in ("scale", "auto"):
            return part
        raise SlamError(f"{option} has {part!r}, which is not a number; give a number or a comma list") from None


def words(text: str) -> list[str]:
    """The names in ``teff,logg,fe_h``."""
    return [part.strip() for part in text.split(",") if part.strip()]


def label_windows(given: list[str] | None) -> dict[str, list[tuple[float, float]]]:
    """Windows of each label from ``alpha_m:500-520,600-620``, one text a label."""
    found: dict[str, list[tuple[float, float]]] = {}
    for text in given or []:
        name, colon, windows = text.partition(":")
        parts = [part.split("-") for part in words(windows)]
        try:
            pairs = [(float(low), float(high)) for low, high in parts]
        except ValueError:
            pairs = []
        if not (colon and name.strip() and pairs):
            raise SlamError(f"--label-window is {text!r}; give a label and its windows, as in alpha_m:500-520,600-620")
        found.setdefault(name.strip(), []).extend(pairs)
    return found


def svr_of(**given: Any) -> slamjax.SVR:
    """The SVR of the options of a command; numbers and comma lists are read."""
    read = {name: numbers(given.pop(name), f"--{name}") for name in ("C", "epsilon", "gamma")}
    return slamjax.SVR(**read, **given)


def polynomial_of(degree: int | None, ridge: str | None) -> slamjax.Polynomial:
    """The polynomial of the options of a command; those that are not given are its defaults."""
    given = {"degree": degree, "ridge": None if ridge is None else numbers(ridge, "--ridge")}
    return slamjax.Polynomial(**{name: value for name, value in given.items() if value is not None})


def read_selected(
    files: Path | list[Path],
    select: str | None,
    medium: str | None = None,
    frame: str | None = None,
    fwhm: float | None = None,
) -> Spectra:
    """A slamjax table or survey files, with what they do not say of themselves."""
    paths = files if isinstance(files, list) else [files]
    spectra = slamjax.read_table(paths[0]) if is_table(paths) else slamjax.read([str(path) for path in paths])
    spectra = spectra.with_metadata(medium, frame, fwhm)
    return spectra if select is None else spectra.select(select)


def is_table(files: list[Path]) -> bool:
    """Whether this is one file, and no survey's: what is wrong with it is then told as of a table."""
    from slamjax.io import is_table

    return len(files) == 1 and is_table(files[0])


def recipe_of(
    stars: Spectra,
    wave_range: tuple[float, float] | None,
    continuum: str,
    flux_range: tuple[float, float] | None,
    min_pixel_snr: float | None,
    resolution: float | None,
    recipe: Path | None,
) -> Recipe:
    """How training stars are prepared, from the options of a command or from a file."""
    from slamjax.preprocessing import BadPixels

    rules = None
    if flux_range is not None or min_pixel_snr is not None:
        low, high = flux_range if flux_range is not None else (None, None)
        rules = BadPixels(min_flux=low, max_flux=high, min_snr=min_pixel_snr)
    if recipe is None:
        unit = str(stars.wave_unit)
        return slamjax.Recipe.make(
            wave_range=wave_range, wave_unit=unit, continuum=continuum, bad_pixels=rules, fwhm=resolution
        )
    if wave_range is not None or continuum != "none" or rules is not None or resolution is not None:
        raise SlamError(
            "--recipe says all of the preparation; leave out --wave-range, --resolution, --continuum, --flux-range and "
            "--min-pixel-snr, or write them into it"
        )
    return slamjax.Recipe.read(recipe)


def flag_summary(flags: object) -> str:
    import numpy as np

    values = np.asarray(flags)
    lines = [f"{int(np.sum(values == 0))} of {len(values)} stars without flags"]
    lines += [f"  {int(np.sum(values & flag != 0)):6d} {flag.name}" for flag in slamjax.Flag if np.any(values & flag)]
    return "\n".join(lines)
