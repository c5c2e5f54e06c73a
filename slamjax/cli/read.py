"""``slamjax read``: survey files to one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import slamjax
from slamjax.cli.console import progress_bar, say, say_written
from slamjax.cli.files import check_output, has_coefficients
from slamjax.cli.options import Jobs, Survey, expanded
from slamjax.errors import SlamError


def read(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES...", help="Survey files, or quoted patterns.", callback=expanded)
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="SPECTRA.fits", help="Table to write.")],
    survey: Survey = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="CATALOG", help="Catalogue (CSV, ECSV, FITS) whose columns are joined to the spectra."),
    ] = None,
    on: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help="Column by which --labels is matched; CATALOGCOLUMN=HEADERCOLUMN if the names differ.",
        ),
    ] = "file",
    n_jobs: Jobs = -1,
) -> None:
    """Reads LAMOST low and medium resolution, SDSS and BOSS spec, APOGEE apStar, aspcapStar and apVisit, SDSS-V mwmStar
    and mwmVisit, DESI coadds and Gaia XP as written by GaiaXPy. Rows keep the order of the files; a file with several
    spectra gives several rows. Files of XP coefficients go to other commands as they are.

    Example: `slamjax read 'lamost/*.fits' -o spectra.fits --labels catalog.csv --on obsid`

    Example: `slamjax read 'sdss/*.fits' -o spectra.fits --labels catalog.fits --on star=id`
    """
    check_output(output)
    if files and has_coefficients(files[0]):
        raise SlamError(
            f"{files[0]} has XP coefficients, whose covariances a table of slamjax does not hold; give such files to "
            "slamjax train, fit and sample as they are"
        )
    with progress_bar("reading files") as on_progress:
        spectra = slamjax.read(
            [str(path) for path in files], survey, labels=labels, on=on, n_jobs=n_jobs, on_progress=on_progress
        )
    slamjax.write_table(spectra, output)
    say(repr(spectra))
    say_written(output)
