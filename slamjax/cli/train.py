"""Commands that make spectra and models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import slamjax
from slamjax.cli.console import (
    console,
    label_windows,
    polynomial_of,
    progress_bar,
    read_selected,
    recipe_of,
    svr_of,
    words,
)
from slamjax.cli.options import (
    Continuum,
    EmulatorKind,
    FluxRange,
    FrameOf,
    FwhmOf,
    Kernel,
    LabelWindow,
    MediumOf,
    NoiseModel,
    PixelSnr,
    RecipeFile,
    Resolution,
    Scaling,
    SearchKind,
    Select,
    Solver,
    SpectraFiles,
    WaveRange,
    WeightKind,
)
from slamjax.errors import SlamError


def read(
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Survey files.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="SPECTRA.fits", help="Table to write.")],
    survey: Annotated[
        str | None, typer.Option(help="What the files are, where they do not say so: lamost, sdss, apogee-star, ...")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="CATALOG", help="Table (CSV, ECSV, FITS) whose columns are joined.")
    ] = None,
    on: Annotated[str, typer.Option(metavar="COLUMN", help="Column of both by which --labels is joined.")] = "file",
    jobs: Annotated[int, typer.Option(help="Processes; -1 is one a core.")] = -1,
) -> None:
    """Survey files as one slamjax table, rows in the order given.

    LAMOST low and medium resolution, SDSS and BOSS spec, APOGEE apStar, aspcapStar and apVisit, SDSS-V mwmStar and
    mwmVisit, DESI coadds, Gaia XP as GaiaXPy writes it; a file of many spectra gives many rows.

    Example: `slamjax read spec-*.fits -o spectra.fits --labels catalog.csv --on file`
    """
    from slamjax._util.files import check_writable

    check_writable(output)
    with progress_bar("reading files") as told:
        spectra = slamjax.read([str(path) for path in files], survey, n_jobs=jobs, on_progress=told)
    if labels is not None:
        spectra = slamjax.join_labels(spectra, labels, on)
    slamjax.write_table(spectra, output)
    console.print(repr(spectra), markup=False)
    console.print(f"written: {output}", markup=False)


def train(
    spectra: SpectraFiles,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="MODEL.h5", help="Model file to write.")],
    labels: Annotated[str, typer.Option(help="Columns to learn from, e.g. teff,logg,fe_h,alpha_m.")],
    select: Select = None,
    n_train: Annotated[int | None, typer.Option(help="Draw that many of the selected stars by --seed.")] = None,
    seed: Annotated[int, typer.Option(help="Of the draw, the folds and a random search.")] = 0,
    wave_range: WaveRange = None,
    continuum: Continuum = "none",
    flux_range: FluxRange = None,
    min_pixel_snr: PixelSnr = None,
    emulator: Annotated[
        EmulatorKind, typer.Option(help="SLAM, or The Cannon's polynomial in the labels.")
    ] = EmulatorKind.svr,
    kernel: Annotated[Kernel, typer.Option(help="As in scikit-learn.")] = Kernel.rbf,
    C: Annotated[str, typer.Option("--C", help="SVR's C; a comma list is searched.")] = "1",
    epsilon: Annotated[str, typer.Option(help="SVR's ε in scaled flux; a comma list is searched.")] = "0.1",
    gamma: Annotated[str, typer.Option(help="Kernel's γ, scale or auto; a comma list is searched.")] = "scale",
    degree: Annotated[
        int | None, typer.Option(help="Of the poly kernel (default 3), or of the polynomial (default 2).")
    ] = None,
    coef0: Annotated[float, typer.Option(help="Of the poly and sigmoid kernels.")] = 0.0,
    ridge: Annotated[
        str | None, typer.Option(help="Penalty of the polynomial's coefficients; a comma list is searched.")
    ] = None,
    label_window: LabelWindow = None,
    search: Annotated[
        SearchKind,
        typer.Option(help="Pixel by pixel, all combinations or --n-iter random ones; joint: one for all pixels."),
    ] = SearchKind.grid,
    n_iter: Annotated[int, typer.Option(help="Combinations of a random search.")] = 20,
    cv: Annotated[int, typer.Option(help="Cross-validation folds.")] = 5,
    weights: Annotated[WeightKind, typer.Option(help="A star's weight in a pixel.")] = WeightKind.ivar,
    noise: Annotated[
        NoiseModel, typer.Option(help="Residuals go along from pixel to pixel (lowrank), or do not (diagonal).")
    ] = NoiseModel.auto,
    label_scaling: Annotated[Scaling, typer.Option(help="How labels are standardised.")] = Scaling.standard,
    flux_scaling: Annotated[Scaling, typer.Option(help="How flux is standardised.")] = Scaling.standard,
    log_labels: Annotated[str, typer.Option(help="Labels learnt in log10, e.g. teff.")] = "",
    min_stars: Annotated[int | None, typer.Option(help="A pixel with fewer good stars is masked.")] = None,
    solver: Annotated[
        Solver, typer.Option(help="All pixels on one kernel matrix (batched), or each by scikit-learn.")
    ] = Solver.auto,
    n_jobs: Annotated[int, typer.Option(help="Workers; -1: all cores.")] = -1,
    recipe: RecipeFile = None,
    resolution: Resolution = None,
    medium: MediumOf = None,
    frame: FrameOf = None,
    fwhm: FwhmOf = None,
) -> None:
    """Learn one SVR a pixel, or one polynomial, from stars with known labels.

    Example: `slamjax train giants.fits -o giants.h5 --labels teff,logg,fe_h --select "logg < 3.6" --continuum
    gaussian:50nm --C 1,10`
    """
    from slamjax._util.files import check_writable

    check_writable(output)
    stars = read_selected(spectra, select, medium, frame, fwhm)
    if output.exists() and any(output.samefile(path) for path in spectra):
        raise SlamError(f"--output {output} is also an input; choose another name")
    learner: slamjax.SVR | slamjax.Polynomial
    if emulator is EmulatorKind.polynomial:
        if (C, epsilon, gamma, kernel, coef0) != ("1", "0.1", "scale", Kernel.rbf, 0.0):
            raise SlamError("--C, --epsilon, --gamma, --kernel and --coef0 are of the SVR; leave them out")
        learner = polynomial_of(degree, ridge)
    else:
        if ridge is not None:
            raise SlamError("--ridge is of the polynomial; give --emulator polynomial, or leave it out")
        learner = svr_of(
            C=C, epsilon=epsilon, gamma=gamma, kernel=kernel.value, degree=3 if degree is None else degree, coef0=coef0,
            solver=solver.value, n_jobs=n_jobs,
        )  # fmt: skip
    steps = recipe_of(stars, wave_range, continuum, flux_range, min_pixel_snr, resolution, recipe)
    with progress_bar("training pixels") as told:
        model = slamjax.train(
            stars,
            words(labels),
            recipe=steps,
            emulator=learner,
            search=slamjax.SearchSpec(search.value, n_iter, cv),
            noise=noise.value,
            log_labels=words(log_labels),
            data=slamjax.DataSpec(
                n_train=n_train,
                weights=weights.value,
                min_stars=min_stars,
                label_scaling=label_scaling.value,
                flux_scaling=flux_scaling.value,
                label_windows=label_windows(label_window),
            ),
            seed=seed,
            on_progress=told,
        )
    model.write(output)
    console.print(slamjax.describe(model), markup=False)
    console.print(f"written: {output}", markup=False)
