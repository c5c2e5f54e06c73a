"""``slamjax explore``: a page to explore a model, its stars and their fits in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import slamjax
from slamjax.cli.console import say_written
from slamjax.cli.files import check_output, read_spectra
from slamjax.cli.options import ModelFile, Select, expanded


def explore(
    model: ModelFile,
    spectra: Annotated[
        Path | None,
        typer.Argument(
            metavar="SPECTRA", help="A slamjax table of spectra, a survey file, or a quoted pattern of such files."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Argument(metavar="LABELS", help="Table that `slamjax fit` made of them; default: they are fitted now."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="PAGE.html", help="Page to write; it needs no server.")
    ] = Path("explore.html"),
    select: Select = None,
    training: Annotated[
        Path | None,
        typer.Option(
            metavar="SPECTRA.fits",
            help="The training stars, for the view of single pixels; default: those that are among SPECTRA.",
        ),
    ] = None,
    posterior: Annotated[
        Path | None, typer.Option(metavar="POSTERIOR.nc", help="Draws of `slamjax sample` for the corners.")
    ] = None,
) -> None:
    """Writes one HTML file that needs no server and no network. Sliders move the prediction; stars are shown with their
    fits.

    Example: `slamjax explore giants.h5 giants.fits labels.fits -o explore.html`
    """
    files = [] if spectra is None else expanded([spectra])
    given = [path for path in (labels, training, posterior) if path is not None]
    check_output(output, [model, *files, *given])
    stars = read_spectra(files, select) if files else None
    page = slamjax.explore(
        slamjax.Model.read(model),
        stars,
        None if labels is None else slamjax.read_labels(labels),
        training=None if training is None else read_spectra(expanded([training])),
        posterior=None if posterior is None else slamjax.Posterior.read(posterior),
        files={name: str(path) for name, path in (("model", model), ("spectra", spectra), ("labels", labels)) if path},
    )
    page.write(output)
    say_written(output)
