"""Are errors honest for stars of any S/N, whatever the S/N of the training stars? Synthetic, MILES and Gaia XP stars.

Synthetic stars (--turbospectrum) and MILES (--miles) get noise by seed. Folds 0 and 1 of five were looked at while the
noise model was made; the others once, before the last change to it (the learning curve). They are reported apart.
Gaia XP giants (--data) have their own noise, and are judged by quartile of G magnitude.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.scatter import column, robust_width
from benchmarks.common.stars import EMULATOR, LABELS, RECIPE, load_stars, parse_options
from slamjax.spectra.spectra import Spectra

FOLDS, SEEN = 5, (0, 1)
SYNTHETIC, MILES = ("teff", "logg", "feh", "alpha_fe"), ("teff", "logg", "fe_h")
EMULATORS = {"quadratic": slamjax.Polynomial(), "SVR": EMULATOR}
TRAINED = ("300", "100", "30 to 300")
JUDGED = (10.0, 20.0, 30.0, 50.0, 100.0, 200.0, 500.0, np.inf)
MILES_JUDGED = (100.0, 50.0, 20.0)
MILES_RECIPE = slamjax.Recipe.make(wave_range=(400, 720), wave_unit="nm", continuum="gaussian:5nm")
MEASURES = ("scatter", "pull width", "χ²/dof", "flagged %", "at an edge %")
_EDGE = int(slamjax.Flag.AT_BOUND | slamjax.Flag.OUTSIDE_TRAINING)
#: Every which pixel of MILES is used.
STEP = 4


def noisy(spectra: Spectra, snr: np.ndarray, rng: np.random.Generator) -> Spectra:
    """Spectra with white noise of 1 / ``snr`` (N,) of the continuum, stated."""
    sigma = np.broadcast_to(np.maximum(1 / snr, 1e-6)[:, None], spectra.flux.shape)
    return spectra.with_arrays(spectra.flux + sigma * rng.normal(size=sigma.shape), sigma**-2.0)


def trained_snr(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    return np.exp(rng.uniform(np.log(30), np.log(300), n)) if "to" in kind else np.full(n, float(kind))


def folds_of(n: int) -> np.ndarray:
    return np.random.default_rng(7).permutation(n) % FOLDS


def judged(model: slamjax.Model, stars: Spectra, labels: tuple[str, ...]) -> dict[str, Any]:
    """Errors, pulls (N, L), χ² per degree of freedom and flags of stars with known labels."""
    table = slamjax.fit(model, stars)
    error = np.stack([column(table, name) - column(table, f"{name}_ref") for name in labels], axis=1)
    sigma = np.stack([column(table, f"{name}_err") for name in labels], axis=1)
    dof = np.maximum(column(table, "n_pix") - len(labels), 1)
    return {"error": error, "pull": error / sigma, "chi2": column(table, "chi2") / dof, "flags": column(table, "flags")}


def synthetic_fold(path: Path, fold: int, kind: str, name: str) -> tuple[tuple[str, str, int], dict[float, Any], str]:
    """A model trained at some S/N on four folds, and the fifth at every S/N."""
    stars = slamjax.read_table(path)
    of = folds_of(len(stars))
    rng = np.random.default_rng([fold, TRAINED.index(kind)])
    train, test = stars[of != fold], stars[of == fold]
    train = noisy(train, trained_snr(kind, len(train), rng), rng)
    model = slamjax.train(train, SYNTHETIC, emulator=EMULATORS[name], on_progress=False)
    unseen = {snr: judged(model, noisy(test, np.full(len(test), snr), rng), SYNTHETIC) for snr in JUDGED}
    return (name, kind, fold), unseen, photons_of(model)


def miles_fold(path: Path, fold: int) -> tuple[tuple[str, str, int], dict[float, Any], str]:
    """MILES states no errors; noise is added to the fifth fold."""
    stars = slamjax.read_table(path)
    stars = stars[np.isfinite(stars.values(MILES)).all(axis=1)].on_pixels(np.arange(0, stars.n_pix, STEP))
    stars = stars[np.sort(np.random.default_rng(3).permutation(len(stars))[:800])]
    of, rng = folds_of(len(stars)), np.random.default_rng(fold)
    model = slamjax.train(stars[of != fold], MILES, emulator=EMULATOR, recipe=MILES_RECIPE, on_progress=False)
    test, unseen = stars[of == fold], {np.inf: judged(model, stars[of == fold], MILES)}
    level = np.nanmedian(np.where(test.flux > 0, test.flux, np.nan), axis=1, keepdims=True)
    for snr in MILES_JUDGED:
        sigma = np.broadcast_to(level / snr, test.flux.shape)
        unseen[snr] = judged(
            model, test.with_arrays(test.flux + sigma * rng.normal(size=sigma.shape), sigma**-2.0), MILES
        )
    return ("SVR", "as given", fold), unseen, photons_of(model)


def photons_of(model: slamjax.Model) -> str:
    return "stated" if model.info.calibration.photons_as_stated else "learnt"


def cells(found: list[Any], labels: tuple[str, ...], folds: list[int]) -> list[tuple[Any, ...]]:
    """Rows of the table: emulator, training, judged S/N, and what the stars of these folds give."""
    rows = []
    for name, kind in dict.fromkeys((key[0], key[1]) for key, _, _ in found):
        for snr in found[0][1]:
            parts = [unseen[snr] for key, unseen, _ in found if key[:2] == (name, kind) and key[2] in folds]
            if parts:
                rows.append((name, kind, "none added" if np.isinf(snr) else f"{snr:g}", *summary(parts, len(labels))))
    return rows


def n_stars(found: list[Any], folds: list[int]) -> int:
    """Stars behind each row of `cells`."""
    kind = found[0][0][:2]
    parts = [next(iter(unseen.values())) for key, unseen, _ in found if key[:2] == kind and key[2] in folds]
    return sum(len(part["chi2"]) for part in parts)


def summary(parts: list[dict[str, Any]], n_labels: int) -> tuple[Any, ...]:
    """Scatter and pull width of each label, median χ² per degree of freedom, percentages flagged and at an edge."""
    error, pull, chi2, flags = (np.concatenate([part[key] for part in parts]) for key in parts[0])
    good = np.isfinite(error).all(axis=1)
    scatter = [f"{robust_width(error[good, k]):.3g}" for k in range(n_labels)]
    widths = [f"{robust_width(pull[good, k]):.2f}" for k in range(n_labels)]
    flagged, edge = 100 * np.mean(flags != 0), 100 * np.mean(flags.astype(int) & _EDGE != 0)
    return ", ".join(scatter), ", ".join(widths), f"{np.nanmedian(chi2):.3f}", f"{flagged:.1f}", f"{edge:.1f}"


def tables_of(found: list[Any], labels: tuple[str, ...], title: str) -> list[str]:
    """Tables of the folds that were looked at once, and of those by which choices were made."""
    header = ["emulator", "trained at", "judged at", *MEASURES]
    parts = {"folds looked at once": [k for k in range(FOLDS) if k not in SEEN], "folds looked at": list(SEEN)}
    tables = []
    for which, folds in parts.items():
        rows = cells(found, labels, folds)
        if rows:
            n = n_stars(found, folds)
            error = f"{n} stars, so that a width of 1 has a standard error of {1.17 / np.sqrt(n):.2f}"
            tables.append(f"{title}, {which} ({', '.join(labels)}; {error}):\n\n" + markdown_table(header, rows))
    return tables


def giants(options: Any) -> tuple[str, dict[str, Any]]:
    """XP giants by quartile of G."""
    train, test = load_stars(options)
    model = slamjax.train(train, LABELS, emulator=EMULATOR, recipe=RECIPE, seed=options.seed, on_progress=False)
    found = judged(model, test, LABELS)
    magnitude = np.asarray(test.table["phot_g_mean_mag"], float)
    quartile = np.digitize(magnitude, np.nanpercentile(magnitude, [25, 50, 75]))
    parts = {"all": np.ones(len(test), bool)} | {f"quartile {k + 1} of G": quartile == k for k in range(4)}
    rows = [(name, *summary([{k: v[rows] for k, v in found.items()}], 4)) for name, rows in parts.items()]
    header = ["stars", *MEASURES]
    title = f"Gaia XP, {len(train)} training and {len(test)} test stars, photon noise {photons_of(model)} "
    return f"{title}({', '.join(LABELS)}):\n\n" + markdown_table(header, rows), {"rows": rows}


def main() -> None:
    options = parse_options(__doc__, turbospectrum=None, miles=None, first_fold=0, last_fold=FOLDS - 1)
    load, tables, results = current_load(), [], {}
    folds = range(options.first_fold, options.last_fold + 1)
    tasks = []
    if options.turbospectrum:
        tasks += [
            joblib.delayed(synthetic_fold)(options.turbospectrum, fold, kind, name)
            for name in EMULATORS
            for kind in TRAINED
            for fold in folds
        ]
    if options.miles:
        tasks += [joblib.delayed(miles_fold)(options.miles, fold) for fold in folds]
    found = joblib.Parallel(n_jobs=2, inner_max_num_threads=1, verbose=10)(tasks)
    for given, labels, title in (("as given", MILES, "MILES"), (None, SYNTHETIC, "Synthetic stars")):
        some = [each for each in found if (each[0][1] == "as given") == (given is not None)]
        if some:
            tables += tables_of(some, labels, title)
            results[title] = {"photons": [(*key, photons) for key, _, photons in some]}
    if options.data:
        table, results["Gaia XP"] = giants(options)
        tables.append(table)
    settings = {"folds": f"{folds.start} to {folds.stop - 1}", "photon noise": sorted({each[2] for each in found})}
    write_results(options.out, "signal_to_noise", settings, results, tables, load)
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
