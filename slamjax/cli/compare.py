"""``slamjax compare``: SLAM and The Cannon on the same stars."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import slamjax
from slamjax.cli.console import progress_bar, say
from slamjax.cli.files import make_folder, read_spectra
from slamjax.cli.groups import Flags, Given, default, option_groups
from slamjax.cli.options import Bins, By, Preparation, Select, SpectraFiles, Starts, TestFiles, bin_edges, words
from slamjax.cli.training_options import SEED, Labels, LogLabels
from slamjax.errors import SlamError
from slamjax.training import SVR, DataSpec, NoiseSpec, Polynomial, SearchSpec, TrainingSpec

if TYPE_CHECKING:
    from slamjax.validation.emulator_comparison import EmulatorComparison

_FIGURE = "Figure of single pixels"


@option_groups
def compare(
    *,
    spectra: SpectraFiles,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder to write to.")],
    labels: Labels,
    log_labels: LogLabels = "",
    select: Select = None,
    test: TestFiles = None,
    folds: Annotated[
        int, typer.Option(min=2, help="Parts of the stars, each tested with models of the others.")
    ] = default(slamjax.compare, "test"),
    by: By = default(slamjax.compare, "by"),
    bins: Bins = None,
    n_starts: Starts = default(slamjax.compare, "n_starts"),
    degree: Annotated[int, typer.Option(help="Degree of the polynomial; 2 is The Cannon's quadratic.")] = default(
        Polynomial, "degree"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the draw of stars, the folds and a random search.")] = SEED,
    preparation: Preparation,
    svr: SVR,
    polynomial: Given[Polynomial],
    search: Annotated[SearchSpec, Flags({"folds": "search-folds"})],
    noise: NoiseSpec,
    data: DataSpec,
    pixel: Annotated[
        list[float] | None,
        typer.Option(
            help="Wavelength in the file's unit; repeat for more. Default: Mg b and Hα.", rich_help_panel=_FIGURE
        ),
    ] = None,
    along: Annotated[
        str | None, typer.Option(help="Label on the abscissa; default: teff, or the first.", rich_help_panel=_FIGURE)
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL:VALUE[:WIDTH]", help="Label to hold fixed; repeat for more.", rich_help_panel=_FIGURE
        ),
    ] = None,
) -> None:
    """Trains a support vector regression and a polynomial per pixel on the same stars. Both are judged by the flux and
    the labels of stars that they have not seen.

    Writes report.md, tables (flux_error.ecsv, label_scatter.ecsv, labels_*.fits), figures (flux_error.png,
    label_scatter.png, pixels.png) and both models of all stars (slam.h5, polynomial.h5).

    Example: `slamjax compare giants.fits --labels teff,logg,fe_h -o compared --continuum gaussian:50nm --C 10`
    """
    slamjax.plots.check_figure_path(Path("pixels.png"))
    fixed, edges, names = dict(_fixed(text) for text in at or []), bin_edges(bins), words(labels)
    stars = read_spectra(spectra, select)
    others = read_spectra(test, select) if test else None
    recipe = preparation.recipe_for(stars)
    training = TrainingSpec(
        recipe=recipe,
        search=search,
        noise=noise,
        log_labels=words(log_labels),
        data=data,
        seed=seed,
    )
    slamjax.plots.check_pixels(stars, names, recipe, pixels=pixel, along=along, fixed=fixed)
    make_folder(output, "report.md")
    with progress_bar("training both") as on_progress:
        comparison = slamjax.compare(
            stars,
            names,
            svr=svr,
            polynomial=polynomial.make(degree=degree),
            training=training,
            test=folds if others is None else others,
            by=by,
            bins=edges,
            n_starts=n_starts,
            on_progress=on_progress,
        )
    say(comparison)
    _write(comparison, output, partial(slamjax.plots.plot_pixels, pixels=pixel, along=along, fixed=fixed))


def _write(comparison: EmulatorComparison, folder: Path, plot_pixels: partial[Any]) -> None:
    """Tables, models and figures."""
    written = comparison.write(folder)
    for name, model in comparison.models.items():
        model.write(folder / f"{name.lower()}.h5")
        written.append(folder / f"{name.lower()}.h5")
    for name, draw in (
        ("flux_error.png", slamjax.plots.plot_flux_errors),
        ("label_scatter.png", slamjax.plots.plot_label_scatter),
        ("pixels.png", plot_pixels),
    ):
        slamjax.plots.write_figure(draw(comparison), folder / name)
        written.append(folder / name)
    say(f"written to {folder}: {', '.join(sorted(path.name for path in written))}")


def _fixed(text: str) -> tuple[str, tuple[float, ...]]:
    """A label, its value and perhaps a half-width, from ``logg:4.3:0.2``."""
    name, _, values = text.partition(":")
    try:
        fixed = tuple(float(part) for part in values.split(":"))
    except ValueError:
        fixed = ()
    if len(fixed) not in (1, 2) or not name:
        raise SlamError(f"--at is {text!r}; give a label, its value and perhaps a half-width, as in logg:4.3:0.2")
    return name, fixed
