"""``slamjax sample``: posteriors of every spectrum."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import slamjax
from slamjax.cli import sampling_options as sampling_options
from slamjax.cli.console import flag_summary, progress_bar, say, say_written
from slamjax.cli.files import check_output, kept_parts, read_spectra
from slamjax.cli.groups import default, option_groups
from slamjax.cli.options import Memory, Metadata, ModelFile, NuisanceOptions, PriorName, Select, SpectraFiles
from slamjax.errors import SlamError
from slamjax.sampling import SamplerSpec


@option_groups
def sample(
    *,
    model: ModelFile,
    spectra: SpectraFiles,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="POSTERIOR.nc", help="NetCDF file to write.")],
    table: Annotated[
        Path | None,
        typer.Option(metavar="LABELS.fits", help="Also write a label table of means, errors and quantiles."),
    ] = None,
    select: Select = None,
    prior: PriorName = "uniform",
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = default(slamjax.sample, "seed"),
    memory: Memory = default(slamjax.sample, "memory"),
    sampler: SamplerSpec,
    nuisances: NuisanceOptions,
    metadata: Metadata,
) -> None:
    """Draws are written as an ArviZ NetCDF file. A stopped run is continued by the same command.

    Example: `slamjax sample giants.h5 new.fits -o posterior.nc --select "apogee_snr > 80" --table labels.fits`
    """
    check_output(output, [model, *spectra])
    slamjax.sampling.check_posterior_path(output)
    if table is not None:
        check_output(table, [model, *spectra], "--table")
        if table.resolve() == output.resolve():
            raise SlamError(f"--table {table} is also the output; choose another name")
    given = nuisances.nuisances()
    slam = slamjax.Model.read(model)
    stars = read_spectra(spectra, select, metadata)
    with kept_parts(output) as kept:
        with progress_bar("sampling stars") as on_progress:
            posterior = slamjax.sample(
                slam,
                stars,
                prior=prior,
                nuisances=given,
                sampler=sampler,
                seed=seed,
                memory=memory,
                checkpoint=kept,
                on_progress=on_progress,
            )
        posterior.write(output)
    say(flag_summary(posterior.flags))
    say(posterior.attrs["likelihood"])
    say_written(output)
    if table is not None:
        slamjax.write_labels(posterior.table(), table)
        say_written(table)
