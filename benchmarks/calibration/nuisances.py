"""Are velocities, broadening and a continuum recovered within their errors, and do label errors grow as they should?"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.scatter import column, robust_width
from benchmarks.common.simulated import inner_stars
from benchmarks.common.stars import EMULATOR, parse_options
from slamjax.model.model import Model
from slamjax.validation import draw_nuisances, prepared_model, sbc, simulate

LABELS = ("teff", "logg", "fe_h")
SELECTION = "isfinite(teff) & isfinite(logg) & isfinite(fe_h) & teff > 4000 & teff < 7500"
#: Injected velocities reach ±500 km/s; the fit searches a little further.
SEARCHED = slamjax.Nuisances(rv=slamjax.Free(-550, 550), sigma_v=slamjax.Free(0, 200), polynomial=3)
#: Of spectra to which nothing was done, to see label errors grow.
ADDED = {
    "velocity": slamjax.Nuisances(rv=slamjax.Free(-550, 550)),
    "polynomial of degree 3": slamjax.Nuisances(polynomial=3),
    "both": slamjax.Nuisances(rv=slamjax.Free(-550, 550), polynomial=3),
}
#: Of the posteriors that are ranked, on fewer pixels (nm).
RANKED = slamjax.Nuisances(rv=slamjax.Free(-100, 100), sigma_v=slamjax.Free(0, 100), polynomial=2, polynomial_sd=0.2)
RANKED_RANGE = (500, 530)
INJECTED = slamjax.Nuisances(
    rv=slamjax.Free(-500, 500), sigma_v=slamjax.Free(20, 150), polynomial=3, polynomial_sd=0.15
)


def miles_model(
    options: argparse.Namespace, wave_range: tuple[float, float] = (400, 720), noise: Any = "lowrank"
) -> Model:
    """A model trained on the stars of ``--miles``."""
    if options.miles is None:
        raise SystemExit("give the MILES library: --miles miles.fits")
    stars = slamjax.read_table(options.miles).select(SELECTION)
    recipe = slamjax.Recipe.make(wave_range=wave_range, wave_unit="nm", continuum="gaussian:10nm")
    return slamjax.train(stars, LABELS, emulator=EMULATOR, recipe=recipe, noise=noise)


def judge(z: np.ndarray) -> dict[str, Any]:
    """Pulls of one quantity."""
    z = z[np.isfinite(z)]
    return {
        "n": len(z),
        "mean": float(np.median(z)),
        "robust": robust_width(z),
        "within_68": float(np.mean(np.abs(z) < 1)),
        "within_95": float(np.mean(np.abs(z) < 1.96)),
        "beyond_5": int(np.sum(np.abs(z) > 5)),
    }


def recover(model: Model, options: argparse.Namespace) -> dict[str, Any]:
    """Fit stars with nuisances injected, and the same stars without, on the same pixels."""
    plain = prepared_model(model)
    n = options.n_stars
    usable = np.asarray(model.with_nuisances(SEARCHED).usable)
    ivar = np.where(usable, np.inf, 0.0)[None]
    truth, weights, _ = inner_stars(model, ivar, n, np.random.default_rng(options.seed))
    values = draw_nuisances(INJECTED, n, options.seed)
    moved = simulate(model, truth, weights, seed=options.seed, nuisances=INJECTED, values=values)
    start = time.perf_counter()
    table = slamjax.fit(plain, moved, nuisances=SEARCHED)
    first = time.perf_counter() - start
    start = time.perf_counter()
    slamjax.fit(plain, moved, nuisances=SEARCHED)
    again = time.perf_counter() - start
    good = np.isfinite(column(table, LABELS[0]))
    found: dict[str, Any] = {"quantities": {}}
    for name in SEARCHED.free:
        found["quantities"][name] = judge((column(table, name) - values[name]) / column(table, f"{name}_err"))
        found["quantities"][name]["error"] = float(np.median(column(table, f"{name}_err")[good]))
    for k, name in enumerate(model.label_names):
        offset, sigma = column(table, name) - truth[:, k], column(table, f"{name}_err")
        found["quantities"][name] = judge(offset / sigma) | {"error": float(np.median(sigma[good]))}
    tilt = np.asarray(table["polynomial"]) - values["polynomial"]
    found["polynomial"] = [robust_width(tilt[good, k]) for k in range(tilt.shape[1])]
    flags = np.asarray(table["flags"])
    found |= {
        "stars": n,
        "pixels": int(usable.sum()),
        "seconds first": first,
        "milliseconds per star": 1e3 * again / n,
        "flagged": {f.name: int(np.sum(flags & f > 0)) for f in slamjax.Flag if np.any(flags & f)},
        "rv wrong by 50 km/s": int(np.sum(~(np.abs(column(table, "rv") - values["rv"]) < 50))),
        "chi2_dof": float(np.nanmedian(column(table, "chi2") / column(table, "n_pix"))),
    }
    return found


def grow(model: Model, options: argparse.Namespace) -> dict[str, Any]:
    """Label errors with nuisances over those without, stated and measured, on the very same spectra and pixels."""
    plain = prepared_model(model)
    usable = np.asarray(model.with_nuisances(ADDED["both"]).usable)
    truth, weights, _ = inner_stars(
        model, np.where(usable, np.inf, 0.0)[None], options.n_stars, np.random.default_rng(options.seed + 1)
    )
    spectra = simulate(model, truth, weights, seed=options.seed + 1)
    alone = slamjax.fit(plain, spectra)
    found: dict[str, Any] = {}
    for title, nuisances in ADDED.items():
        table = slamjax.fit(plain, spectra, nuisances=nuisances)
        found[title] = {}
        for k, name in enumerate(model.label_names):
            sigma, more = (column(one, f"{name}_err") for one in (alone, table))
            # in units of the error without nuisances, so that stars of all kinds count alike
            z, wider = ((column(one, name) - truth[:, k]) / sigma for one in (alone, table))
            both = np.isfinite(z) & np.isfinite(wider)
            draws = np.random.default_rng(0).choice(np.flatnonzero(both), (200, both.sum()))
            found[title][name] = {
                "stated": float(np.median(more[both] / sigma[both])),
                "measured": robust_width(wider[both]) / robust_width(z[both]),
                "error": float(np.std([robust_width(wider[rows]) / robust_width(z[rows]) for rows in draws])),
                "sd": float(np.std(wider[both]) / np.std(z[both])),
                "sd_error": float(np.std([np.std(wider[rows]) / np.std(z[rows]) for rows in draws])),
            }
    return found


def rank(model: Model, options: argparse.Namespace) -> dict[str, Any]:
    """SBC of labels and velocities with the continuum integrated out."""
    ivar = np.full((1, model.wave.size), np.inf)
    result = sbc(
        model, ivar, n_stars=options.n_sbc, nuisances=RANKED, seed=options.seed, sampler=slamjax.SamplerSpec(draws=250)
    )
    ranks, regions = result.ranks, result.regions
    return {
        "names": list(ranks.names),
        "p_bonferroni": ranks.p_bonferroni,
        "chi2": ranks.chi2,
        "passes": ranks.passes(),
        "regions_pass": regions.passes(),
        "text": str(result),
    }


def tables_of(found: dict[str, Any]) -> list[str]:
    quantities = [
        (
            name, one["error"], f"{one['robust']:.3f} ± {1.17 / np.sqrt(one['n']):.3f}", f"{one['mean']:+.2f}",
            f"{100 * one['within_68']:.1f}", f"{100 * one['within_95']:.1f}", one["beyond_5"],
        )
        for name, one in found["quantities"].items()
    ]  # fmt: skip
    told = ", ".join(f"{name} {count}" for name, count in found["flagged"].items()) or "none"
    return [
        f"{found['stars']:,} stars on {found['pixels']:,} pixels: pulls (fitted − injected) / error\n\n"
        + markdown_table(
            ["", "median error", "robust width", "median pull", "in 68 %", "in 95 %", "beyond 5"], quantities
        ),
        "Robust scatter of the polynomial's coefficients: "
        + ", ".join(f"{value:.4f}" for value in found["polynomial"])
        + f". Velocities wrong by 50 km/s or more: {found['rv wrong by 50 km/s']}. Flags: {told}. Median chi2 "
        f"per pixel {found['chi2_dof']:.3f}. {found['milliseconds per star']:.0f} ms per star.",
    ]


def growth_table(title: str, found: dict[str, Any]) -> str:
    rows = [
        (
            free, name, f"{one['stated']:.3f}", f"{one['measured']:.3f} ± {one['error']:.3f}",
            f"{one['sd']:.3f} ± {one['sd_error']:.3f}",
        )
        for free, labels in found.items()
        for name, one in labels.items()
    ]  # fmt: skip
    return (
        f"Label errors with nuisances over those without, {title}, as stated and as measured (± bootstrap):\n\n"
        + markdown_table(["free", "label", "stated", "robust scatter", "standard deviation"], rows)
    )


def main() -> None:
    options = parse_options(__doc__, n_stars=500, n_sbc=400, miles=None, model=None)
    load = current_load()
    model = slamjax.Model.read(options.model) if options.model else miles_model(options)
    found = recover(model, options)
    tables = tables_of(found)
    few = miles_model(options, RANKED_RANGE, "diagonal")
    # where pixels are few, little is left to tell labels from the continuum
    for title, one in (("low-rank noise", model), (f"diagonal noise, {few.wave.size} pixels", few)):
        found[f"growth, {title}"] = grow(one, options)
        tables.append(growth_table(title, found[f"growth, {title}"]))
    found["sbc"] = rank(few, options)
    tables.append(f"SBC with {RANKED}, {few.wave.size} pixels:\n\n{found['sbc']['text']}")
    settings = {
        "data": Path(options.miles).name,
        "noise": type(model.noise).__name__,
        "injected": str(INJECTED),
        "searched": str(SEARCHED),
        "seed": options.seed,
    }
    write_results(options.out, "nuisances", settings, found, tables, load)


if __name__ == "__main__":
    main()
