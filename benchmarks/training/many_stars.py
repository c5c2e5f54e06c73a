"""What do more training stars cost, exactly and by inducing stars, and what do they bring?

Real Gaia XP stars of all kinds, on all 343 pixels; stars that are never trained on judge. Beyond the table's stars,
labels are drawn near those of real stars, flux is that of a model of real stars with the photon noise that a real star
of these labels states, and the judges' true flux is known. Real stars are trained with independent pixels, simulated
ones with default noise. Every training runs in a process of its own. Exact training of all pixels ends with
``--most-exact`` stars. What the output folder holds is not run again.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

import slamjax
from benchmarks.common.reporting import cell, current_load, markdown_table, write_results
from benchmarks.common.scatter import column, robust_width
from benchmarks.common.stars import LABELS, SVR_SETTINGS, parse_options, source_name
from benchmarks.training.training_stages import STAGES, Stopwatch
from slamjax.model.model import Model
from slamjax.spectra.spectra import Spectra

RECIPE = slamjax.Recipe.make(continuum="gaussian:50nm")
REAL, SIMULATED = (1000, 3000, 9000), (10_000, 30_000, 100_000)
#: Simulated labels are those of a real star and a normal part of the labels' spread.
_NEAR = 0.1
MIB = 2**20


def real_stars(data: Path, seed: int) -> tuple[Spectra, Spectra]:
    """Stars to train on, in random order, and stars that judge: with all labels, and no source on both sides."""
    stars = slamjax.read_table(data)
    stars = stars[np.isfinite(stars.values(LABELS)).all(axis=1)]
    group = stars.star_groups()
    judging = np.random.default_rng(seed).permutation(group.max() + 1)[group] % 10 == 0
    order = np.random.default_rng(seed).permutation(np.flatnonzero(~judging))
    return stars[order], stars[np.flatnonzero(judging)]


def simulated_stars(model_file: Path, stars: Spectra, n: int, seed: int) -> tuple[Spectra, np.ndarray]:
    """Prepared spectra of n simulated stars, and their true flux (n, P)."""
    model = slamjax.Model.read(model_file)
    rng, scaling = np.random.default_rng(seed), model.host_emulator.scaling
    prepared = model.prepare(stars)
    known = np.isin(np.arange(len(stars)), np.flatnonzero((np.abs(prepared.flux) < 10).all(axis=1)))
    rows = rng.choice(np.flatnonzero(known), n)
    x = np.asarray(scaling(stars.values(LABELS)[rows])) + _NEAR * rng.normal(size=(n, len(LABELS)))
    low, high = model.training_labels.low, model.training_labels.high
    labels = np.asarray(scaling.inverse(np.clip(x, low, high)), float)
    truth = np.concatenate([np.asarray(model(part), np.float32) for part in np.array_split(labels, -(-n // 2000))])
    ivar = np.where(np.isfinite(truth), prepared.ivar[rows], 0).astype(np.float32)
    error = np.where(ivar > 0, 1 / np.sqrt(np.where(ivar > 0, ivar, 1)), 0)
    flux = np.nan_to_num(truth) + (error * rng.standard_normal(truth.shape, np.float32)).astype(np.float32)
    table = Table(dict(zip(LABELS, labels.T, strict=True)))
    unit = str(prepared.wave_unit)
    return Spectra(prepared.wave, flux, ivar, table, unit, medium="vacuum", frame="observed"), truth


def measure(case: dict[str, Any], sender: Any) -> None:
    """Train one model and judge it; what was found is sent. Runs in its own process, whose largest memory is told."""
    warnings.simplefilter("ignore", slamjax.SlamWarning)
    simulated = case["stars"] == "simulated"
    recipe = None if simulated else RECIPE
    pool, judges = real_stars(case["data"], case["seed"])
    truth = None
    if simulated:
        train, _ = simulated_stars(case["model"], pool, case["n"], 1)
        judges, truth = simulated_stars(case["model"], pool, case["n_test"], 2)
    else:
        train, judges = pool[: case["n"]], judges[: case["n_test"]]
    del pool
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
    watch, start = Stopwatch(), time.perf_counter()
    emulator = slamjax.SVR(**SVR_SETTINGS, metric="isotropic", solver=case["solver"])
    options = {"recipe": recipe, "seed": case["seed"], "on_progress": watch}
    noise = "auto" if simulated else "diagonal"
    model = slamjax.train(train, LABELS, emulator=emulator, noise=noise, **options)
    watch.stage("")
    spent = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
    if case["keep"]:
        model.write(case["model"])
    found = {name: case[name] for name in ("stars", "n", "solver")} | {
        "seconds": spent, "stages": watch.seconds, "MiB": peak, "MiB before": before, "terms": model.emulator.n_terms,
        "noise": model.noise.kind, "left out": len(model.info.screened),
        "of": model.info.provenance["settings"]["solver"],
    }  # fmt: skip
    sender.send(found | judged(model, judges, truth))


def judged(model: Model, judges: Spectra, truth: np.ndarray | None) -> dict[str, Any]:
    """Errors of flux at known labels, and scatter of labels, of stars that took no part."""
    predicted, prepared = np.asarray(model(judges.values(LABELS)), float), model.prepare(judges)
    spread = np.asarray(model.host_emulator.flux_scale)
    off = np.where(prepared.good, (prepared.flux - predicted) / spread, np.nan)
    found: dict[str, Any] = {"flux error": float(np.nanmedian(robust_columns(off)))}
    if truth is not None:
        noise = np.where(prepared.ivar > 0, np.sqrt(prepared.ivar), np.nan)
        found["emulator error in noise"] = float(np.nanmedian(robust_columns((predicted - truth) * noise)))
    start = time.perf_counter()
    labels = slamjax.fit(model, judges)
    found["fit seconds"] = time.perf_counter() - start
    known = judges.values(LABELS)
    off_by = [column(labels, name) - values for name, values in zip(LABELS, known.T, strict=True)]
    found["scatter"] = [robust_width(each[np.isfinite(each)]) for each in off_by]
    return found


def robust_columns(values: np.ndarray) -> np.ndarray:
    """(P,) 1.4826 median |x| over the stars."""
    return 1.4826 * np.nanmedian(np.abs(values), axis=0)


def run(case: dict[str, Any]) -> dict[str, Any]:
    """`measure` in a new process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(case, sender))
    process.start()
    sender.close()
    found: dict[str, Any] = receiver.recv()
    process.join()
    print(found, flush=True)
    return found


