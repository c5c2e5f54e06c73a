"""From one survey to another: how well does a MILES model label LAMOST spectra, as the archive gives them?

`--miles` is the MILES table, `--files` a folder with LAMOST files and ``lasp.csv``, velocities and labels by LASP.
Nothing in the model is made for LAMOST: it has MILES's pixels and line spread, a range of wavelengths and a continuum;
all else is default. A file's own redshift is not used. What slamjax knows of LAMOST (line spread, regions to leave out)
was chosen with half of the files, every second one in the order of their names; the others played no part.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, signed, write_results
from benchmarks.common.scatter import column, robust_width, scatter
from benchmarks.common.stars import parse_options
from slamjax.model.model import Model
from slamjax.preprocessing import Recipe
from slamjax.spectra.spectra import Spectra
from slamjax.training.search import make_folds

LABELS = ("teff", "logg", "fe_h")
SELECTION = "teff > 3500 & teff < 9000"
RECIPE = Recipe.make(wave_range=(4000, 7200), wave_unit="Angstrom", continuum="gaussian:50angstrom")
SETTINGS: dict[str, Any] = {"log_labels": ["teff"]}
#: Targets for LAMOST stars: largest median difference and robust scatter, and of the velocity's scatter in km/s.
WANTED = {"teff": (60.0, 100.0), "logg": (0.10, 0.22), "fe_h": (0.10, 0.12)}
WANTED_RV = 10.0
FOLDS = 3


def train(stars: Spectra) -> Model:
    return slamjax.train(stars, LABELS, recipe=RECIPE, **SETTINGS)


def cross_validated(stars: Spectra, folds: int, seed: int) -> dict[str, dict[str, float]]:
    """MILES stars by models that have not seen them."""
    fold = make_folds(stars.star_groups(), folds, seed)
    tables = []
    for k in range(folds):
        tables.append((stars[fold == k], slamjax.fit(train(stars[fold != k]), stars[fold == k])))
        print(f"fold {k + 1} of {folds}", flush=True)
    measured = {}
    for name in LABELS:
        parts = [(column(t, name), some.values(name), column(t, f"{name}_err")) for some, t in tables]
        measured[name] = scatter(*(np.concatenate(part) for part in zip(*parts, strict=True))).to_dict()
    return measured


def against_lasp(found: Table, lasp: Table) -> dict[str, dict[str, float]]:
    measured: dict[str, dict[str, float]] = {}
    for name in ("rv", *LABELS):
        difference = column(found, name) - np.asarray(lasp[name], float)
        combined = np.hypot(column(found, f"{name}_err"), np.asarray(lasp[f"{name}_err"], float))
        measured[name] = {
            "bias": float(np.median(difference)),
            "robust": robust_width(difference),
            "pull_width": robust_width(difference / combined),
            "pull_rms": float(np.sqrt(np.mean(np.square((difference - np.median(difference)) / combined)))),
            "within": int(np.sum(np.abs(difference) < 3 * combined)),
            "typical_error": float(np.median(column(found, f"{name}_err"))),
        }
    return measured


def _differences(compared: dict[str, dict[str, float]], n: int) -> str:
    return markdown_table(
        ["", "median difference", "wanted", "robust scatter", "wanted", "within 3 σ", "own error", "pull width, rms"],
        [
            (
                name,
                signed(row["bias"]),
                f"± {WANTED[name][0]:g}" if name in WANTED else "-",
                f"{row['robust']:.3g}",
                f"{WANTED[name][1] if name in WANTED else WANTED_RV:g}",
                f"{row['within']} of {n}",
                f"{row['typical_error']:.3g}",
                f"{row['pull_width']:.2f}, {row['pull_rms']:.2f}",
            )
            for name, row in compared.items()
        ],
    )


def main() -> None:
    options = parse_options(__doc__ or "", miles=None, files=None, folds=FOLDS)
    if options.miles is None or options.files is None:
        raise SystemExit("give --miles miles.fits and --files FOLDER (LAMOST files and lasp.csv)")
    load = current_load()
    stars = slamjax.read_table(options.miles).select(SELECTION)
    stars = stars[np.isfinite(stars.values(LABELS)).all(axis=1)]
    lasp = Table.read(options.files / "lasp.csv", comment="#")
    start = time.perf_counter()
    model = train(stars)
    seconds = time.perf_counter() - start
    found = slamjax.fit_files(model, [str(Path(options.files) / name) for name in lasp["file"]])
    order = np.argsort(np.asarray(lasp["file"]))
    halves = {
        "all files": np.arange(len(lasp)),
        "the half that choices were made with": order[::2],
        "the other half": order[1::2],
    }
    compared = {half: against_lasp(found[rows], lasp[rows]) for half, rows in halves.items()}
    held_out = cross_validated(stars, options.folds, options.seed) if options.folds > 1 else {}

    def pair(name: str, row: int, digits: int) -> str:
        own, error = column(found, name)[row], column(found, f"{name}_err")[row]
        return f"{own:.{digits}f} ± {error:.{digits}f} ({lasp[name][row]:.{digits}f})"

    by_star = markdown_table(
        ["file", "S/N", "RV, km/s (LASP)", "Teff, K (LASP)", "log g (LASP)", "[Fe/H] (LASP)", "flags"],
        [
            (
                lasp["file"][row],
                f"{found['snr'][row]:.0f}",
                pair("rv", row, 0),
                pair("teff", row, 0),
                pair("logg", row, 2),
                pair("fe_h", row, 2),
                slamjax.flag_names(int(found["flags"][row])) or "-",
            )
            for row in range(len(found))
        ],
    )
    by_half = {half: _differences(rows, len(halves[half])) for half, rows in compared.items()}
    on_miles = markdown_table(
        ["label", "stars", "bias", "robust scatter", "pull width"],
        [
            (name, f"{row['n']:,}", signed(row["bias"]), f"{row['robust']:.3g}", f"{row['pull_width']:.2f}")
            for name, row in held_out.items()
        ],
    )
    sections = [
        f"{len(found)} LAMOST spectra by a model of {len(stars)} MILES stars ({model.wave.size:,} pixels, trained in "
        f"{seconds:.0f} s), star by star, with LASP's values behind:",
        by_star,
        *(part for half, table in by_half.items() for part in (f"Slamjax minus LASP, {half}:", table)),
    ]
    if held_out:
        sections += [f"MILES itself, {options.folds}-fold cross-validation of the same settings:", on_miles]
    settings = {"selection": SELECTION, "recipe": str(RECIPE), **{key: str(value) for key, value in SETTINGS.items()}}
    write_results(options.out, "lamost", settings, {"lamost": compared, "miles": held_out}, sections, load)


if __name__ == "__main__":
    main()
