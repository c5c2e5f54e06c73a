"""How do accuracy and speed compare with the original SLAM on the same stars, and does its model predict the same here?

PyPI's ``astroslam`` runs as published in a virtual environment of its own, that of ``--environment`` or one that is
made by pip in the cache folder. It needs NumPy below 1.24, hence Python 3.11; ``PYTHON311`` names one that is not on
the path.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import slamjax
from benchmarks.common.environments import WorkerFailed, environment, run_command
from benchmarks.common.reporting import cell, current_load, markdown_table, seconds, signed, write_results
from benchmarks.common.scatter import column, scatter
from benchmarks.common.stars import LABELS, RECIPE, load_stars, parse_options, source_name
from slamjax._util.x64 import enable_x64
from slamjax.spectra.spectra import Spectra

ASTROSLAM, NEEDS = "astroslam==1.2022.1228.1", ("numpy<1.24", "pandas<2.1", "setuptools<70")
#: What both search, with as many folds.
GRID = {"C": [1.0, 10.0], "epsilon": [0.05], "gamma": [0.03, 0.1]}
FOLDS = 5


@dataclass(frozen=True)
class Contestant:
    """Labels (N, L) of the test stars, and what they cost by the clock and of all cores; NaN: not trained."""

    labels: np.ndarray
    train_seconds: np.ndarray
    test_seconds: np.ndarray
    note: str


def clocks() -> np.ndarray:
    """Seconds of the clock, and of all cores."""
    return np.array([time.perf_counter(), time.process_time()])


def run_slamjax(train: Spectra, test: Spectra, note: str, **options: Any) -> Contestant:
    start = clocks()
    model = slamjax.train(train, LABELS, **options)
    return _fitted(model, test, clocks() - start, note)


def _fitted(model: slamjax.Model, test: Spectra, train_seconds: np.ndarray, note: str) -> Contestant:
    """Labels by slamjax; timed when its programs are compiled."""
    began = clocks()
    slamjax.fit(model, test)
    start = clocks()
    table = slamjax.fit(model, test)
    done = clocks()
    labels = np.stack([column(table, name) for name in LABELS], axis=1)
    return Contestant(
        labels, train_seconds, done - start, f"{note}; first call with compilation {seconds((start - began)[0])}"
    )


def arrays_of(train: Spectra, test: Spectra) -> dict[str, Any]:
    """What the original takes: prepared spectra, with ivar 0 in bad pixels."""
    sets = {"train": train, "test": test}
    arrays = {f"{name}_{kind}": getattr(s, kind).astype(float) for name, s in sets.items() for kind in ("flux", "ivar")}
    return {"wave": train.wave, "train_labels": train.values(LABELS), **arrays}


def run_astroslam(stars: dict[str, Any], options: argparse.Namespace) -> tuple[dict[str, Contestant], Path, np.ndarray]:
    """The original's labels, its dump, and its predictions at the first training labels."""
    if options.environment is not None:
        python = options.environment / "bin" / "python"
    else:
        python = environment(options.cache / "astroslam-venv", _python(), (*NEEDS, ASTROSLAM))
    source, target, dump = (options.cache / f"astroslam-{name}" for name in ("stars.npz", "labels.npz", "model.dump"))
    target.unlink(missing_ok=True)
    grid = {f"grid_{name}": np.array(values) for name, values in GRID.items()}
    np.savez(source, **stars, **grid, folds=FOLDS, n_jobs=len(os.sched_getaffinity(0)))
    run_command([str(python), str(Path(__file__).parent / "astroslam_worker.py"), str(source), str(target), str(dump)])
    with np.load(target) as found:
        note = f"{ASTROSLAM}, Python {found['python']}, NumPy {found['numpy']}, scikit-learn {found['sklearn']}"
        one = Contestant(found["labels"], found["train_seconds"], found["test_seconds"], note)
        return {"astroslam (PyPI)": one}, dump, found["predicted"]


def _python() -> str:
    """A Python that astroslam runs on."""
    wanted = os.environ.get("PYTHON311") or shutil.which("python3.11")
    if sys.version_info[:2] <= (3, 11):
        return sys.executable
    if wanted is None:
        raise WorkerFailed("needs Python 3.11, which is not on the path; name one in PYTHON311")
    return wanted


