"""``slamjax plot``: figures of models, fits and posteriors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

import slamjax
from slamjax.cli.console import say_written
from slamjax.cli.files import read_spectra
from slamjax.cli.options import IncludeTraining, OptionalSpectraFiles, Select
from slamjax.errors import SlamError

Kind: TypeAlias = Literal["spectra", "labels", "errors", "training", "metric", "corner", "trace"]


def plot(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL.h5", help="Model; for corner and trace the POSTERIOR.nc of `slamjax sample`."),
    ],
    spectra: OptionalSpectraFiles = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="PLOT.png", help="Figure to write, in any format of matplotlib.")
    ] = Path("slamjax.png"),
    what: Annotated[
        Kind | None,
        typer.Option(metavar="KIND", help="As listed above; default: spectra if a file is given, else training."),
    ] = None,
    select: Select = None,
    count: Annotated[int, typer.Option(min=1, max=40, help="Spectra to draw.")] = 3,
    row: Annotated[
        int | None, typer.Option(help="Star of a corner or trace plot, by its row in the input; default: the first.")
    ] = None,
    include_training: IncludeTraining = False,
) -> None:
    """- spectra: observed spectra, the prediction at their fitted labels, and residuals
    - labels: fitted against known labels
    - errors: whether errors are calibrated (PIT and coverage)
    - training: cross-validated error of every pixel
    - metric: which labels bend the spectrum
    - corner, trace: the posterior of one star

    Example: `slamjax plot giants.h5 giants.fits --what labels -o labels.png`
    """
    slamjax.plots.check_figure_path(output)
    kind = what or ("spectra" if spectra else "training")
    if kind in ("corner", "trace"):
        posterior = slamjax.Posterior.read(model)
        draw = slamjax.plots.plot_corner if kind == "corner" else slamjax.plots.plot_trace
        figure = draw(posterior, row=row)
    elif kind in ("training", "metric"):
        draw_model = slamjax.plots.plot_training if kind == "training" else slamjax.plots.plot_metric
        figure = draw_model(slamjax.Model.read(model))
    elif not spectra:
        raise SlamError(f"--what {kind} needs spectra; name a file after the model")
    elif kind == "spectra":
        figure = _plot_spectra(model, spectra, select, count)
    else:
        result = slamjax.validate(
            slamjax.Model.read(model), read_spectra(spectra, select), include_training=include_training
        )
        if kind == "labels":
            figure = slamjax.plots.plot_labels(result.labels, result.comparison.names)
        else:
            figure = slamjax.plots.plot_calibration(result.comparison)
    slamjax.plots.write_figure(figure, output)
    say_written(output)


def _plot_spectra(model: Path, spectra: list[Path], select: str | None, count: int) -> Any:
    """A figure of some of the stars, evenly spaced in the file."""
    slam = slamjax.Model.read(model)
    stars = read_spectra(spectra, select)
    if len(stars) > count:
        step = len(stars) / count
        stars = stars[[int(step * (k + 0.5)) for k in range(count)]]
    return slamjax.plots.plot_spectra(slam, stars, slamjax.fit(slam, stars), count=count)
