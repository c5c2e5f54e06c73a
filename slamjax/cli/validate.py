"""Commands that say how good labels and errors are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import slamjax
from slamjax.cli.console import console, numbers, progress_bar, read_selected
from slamjax.cli.options import ModelFile, PriorKind, Sampler, Select, SpectraFiles, Starts


def validate(
    model: ModelFile,
    spectra: SpectraFiles,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="REPORT", help=".ecsv, .csv, .fits, .html, .tex; else Markdown."),
    ] = None,
    select: Select = None,
    by: Annotated[str, typer.Option(help="snr (of the spectra, a pixel) or a column of the table.")] = "snr",
    bins: Annotated[str | None, typer.Option(help="Edges, e.g. 20,60,100,200,300; default: quartiles.")] = None,
    include_training: Annotated[bool, typer.Option("--include-training", help="Keep the training stars.")] = False,
    good_only: Annotated[bool, typer.Option("--good-only", help="Count only stars without flags.")] = False,
    reference_errors: Annotated[
        bool,
        typer.Option(
            "--reference-errors",
            help="Add <label>_err to the errors: for known labels less precise than the training stars'.",
        ),
    ] = False,
    n_starts: Starts = 3,
) -> None:
    """Fit stars with known labels that did not train the model; differences by bin, and how honest the errors are.

    Example: `slamjax validate giants.h5 giants.fits -o report.md --by apogee_snr --bins 20,60,100,200,300`
    """
    from slamjax._util.files import check_writable

    if output is not None:
        check_writable(output)
    edges = None
    if bins is not None:
        given = numbers(bins, "--bins")
        edges = given if isinstance(given, list) else [given]
    slam = slamjax.Model.read(model)
    stars = read_selected(spectra, select)
    with progress_bar("fitting stars") as told:
        result = slamjax.validate(
            slam,
            stars,
            by=by,
            bins=edges,
            include_training=include_training,
            good_only=good_only,
            reference_errors=reference_errors,
            n_starts=n_starts,
            on_progress=told,
        )
    note = "" if include_training else f"; {result.n_excluded} training stars left out"
    console.print(f"fit - known, {len(result.labels)} stars{note}\n{result}", markup=False)
    if output is not None:
        result.write(output)
        console.print(f"written: {output}", markup=False)


def calibrate(
    model: ModelFile,
    spectra: SpectraFiles,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="PLOT.png", help="Figure of ranks and regions.")
    ] = None,
    select: Select = None,
    n_stars: Annotated[int, typer.Option(min=20, help="Stars to simulate.")] = 500,
    draws: Annotated[int, typer.Option(min=20, help="Draws from each posterior.")] = 500,
    sampler: Annotated[Sampler, typer.Option(help="How posteriors are sampled.")] = Sampler.auto,
    prior: Annotated[
        PriorKind, typer.Option(help="Labels anywhere among the training stars, or as dense as they are.")
    ] = PriorKind.uniform,
    seed: Annotated[int, typer.Option(help="Of labels, errors, noise and sampler.")] = 0,
) -> None:
    """Simulate stars with the errors of real ones, sample their posteriors, and test these by ranks and regions (SBC,
    TARP).

    Example: `slamjax calibrate giants.h5 giants.fits --n-stars 500 --seed 0 -o calibration.png`
    """
    if output is not None:
        slamjax.plots.check_figure_path(output)
    slam = slamjax.Model.read(model)
    ivar = slam.prepare(read_selected(spectra, select)).ivar
    with progress_bar("sampling posteriors") as told:
        result = slamjax.validation.sbc(
            slam,
            ivar,
            n_stars=n_stars,
            prior=prior.value,
            sampler=slamjax.SamplerSpec(method=sampler.value, draws=draws),
            seed=seed,
            on_progress=told,
        )
    console.print(str(result), markup=False)
    if output is not None:
        slamjax.plots.write_figure(slamjax.plots.plot_simulated(result), output)
        console.print(f"written: {output}", markup=False)
