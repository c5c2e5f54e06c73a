"""Quadratic or not? SLAM and The Cannon's quadratic on the same stars: flux error of each pixel, and label scatter.

XP giants: training stars and others, as in the other benchmarks. MILES (``--miles``): five-fold cross-validation, 4000
to 7200 Å in every second pixel (1.8 Å, at a resolution of 2.5 Å), 3600 to 8000 K, Teff learnt in log10. Both emulators
have the same preparation, noise model and calibration; the quadratic's ridge is chosen pixel by pixel, SLAM's
hyper-parameters are the other benchmarks'.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

import slamjax
from benchmarks.common.reporting import cell, current_load, markdown_table, write_results
from benchmarks.common.stars import EMULATOR, LABELS, RECIPE, SVR_SETTINGS, load_stars, parse_options, source_name
from slamjax.validation.emulator_comparison import EMULATORS, EmulatorComparison

MILES_LABELS = ("teff", "logg", "fe_h")
MILES_SELECTION = "isfinite(teff) & isfinite(logg) & isfinite(fe_h) & teff > 3600 & teff < 8000"
#: Pixels are 0.9 Å, the resolution is 2.5 Å.
MILES_STEP = 2
MILES_RECIPE = slamjax.Recipe.make(wave_range=(4000, 7200), wave_unit="Angstrom", continuum="gaussian:10nm")


def timed(
    stars: Any, labels: Any, name: str, training: slamjax.TrainingSpec, **options: Any
) -> tuple[EmulatorComparison, float]:
    """A comparison and the seconds it took; progress is printed."""
    start = time.perf_counter()

    def told(done: int, total: int) -> None:
        print(f"{name}: {done} of {total} after {time.perf_counter() - start:.0f} s", flush=True)

    contest = slamjax.compare(stars, labels, svr=EMULATOR, training=training, on_progress=told, **options)
    return contest, time.perf_counter() - start


def rows_of(contest: EmulatorComparison) -> list[tuple[Any, ...]]:
    """One row per emulator: flux errors in per cent of the stars' spread, label scatter."""
    labels = contest.models["SLAM"].label_names
    return [
        (
            "SLAM" if row["emulator"] == "SLAM" else "quadratic",
            100 * row["flux_rms_of_spread"],
            100 * row["flux_scatter_of_spread"],
            *(row[f"{label}_scatter"] for label in labels),
            int(row["flagged"]),
        )
        for row in contest.summary()
    ]


def bin_rows(contest: EmulatorComparison) -> list[tuple[Any, ...]]:
    """One row per bin: the scatter of each label, SLAM's / the quadratic's."""
    rows = []
    first, second = (contest.scatter[name] for name in EMULATORS)
    for low in np.unique(first["low"][np.isfinite(first["low"])]):
        mine, other = (table[table["low"] == low] for table in (first, second))
        pairs = [f"{cell(float(a))} / {cell(float(b))}" for a, b in zip(mine["scatter"], other["scatter"], strict=True)]
        rows.append((f"{low:.0f} to {mine['high'][0]:.0f}", int(mine["n"].max()), *pairs))
    return rows


def tables_of(contest: EmulatorComparison, title: str) -> list[str]:
    """The tables of one data set for the documentation."""
    labels = contest.models["SLAM"].label_names
    ratio = np.asarray(contest.flux["polynomial_scatter"] / contest.flux["SLAM_scatter"], float)
    better = 100 * np.mean(ratio[np.isfinite(ratio)] > 1)
    low, middle, high = np.nanpercentile(ratio, [5, 50, 95])
    header = ["", "flux rms error, % of spread", "flux scatter, % of spread", *labels, "flagged"]
    tables = [
        f"{title}; {contest.held_out} judge. Flux errors at the known labels, median over pixels; robust scatter of "
        f"labels:\n\n{markdown_table(header, rows_of(contest))}",
        f"The quadratic's flux scatter is {cell(middle)} times SLAM's in the median pixel ({cell(low)} to {cell(high)} "
        f"in 90 % of them); SLAM's is the smaller in {better:.0f} % of pixels.",
    ]
    bins = bin_rows(contest)
    if bins:
        head = ["S/N per pixel", "stars", *labels]
        tables.append(f"Robust scatter by S/N, SLAM / quadratic:\n\n{markdown_table(head, bins)}")
    return tables


def run_xp(options: argparse.Namespace) -> tuple[list[str], dict[str, Any]]:
    """Tables and results of the XP giants."""
    train, test = load_stars(options)
    contest, seconds = timed(train, LABELS, "XP giants", slamjax.TrainingSpec(RECIPE, seed=options.seed), test=test)
    title = f"Gaia XP giants, {len(train):,} training stars of {source_name(options.data)}"
    return tables_of(contest, title), _record(contest, seconds)


def run_miles(path: Path, seed: int) -> tuple[list[str], dict[str, Any]]:
    """Tables and results of MILES."""
    stars = slamjax.read_table(path).select(MILES_SELECTION)
    stars = stars.on_pixels(slice(None, None, MILES_STEP))
    training = slamjax.TrainingSpec(MILES_RECIPE, log_labels=["teff"], seed=seed)
    contest, seconds = timed(stars, MILES_LABELS, "MILES", training)
    return tables_of(contest, f"MILES, 4000 to 7200 Å, {contest.flux['wave'].size:,} pixels"), _record(contest, seconds)


def main() -> None:
    options = parse_options(__doc__.splitlines()[0], miles=None)
    load = current_load()
    settings = {**SVR_SETTINGS, "degree": 2, "seed": options.seed}
    tables, results = [], {}
    runs = {"xp": lambda: run_xp(options)}
    if options.miles is not None:
        runs["miles"] = lambda: run_miles(options.miles, options.seed)
    for name, run in runs.items():
        more, results[name] = run()
        tables += more
        write_results(options.out, "slam_vs_quadratic", settings, results, tables, load)  # each is long: keep it


def _record(contest: EmulatorComparison, seconds: float) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "held_out": contest.held_out,
        "summary": _plain(contest.summary()),
        "scatter": {name: _plain(table) for name, table in contest.scatter.items()},
        "flux": {name: np.asarray(contest.flux[name]) for name in contest.flux.colnames},
        "noise": {name: type(model.noise).__name__ for name, model in contest.models.items()},
    }


def _plain(table: Table) -> list[dict[str, Any]]:
    return [{name: row[name] for name in table.colnames} for row in table]


if __name__ == "__main__":
    main()
