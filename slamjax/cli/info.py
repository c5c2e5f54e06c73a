"""``slamjax info``: what is in a model file."""

from __future__ import annotations

from typing import Annotated

import typer

import slamjax
from slamjax.cli.console import say
from slamjax.cli.options import ModelFile


def info(
    model: ModelFile,
    pixels: Annotated[bool, typer.Option("--pixels", help="Also list the hyper-parameters of every pixel.")] = False,
    recipe: Annotated[
        bool, typer.Option("--recipe", help="Print only the preparation, as TOML for `slamjax train --recipe`.")
    ] = False,
) -> None:
    """Prints what the model was trained on and how, and how well each label can be measured.

    Example: `slamjax info giants.h5 --pixels`
    """
    slam = slamjax.Model.read(model)
    if recipe:
        say(slam.recipe.to_toml(), end="")
        return
    say(slamjax.describe(slam))
    if pixels:
        say("\n".join(slam.info.pixels.pformat(max_lines=-1, max_width=-1)))
