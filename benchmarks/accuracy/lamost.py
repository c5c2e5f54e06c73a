"""From one survey to another: how well does a MILES model label LAMOST spectra, as the archive gives them?

`--miles` is the MILES table, `--files` a folder with LAMOST files and ``lasp.csv``, velocities and labels by LASP.
Nothing in the model is made for LAMOST: it has MILES's pixels and line spread, a range of wavelengths and a continuum;
all else is default. MILES states no errors of its labels; those of Prugniel et al. (2011) are given to `slamjax.train`,
so that they are no part of a new star's errors. A file's own redshift is not used. What slamjax knows of LAMOST (line
spread, regions to leave out) was chosen with half of the files, every second one in the order of their names; the
others played no part.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from scipy.ndimage import median_filter

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
#: MILES stars like those of the LAMOST files.
DWARFS = "logg > 3.9 & teff > 3800 & teff < 6300"
RECIPE = Recipe.make(wave_range=(4000, 7200), wave_unit="Angstrom", continuum="gaussian:50angstrom")
SETTINGS: dict[str, Any] = {"log_labels": ["teff"]}
#: Targets for LAMOST stars: largest median difference and robust scatter, and of the velocity's scatter in km/s.
WANTED = {"teff": (60.0, 100.0), "logg": (0.10, 0.22), "fe_h": (0.10, 0.12)}
WANTED_RV = 10.0
FOLDS = 2
#: Teff up to which MILES stars have these errors of Teff, log g and [Fe/H]: M stars, FGK stars, and hotter ones, whose
#: error of Teff is a fraction. Agreement of the library's labels with the literature: Prugniel, Vauglin & Koleva 2011,
#: A&A 531, A165 (abstract).
LABEL_ERRORS = ((4000.0, (38.0, 0.26, 0.12)), (7000.0, (60.0, 0.13, 0.05)), (np.inf, (0.035, 0.17, 0.13)))
#: Pixels that are averaged to compare noise with stated errors: about the width of a line.
_AVERAGED = 4


def with_label_errors(stars: Spectra) -> Spectra:
    """MILES with columns ``teff_err``, ``logg_err`` and ``fe_h_err``."""
    teff = stars.values("teff")
    kind = np.searchsorted([limit for limit, _ in LABEL_ERRORS], teff)
    errors = np.array([error for _, error in LABEL_ERRORS])[kind]
    errors[:, 0] *= np.where(errors[:, 0] < 1, teff, 1)
    for name, column_of in zip(LABELS, errors.T, strict=True):
        stars.table[f"{name}_err"] = column_of
    return stars


def train(stars: Spectra) -> Model:
    return slamjax.train(stars, LABELS, recipe=RECIPE, **SETTINGS)


def cross_validated(stars: Spectra, like: Spectra, noise: np.ndarray, folds: int, seed: int) -> dict[str, Any]:
    """MILES stars by models that have not seen them: as they are, and dwarfs as noisy as the LAMOST files."""
    fold = make_folds(stars.star_groups(), folds, seed)
    found: dict[str, list[tuple[Spectra, Table]]] = {"as they are": [], "dwarfs as noisy as the files": []}
    for k in range(folds):
        model, others = train(stars[fold != k]), stars[fold == k]
        found["as they are"].append((others, slamjax.fit(model, others)))
        dwarfs = others.select(DWARFS)
        noisy = as_noisy(dwarfs, like, noise, seed + k)
        found["dwarfs as noisy as the files"].append((dwarfs, slamjax.fit(model, noisy)))
        print(f"fold {k + 1} of {folds}", flush=True)
    return {kind: {name: _of_label(parts, name) for name in LABELS} for kind, parts in found.items()}


def _of_label(parts: list[tuple[Spectra, Table]], name: str) -> dict[str, float]:
    """Scatter about the catalogue's labels, whose errors count in the pulls."""
    fitted, known, error, stated = (
        np.concatenate([each(*part) for part in parts])
        for each in (
            lambda _, table: column(table, name),
            lambda some, _: some.values(name),
            lambda _, table: column(table, f"{name}_err"),
            lambda some, _: some.values(f"{name}_err"),
        )
    )
    return scatter(fitted, known, np.hypot(error, stated)).to_dict()


