"""``slamjax calibrate``: posteriors of simulated stars against their true labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import slamjax
from slamjax.cli import sampling_options as sampling_options
from slamjax.cli.console import progress_bar, say, say_written
from slamjax.cli.files import read_spectra
from slamjax.cli.groups import default, option_groups
from slamjax.cli.options import ModelFile, PriorName, Select, SpectraFiles
from slamjax.sampling import SamplerSpec
from slamjax.validation import sbc


@option_groups
def calibrate(
    *,
    model: ModelFile,
    spectra: SpectraFiles,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="PLOT.png", help="Figure of ranks and coverage to write.")
    ] = None,
    select: Select = None,
    n_stars: Annotated[int, typer.Option(min=20, help="Stars to simulate.")] = default(sbc, "n_stars"),
    prior: PriorName = "uniform",
    seed: Annotated[int, typer.Option(help="Seed of labels, errors, noise and sampler.")] = default(sbc, "seed"),
    sampler: SamplerSpec,
) -> None:
    """Draws labels from the prior, simulates spectra with the errors of the given ones, samples their posteriors, and
    tests whether these cover the true labels as often as they claim: ranks (SBC) and coverage of regions (TARP).

    Example: `slamjax calibrate giants.h5 giants.fits --n-stars 500 --seed 0 -o calibration.png`
    """
    if output is not None:
        slamjax.plots.check_figure_path(output)
    slam = slamjax.Model.read(model)
    ivar = slam.prepare(read_spectra(spectra, select)).ivar
    with progress_bar("sampling posteriors") as on_progress:
        result = slamjax.validation.sbc(
            slam, ivar, n_stars=n_stars, prior=prior, sampler=sampler, seed=seed, on_progress=on_progress
        )
    say(result)
    if output is not None:
        slamjax.plots.write_figure(slamjax.plots.plot_simulated(result), output)
        say_written(output)
