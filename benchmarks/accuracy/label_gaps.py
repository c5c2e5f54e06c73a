"""Training labels with gaps and errors: what do they cost, and what does inferring labels mend?

Gaps: 30 % of the training stars lose one label, at random. Models of all labels, of the stars that still have them all
(``missing="drop"``), and with what is missing inferred (``missing="infer"``).

Errors: Gaussian errors are added to the training labels until they are three times those of the catalogue. Models of
the labels as given; of the wrong labels with no word of their errors; with stated errors that count in the calibration
only (``label_errors="fixed"``); and of labels that are inferred where held-out stars clearly gain by it
(``label_errors="auto"``, the default).

All models are judged by the same stars, which none has seen, and their labels as given. Standard errors are those of a
paired bootstrap of these stars, or of the mean over the seeds if that is larger. XP giants: APOGEE's labels and errors.
Synthetic spectra (``--turbospectrum``): exact labels, S/N 100 by seed, every third pixel; errors are typical of APOGEE.
Seeds 0, 1 and 3 were looked at while the method was made; the tables are of the others. A seed that was done is read
from the cache.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.scatter import column, robust_width
from benchmarks.common.stars import EMULATOR, LABELS, RECIPE, load_stars, parse_options
from slamjax.errors import SlamWarning
from slamjax.spectra.spectra import Spectra

#: Labels of the synthetic spectra, and errors such as APOGEE DR17 states them for giants (vmic: assumed).
SYNTHETIC = {
    "teff": 8.0, "logg": 0.025, "feh": 0.009, "alpha_fe": 0.008, "vmic": 0.05, "c_fe": 0.02, "ti_alpha": 0.03,
    "cr_fe": 0.04, "ni_fe": 0.015, "mg_alpha": 0.013,
}  # fmt: skip
#: Synthetic training stars, signal to noise, and step in pixels.
N_SYNTHETIC, SNR, STEP = 500, 100.0, 3
GAP, TIMES = 0.3, 3.0
NOISE = slamjax.NoiseSpec("lowrank", ranks=(20, 40), floors=(0.2,))
FOLDS = slamjax.SearchSpec(folds=3)
EMULATORS = {"quadratic": slamjax.Polynomial(), "SVR": dataclasses.replace(EMULATOR, metric="isotropic")}
GAPS = ("complete", "dropped", "inferred")
ERRORS = ("complete", "not stated", "stated, fixed", "stated, auto")
#: Seeds that were looked at while the method was made.
SEEN = (0, 1, 3)
#: Draws of the test stars.
BOOTSTRAP = 200
#: What the results keep of a model.
KEPT = ("scatter", "pull", "slope", "inferred")


@dataclass(frozen=True)
class Trial:
    """Stars to train and to judge, and one label that is lost."""

    train: Spectra
    test: Spectra
    names: tuple[str, ...]
    errors: np.ndarray
    catalogued: bool
    lost: str
    recipe: slamjax.Recipe | None


def giants(options: argparse.Namespace, seed: int) -> Trial:
    """XP giants; [Fe/H] is lost."""
    train, test = load_stars(argparse.Namespace(**{**vars(options), "seed": seed}))
    errors = train.values([f"{name}_err" for name in LABELS])
    return Trial(train, test, LABELS, np.nan_to_num(errors), True, "fe_h", RECIPE)


def synthetic(options: argparse.Namespace, seed: int) -> Trial:
    """Synthetic stars; [C/Fe] is lost."""
    rng = np.random.default_rng(1000 + seed)
    stars = slamjax.read_table(options.turbospectrum)
    stars = stars.on_pixels(np.arange(0, stars.n_pix, STEP))
    flux = stars.flux + rng.normal(size=stars.flux.shape) / SNR
    stars = stars.with_arrays(flux.astype(stars.flux.dtype), np.full(flux.shape, SNR**2))
    rows = rng.permutation(len(stars))
    train, test = stars[np.sort(rows[:N_SYNTHETIC])], stars[np.sort(rows[N_SYNTHETIC:])]
    names = tuple(SYNTHETIC)
    errors = np.tile(list(SYNTHETIC.values()), (len(train), 1))
    return Trial(train, test, names, errors, False, "c_fe", None)


def with_labels(stars: Spectra, labels: dict[str, np.ndarray]) -> Spectra:
    """The same spectra with these labels and errors only."""
    keep = [name for name in stars.table.colnames if not name.endswith("_err") and name not in labels]
    table = Table({name: stars.table[name] for name in keep} | labels)
    return Spectra(
        stars.wave, stars.flux, ivar=stars.ivar, table=table, wave_unit=stars.wave_unit, medium=stars.medium,
        frame=stars.frame, fwhm=stars.fwhm,
    )  # fmt: skip


def training_sets(trial: Trial, seed: int) -> Iterator[tuple[str, Spectra, slamjax.DataSpec]]:
    """Name, stars and options of each model."""
    rng = np.random.default_rng(2000 + seed)
    given = dict(zip(trial.names, trial.train.values(trial.names).T, strict=True))
    yield "complete", with_labels(trial.train, given), slamjax.DataSpec()
    gappy = given | {trial.lost: np.where(rng.random(len(trial.train)) < GAP, np.nan, given[trial.lost])}
    yield "dropped", with_labels(trial.train, gappy), slamjax.DataSpec(missing="drop")
    yield "inferred", with_labels(trial.train, gappy), slamjax.DataSpec(missing="infer")
    more = np.sqrt(TIMES**2 - trial.catalogued) * trial.errors * rng.normal(size=trial.errors.shape)
    wrong = {name: given[name] + more[:, k] for k, name in enumerate(trial.names)}
    stated = wrong | {f"{name}_err": TIMES * trial.errors[:, k] for k, name in enumerate(trial.names)}
    yield "not stated", with_labels(trial.train, wrong), slamjax.DataSpec()
    yield "stated, fixed", with_labels(trial.train, stated), slamjax.DataSpec(label_errors="fixed")
    yield "stated, auto", with_labels(trial.train, stated), slamjax.DataSpec()


def judged(model: slamjax.Model, trial: Trial) -> dict[str, Any]:
    """Scatter and slope of each label over the test stars, pull widths of those without flags, and all differences."""
    fits = slamjax.fit(model, trial.test)
    good = np.asarray(fits["flags"]) == 0
    true = trial.test.values(trial.names)
    inferred = model.info.provenance["settings"]["inferred"]
    found: dict[str, Any] = {"scatter": [], "pull": [], "slope": [], "difference": []}
    found["inferred"] = () if inferred is None else inferred["with_errors"]
    for k, name in enumerate(trial.names):
        fitted, error = column(fits, name), column(fits, f"{name}_err")
        used = np.isfinite(fitted) & np.isfinite(true[:, k])
        difference = fitted - true[:, k]
        found["scatter"].append(robust_width(difference[used]))
        found["pull"].append(robust_width((difference / error)[used & good]))
        found["slope"].append(float(np.polyfit(true[used, k], fitted[used], 1)[0]))
        found["difference"].append([float(f"{value:.4g}") for value in difference])
    found["true"] = [[float(f"{value:.6g}") for value in values] for values in true.T]
    return found


def measured(trial: Trial, emulator: str, seed: int, cache: Path) -> dict[str, dict[str, Any]]:
    """What is measured of each model, from the cache if it was before."""
    digest = hashlib.sha256(trial.train.digests().tobytes() + trial.test.digests().tobytes())
    for path in sorted(Path(slamjax.__file__).parent.glob("training/**/*.py")):
        digest.update(path.read_bytes())
    kept = cache / f"label_gaps-{emulator}-{digest.hexdigest()[:16]}.json"
    if kept.exists():
        return json.loads(kept.read_text())  # type: ignore[no-any-return]
    found = {}
    for name, stars, data in training_sets(trial, seed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SlamWarning)
            model = slamjax.train(
                stars, trial.names, emulator=EMULATORS[emulator], recipe=trial.recipe, noise=NOISE, search=FOLDS,
                data=data, on_progress=False,
            )  # fmt: skip
            found[name] = judged(model, trial)
        print(emulator, seed, name, np.array2string(np.array(found[name]["scatter"]), precision=3), flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(found))
    return found


def with_draws(run: dict[str, dict[str, Any]], seed: int) -> dict[str, dict[str, Any]]:
    """The same with ``scatters`` and ``slopes`` (draw, label) of bootstrapped test stars, the same of all models."""
    rng, drawn = np.random.default_rng(3000 + seed), {}
    n_stars = len(run["complete"]["true"][0])
    rows = [rng.integers(n_stars, size=n_stars) for _ in range(BOOTSTRAP)]
    for kind, found in run.items():
        true, difference = np.array(found["true"]), np.array(found["difference"])
        scatters, slopes = np.empty((BOOTSTRAP, len(true))), np.empty((BOOTSTRAP, len(true)))
        for number, some in enumerate(rows):
            for k in range(len(true)):
                used = some[np.isfinite(difference[k, some])]
                scatters[number, k] = robust_width(difference[k, used])
                slopes[number, k] = 1 + np.polyfit(true[k, used], difference[k, used], 1)[0]
        numbers = {name: value for name, value in found.items() if name not in ("true", "difference")}
        drawn[kind] = numbers | {"scatters": scatters, "slopes": slopes}
    return drawn


def error_of(values: np.ndarray, draws: np.ndarray) -> float:
    """Standard error of the mean of ``values`` (seed,), of which there are ``draws`` (seed, draw)."""
    of_stars = np.sqrt(draws.var(axis=1, ddof=1).sum()) / len(values)
    of_seeds = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(max(of_stars, of_seeds))


def per_cent(logs: np.ndarray, draws: np.ndarray) -> str:
    """Of logarithms (seed,) of ratios and their draws: the geometric mean and its standard error, in per cent."""
    return f"{100 * np.expm1(logs.mean()):+.1f} ± {100 * error_of(logs, draws):.1f}"


def of_complete(kind: str, runs: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of the scatter over that of complete labels, (seed, label), and draws, (seed, draw, label)."""
    ratio = np.log([np.divide(run[kind]["scatter"], run["complete"]["scatter"]) for run in runs])
    return ratio, np.log([run[kind]["scatters"] / run["complete"]["scatters"] for run in runs])


