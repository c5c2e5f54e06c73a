"""``slamjax validate``: fitted against known labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import slamjax
from slamjax.cli.console import progress_bar, say, say_written
from slamjax.cli.files import check_output, read_spectra
from slamjax.cli.groups import default
from slamjax.cli.options import Bins, By, IncludeTraining, ModelFile, Select, SpectraFiles, Starts, bin_edges


def validate(
    model: ModelFile,
    spectra: SpectraFiles,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="REPORT",
            help="Report: .ecsv, .csv, .fits, .html or .tex, else Markdown.",
        ),
    ] = None,
    select: Select = None,
    by: By = default(slamjax.validate, "by"),
    bins: Bins = None,
    include_training: IncludeTraining = False,
    good_only: Annotated[bool, typer.Option("--good-only", help="Count only stars without flags.")] = False,
    reference_errors: Annotated[
        bool,
        typer.Option(
            "--reference-errors",
            help="Add the table's <label>_err to the errors, for known labels less precise than the training labels.",
        ),
    ] = False,
    n_starts: Starts = default(slamjax.validate, "n_starts"),
) -> None:
    """Fits stars with known labels that did not train the model. Prints bias and scatter by bin, and whether the errors
    explain the scatter.

    Example: `slamjax validate giants.h5 giants.fits -o report.md --by apogee_snr --bins 20,60,100,200,300`
    """
    if output is not None:
        check_output(output)
    edges = bin_edges(bins)
    slam = slamjax.Model.read(model)
    stars = read_spectra(spectra, select)
    with progress_bar("fitting stars") as on_progress:
        result = slamjax.validate(
            slam,
            stars,
            by=by,
            bins=edges,
            include_training=include_training,
            good_only=good_only,
            reference_errors=reference_errors,
            n_starts=n_starts,
            on_progress=on_progress,
        )
    note = "" if include_training else f"; {result.n_excluded} training stars left out"
    say(f"fit - known, {len(result.labels)} stars{note}\n{result}")
    if output is not None:
        result.write(output)
        say_written(output)
