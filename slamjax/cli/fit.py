"""``slamjax fit``: labels of every spectrum."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import slamjax
from slamjax.cli.console import flag_summary, progress_bar, say, say_written
from slamjax.cli.files import check_output, is_table, kept_parts
from slamjax.cli.groups import Offered, default, offer, option_groups
from slamjax.cli.options import (
    FitPriors,
    Jobs,
    Memory,
    Metadata,
    ModelFile,
    NuisanceOptions,
    Select,
    SpectraFiles,
    Starts,
    Survey,
    priors,
)
from slamjax.errors import SlamError
from slamjax.fitting import OptimiserSpec

offer(
    OptimiserSpec,
    "Optimiser",
    {
        "method": Offered("Levenberg-Marquardt, or a gradient method."),
        "max_iter": Offered("Maximum iterations per start; default: by method."),
        "loss": Offered("What is minimised; a robust loss needs a gradient method."),
    },
)


@option_groups
def fit(
    *,
    model: ModelFile,
    spectra: SpectraFiles,
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="LABELS.fits",
            help="Label table to write; .ecsv and .csv give text, else FITS.",
        ),
    ],
    select: Select = None,
    survey: Survey = None,
    n_starts: Starts = default(slamjax.Fitter, "n_starts"),
    prior: FitPriors = None,
    posterior_mean: Annotated[
        bool, typer.Option("--posterior-mean", help="Add the posterior's means: columns LABEL_mean and LABEL_std.")
    ] = False,
    no_compress: Annotated[
        bool, typer.Option("--no-compress", help="Use the emulator as trained, even where a smaller one would do.")
    ] = False,
    memory: Memory = default(slamjax.Fitter, "memory"),
    n_jobs: Jobs = -1,
    optimiser: OptimiserSpec,
    nuisances: NuisanceOptions,
    metadata: Metadata,
) -> None:
    """Survey files need no further option: they are shifted to rest by their measured velocity, resampled to the
    model's wavelengths and prepared as the training stars were. The table has one row per spectrum, in the order given.
    A stopped run is continued by the same command.

    Example: `slamjax fit giants.h5 new.fits -o labels.fits --select "apogee_snr > 80"`

    Example: `slamjax fit miles.h5 "spectra/spec-*.fits" -o labels.fits`
    """
    check_output(output, [model, *spectra])
    given = nuisances.nuisances()
    fitter = slamjax.Fitter(
        slamjax.Model.read(model),
        optimiser=optimiser,
        n_starts=n_starts,
        prior=priors(prior),
        posterior_mean=posterior_mean,
        nuisances=given,
        compress=not no_compress,
        memory=memory,
    )
    options: dict[str, Any] = {"select": select or "", "fwhm": metadata.fwhm}
    with kept_parts(output) as options["checkpoint"]:
        with progress_bar("fitting stars") as options["on_progress"]:
            if is_table(spectra):
                table = slamjax.fit_table(fitter, spectra[0], medium=metadata.medium, frame=metadata.frame, **options)
            elif metadata.medium or metadata.frame:
                raise SlamError("--medium and --frame are for slamjax tables; survey files state both")
            else:
                table = slamjax.fit_files(fitter, spectra, survey=survey, n_jobs=n_jobs, **options)
        slamjax.write_labels(table, output)
    say(flag_summary(table["flags"]))
    say_written(output)
