"""``slamjax report``: a page that says what a model and its fits are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import slamjax
from slamjax.cli.console import progress_bar, say_written
from slamjax.cli.files import check_output, read_spectra
from slamjax.cli.groups import default
from slamjax.cli.options import Bins, By, ModelFile, OptionalSpectraFiles, Select, bin_edges


def report(
    model: ModelFile,
    spectra: OptionalSpectraFiles = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="LABELS.fits", help="Table that `slamjax fit` made: the page is of these stars, too."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="PAGE.html", help="Page to write; it needs no server.")
    ] = Path("report.html"),
    select: Select = None,
    by: By = default(slamjax.report, "by"),
    bins: Bins = None,
) -> None:
    """Writes one HTML file that needs no server and no network: how the model was trained, whether errors of test stars
    explain their scatter, what is flagged and why, and the worst stars.

    SPECTRA are test stars with known labels, which are fitted now; with --labels they are the spectra of that table.

    Example: `slamjax report giants.h5 others.fits -o report.html`

    Example: `slamjax report giants.h5 --labels labels.fits new.fits -o report.html`
    """
    files = spectra or []
    check_output(output, [model, *files, *([] if labels is None else [labels])])
    edges = bin_edges(bins)
    slam = slamjax.Model.read(model)
    table = None if labels is None else slamjax.read_labels(labels)
    stars = read_spectra(files, select) if files else None
    name = " and ".join(path.name for path in (model, labels) if path is not None)
    if table is not None or stars is None:
        page = slamjax.report(slam, stars, table, by=by, bins=edges, name=name)
    else:
        with progress_bar("fitting stars") as on_progress:
            page = slamjax.report(slam, stars, by=by, bins=edges, name=name, on_progress=on_progress)
    page.write(output)
    say_written(output)
