"""``slamjax fit``: labels of every spectrum."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import slamjax
from slamjax.cli.clusters import Cluster
from slamjax.cli.console import say_written
from slamjax.cli.files import check_output
from slamjax.cli.groups import Offered, default, offer, option_groups
from slamjax.cli.nuisance_options import NuisanceOptions
from slamjax.cli.options import (
    FitPriors,
    Jobs,
    Memory,
    Metadata,
    ModelFile,
    Select,
    SpectraFiles,
    Starts,
    Survey,
    priors,
)
from slamjax.cli.surveys import LOOKED_FOR, PieceSize, Shard, check_survey_output, reading_of, run_survey
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
            help="Label table to write: FITS; .ecsv and .csv give text; .parquet, or a name without an ending, a "
            "folder of Parquet files.",
        ),
    ],
    spectra_out: Annotated[
        Path | None,
        typer.Option(metavar="SPECTRA.fits", help="Also write the best-fit spectrum of every star, as FITS."),
    ] = None,
    select: Select = None,
    survey: Survey = None,
    n_starts: Starts = default(slamjax.Fitter, "n_starts"),
    prior: FitPriors = None,
    posterior_mean: Annotated[
        bool, typer.Option("--posterior-mean", help="Add the posterior's means: columns LABEL_mean and LABEL_std.")
    ] = False,
    learnt_mean: Annotated[
        bool,
        typer.Option("--learnt-mean", help="Add means learnt from the training stars, in the same columns."),
    ] = False,
    no_compress: Annotated[
        bool, typer.Option("--no-compress", help="Use the emulator as trained, even where a smaller one would do.")
    ] = False,
    memory: Memory = default(slamjax.Fitter, "memory"),
    n_jobs: Jobs = -1,
    piece_size: PieceSize = None,
    shard: Shard = None,
    optimiser: OptimiserSpec,
    cluster: Cluster,
    nuisances: NuisanceOptions,
    metadata: Metadata,
) -> None:
    """Survey files need no further option: they are shifted to rest by their measured velocity, resampled to the
    model's wavelengths and prepared as the training stars were. The table has one row per spectrum, in the order given.
    Finished parts are kept beside the output as the run goes; a stopped run is continued by the same command.

    Example: `slamjax fit giants.h5 new.fits -o labels.fits --select "apogee_snr > 80"`

    Example: `slamjax fit miles.h5 "spectra/spec-*.fits" -o labels.fits`
    """
    check_survey_output(output, model, spectra)
    if spectra_out is not None:
        check_output(spectra_out, [model, *spectra[:LOOKED_FOR]], "--spectra-out")
    reading = reading_of(spectra, select, survey, metadata, n_jobs)
    if posterior_mean and learnt_mean:
        raise SlamError("--posterior-mean and --learnt-mean make the same columns; give one of them")
    given = nuisances.nuisances()
    fitter = slamjax.Fitter(
        slamjax.Model.read(model),
        optimiser=optimiser,
        n_starts=n_starts,
        prior=priors(prior),
        posterior_mean="learnt" if learnt_mean else posterior_mean,
        nuisances=given,
        compress=not no_compress,
        memory=memory,
    )
    how: dict[str, Any] = {"reading": reading, "piece_size": piece_size, "cluster": cluster, "shard": shard}
    run_survey(slamjax.fit_survey, fitter, spectra, output, doing="fitting", spectra_out=spectra_out, **how)
    if spectra_out is not None:
        say_written(spectra_out)
