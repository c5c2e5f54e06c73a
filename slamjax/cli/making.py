"""Commands that make spectra and models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import slamjax
from slamjax.cli.console import console, numbers, progress_bar, read_selected, words
from slamjax.cli.options import (
    FrameOf,
    FwhmOf,
    Kernel,
    MediumOf,
    NoiseModel,
    Scaling,
    SearchKind,
    Select,
    Solver,
    SpectraFiles,
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
    from slamjax.files import check_writable

    check_writable(output)
    with progress_bar("reading files") as told:
        spectra = slamjax.read([str(path) for path in files], survey, n_jobs=jobs, progress=told)
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
    wave_range: Annotated[
        tuple[float, float] | None, typer.Option(metavar="A B", help="Wavelengths to keep, in the file's unit.")
    ] = None,
    continuum: Annotated[str, typer.Option(help="gaussian:50nm, spline:60nm, chebyshev:4 or none.")] = "none",
    flux_range: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LO HI", help="Pixels outside are bad (after division by the continuum)."),
    ] = None,
    min_pixel_snr: Annotated[float | None, typer.Option(help="Pixels with a smaller flux over error are bad.")] = None,
    kernel: Annotated[Kernel, typer.Option(help="As in scikit-learn.")] = Kernel.rbf,
    C: Annotated[str, typer.Option("--C", help="SVR's C; a comma list is searched.")] = "1",
    epsilon: Annotated[str, typer.Option(help="SVR's ε in scaled flux; a comma list is searched.")] = "0.1",
    gamma: Annotated[str, typer.Option(help="Kernel's γ, scale or auto; a comma list is searched.")] = "scale",
    degree: Annotated[int, typer.Option(help="Of the poly kernel.")] = 3,
    coef0: Annotated[float, typer.Option(help="Of the poly and sigmoid kernels.")] = 0.0,
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
    recipe: Annotated[
        Path | None, typer.Option(metavar="RECIPE.toml", help="Steps of preparation, instead of the options for them.")
    ] = None,
    resolution: Annotated[
        float | None, typer.Option(help="Blur to this line spread (FWHM), in the unit of wavelength.")
    ] = None,
    medium: MediumOf = None,
    frame: FrameOf = None,
    fwhm: FwhmOf = None,
) -> None:
    """Learn one SVR a pixel from stars with known labels.

    Example: `slamjax train giants.fits -o giants.h5 --labels teff,logg,fe_h --select "logg < 3.6" --continuum
    gaussian:50nm --C 1,10`
    """
    from slamjax.files import check_writable
    from slamjax.prepare import BadPixels

    check_writable(output)
    stars = read_selected(spectra, select, medium, frame, fwhm)
    if output.exists() and any(output.samefile(path) for path in spectra):
        raise SlamError(f"--output {output} is also an input; choose another name")
    rules = None
    if flux_range is not None or min_pixel_snr is not None:
        low, high = flux_range if flux_range is not None else (None, None)
        rules = BadPixels(min_flux=low, max_flux=high, min_snr=min_pixel_snr)
    if recipe is None:
        unit = str(stars.wave_unit)
        steps = slamjax.Recipe.make(
            wave_range=wave_range, wave_unit=unit, continuum=continuum, bad_pixels=rules, fwhm=resolution
        )
    elif wave_range is not None or continuum != "none" or rules is not None or resolution is not None:
        raise SlamError(
            "--recipe says all of the preparation; leave out --wave-range, --resolution, --continuum, --flux-range and "
            "--min-pixel-snr, or write them into it"
        )
    else:
        steps = slamjax.Recipe.from_toml(recipe)
    with progress_bar("training pixels") as told:
        model = slamjax.train(
            stars,
            words(labels),
            recipe=steps,
            kernel=kernel.value,
            C=numbers(C, "--C"),
            epsilon=numbers(epsilon, "--epsilon"),
            gamma=numbers(gamma, "--gamma"),
            degree=degree,
            coef0=coef0,
            search=search.value,
            n_iter=n_iter,
            cv=cv,
            weights=weights.value,
            noise=noise.value,
            label_scaling=label_scaling.value,
            flux_scaling=flux_scaling.value,
            log_labels=words(log_labels),
            n_train=n_train,
            seed=seed,
            min_stars=min_stars,
            solver=solver.value,
            n_jobs=n_jobs,
            progress=told,
        )
    model.save(output)
    console.print(slamjax.describe(model), markup=False)
    console.print(f"written: {output}", markup=False)
