"""``slamjax sample``: posteriors of every spectrum."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import slamjax
from slamjax.cli import sampling_options as sampling_options
from slamjax.cli.clusters import Cluster
from slamjax.cli.console import flag_summary, progress_bar, say, say_written
from slamjax.cli.files import check_output, kept_parts, read_spectra
from slamjax.cli.groups import default, option_groups
from slamjax.cli.nuisance_options import NuisanceOptions
from slamjax.cli.options import (
    Jobs,
    Memory,
    Metadata,
    ModelFile,
    PriorName,
    Select,
    SpectraFiles,
    Survey,
)
from slamjax.cli.surveys import PieceSize, Shard, check_survey_output, reading_of, run_survey
from slamjax.errors import SlamError
from slamjax.sampling import SamplerSpec

#: Names of outputs that end so are NetCDF files of all draws.
_NETCDF = (".nc", ".nc4", ".netcdf", ".h5", ".hdf5")


@option_groups
def sample(
    *,
    model: ModelFile,
    spectra: SpectraFiles,
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="SUMMARY.fits",
            help="Table of means, errors, quantiles and diagnostics, in the formats of `slamjax fit`; a name ending in "
            ".nc: all draws, of as many stars as memory holds, as an ArviZ NetCDF file.",
        ),
    ],
    table: Annotated[
        Path | None,
        typer.Option(metavar="SUMMARY.fits", help="Beside a NetCDF file, the table, too."),
    ] = None,
    draws_folder: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Beside a table, all draws, too: a Parquet file for each piece."),
    ] = None,
    select: Select = None,
    survey: Survey = None,
    prior: PriorName = "uniform",
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = default(slamjax.sample, "seed"),
    memory: Memory = default(slamjax.sample, "memory"),
    n_jobs: Jobs = -1,
    piece_size: PieceSize = None,
    shard: Shard = None,
    sampler: SamplerSpec,
    cluster: Cluster,
    nuisances: NuisanceOptions,
    metadata: Metadata,
) -> None:
    """The table has one row per spectrum, in the order given. Finished parts are kept beside the output as the run
    goes; a stopped run is continued by the same command, with the same draws.

    Example: `slamjax sample giants.h5 new.fits -o posteriors.fits --select "apogee_snr > 80"`

    Example: `slamjax sample giants.h5 "xp/*.parquet" -o posteriors.parquet --draws-folder draws --workers 8`

    Example: `slamjax sample giants.h5 few.fits -o posterior.nc --table labels.fits`
    """
    options: dict[str, Any] = {"nuisances": nuisances.nuisances(), "sampler": sampler, "memory": memory}
    how: dict[str, Any] = {"prior": prior, "seed": seed}
    if output.suffix.lower() in _NETCDF:
        of_tables = [*(["--piece-size"] if piece_size else []), *(["--shard"] if shard else []), *cluster.chosen]
        of_tables += ["--draws-folder"] if draws_folder else []
        if of_tables:
            raise SlamError(f"{of_tables[0]} goes with a table, and {output} is a NetCDF file; name the output .fits")
        _check_netcdf(output, table, [model, *spectra])
        slam = slamjax.Model.read(model)
        _to_netcdf(slam, read_spectra(spectra, select, metadata, survey, n_jobs), output, table, {**options, **how})
        return
    if table is not None:
        raise SlamError(f"--table goes with a NetCDF file, and {output} is the table; leave --table out")
    check_survey_output(output, model, spectra)
    reading = reading_of(spectra, select, survey, metadata, n_jobs)
    built = slamjax.Sampler(slamjax.Model.read(model), **options)
    how |= {"draws": draws_folder, "reading": reading, "piece_size": piece_size, "cluster": cluster, "shard": shard}
    run_survey(slamjax.sample_survey, built, spectra, output, doing="sampling", **how)
    if draws_folder is not None:
        say_written(draws_folder)


def _check_netcdf(output: Path, table: Path | None, inputs: list[Path]) -> None:
    """Raise unless the files can be written."""
    check_output(output, inputs)
    slamjax.sampling.check_posterior_path(output)
    if table is not None:
        check_output(table, inputs, "--table")
        if table.resolve() == output.resolve():
            raise SlamError(f"--table {table} is also the output; choose another name")


def _to_netcdf(
    model: slamjax.Model, stars: slamjax.Spectra, output: Path, table: Path | None, options: dict[str, Any]
) -> None:
    """Sample stars in memory."""
    with kept_parts(output) as kept:
        with progress_bar("sampling stars") as on_progress:
            posterior = slamjax.sample(model, stars, **options, checkpoint=kept, on_progress=on_progress)
        posterior.write(output)
    say(flag_summary(posterior.flags))
    say(posterior.attrs["likelihood"])
    say_written(output)
    if table is not None:
        slamjax.write_labels(posterior.table(), table)
        say_written(table)