def cases(options: Any) -> list[dict[str, Any]]:
    """All trainings, the one that makes the model of simulated stars first."""
    model = options.cache / f"many_stars-{options.seed}.h5"
    common = {"data": options.data, "seed": options.seed, "n_test": min(options.n_test, 1000), "model": model}
    real = [("real", n, solver) for n in REAL for solver in ("inducing", "batched")]
    wanted = real + [("simulated", n, "inducing") for n in SIMULATED]
    return [
        common
        | {"stars": stars, "n": n, "solver": solver, "keep": (stars, n, solver) == ("real", REAL[-1], "inducing")}
        for stars, n, solver in sorted(
            wanted, key=lambda one: (one[:2] != ("real", REAL[-1]), one[0] == "real", one[2], -one[1])
        )
        if n <= options.most and (solver == "inducing" or n <= options.most_exact)
    ]


def table(runs: list[dict[str, Any]]) -> str:
    head = [
        "stars",
        "training",
        "solver",
        "support vectors",
        "training s",
        "noise s",
        "all s",
        "peak GiB",
        "flux error",
    ]
    rows = []
    for one in sorted(runs, key=lambda one: (one["stars"], one["n"], one["solver"])):
        stages = [one["stages"][name] for name in STAGES[1:]]
        numbers = [*stages, one["seconds"], one["MiB"] / 1024, one["flux error"]]
        numbers += [one.get("emulator error in noise", np.nan), *one["scatter"]]
        rows.append([one["stars"], one["n"], one["solver"], one["terms"], *(cell(float(number)) for number in numbers)])
    return markdown_table([*head, "emulator error in noise", *LABELS], rows)


def plot(runs: list[dict[str, Any]], path: Path) -> None:
    """Time, memory and accuracy against the number of stars."""
    import matplotlib.pyplot as plt

    panels: dict[str, Any] = {
        "minutes": lambda one: one["seconds"] / 60,
        "peak memory, GiB": lambda one: one["MiB"] / 1024,
        "flux error, spread of a pixel": lambda one: one["flux error"],
        "scatter of Teff, K": lambda one: one["scatter"][0],
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(14, 3.4), layout="constrained")
    for axis, (name, value) in zip(axes, panels.items(), strict=True):
        for stars, solver, style in (
            ("real", "batched", "s--"),
            ("real", "inducing", "o-"),
            ("simulated", "inducing", "^-"),
        ):
            some = sorted((one["n"], value(one)) for one in runs if (one["stars"], one["solver"]) == (stars, solver))
            if some:
                axis.plot(*zip(*some, strict=True), style, label=f"{stars} stars, {solver}")
        axis.set_xscale("log")
        if name.startswith(("minutes", "peak")):
            axis.set_yscale("log")
        axis.set_xlabel("training stars")
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    options = parse_options(__doc__, most=100_000, most_exact=3000)
    if options.data is None:
        raise SystemExit("give a table of stars of all kinds: --data gaia_xp_apogee.fits")
    options.cache.mkdir(parents=True, exist_ok=True)
    load, path = current_load(), options.out / "many_stars.json"
    runs = json.loads(path.read_text())["results"]["runs"] if path.exists() else []
    for case in cases(options):
        if any(all(one[name] == case[name] for name in ("stars", "n", "solver")) for one in runs):
            continue
        runs.append(run(case))
        settings = {"from": source_name(options.data), "judging": case["n_test"], "seed": options.seed}
        plot(runs, options.out / "many_stars.png")
        write_results(options.out, "many_stars", settings, {"runs": runs}, [table(runs)], load)


if __name__ == "__main__":
    main()
