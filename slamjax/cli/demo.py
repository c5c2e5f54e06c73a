"""The demonstration: everything once, on the real stars that ship with the package."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from slamjax import plots
from slamjax._util.files import check_writable
from slamjax.datasets.xp_giants import LABELS, WAVE_RANGE, load_xp_giants
from slamjax.errors import SlamError
from slamjax.io.labels import write_labels
from slamjax.model.description import describe
from slamjax.model.model import Model
from slamjax.preprocessing import Recipe
from slamjax.training import SVR, DataSpec, train
from slamjax.typing import Progress
from slamjax.validation import validate


def run(
    folder: str | os.PathLike[str],
    *,
    n_train: int = 1000,
    say: Callable[[str], None] = print,
    bar: Callable[[str], AbstractContextManager[Progress]],
) -> None:
    """Train on embedded giants, save and load the model, label the others, compare, draw; files go to ``folder``."""
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SlamError(f"cannot make the folder {target}: {error.strerror}; choose another with -o") from error
    check_writable(target / "model.h5")
    plots.check_figure_path(target / "spectra.png")
    stars, others = load_xp_giants()
    say(f"{len(stars)} giants to learn from, {len(others)} others to label (Gaia XP spectra, APOGEE labels)")

    began = time.perf_counter()
    with bar("training pixels") as told:
        model = train(
            stars,
            LABELS,
            recipe=Recipe.make(wave_range=WAVE_RANGE, continuum="gaussian:50nm"),
            emulator=SVR(C=10, epsilon=0.05, gamma=0.1),
            data=DataSpec(n_train=min(n_train, len(stars))),
            on_progress=told,
        )
    say(f"\ntrained in {time.perf_counter() - began:.0f} s\n{describe(model)}\n")
    model.write(target / "model.h5")
    model = Model.read(target / "model.h5")

    began = time.perf_counter()
    with bar("fitting stars") as told:
        result = validate(model, others, by="apogee_snr", bins=(80, 120, 160, 220, 400), on_progress=told)
    seconds = time.perf_counter() - began
    good = int(np.sum(np.asarray(result.labels["flags"]) == 0))
    say(
        f"\n{len(result.labels)} stars labelled in {seconds:.1f} s (compilation included), {good} of them without flags"
    )
    say("SLAM - APOGEE, by APOGEE's S/N (robust scatter is 1.4826 MAD; a pull width of 1 means honest errors)")
    say(f"{result}\n")
    write_labels(result.labels, target / "labels.fits")
    result.write(target / "report.md")
    for name, figure in (
        ("spectra.png", plots.plot_spectra(model, others, result.labels)),
        ("labels.png", plots.plot_labels(result.labels, model.label_names)),
        ("training.png", plots.plot_training(model)),
    ):
        plots.write_figure(figure, target / name)
    say(f"written to {target}: {', '.join(sorted(p.name for p in target.iterdir() if not p.name.startswith('.')))}")
