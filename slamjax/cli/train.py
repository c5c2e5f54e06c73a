"""``slamjax train``: a model from stars with known labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import slamjax
from slamjax.cli.clusters import Cluster
from slamjax.cli.console import progress_bar, say, say_written
from slamjax.cli.files import check_output, read_spectra
from slamjax.cli.groups import Given, option_groups
from slamjax.cli.options import Metadata, Preparation, Select, SpectraFiles, words
from slamjax.cli.training_options import DEGREES, SEED, Labels, LogLabels
from slamjax.training import SVR, DataSpec, NoiseSpec, Polynomial, SearchSpec


@option_groups
def train(
    *,
    spectra: SpectraFiles,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="MODEL.h5", help="Model file to write.")],
    labels: Labels,
    log_labels: LogLabels = "",
    select: Select = None,
    emulator: Annotated[
        Literal["svr", "polynomial"],
        typer.Option(help="SLAM's support vector regression, or The Cannon's polynomial in the labels."),
    ] = "svr",
    degree: Annotated[int | None, typer.Option(help=f"Polynomial degree; {DEGREES}.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw of stars, the folds and a random search.")] = SEED,
    preparation: Preparation,
    svr: Given[SVR],
    polynomial: Given[Polynomial],
    search: SearchSpec,
    noise: NoiseSpec,
    data: DataSpec,
    cluster: Cluster,
    metadata: Metadata,
) -> None:
    """The model holds one support vector regression, or one polynomial, per pixel, and the noise estimated from
    held-out stars. Labels that a star lacks are inferred from its spectrum.

    Example: `slamjax train giants.fits -o giants.h5 --labels teff,logg,fe_h --select "logg < 3.6" --continuum
    gaussian:50nm --C 1,10`
    """
    if emulator == "svr":
        polynomial.refuse("the polynomial", "give --emulator polynomial")
    else:
        svr.refuse("the SVR", "give --emulator svr")
    check_output(output, spectra)
    learner = (svr if emulator == "svr" else polynomial).make(**({} if degree is None else {"degree": degree}))
    stars = read_spectra(spectra, select, metadata)
    recipe = preparation.recipe_for(stars)
    with cluster.client(output) as client, progress_bar("training pixels") as on_progress:
        model = slamjax.train(
            stars,
            words(labels),
            emulator=learner,
            recipe=recipe,
            search=search,
            noise=noise,
            log_labels=words(log_labels),
            data=data,
            seed=seed,
            client=client,
            on_progress=on_progress,
        )
    model.write(output)
    say(slamjax.describe(model))
    say_written(output)