def gap_rows(title: str, names: tuple[str, ...], lost: str, runs: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Scatter with gaps relative to complete labels: the lost label, the others, and the worst of these."""
    k = names.index(lost)
    rows = []
    for kind in GAPS[1:]:
        ratio, draws = of_complete(kind, runs)
        others, of_others = np.delete(ratio, k, axis=1), np.delete(draws, k, axis=2)
        worst = int(np.argmax(others.mean(axis=0)))
        name = [name for name in names if name != lost][worst]
        rows.append(
            (title, kind, per_cent(ratio[:, k], draws[:, :, k]), per_cent(others.mean(axis=1), of_others.mean(axis=2)),
             f"{per_cent(others[:, worst], of_others[:, :, worst])} ({name})")
        )  # fmt: skip
    return rows


def error_rows(title: str, names: tuple[str, ...], runs: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Slopes relative to those of the labels as given, pulls, and scatter."""
    rows = []
    for kind in ERRORS:
        slope = np.array([np.divide(run[kind]["slope"], run["complete"]["slope"]) for run in runs])
        slopes = np.array([run[kind]["slopes"] / run["complete"]["slopes"] for run in runs])
        of_label, least, most = slope.mean(axis=0), slope.mean(axis=0).argmin(), slope.mean(axis=0).argmax()
        pull = np.mean([run[kind]["pull"] for run in runs], axis=0)
        ratio, draws = of_complete(kind, runs)
        ends = [f"{of_label[k]:.2f} ± {error_of(slope[:, k], slopes[:, :, k]):.2f}" for k in (least, most)]
        named = "as given" if kind == "complete" else kind
        if kind == "stated, auto":
            named += f" (inferred: {sum(bool(run[kind]['inferred']) for run in runs)} of {len(runs)} seeds)"
        rows.append(
            (title, named, f"{slope.mean():.3f} ± {error_of(slope.mean(axis=1), slopes.mean(axis=2)):.3f}",
             " to ".join(ends), f"{np.exp(np.log(pull).mean()):.2f}", f"{pull.min():.2f} to {pull.max():.2f}",
             per_cent(ratio.mean(axis=1), draws.mean(axis=2)))
        )  # fmt: skip
    return rows


def main() -> None:
    options = parse_options(__doc__, turbospectrum=None, first_seed=2, last_seed=5)
    load = current_load()
    asked = range(options.first_seed, options.last_seed + 1)
    seeds = [seed for seed in asked if seed not in SEEN] or list(asked)
    kinds = [("XP giants", giants, "quadratic"), ("XP giants", giants, "SVR")]
    if options.turbospectrum:
        kinds.append(("synthetic", synthetic, "quadratic"))
    results, gaps, errors = {}, [], []
    for stars, make, emulator in kinds:
        trials = {seed: make(options, seed) for seed in seeds}
        runs = [with_draws(measured(trial, emulator, seed, options.cache), seed) for seed, trial in trials.items()]
        names, lost = trials[seeds[0]].names, trials[seeds[0]].lost
        title = f"{stars}, {emulator}"
        gaps += gap_rows(title, names, lost, runs)
        errors += error_rows(title, names, runs)
        kept = [{kind: {name: run[kind][name] for name in KEPT} for kind in run} for run in runs]
        results[title] = {"labels": names, "lost": lost, "seeds": dict(zip(seeds, kept, strict=True))}
    tables = [
        f"Gaps: {GAP:.0%} of the training stars lack [Fe/H] (XP) or [C/Fe] (synthetic). Scatter of labels of other "
        "stars, % more than with complete labels:\n\n"
        + markdown_table(["stars", "with gaps", "that label", "the others", "the worst of these"], gaps),
        f"Errors: training labels with {TIMES:.0f} times the catalogue's errors. Slopes of fitted against true labels "
        "are relative to those of labels as given; scatter, % more than these:\n\n"
        + markdown_table(
            ["stars", "errors", "slope", "labels from, to", "pull width", "labels from, to", "scatter"], errors
        ),
    ]
    settings = {
        "XP training stars": options.n_train,
        "XP test stars": options.n_test,
        "seeds": ", ".join(map(str, seeds)),
    }
    if options.turbospectrum:
        typical = ", ".join(f"{name} {error:g}" for name, error in SYNTHETIC.items())
        settings["synthetic"] = f"{N_SYNTHETIC} to train, 200 to judge, S/N {SNR:.0f}; errors, once, {typical}"
    write_results(options.out, "label_gaps", settings, results, tables, load)


if __name__ == "__main__":
    main()
