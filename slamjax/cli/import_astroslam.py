"""``slamjax import-astroslam``: a model of the original SLAM as a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import slamjax
from slamjax.cli.console import progress_bar, say, say_written
from slamjax.cli.files import check_output
from slamjax.cli.groups import default
from slamjax.cli.options import words


def import_astroslam(
    dump: Annotated[
        Path, typer.Argument(metavar="DUMP", help="Dump of astroslam: Slam3.save_dump, or Slam3.save_dump_sms.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="MODEL.h5", help="Model file to write.")],
    labels: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Names of the labels, e.g. teff,logg,fe_h; default: label_1,label_2,..."),
    ] = None,
    units: Annotated[
        str | None, typer.Option(metavar="UNITS", help="Their units, e.g. K,, where two have none; default: none.")
    ] = None,
    wave_unit: Annotated[str, typer.Option(help="Unit of the wavelengths.")] = default(
        slamjax.from_astroslam, "wave_unit"
    ),
    medium: Annotated[Literal["vacuum", "air", "unknown"], typer.Option(help="Medium of the wavelengths.")] = default(
        slamjax.from_astroslam, "medium"
    ),
    frame: Annotated[Literal["rest", "observed", "unknown"], typer.Option(help="Frame of the wavelengths.")] = default(
        slamjax.from_astroslam, "frame"
    ),
) -> None:
    """Dumps do not hold names of labels, units and the medium of the wavelengths: give them. A dump is a pickle, which
    is read as data; one that names anything else than dumps of astroslam do is refused.

    Example: `slamjax import-astroslam slam.dump -o model.h5 --labels teff,logg,fe_h --units K,, --medium vacuum`
    """
    check_output(output, [dump])
    with progress_bar("reading the dump") as on_progress:
        model = slamjax.from_astroslam(
            dump,
            labels=None if labels is None else words(labels),
            units=None if units is None else [unit.strip() for unit in units.split(",")],
            wave_unit=wave_unit,
            medium=medium,
            frame=frame,
            on_progress=on_progress,
        )
    model.write(output)
    say(slamjax.describe(model))
    say_written(output)