def as_noisy(stars: Spectra, like: Spectra, noise: np.ndarray, seed: int) -> Spectra:
    """Stars with the noise of LAMOST files, each with that of a random one, and with bad pixels where it has them."""
    rng = np.random.default_rng(seed)
    flux, ivar = np.array(stars.flux, float), np.zeros(stars.flux.shape)
    for row, file in enumerate(rng.integers(len(like), size=len(stars))):
        good = like.good[file]
        fraction = median_filter(like.ivar[file][good] ** -0.5, 51) / median_filter(like.flux[file][good], 51)
        sigma = noise[file] * flux[row] * np.interp(stars.wave, like.wave[good], fraction)
        nearest = np.searchsorted(like.wave, stars.wave).clip(max=like.n_pix - 1)
        ivar[row] = np.where(good[nearest] & stars.good[row] & (sigma > 0), 1 / np.maximum(sigma, 1e-30) ** 2, 0)
        flux[row] += sigma * rng.normal(size=stars.n_pix)
    return dataclasses.replace(stars, flux=flux, ivar=ivar)


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


def noise_in_stated_errors(model: Model, spectra: Spectra, found: Table) -> np.ndarray:
    """Robust widths of residuals of the fits, in means of a few pixels, over what the files' errors make of these."""
    prepared = model.prepare(spectra, velocity=column(found, "rv"))
    predicted = model.matched(prepared)(np.stack([column(found, name) for name in LABELS], axis=1))
    n_pix = prepared.n_pix // _AVERAGED * _AVERAGED
    good = (prepared.good & np.isfinite(predicted))[:, :n_pix].reshape(len(spectra), -1, _AVERAGED)
    residual = np.where(prepared.good, prepared.flux - predicted, 0)[:, :n_pix].reshape(good.shape)
    variance = np.where(good, 1 / np.where(good, prepared.ivar[:, :n_pix].reshape(good.shape), 1), np.nan)
    pulls = residual.sum(axis=2) / np.sqrt(variance.sum(axis=2))  # NaN where a pixel is bad
    return np.array([robust_width(row[np.isfinite(row)]) for row in pulls])


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
    stars = with_label_errors(stars[np.isfinite(stars.values(LABELS)).all(axis=1)])
    lasp = Table.read(options.files / "lasp.csv", comment="#")
    start = time.perf_counter()
    model = train(stars)
    seconds = time.perf_counter() - start
    files = [str(Path(options.files) / name) for name in lasp["file"]]
    found = slamjax.fit_files(model, files)
    spectra = slamjax.read(files)
    noise = noise_in_stated_errors(model, spectra, found)
    order = np.argsort(np.asarray(lasp["file"]))
    halves = {
        "all files": np.arange(len(lasp)),
        "the half that choices were made with": order[::2],
        "the other half": order[1::2],
    }
    compared = {half: against_lasp(found[rows], lasp[rows]) for half, rows in halves.items()}
    held_out = cross_validated(stars, spectra, noise, options.folds, options.seed) if options.folds > 1 else {}

    def pair(name: str, row: int, digits: int) -> str:
        own, error = column(found, name)[row], column(found, f"{name}_err")[row]
        return f"{own:.{digits}f} ± {error:.{digits}f} ({lasp[name][row]:.{digits}f})"

    by_star = markdown_table(
        ["file", "S/N", "noise", "RV, km/s (LASP)", "Teff, K (LASP)", "log g (LASP)", "[Fe/H] (LASP)", "flags"],
        [
            (
                lasp["file"][row],
                f"{found['snr'][row]:.0f}",
                f"{noise[row]:.2f}",
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
        ["MILES stars", "label", "stars", "bias", "robust scatter", "pull width"],
        [
            (kind, name, f"{row['n']:,}", signed(row["bias"]), f"{row['robust']:.3g}", f"{row['pull_width']:.2f}")
            for kind, rows in held_out.items()
            for name, row in rows.items()
        ],
    )
    sections = [
        f"{len(found)} LAMOST spectra by a model of {len(stars)} MILES stars ({model.wave.size:,} pixels, trained in "
        f"{seconds:.0f} s), star by star, with LASP's values behind; noise is that of the spectrum in means of "
        f"{_AVERAGED} pixels, in units of the errors that the file states:",
        by_star,
        *(part for half, table in by_half.items() for part in (f"Slamjax minus LASP, {half}:", table)),
    ]
    if held_out:
        sections += [
            f"MILES itself, {options.folds}-fold cross-validation of the same settings, as it is and with the noise of "
            "the LAMOST files; the catalogue's errors count in the pulls:",
            on_miles,
        ]
    settings = {
        "selection": SELECTION,
        "dwarfs": DWARFS,
        "recipe": str(RECIPE),
        **{key: str(value) for key, value in SETTINGS.items()},
    }
    write_results(
        options.out,
        "lamost",
        settings,
        {"lamost": compared, "noise": noise.tolist(), "miles": held_out},
        sections,
        load,
    )


if __name__ == "__main__":
    main()