def compare_predictions(dump: Path, predicted: np.ndarray, train: Spectra) -> dict[str, float]:
    """Largest difference between the imported model and the original, over the spread of the flux of a pixel."""
    labels, found = train.values(LABELS)[: len(predicted)], {}
    for dtype in ("float32", "float64"):
        with enable_x64(dtype == "float64"):
            model = slamjax.from_astroslam(dump, labels=LABELS, wave_unit="nm", medium=train.medium, frame=train.frame)
            flux, scale = np.asarray(model.emulator(labels), float), np.asarray(model.host_emulator.flux_scale)
            found[dtype] = float(np.nanmax(np.abs(flux - predicted) / scale))
    return found


def main() -> None:
    options = parse_options(__doc__.splitlines()[0], n_pixels=120, environment=None)
    load = current_load()
    train, test = (RECIPE(stars) for stars in load_stars(options))
    pixels = np.unique(np.linspace(0, train.n_pix - 1, options.n_pixels).round().astype(int))
    train, test = train.on_pixels(pixels), test.on_pixels(pixels)
    options.cache.mkdir(parents=True, exist_ok=True)
    contestants, failure, differences = {}, "", {}
    try:
        contestants, dump, predicted = run_astroslam(arrays_of(train, test), options)
        model = slamjax.from_astroslam(dump, labels=LABELS, wave_unit="nm", medium=train.medium, frame=train.frame)
        contestants["the same model, imported"] = _fitted(model, test, np.full(2, np.nan), "slamjax.from_astroslam")
        differences = compare_predictions(dump, predicted, train)
    except WorkerFailed as error:
        failure = str(error)
    same = slamjax.SVR(**GRID, metric="isotropic")
    contestants["slamjax, the same search"] = run_slamjax(
        train, test, "same grid and folds, independent pixels", emulator=same,
        search=slamjax.SearchSpec(folds=FOLDS), noise="diagonal",
    )  # fmt: skip
    contestants["slamjax"] = run_slamjax(train, test, "its defaults: a learnt metric, correlated noise")
    _write(options, train, test, contestants, differences, failure, load)


def _write(
    options: argparse.Namespace,
    train: Spectra,
    test: Spectra,
    contestants: dict[str, Contestant],
    differences: dict[str, float],
    failure: str,
    load: float | None,
) -> None:
    reference = test.values(LABELS)
    scatters = {
        who: {name: scatter(it.labels[:, k], reference[:, k]) for k, name in enumerate(LABELS)}
        for who, it in contestants.items()
    }
    tables = [
        "Robust scatter (and bias) on the held-out stars:\n\n"
        + markdown_table(
            ["", *LABELS],
            [(who, *(f"{cell(s.robust)} ({signed(s.bias)})" for s in of.values())) for who, of in scatters.items()],
        ),
        markdown_table(
            ["", "training, seconds of a core", "labels, stars per second of a core", "what it is"],
            [
                (
                    who,
                    float(it.train_seconds[1]),
                    len(test) / it.test_seconds[1],
                    it.note,
                )
                for who, it in contestants.items()
            ],
        ),
    ]
    if differences:
        rows = [(dtype, f"{value:.1e}") for dtype, value in differences.items()]
        tables.append(
            "Flux of the imported model against `Slam3.predict_spectra`, in units of each pixel's spread:\n\n"
            + markdown_table(["arithmetic", "largest difference"], rows)
        )
    if failure:
        tables.append(f"`astroslam` could not be run here; it ended with:\n\n```\n{failure}\n```")
    settings = {
        "data": source_name(options.data),
        "training stars": len(train),
        "test stars": len(test),
        "pixels": train.n_pix,
        "combinations": int(np.prod([len(values) for values in GRID.values()])),
        "folds": FOLDS,
    }
    results = {
        who: {
            "labels": {name: s.to_dict() for name, s in scatters[who].items()},
            "train_seconds": it.train_seconds,
            "test_seconds": it.test_seconds,
            "test_stars_a_second": len(test) / it.test_seconds,
            "of": ["the clock", "all cores"],
            "note": it.note,
        }
        for who, it in contestants.items()
    }
    results |= {"prediction_differences": differences, "failure": failure}
    write_results(options.out, "versus_astroslam", settings, results, tables, load)


if __name__ == "__main__":
    main()
