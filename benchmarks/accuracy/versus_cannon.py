"""How do accuracy and speed compare with The Cannon's own training and test steps on the same stars?

PyPI's ``thecannon`` and ``pollux``, a Cannon in JAX that needs Python 3.12, run in virtual environments of their own,
made in the cache folder. If one cannot be installed or run, the reason goes into the results. The quadratic model of
``quadratic.py`` is run in any case.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import slamjax
from benchmarks.accuracy import quadratic
from benchmarks.common.environments import WorkerFailed, environment, run_command
from benchmarks.common.reporting import cell, current_load, markdown_table, seconds, signed, write_results
from benchmarks.common.scatter import column, scatter
from benchmarks.common.stars import EMULATOR, LABELS, RECIPE, load_stars, parse_options, source_name
from slamjax.spectra.spectra import Spectra

THECANNON = "thecannon==0.7.3"
#: What thecannon imports; it names none of them as its dependencies.
NEEDS = ("numpy", "scipy", "matplotlib", "astropy")
#: pollux 0.1.0 does not run with the next xmmutablemap.
POLLUX, POLLUX_NEEDS = "pollux==0.1.0", ("xmmutablemap<0.3",)


@dataclass(frozen=True)
class Contestant:
    """Labels (N, L) of the test stars and what they cost."""

    labels: np.ndarray
    train_seconds: float
    test_seconds: float
    note: str


def run_slamjax(train: Spectra, test: Spectra) -> Contestant:
    """slamjax from spectra as read, preparation included; the fit is timed when it is compiled."""
    start = time.perf_counter()
    model = slamjax.train(train, LABELS, emulator=EMULATOR, recipe=RECIPE)
    trained = time.perf_counter()
    slamjax.fit(model, test)
    compiled = time.perf_counter()
    table = slamjax.fit(model, test)
    done = time.perf_counter()
    labels = np.stack([column(table, name) for name in LABELS], axis=1)
    first = f"first call with compilation {seconds(compiled - trained)}"
    return Contestant(labels, trained - start, done - compiled, f"5-fold cross-validation in training; {first}")


def run_quadratic(stars: dict[str, Any]) -> Contestant:
    """The quadratic model on spectra that are already prepared."""
    start = time.perf_counter()
    model = quadratic.train(stars["train_labels"], stars["train_flux"], stars["train_ivar"])
    trained = time.perf_counter()
    labels = quadratic.infer(model, stars["test_flux"], stars["test_ivar"])
    return Contestant(labels, trained - start, time.perf_counter() - trained, "this folder's quadratic.py, SciPy")


def run_thecannon(stars: dict[str, Any], cache: Path) -> dict[str, Contestant]:
    """PyPI's thecannon, as it is, on spectra that are already prepared; its default start and a better one."""
    python = environment(cache / "thecannon-venv", sys.executable, (*NEEDS, "setuptools", "wheel"), (THECANNON,))
    source, target = cache / "stars.npz", cache / "thecannon-labels.npz"
    target.unlink(missing_ok=True)
    np.savez(source, **stars)
    run_command([str(python), str(Path(__file__).parent / "thecannon_worker.py"), str(source), str(target)])
    with np.load(target) as found:
        note = f"{THECANNON}, Python {found['python']}, NumPy {found['numpy']}"
        train_seconds = float(found["train_seconds"])
        return {
            f"thecannon (PyPI), {said}": Contestant(
                found[f"{start}_labels"], train_seconds, float(found[f"{start}_seconds"]), note
            )
            for start, said in (("default", "its own start"), ("median", "started at the median training star"))
        }


def run_pollux(stars: dict[str, Any], cache: Path) -> dict[str, Contestant]:
    """PyPI's pollux, as its documentation applies it, on the same spectra."""
    python = environment(cache / "pollux-venv", _python312(), POLLUX_NEEDS, (POLLUX,))
    source, target = cache / "stars.npz", cache / "pollux-labels.npz"
    target.unlink(missing_ok=True)
    np.savez(source, **stars)
    run_command([str(python), str(Path(__file__).parent / "pollux_worker.py"), str(source), str(target)])
    with np.load(target) as found:
        note = (
            f"{POLLUX}, Python {found['python']}, JAX {found['jax']}; first call with compilation "
            f"{seconds(float(found['first_seconds']))}"
        )
        return {
            "pollux (PyPI), a Cannon in JAX": Contestant(
                found["labels"], float(found["train_seconds"]), float(found["test_seconds"]), note
            )
        }


def _python312() -> str:
    """A Python that pollux runs on; ``PYTHON312`` names one where it is not on the path."""
    wanted = os.environ.get("PYTHON312") or shutil.which("python3.12")
    if sys.version_info >= (3, 12):
        return sys.executable
    if wanted is None:
        raise WorkerFailed("needs Python 3.12, which is not on the path; name one in PYTHON312")
    return wanted


def prepared_stars(train: Spectra, test: Spectra) -> dict[str, Any]:
    """Input of the other codes: spectra prepared by slamjax's recipe, with ivar 0 in bad pixels."""
    ready = {"train": RECIPE(train), "test": RECIPE(test)}
    arrays = {
        f"{name}_{kind}": getattr(s, kind).astype(float) for name, s in ready.items() for kind in ("flux", "ivar")
    }
    return {
        "wave": ready["train"].wave,
        "names": np.array(LABELS),
        "train_labels": train.values(LABELS),
        **arrays,
    }


def main() -> None:
    options = parse_options(__doc__.splitlines()[0])
    load = current_load()
    train, test = load_stars(options)
    stars = prepared_stars(train, test)
    options.cache.mkdir(parents=True, exist_ok=True)

    contestants = {"slamjax": run_slamjax(train, test)}
    failures = {}
    for name, run in (("thecannon", run_thecannon), ("pollux", run_pollux)):
        try:
            contestants |= run(stars, options.cache)
        except WorkerFailed as error:
            failures[name] = str(error)
    contestants["quadratic model (this repository)"] = run_quadratic(stars)

    reference = test.values(LABELS)
    scatters = {
        who: {name: scatter(it.labels[:, k], reference[:, k]) for k, name in enumerate(LABELS)}
        for who, it in contestants.items()
    }
    tables = [
        "Robust scatter (and bias) on the held-out stars:\n\n"
        + markdown_table(
            ["", *LABELS, "stars without labels"],
            [
                (who, *(f"{cell(s.robust)} ({signed(s.bias)})" for s in per_label.values()), _missing(contestants[who]))
                for who, per_label in scatters.items()
            ],
        ),
        markdown_table(
            ["", "training", "test step, stars per second", "what it is"],
            [(who, seconds(it.train_seconds), len(test) / it.test_seconds, it.note) for who, it in contestants.items()],
        ),
    ]
    for name, failure in failures.items():
        tables.append(f"`{name}` could not be run here; it ended with:\n\n```\n{failure}\n```")
    settings = {
        "data": source_name(options.data),
        "training stars": len(train),
        "test stars": len(test),
        "pixels": len(stars["wave"]),
    }
    results = {
        who: {
            "labels": {name: s.to_dict() for name, s in scatters[who].items()},
            "train_seconds": it.train_seconds,
            "test_seconds": it.test_seconds,
            "test_stars_a_second": len(test) / it.test_seconds,
            "stars_without_labels": _missing(it),
            "note": it.note,
        }
        for who, it in contestants.items()
    } | {"failures": failures}
    write_results(options.out, "versus_cannon", settings, results, tables, load)


def _missing(contestant: Contestant) -> int:
    return int(np.sum(~np.all(np.isfinite(contestant.labels), axis=1)))


if __name__ == "__main__":
    main()
