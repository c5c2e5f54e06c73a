"""Commands that put labels on stars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import slamjax
from slamjax.cli.console import console, flag_summary, progress_bar, read_selected
from slamjax.cli.options import (
    Method,
    ModelFile,
    PriorKind,
    Sampler,
    Select,
    SpectraFile,
    Starts,
    Velocity,
    velocity,
)
from slamjax.errors import SlamError


def fit(
    model: ModelFile,
    spectra: SpectraFile,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="LABELS.fits", help="Label table to write.")],
    select: Select = None,
    method: Annotated[Method, typer.Option(help="Levenberg-Marquardt, or a gradient method.")] = Method.lm,
    n_starts: Starts = 3,
    rv: Velocity = None,
    broadening: Velocity = None,
    rotation: Velocity = None,
    polynomial: Annotated[
        int | None, typer.Option(metavar="DEGREE", help="Multiply the model by a polynomial in wavelength, solved for.")
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Do not compress a large emulator first.")] = False,
    memory: Annotated[float, typer.Option(help="GiB that a batch may take.")] = 1.0,
) -> None:
    """Labels, errors and flags of every selected spectrum, into HDU LABELS.

    Example: `slamjax fit giants.h5 new.fits -o labels.fits --select "apogee_snr > 80"`
    """
    from slamjax.files import check_writable, existing_file

    check_writable(output)
    for given in (existing_file(model), existing_file(spectra)):
        if output.exists() and output.samefile(given):
            raise SlamError(f"--output {output} is also an input; choose another name")
    nuisances = slamjax.Nuisances(
        rv=velocity("--rv", rv),
        broadening=velocity("--broadening", broadening),
        rotation=velocity("--rotation", rotation),
        polynomial=polynomial,
    )
    slam = slamjax.load(model)
    with progress_bar("fitting stars") as told:
        table = slamjax.fit_table(
            slam,
            spectra,
            select=select or "",
            method=method.value,
            n_starts=n_starts,
            nuisances=nuisances,
            exact=exact,
            memory=memory,
            progress=told,
        )
    slamjax.write_labels(table, output)
    console.print(flag_summary(table["flags"]), markup=False)
    console.print(f"written: {output}", markup=False)


def sample(
    model: ModelFile,
    spectra: SpectraFile,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="POSTERIOR.nc", help="NetCDF file to write.")],
    select: Select = None,
    sampler: Annotated[
        Sampler, typer.Option(help="Importance-resampled draws with NUTS where they do not hold (auto), NUTS, HMC.")
    ] = Sampler.auto,
    draws: Annotated[int, typer.Option(help="Draws a chain.")] = 500,
    chains: Annotated[int, typer.Option(help="Chains a star.")] = 2,
    warmup: Annotated[int, typer.Option(help="Steps of adaptation before a chain's draws.")] = 200,
    prior: Annotated[
        PriorKind, typer.Option(help="Uniform in the training range, or the training stars' own density.")
    ] = PriorKind.uniform,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
    table: Annotated[
        Path | None, typer.Option(metavar="LABELS.fits", help="Also write means, errors, quantiles as a table.")
    ] = None,
    memory: Annotated[float, typer.Option(help="GiB that a batch may take.")] = 1.0,
) -> None:
    """Posterior draws of the labels of every selected spectrum.

    A run that was stopped goes on where it was: repeat the command.

    Example: `slamjax sample giants.h5 new.fits -o posterior.nc --select "apogee_snr > 80" --table labels.fits`
    """
    from slamjax.files import check_writable, existing_file

    for name, path in (("--output", output), ("--table", table)):
        if path is not None:
            check_writable(path)
            for given in (existing_file(model), existing_file(spectra)):
                if path.exists() and path.samefile(given):
                    raise SlamError(f"{name} {path} is also an input; choose another name")
    if table is not None and table.resolve() == output.resolve():
        raise SlamError(f"--table {table} is also the output; choose another name")
    slam = slamjax.load(model)
    stars = read_selected(spectra, select)
    with progress_bar("sampling stars") as told:
        posterior = slamjax.sample(
            slam,
            stars,
            prior=prior.value,
            sampler=sampler.value,
            draws=draws,
            warmup=warmup,
            chains=chains,
            seed=seed,
            memory=memory,
            progress=told,
            parts=output.parent / f".{output.name}.parts",
        )
    posterior.save(output)
    console.print(flag_summary(posterior.flags), markup=False)
    console.print(str(posterior.attrs["likelihood"]), markup=False)
    console.print(f"written: {output}", markup=False)
    if table is not None:
        slamjax.write_labels(posterior.table(), table)
        console.print(f"written: {table}", markup=False)
