"""``slamjax to-hats``: label tables as a catalogue that LSDB opens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import slamjax
from slamjax.cli.console import progress_bar, say, say_written
from slamjax.cli.options import expanded
from slamjax.survey.hats import ROWS_PER_PIXEL


def to_hats(
    labels: Annotated[
        list[Path],
        typer.Argument(metavar="LABELS...", help="Label tables: FITS, ECSV, Parquet or its folder.", callback=expanded),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="CATALOG", help="Folder to make.")],
    ra: Annotated[str, typer.Option(metavar="COLUMN", help="Right ascension, in degrees.")] = "ra",
    dec: Annotated[str, typer.Option(metavar="COLUMN", help="Declination, in degrees.")] = "dec",
    rows: Annotated[int, typer.Option(help="Most rows of a sky pixel; pixels with more are divided.")] = ROWS_PER_PIXEL,
    workers: Annotated[int, typer.Option(metavar="N", help="Processes that sort the rows into pixels.")] = 1,
) -> None:
    """The catalogue is made by hats-import: Parquet by sky pixel (HATS), which LSDB searches and cross-matches.

    Example: `slamjax to-hats labels.fits -o xp_labels`
    """
    with progress_bar("reading label tables") as on_progress:
        n = slamjax.survey.to_hats(
            labels, output, ra=ra, dec=dec, rows_per_pixel=rows, workers=workers, on_progress=on_progress
        )
    say(f"{n} rows")
    say_written(output)
