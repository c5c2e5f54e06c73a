"""Where does the time of training go: preparing, training, learning the noise?

The quickstart (SLAM, 1,000 giants of the embedded sample, 318 pixels, 4 labels) and simulated spectra of APOGEE's size,
both with default noise. Each is trained twice if it takes less than a minute; the second time nothing is compiled.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.stars import EMULATOR, LABELS, RECIPE, parse_options
from benchmarks.common.synthetic import simulated
from slamjax.spectra.spectra import Spectra

STAGES = ("preparing", "training", "learning the noise")
#: Seconds from which a training is not repeated.
_LONG = 60.0


class Stopwatch:
    """Seconds of each stage that training reports."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.name, self.begun = "", time.perf_counter()

    def stage(self, name: str) -> None:
        now = time.perf_counter()
        if self.name:
            stage = self.name if self.name in STAGES else "training"  # screening is training, too
            self.seconds[stage] += now - self.begun
        self.name, self.begun = name, now

    def __call__(self, done: int, total: int) -> None:
        pass


def stages(stars: Spectra, labels: tuple[str, ...], **options: Any) -> dict[str, float]:
    """Seconds of each stage, and in all."""
    watch, start = Stopwatch(), time.perf_counter()
    slamjax.train(stars, labels, on_progress=watch, **options)
    watch.stage("")
    return watch.seconds | {"all": time.perf_counter() - start}


def large(n_stars: int, n_pix: int, n_labels: int) -> tuple[Spectra, tuple[str, ...]]:
    names = tuple(f"label_{k}" for k in range(n_labels))
    return simulated(np.random.default_rng(0).uniform(size=(n_stars, n_labels)), names, n_pix, 0), names


def main() -> None:
    options = parse_options(__doc__, n_stars=1500, n_pix=7214, n_labels=5)
    load, (giants, _) = current_load(), slamjax.datasets.load_xp_giants()
    three = slamjax.SearchSpec(folds=3)
    spectra, names = large(options.n_stars, options.n_pix, options.n_labels)
    shape = f"{options.n_stars:,} simulated stars, {options.n_pix:,} pixels, {options.n_labels} labels, 3 folds"
    cases: dict[str, Any] = {
        "quickstart": (giants, LABELS, {"emulator": EMULATOR, "recipe": RECIPE}),
        f"SLAM, {shape}": (spectra, names, {"emulator": EMULATOR, "search": three}),
    }
    runs: dict[str, list[dict[str, float]]] = {}
    for name, (stars, labels, settings) in cases.items():
        runs[name] = [stages(stars, labels, **settings)]
        if runs[name][0]["all"] < _LONG:
            runs[name].append(stages(stars, labels, **settings))
        print(name, runs[name], flush=True)
    rows = [
        [name if number == 0 else "the same again", *(found[stage] for stage in (*STAGES, "all"))]
        for name, of in runs.items()
        for number, found in enumerate(of)
    ]
    table = markdown_table(["seconds", *STAGES, "all"], rows)
    write_results(
        options.out, "training_stages", {"from": "the sample embedded in slamjax"}, {"runs": runs}, [table], load
    )


if __name__ == "__main__":
    main()
