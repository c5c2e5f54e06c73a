"""``slamjax demo``: everything once, on the real stars that ship with the package."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import slamjax
from slamjax import plots
from slamjax.cli.console import progress_bar, say
from slamjax.cli.files import make_folder

if TYPE_CHECKING:
    from slamjax.validation import Validation

_SNR_BINS = (80, 120, 160, 220, 400)


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder to write to.")] = Path(
        "demo_output"
    ),
    n_train: Annotated[int, typer.Option(min=2, help="Training stars, at most 1000.")] = 1000,
) -> None:
    """Uses giants with Gaia XP spectra and APOGEE labels that ship with slamjax. Writes the model, the labels, tables,
    figures, and a page to open in a browser.

    Example: `slamjax demo -o demo_output`
    """
    from slamjax.datasets import load_xp_giants

    make_folder(output, "model.h5")
    plots.check_figure_path(output / "spectra.png")
    stars, others = load_xp_giants()
    say(f"{len(stars)} training stars and {len(others)} test stars (Gaia XP spectra, APOGEE labels)")
    model = _train(stars, min(n_train, len(stars)), output / "model.h5")
    result = _validate(model, others)
    _write(model, others, result, output)


def _train(stars: slamjax.Spectra, n_train: int, path: Path) -> slamjax.Model:
    """A model, as its file gives it back."""
    from slamjax.datasets.xp_giants import LABELS, WAVE_RANGE

    began = time.perf_counter()
    with progress_bar("training pixels") as on_progress:
        model = slamjax.train(
            stars,
            LABELS,
            emulator=slamjax.SVR(C=10, epsilon=0.05, gamma=0.1),
            recipe=slamjax.Recipe.make(wave_range=WAVE_RANGE, wave_unit="nm", continuum="gaussian:50nm"),
            data=slamjax.DataSpec(n_train=n_train),
            on_progress=on_progress,
        )
    say(f"\ntrained in {time.perf_counter() - began:.0f} s\n{slamjax.describe(model)}\n")
    model.write(path)
    return slamjax.Model.read(path)


def _validate(model: slamjax.Model, others: slamjax.Spectra) -> Validation:
    """Labels of stars that the model has not seen, compared with APOGEE's."""
    began = time.perf_counter()
    with progress_bar("fitting stars") as on_progress:
        result = slamjax.validate(model, others, by="apogee_snr", bins=_SNR_BINS, on_progress=on_progress)
    seconds = time.perf_counter() - began
    good = int((result.labels["flags"] == 0).sum())
    say(f"\n{len(result.labels)} stars fitted in {seconds:.1f} s, compilation included; {good} without flags")
    say("SLAM - APOGEE by APOGEE's S/N (robust scatter is 1.4826 MAD; pulls of width 1 mean that errors are right)")
    say(f"{result}\n")
    return result


def _write(model: slamjax.Model, others: slamjax.Spectra, result: Validation, folder: Path) -> None:
    """Label table, tables and figures; the page last, which has all of it."""
    slamjax.write_labels(result.labels, folder / "labels.fits")
    result.write(folder / "report.md")
    for name, figure in (
        ("spectra.png", plots.plot_spectra(model, others, result.labels)),
        ("labels.png", plots.plot_labels(result.labels, model.label_names)),
        ("training.png", plots.plot_training(model)),
    ):
        plots.write_figure(figure, folder / name)
    page = folder / "report.html"
    if find_spec("bokeh"):
        name = f"slamjax demo: {len(result.labels)} giants"
        slamjax.report(model, others, validation=result, name=name).write(page)
    files = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    say(f"written to {folder}: {', '.join(files)}")
    if find_spec("bokeh"):
        say(f"open this in a browser: {page}")
    else:
        say("for a page with all of this, pip install 'slamjax[explore]' and run slamjax demo again")
