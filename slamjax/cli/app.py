"""The commands: each reads its options and calls the public API, nothing else."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import slamjax
from slamjax.cli.console import console, errors, numbers, progress_bar, show_warning, words
from slamjax.cli.options import (
    Figure,
    Kernel,
    Method,
    ModelFile,
    NoiseModel,
    PriorKind,
    Sampler,
    Scaling,
    SearchKind,
    Select,
    Solver,
    SpectraFile,
    Starts,
    WeightKind,
)
from slamjax.errors import SlamError

if TYPE_CHECKING:
    from slamjax.spectra import Spectra

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="SLAM, the Stellar LAbel Machine, in JAX: learn spectra from stars with known labels, then label other stars.",
)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        console.print(slamjax.__version__)
        raise typer.Exit()


@app.command()
def train(
    spectra: SpectraFile,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="MODEL.h5", help="Model file to write.")],
    labels: Annotated[str, typer.Option(help="Columns to learn from, e.g. teff,logg,fe_h,alpha_m.")],
    select: Select = None,
    n_train: Annotated[int | None, typer.Option(help="Draw that many of the selected stars by --seed.")] = None,
    seed: Annotated[int, typer.Option(help="Of the draw, the folds and a random search.")] = 0,
    wave_range: Annotated[
        tuple[float, float] | None, typer.Option(metavar="A B", help="Wavelengths to keep, in the file's unit.")
    ] = None,
    continuum: Annotated[str, typer.Option(help="gaussian:50nm, spline:60nm or none.")] = "none",
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
) -> None:
    """Learn one SVR a pixel from stars with known labels.

    Example: `slamjax train giants.fits -o giants.h5 --labels teff,logg,fe_h --select "logg < 3.6" --continuum
    gaussian:50nm --C 1,10`
    """
    from slamjax.files import check_writable
    from slamjax.prepare import BadPixels

    check_writable(output)
    stars = _read(spectra, select)
    if output.exists() and output.samefile(spectra):
        raise SlamError(f"--output {output} is also the input; choose another name")
    rules = None
    if flux_range is not None or min_pixel_snr is not None:
        low, high = flux_range if flux_range is not None else (None, None)
        rules = BadPixels(min_flux=low, max_flux=high, min_snr=min_pixel_snr)
    recipe = slamjax.Recipe.make(
        wave_range=wave_range, wave_unit=str(stars.wave_unit), continuum=continuum, bad_pixels=rules
    )
    with progress_bar("training pixels") as told:
        model = slamjax.train(
            stars,
            words(labels),
            recipe=recipe,
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


@app.command()
def fit(
    model: ModelFile,
    spectra: SpectraFile,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="LABELS.fits", help="Label table to write.")],
    select: Select = None,
    method: Annotated[Method, typer.Option(help="Levenberg-Marquardt, or a gradient method.")] = Method.lm,
    n_starts: Starts = 3,
    exact: Annotated[bool, typer.Option("--exact", help="Do not compress a large emulator first.")] = False,
    memory: Annotated[float, typer.Option(help="GiB that a batch may take.")] = 1.0,
) -> None:
    """Labels, errors and flags of every selected spectrum, into HDU LABELS.

    Example: `slamjax fit giants.h5 new.fits -o labels.fits --select "apogee_snr > 80"`
    """
    from slamjax.files import check_writable, existing_file

    check_writable(output)
    for given in (existing_file(model), existing_file(spectra)):
        if output.exists() and output.samefile(given):
            raise SlamError(f"--output {output} is also an input; choose another name")
    slam = slamjax.load(model)
    with progress_bar("fitting stars") as told:
        table = slamjax.fit_table(
            slam,
            spectra,
            select=select or "",
            method=method.value,
            n_starts=n_starts,
            exact=exact,
            memory=memory,
            progress=told,
        )
    slamjax.write_labels(table, output)
    console.print(_flag_summary(table["flags"]), markup=False)
    console.print(f"written: {output}", markup=False)


@app.command()
def sample(
    model: ModelFile,
    spectra: SpectraFile,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="POSTERIOR.nc", help="NetCDF file to write.")],
    select: Select = None,
    sampler: Annotated[
        Sampler, typer.Option(help="Importance-resampled draws with NUTS where they do not hold (auto), NUTS, HMC.")
    ] = Sampler.auto,
    draws: Annotated[int, typer.Option(help="Draws a chain.")] = 500,
    chains: Annotated[int, typer.Option(help="Chains a star.")] = 2,
    warmup: Annotated[int, typer.Option(help="Steps of adaptation before a chain's draws.")] = 200,
    prior: Annotated[
        PriorKind, typer.Option(help="Uniform in the training range, or the training stars' own density.")
    ] = PriorKind.uniform,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
    table: Annotated[
        Path | None, typer.Option(metavar="LABELS.fits", help="Also write means, errors, quantiles as a table.")
    ] = None,
    memory: Annotated[float, typer.Option(help="GiB that a batch may take.")] = 1.0,
) -> None:
    """Posterior draws of the labels of every selected spectrum.

    A run that was stopped goes on where it was: repeat the command.

    Example: `slamjax sample giants.h5 new.fits -o posterior.nc --select "apogee_snr > 80" --table labels.fits`
    """
    from slamjax.files import check_writable, existing_file

    for name, path in (("--output", output), ("--table", table)):
        if path is not None:
            check_writable(path)
            for given in (existing_file(model), existing_file(spectra)):
                if path.exists() and path.samefile(given):
                    raise SlamError(f"{name} {path} is also an input; choose another name")
    if table is not None and table.resolve() == output.resolve():
        raise SlamError(f"--table {table} is also the output; choose another name")
    slam = slamjax.load(model)
    stars = _read(spectra, select)
    with progress_bar("sampling stars") as told:
        posterior = slamjax.sample(
            slam,
            stars,
            prior=prior.value,
            sampler=sampler.value,
            draws=draws,
            warmup=warmup,
            chains=chains,
            seed=seed,
            memory=memory,
            progress=told,
            parts=output.parent / f".{output.name}.parts",
        )
    posterior.save(output)
    console.print(_flag_summary(posterior.flags), markup=False)
    console.print(str(posterior.attrs["likelihood"]), markup=False)
    console.print(f"written: {output}", markup=False)
    if table is not None:
        slamjax.write_labels(posterior.table(), table)
        console.print(f"written: {table}", markup=False)


@app.command()
def validate(
    model: ModelFile,
    spectra: SpectraFile,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="REPORT", help=".ecsv, .csv, .fits, .html, .tex; else Markdown."),
    ] = None,
    select: Select = None,
    by: Annotated[str, typer.Option(help="snr (of the spectra, a pixel) or a column of the table.")] = "snr",
    bins: Annotated[str | None, typer.Option(help="Edges, e.g. 20,60,100,200,300; default: quartiles.")] = None,
    include_training: Annotated[bool, typer.Option("--include-training", help="Keep the training stars.")] = False,
    good_only: Annotated[bool, typer.Option("--good-only", help="Count only stars without flags.")] = False,
    reference_errors: Annotated[
        bool,
        typer.Option(
            "--reference-errors",
            help="Add <label>_err to the errors: for known labels less precise than the training stars'.",
        ),
    ] = False,
    n_starts: Starts = 3,
) -> None:
    """Fit stars with known labels that did not train the model; differences by bin, and how honest the errors are.

    Example: `slamjax validate giants.h5 giants.fits -o report.md --by apogee_snr --bins 20,60,100,200,300`
    """
    from slamjax.files import check_writable

    if output is not None:
        check_writable(output)
    edges = None
    if bins is not None:
        given = numbers(bins, "--bins")
        edges = given if isinstance(given, list) else [given]
    slam = slamjax.load(model)
    stars = _read(spectra, select)
    with progress_bar("fitting stars") as told:
        result = slamjax.validate.validate(
            slam,
            stars,
            by=by,
            bins=edges,
            include_training=include_training,
            good_only=good_only,
            reference_errors=reference_errors,
            n_starts=n_starts,
            progress=told,
        )
    note = "" if include_training else f"; {result.n_excluded} training stars left out"
    console.print(f"fit - known, {len(result.labels)} stars{note}\n{result}", markup=False)
    if output is not None:
        slamjax.validate.write_report(result, output)
        console.print(f"written: {output}", markup=False)


@app.command()
def calibrate(
    model: ModelFile,
    spectra: SpectraFile,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="PLOT.png", help="Figure of ranks and regions.")
    ] = None,
    select: Select = None,
    n_stars: Annotated[int, typer.Option(min=20, help="Stars to simulate.")] = 500,
    draws: Annotated[int, typer.Option(min=20, help="Draws from each posterior.")] = 500,
    sampler: Annotated[Sampler, typer.Option(help="How posteriors are sampled.")] = Sampler.auto,
    prior: Annotated[
        PriorKind, typer.Option(help="Labels anywhere among the training stars, or as dense as they are.")
    ] = PriorKind.uniform,
    seed: Annotated[int, typer.Option(help="Of labels, errors, noise and sampler.")] = 0,
) -> None:
    """Simulate stars with the errors of real ones, sample their posteriors, and test these by ranks and regions (SBC,
    TARP).

    Example: `slamjax calibrate giants.h5 giants.fits --n-stars 500 --seed 0 -o calibration.png`
    """
    if output is not None:
        slamjax.plots.check_figure_path(output)
    slam = slamjax.load(model)
    ivar = slam.prepare(_read(spectra, select)).ivar
    with progress_bar("sampling posteriors") as told:
        result = slamjax.validate.sbc(
            slam, ivar, n_stars=n_stars, prior=prior.value, draws=draws, sampler=sampler.value, seed=seed, progress=told
        )
    console.print(str(result), markup=False)
    if output is not None:
        slamjax.plots.write_figure(slamjax.plots.plot_simulated(result), output)
        console.print(f"written: {output}", markup=False)


@app.command()
def info(
    model: ModelFile,
    pixels: Annotated[bool, typer.Option("--pixels", help="Also the hyper-parameters of every pixel.")] = False,
) -> None:
    """What a model is, from what it was made, with which settings.

    Example: `slamjax info giants.h5 --pixels`
    """
    slam = slamjax.load(model)
    console.print(slamjax.describe(slam), markup=False)
    if pixels:
        console.print("\n".join(slam.info.pixels.pformat(max_lines=-1, max_width=-1)), markup=False)


@app.command()
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
        posterior = slamjax.load_posterior(model)
        draw = slamjax.plots.plot_corner if what is Figure.corner else slamjax.plots.plot_trace
        slamjax.plots.write_figure(draw(posterior, row=row), output)
        console.print(f"written: {output}", markup=False)
        return
    slam = slamjax.load(model)
    kind = what or (Figure.training if spectra is None else Figure.spectra)
    if kind is Figure.training:
        figure = slamjax.plots.plot_training(slam)
    else:
        if spectra is None:
            raise SlamError(f"--what {kind.value} needs spectra; name a file after the model")
        stars = _read(spectra, select)
        if kind in (Figure.labels, Figure.errors):
            result = slamjax.validate.validate(slam, stars, include_training=include_training)
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


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder to write to.")] = Path(
        "demo_output"
    ),
    n_train: Annotated[int, typer.Option(help="Training stars, at most 1000.")] = 1000,
) -> None:
    """All of it on the embedded sample: train on real giants, label others, compare, draw.

    Example: `slamjax demo -o demo_output`
    """
    slamjax.demo.run(output, n_train=n_train, say=lambda text: console.print(text, markup=False), bar=progress_bar)


def _read(path: Path, select: str | None) -> Spectra:
    spectra = slamjax.read_table(path)
    return spectra if select is None else spectra.select(select)


def _flag_summary(flags: object) -> str:
    import numpy as np

    values = np.asarray(flags)
    lines = [f"{int(np.sum(values == 0))} of {len(values)} stars without flags"]
    lines += [f"  {int(np.sum(values & flag != 0)):6d} {flag.name}" for flag in slamjax.Flag if np.any(values & flag)]
    return "\n".join(lines)


def main() -> None:
    """Run the command line; an error becomes one sentence and exit status 1."""
    warnings.showwarning = show_warning
    try:
        app()
    except SlamError as error:
        errors.print(f"slamjax: error: {error}", style="red", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        errors.print("slamjax: stopped; nothing was written half", markup=False)
        sys.exit(130)
