"""``slamjax info``: what is in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import slamjax
from slamjax.cli.console import say


def info(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A model, spectra, labels, a posterior, a recipe or a survey file.")
    ],
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Of a model: also list the hyper-parameters of every pixel.")
    ] = False,
    recipe: Annotated[
        bool,
        typer.Option("--recipe", help="Of a model: print only the preparation, as TOML for `slamjax train --recipe`."),
    ] = False,
) -> None:
    """Of a model, prints what it was trained on and how, and how well pixels are predicted; of spectra, wavelengths,
    errors and the columns of their table; of labels and posteriors, errors, flags and the first stars.

    Example: `slamjax info giants.h5 --pixels`

    Example: `slamjax info labels.fits`
    """
    if recipe:
        say(slamjax.Model.read(file).recipe.to_toml(), end="")
        return
    if not pixels:
        say(slamjax.describe(file))
        return
    slam = slamjax.Model.read(file)
    say(slamjax.describe(slam))
    say("\n".join(slam.info.pixels.pformat(max_lines=-1, max_width=-1)))
