"""``slamjax visits``: labels of stars from all of their spectra."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import slamjax
from slamjax.cli.console import flag_summary, progress_bar, say, say_written
from slamjax.cli.files import check_output, read_spectra
from slamjax.cli.groups import default, option_groups
from slamjax.cli.nuisance_options import NuisanceOptions
from slamjax.cli.options import Jobs, Memory, Metadata, ModelFile, Select, SpectraFiles, Starts, Survey, words
from slamjax.errors import SlamError


@option_groups
def visits(
    *,
    model: ModelFile,
    spectra: SpectraFiles,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="LABELS.fits", help="Table to write, one row for each star."),
    ],
    star: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column that says whose a spectrum is; survey files have id.")
    ] = "id",
    spectra_table: Annotated[
        Path | None,
        typer.Option(metavar="VISITS.fits", help="Table of the single spectra: velocities with errors, S/N, flags."),
    ] = None,
    shared: Annotated[
        str,
        typer.Option(
            metavar="NAMES", help="Free nuisances that are one for all spectra of a star: extinction,r_v, ..."
        ),
    ] = "",
    velocity_floor: Annotated[
        float,
        typer.Option(min=0.0, metavar="KM/S", help="By how much wavelengths drift between visits, beyond their noise."),
    ] = default(slamjax.fit_visits, "velocity_floor"),
    select: Select = None,
    survey: Survey = None,
    n_starts: Starts = default(slamjax.Fitter, "n_starts"),
    memory: Memory = default(slamjax.Fitter, "memory"),
    n_jobs: Jobs = -1,
    nuisances: NuisanceOptions,
    metadata: Metadata,
) -> None:
    """All spectra of a star are fitted together, each with its velocity and errors; labels of the stack of them stand
    beside. The flag VARIABLE_VELOCITY is set where a star's velocities differ by more than their errors.

    Example: `slamjax visits miles.h5 "visits/*.fits" -o labels.fits --spectra-table visits.fits`

    Example: `slamjax visits giants.h5 visits.fits -o labels.fits --star source_id`
    """
    inputs = [model, *spectra]
    check_output(output, inputs)
    if spectra_table is not None:
        check_output(spectra_table, inputs, "--spectra-table")
        if spectra_table.resolve() == output.resolve():
            raise SlamError(f"--spectra-table {spectra_table} is also the output; choose another name")
    slam, read = slamjax.Model.read(model), read_spectra(spectra, select, metadata, survey, n_jobs)
    with progress_bar("fitting stars") as on_progress:
        fitted = slamjax.fit_visits(
            slam, read, star, nuisances=nuisances.nuisances(), shared=words(shared), n_starts=n_starts, memory=memory,
            velocity_floor=velocity_floor, on_progress=on_progress,
        )  # fmt: skip
    slamjax.write_labels(fitted.labels, output)
    say(f"{len(fitted.spectra):,} spectra of {len(fitted.labels):,} stars")
    say(flag_summary(fitted.labels["flags"]))
    say_written(output)
    if spectra_table is not None:
        slamjax.write_labels(fitted.spectra, spectra_table)
        say_written(spectra_table)
