"""``slamjax info``: what is in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import slamjax
from slamjax.cli.console import say
from slamjax.cli.options import expanded
from slamjax.errors import SlamError


def info(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Models, spectra, labels, posteriors, recipes or survey files; quoted patterns are expanded.",
            callback=expanded,
        ),
    ],
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Of a model: also list the hyper-parameters of every pixel.")
    ] = False,
    recipe: Annotated[
        bool,
        typer.Option("--recipe", help="Of a model: print only the preparation, as TOML for `slamjax train --recipe`."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list for other programs, one object for each file.")
    ] = False,
) -> None:
    """Of a model, prints what it was trained on and how, and how well pixels are predicted; of spectra, wavelengths,
    errors and the columns of their table; of labels and posteriors, errors, flags and the first stars.

    Example: `slamjax info giants.h5 --pixels`

    Example: `slamjax info labels.fits`

    Example: `slamjax info --json giants.h5 | jq '.[0].labels'`
    """
    if as_json:
        if pixels or recipe:
            raise SlamError("--json says all there is: leave --pixels and --recipe out")
        say(json.dumps([slamjax.facts(file) for file in files], indent=2, ensure_ascii=False, allow_nan=False))
        return
    for number, file in enumerate(files):
        if len(files) > 1:
            say(("\n" if number else "") + f"{file}:")
        if recipe:
            say(slamjax.Model.read(file).recipe.to_toml(), end="")
        elif not pixels:
            say(slamjax.describe(file))
        else:
            slam = slamjax.Model.read(file)
            say(slamjax.describe(slam))
            say("\n".join(slam.info.pixels.pformat(max_lines=-1, max_width=-1)))
