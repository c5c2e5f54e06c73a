"""``slamjax collect``: one table from the shards of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import slamjax
from slamjax.cli.console import progress_bar, say_written
from slamjax.cli.surveys import say_collected, say_set_aside
from slamjax.survey.parts import shard_folders


def collect(
    *,
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDERS...]", help="Folders of finished parts; default: those beside the output."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="LABELS.fits", help="The output that the shards were given.")
    ],
) -> None:
    """Pieces that no shard has finished are named; nothing is written then. The parts are removed when the table is.

    Example: `slamjax collect -o labels.fits`
    """
    given = folders or shard_folders(output)
    with progress_bar("writing the table") as on_progress:
        collected = slamjax.survey.collect_shards(given, output, on_progress=on_progress)
    say_collected(collected)
    say_set_aside(collected.set_aside)
    say_written(output)
