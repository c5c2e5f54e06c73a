"""The command that sets SLAM beside The Cannon."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

import slamjax
from slamjax.cli.console import (
    console,
    label_windows,
    numbers,
    polynomial_of,
    progress_bar,
    read_selected,
    recipe_of,
    svr_of,
    words,
)
from slamjax.cli.options import (
    Continuum,
    FluxRange,
    LabelWindow,
    NoiseModel,
    PixelSnr,
    RecipeFile,
    Resolution,
    Scaling,
    SearchKind,
    Select,
    Solver,
    SpectraFile,
    Starts,
    WaveRange,
    WeightKind,
)
from slamjax.errors import SlamError


def compare(
    spectra: SpectraFile,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder to write to.")],
    labels: Annotated[str, typer.Option(help="Columns to learn from, e.g. teff,logg,fe_h,alpha_m.")],
    select: Select = None,
    test: Annotated[
        Path | None,
        typer.Option(metavar="SPECTRA.fits", help="Other stars to judge by; default: the same in turn, --folds times."),
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Times that a part of the stars is held out.")] = 5,
    n_train: Annotated[int | None, typer.Option(help="Draw that many of the selected stars by --seed.")] = None,
    seed: Annotated[int, typer.Option(help="Of the draw and the folds.")] = 0,
    wave_range: WaveRange = None,
    continuum: Continuum = "none",
    flux_range: FluxRange = None,
    min_pixel_snr: PixelSnr = None,
    recipe: RecipeFile = None,
    resolution: Resolution = None,
    C: Annotated[str, typer.Option("--C", help="SVR's C; a comma list is searched.")] = "1",
    epsilon: Annotated[str, typer.Option(help="SVR's ε in scaled flux; a comma list is searched.")] = "0.1",
    gamma: Annotated[str, typer.Option(help="Kernel's γ, scale or auto; a comma list is searched.")] = "scale",
    degree: Annotated[int, typer.Option(help="Of the polynomial: 2 is The Cannon's quadratic.")] = 2,
    ridge: Annotated[
        str | None, typer.Option(help="Penalty of the polynomial's coefficients; a comma list is searched.")
    ] = None,
    label_window: LabelWindow = None,
    search: Annotated[SearchKind, typer.Option(help="As in train.")] = SearchKind.grid,
    cv: Annotated[int, typer.Option(help="Cross-validation folds within training.")] = 5,
    weights: Annotated[WeightKind, typer.Option(help="A star's weight in a pixel.")] = WeightKind.ivar,
    noise: Annotated[NoiseModel, typer.Option(help="As in train, for both.")] = NoiseModel.auto,
    label_scaling: Annotated[Scaling, typer.Option(help="How labels are standardised.")] = Scaling.standard,
    flux_scaling: Annotated[Scaling, typer.Option(help="How flux is standardised.")] = Scaling.standard,
    log_labels: Annotated[str, typer.Option(help="Labels learnt in log10, e.g. teff.")] = "",
    solver: Annotated[Solver, typer.Option(help="As in train.")] = Solver.auto,
    n_jobs: Annotated[int, typer.Option(help="Workers; -1: all cores.")] = -1,
    n_starts: Starts = 3,
    by: Annotated[str, typer.Option(help="snr (of the spectra, a pixel) or a column of the table.")] = "snr",
    bins: Annotated[str | None, typer.Option(help="Edges, e.g. 20,60,100,200,300; default: quartiles.")] = None,
    pixel: Annotated[
        list[float] | None,
        typer.Option(help="Wavelength to draw, in the file's unit; may be given again. Default: Mg b and Hα."),
    ] = None,
    along: Annotated[str | None, typer.Option(help="Label to draw pixels against; default teff, or the first.")] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL:VALUE[:WIDTH]", help="Label held fixed in that drawing; may be given again."),
    ] = None,
) -> None:
    """Quadratic or not? Train SLAM and The Cannon's polynomial on the same stars, and judge both by stars held out.

    Writes report.md, tables (flux_error.ecsv, label_scatter.ecsv, labels_*.fits), figures (flux_error.png,
    label_scatter.png, pixels.png) and both models of all stars (slam.h5, polynomial.h5).

    Example: `slamjax compare giants.fits --labels teff,logg,fe_h -o compared --continuum gaussian:50nm --C 10`
    """
    from slamjax._util.files import check_writable

    slamjax.plots.check_figure_path(Path("pixels.png"))
    fixed = dict(_fixed(text) for text in at or [])
    edges = None
    if bins is not None:
        given = numbers(bins, "--bins")
        edges = given if isinstance(given, list) else [given]
    stars = read_selected(spectra, select)
    others = None if test is None else read_selected(test, select)
    prepared = recipe_of(stars, wave_range, continuum, flux_range, min_pixel_snr, resolution, recipe)
    names = words(labels)
    training = slamjax.TrainingSpec(
        recipe=prepared,
        search=slamjax.SearchSpec(search.value, folds=cv),
        noise=noise.value,
        log_labels=words(log_labels),
        data=slamjax.DataSpec(
            n_train=n_train,
            weights=weights.value,
            label_scaling=label_scaling.value,
            flux_scaling=flux_scaling.value,
            label_windows=label_windows(label_window),
        ),
        seed=seed,
    )
    slamjax.plots.check_pixels(stars, names, prepared, pixels=pixel, along=along, fixed=fixed)
    if output.exists() and not output.is_dir():
        raise SlamError(f"--output {output} is a file; name a folder")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SlamError(f"cannot make the folder {output}: {error.strerror}; choose another with -o") from error
    check_writable(output / "report.md")
    with progress_bar("training both") as told:
        contest = slamjax.compare(
            stars,
            names,
            svr=svr_of(C=C, epsilon=epsilon, gamma=gamma, solver=solver.value, n_jobs=n_jobs),
            polynomial=polynomial_of(degree, ridge),
            training=training,
            test=folds if others is None else others,
            by=by,
            bins=edges,
            n_starts=n_starts,
            on_progress=told,
        )
    console.print(str(contest), markup=False)
    written = contest.write(output)
    for name, model in contest.models.items():
        model.write(output / f"{name.lower()}.h5")
        written.append(output / f"{name.lower()}.h5")
    for name, draw in (
        ("flux_error.png", slamjax.plots.plot_flux_errors),
        ("label_scatter.png", slamjax.plots.plot_label_scatter),
        ("pixels.png", partial(slamjax.plots.plot_pixels, pixels=pixel, along=along, fixed=fixed)),
    ):
        slamjax.plots.write_figure(draw(contest), output / name)
        written.append(output / name)
    console.print(f"written to {output}: {', '.join(sorted(path.name for path in written))}", markup=False)


def _fixed(text: str) -> tuple[str, tuple[float, ...]]:
    """A label and its value, and perhaps a width, from ``logg:4.3:0.2``."""
    name, _, numbers_of = text.partition(":")
    try:
        given = tuple(float(part) for part in numbers_of.split(":"))
    except ValueError:
        given = ()
    if len(given) not in (1, 2) or not name:
        raise SlamError(f"--at is {text!r}; give a label, its value and perhaps a half-width, as in logg:4.3:0.2")
    return name, given
