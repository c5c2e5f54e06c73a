"""Commands that put labels on stars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import slamjax
from slamjax.cli.console import console, flag_summary, is_table, progress_bar, read_selected
from slamjax.cli.options import (
    FrameOf,
    FwhmOf,
    MediumOf,
    Method,
    ModelFile,
    Polynomial,
    PriorKind,
    Sampler,
    Select,
    SpectraFiles,
    Starts,
    Velocity,
    velocity,
)
from slamjax.errors import SlamError


def fit(
    model: ModelFile,
    spectra: SpectraFiles,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="LABELS.fits", help="Label table to write.")],
    select: Select = None,
    method: Annotated[Method, typer.Option(help="Levenberg-Marquardt, or a gradient method.")] = Method.lm,
    n_starts: Starts = 3,
    rv: Velocity = None,
    sigma_v: Velocity = None,
    vsini: Velocity = None,
    polynomial: Polynomial = None,
    exact: Annotated[bool, typer.Option("--exact", help="Do not compress a large emulator first.")] = False,
    memory: Annotated[float, typer.Option(help="GiB that a batch may take.")] = 1.0,
    survey: Annotated[str | None, typer.Option(help="What survey files are, where they do not say so.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes that read survey files; -1 is one a core.")] = -1,
    medium: MediumOf = None,
    frame: FrameOf = None,
    fwhm: FwhmOf = None,
) -> None:
    """Labels, errors and flags of every selected spectrum, into HDU LABELS.

    Survey files need no further option: they are brought to rest by a velocity that is measured, to the model's
    wavelengths and through its preparation. The table has a row a spectrum, in the order given.

    Example: `slamjax fit giants.h5 new.fits -o labels.fits --select "apogee_snr > 80"`,
    or `slamjax fit miles.h5 spec-*.fits -o labels.fits`
    """
    from slamjax._util.files import check_writable

    check_writable(output)
    _check_inputs(output, "--output", [model, *spectra])
    nuisances = _nuisances(rv, sigma_v, vsini, polynomial)
    slam = slamjax.Model.read(model)
    options: dict[str, Any] = {
        "select": select or "",
        "method": method.value,
        "n_starts": n_starts,
        "nuisances": nuisances,
        "exact": exact,
        "memory": memory,
    }
    with progress_bar("fitting stars") as told:
        if is_table(spectra):
            table = slamjax.fit_table(
                slam, spectra[0], medium=medium, frame=frame, fwhm=fwhm, on_progress=told, **options
            )
        elif medium or frame:
            raise SlamError("--medium and --frame are of slamjax tables; survey files say what they are")
        else:
            table = slamjax.fit_files(slam, spectra, survey=survey, fwhm=fwhm, n_jobs=jobs, on_progress=told, **options)
    slamjax.write_labels(table, output)
    console.print(flag_summary(table["flags"]), markup=False)
    console.print(f"written: {output}", markup=False)


def sample(
    model: ModelFile,
    spectra: SpectraFiles,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="POSTERIOR.nc", help="NetCDF file to write.")],
    select: Select = None,
    sampler: Annotated[
        Sampler, typer.Option(help="Importance-resampled draws with NUTS where they do not hold (auto), NUTS, HMC.")
    ] = Sampler.auto,
    draws: Annotated[int, typer.Option(help="Draws a chain.")] = 500,
    chains: Annotated[int, typer.Option(help="Chains a star.")] = 2,
    warmup: Annotated[int, typer.Option(help="Steps of adaptation before a chain's draws.")] = 200,
    prior: Annotated[
        PriorKind, typer.Option(help="Uniform where training stars are, with soft edges, or their own density.")
    ] = PriorKind.uniform,
    rv: Velocity = None,
    sigma_v: Velocity = None,
    vsini: Velocity = None,
    polynomial: Polynomial = None,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
    table: Annotated[
        Path | None, typer.Option(metavar="LABELS.fits", help="Also write means, errors, quantiles as a table.")
    ] = None,
    memory: Annotated[float, typer.Option(help="GiB that a batch may take.")] = 1.0,
    medium: MediumOf = None,
    frame: FrameOf = None,
    fwhm: FwhmOf = None,
) -> None:
    """Posterior draws of the labels of every selected spectrum.

    A run that was stopped goes on where it was: repeat the command.

    Example: `slamjax sample giants.h5 new.fits -o posterior.nc --select "apogee_snr > 80" --table labels.fits`
    """
    from slamjax._util.files import check_writable
    from slamjax.sampling import SamplerSpec

    for name, path in (("--output", output), ("--table", table)):
        if path is not None:
            check_writable(path)
            _check_inputs(path, name, [model, *spectra])
    if table is not None and table.resolve() == output.resolve():
        raise SlamError(f"--table {table} is also the output; choose another name")
    nuisances = _nuisances(rv, sigma_v, vsini, polynomial)
    slam = slamjax.Model.read(model)
    stars = read_selected(spectra, select, medium, frame, fwhm)
    with progress_bar("sampling stars") as told:
        posterior = slamjax.sample(
            slam,
            stars,
            prior=prior.value,
            nuisances=nuisances,
            sampler=SamplerSpec(sampler.value, draws, warmup, chains),
            seed=seed,
            memory=memory,
            on_progress=told,
            checkpoint=output.parent / f".{output.name}.parts",
        )
    posterior.write(output)
    console.print(flag_summary(posterior.flags), markup=False)
    console.print(str(posterior.attrs["likelihood"]), markup=False)
    console.print(f"written: {output}", markup=False)
    if table is not None:
        slamjax.write_labels(posterior.table(), table)
        console.print(f"written: {table}", markup=False)


def _nuisances(rv: str | None, sigma_v: str | None, vsini: str | None, polynomial: int | None) -> slamjax.Nuisances:
    return slamjax.Nuisances(
        rv=velocity("--rv", rv),
        sigma_v=velocity("--sigma_v", sigma_v),
        vsini=velocity("--vsini", vsini),
        polynomial=polynomial,
    )


def _check_inputs(output: Path, name: str, given: list[Path]) -> None:
    """Inputs are there, and none of them would be overwritten."""
    from slamjax._util.files import existing_file

    for path in given:
        if output.exists() and output.samefile(existing_file(path)):
            raise SlamError(f"{name} {output} is also an input; choose another name")
