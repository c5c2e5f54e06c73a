"""Commands that show models and results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import slamjax
from slamjax.cli.console import console, progress_bar, read_selected
from slamjax.cli.options import Figure, ModelFile, Select
from slamjax.errors import SlamError


def info(
    model: ModelFile,
    pixels: Annotated[bool, typer.Option("--pixels", help="Also the hyper-parameters of every pixel.")] = False,
    recipe: Annotated[bool, typer.Option("--recipe", help="Only the preparation, as TOML for train --recipe.")] = False,
) -> None:
    """What a model is, from what it was made, with which settings.

    Example: `slamjax info giants.h5 --pixels`
    """
    slam = slamjax.Model.read(model)
    if recipe:
        console.print(slam.recipe.to_toml(), markup=False, end="")
        return
    console.print(slamjax.describe(slam), markup=False)
    if pixels:
        console.print("\n".join(slam.info.pixels.pformat(max_lines=-1, max_width=-1)), markup=False)


def plot(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL.h5", help="Model file; for corner and trace a POSTERIOR.nc of `slamjax sample`."),
    ],
    spectra: Annotated[Path | None, typer.Argument(metavar="[SPECTRA.fits]", help="Spectra to fit and show.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="PLOT.png", help="Any matplotlib format.")] = Path(
        "slamjax.png"
    ),
    what: Annotated[
        Figure | None, typer.Option(help="Default: spectra if a file is given, else training (CV scores).")
    ] = None,
    select: Select = None,
    count: Annotated[int, typer.Option(min=1, help="Spectra to show.")] = 3,
    row: Annotated[int | None, typer.Option(help="Star of a corner or trace plot, by its row of the input.")] = None,
    include_training: Annotated[bool, typer.Option("--include-training", help="Keep the training stars.")] = False,
) -> None:
    """Predicted against observed spectra; label against label; PIT and coverage of errors; CV scores; posteriors.

    Example: `slamjax plot giants.h5 giants.fits --what labels -o labels.png`
    """
    slamjax.plots.check_figure_path(output)
    if what in (Figure.corner, Figure.trace):
        posterior = slamjax.Posterior.read(model)
        draw = slamjax.plots.plot_corner if what is Figure.corner else slamjax.plots.plot_trace
        slamjax.plots.write_figure(draw(posterior, row=row), output)
        console.print(f"written: {output}", markup=False)
        return
    slam = slamjax.Model.read(model)
    kind = what or (Figure.training if spectra is None else Figure.spectra)
    if kind is Figure.training:
        figure = slamjax.plots.plot_training(slam)
    else:
        if spectra is None:
            raise SlamError(f"--what {kind.value} needs spectra; name a file after the model")
        stars = read_selected(spectra, select)
        if kind in (Figure.labels, Figure.errors):
            result = slamjax.validate(slam, stars, include_training=include_training)
            if kind is Figure.labels:
                figure = slamjax.plots.plot_labels(result.labels, slam.label_names)
            else:
                figure = slamjax.plots.plot_calibration(result.comparison)
        else:
            if len(stars) > count:
                step = len(stars) / count
                stars = stars[[int(step * (k + 0.5)) for k in range(count)]]
            figure = slamjax.plots.plot_spectra(slam, stars, slamjax.fit(slam, stars), count=count)
    slamjax.plots.write_figure(figure, output)
    console.print(f"written: {output}", markup=False)


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder to write to.")] = Path(
        "demo_output"
    ),
    n_train: Annotated[int, typer.Option(help="Training stars, at most 1000.")] = 1000,
) -> None:
    """All of it on the embedded sample: train on real giants, label others, compare, draw.

    Example: `slamjax demo -o demo_output`
    """
    slamjax.cli.demo.run(output, n_train=n_train, say=lambda text: console.print(text, markup=False), bar=progress_bar)
