"""Are velocities, broadening and a continuum recovered within their errors, and do label errors grow as they should?"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import parse_options
from reporting import current_load, markdown_table, write_results
from scatter import column, robust_width
from simulated import inner_stars

import slamjax
from slamjax.model import Model
from slamjax.validate import draw_nuisances, prepared_model, simulate

LABELS = ("teff", "logg", "fe_h")
SELECTION = "isfinite(teff) & isfinite(logg) & isfinite(fe_h) & teff > 4000 & teff < 7500"
#: Injected velocities reach ±500 km/s; the fit searches a little further.
SEARCHED = slamjax.Nuisances(rv=slamjax.Free(-550, 550), broadening=slamjax.Free(0, 200), polynomial=3)
INJECTED = slamjax.Nuisances(
    rv=slamjax.Free(-500, 500), broadening=slamjax.Free(20, 150), polynomial=3, polynomial_sd=0.15
)


def miles_model(options: argparse.Namespace) -> Model:
    """The model of ``--model``, or one trained on the stars of ``--miles``."""
    if options.model:
        return slamjax.load(options.model)
    if options.miles is None:
        raise SystemExit("give the MILES library by --miles miles.fits, or a model by --model")
    stars = slamjax.read_table(options.miles).select(SELECTION)
    recipe = slamjax.Recipe.make(wave_range=(400, 720), continuum="gaussian:10nm")
    return slamjax.train(stars, LABELS, recipe=recipe, noise="lowrank", C=10.0, epsilon=0.05, gamma=0.1)


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
    usable = np.asarray(slamjax.ForwardEmulator.of(model, SEARCHED).usable)
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
    alone = slamjax.fit(plain, simulate(model, truth, weights, seed=options.seed + 1))
    good, good_alone = (np.isfinite(column(one, LABELS[0])) for one in (table, alone))
    found: dict[str, Any] = {"quantities": {}, "growth": {}}
    for name in SEARCHED.free:
        found["quantities"][name] = judge((column(table, name) - values[name]) / column(table, f"{name}_err"))
        found["quantities"][name]["error"] = float(np.median(column(table, f"{name}_err")[good]))
    for k, name in enumerate(model.label_names):
        offset, sigma = column(table, name) - truth[:, k], column(table, f"{name}_err")
        other, sigma_alone = column(alone, name) - truth[:, k], column(alone, f"{name}_err")
        found["quantities"][name] = judge(offset / sigma) | {"error": float(np.median(sigma[good]))}
        both = good & good_alone
        found["growth"][name] = {
            "predicted": float(np.median(sigma[both] / sigma_alone[both])),
            # scatter in units of the error without nuisances, so that stars of all kinds count alike
            "measured": robust_width((offset / sigma_alone)[both]) / robust_width((other / sigma_alone)[both]),
            "pull without": robust_width((other / sigma_alone)[both]),
        }
    tilt = np.asarray(table["polynomial"]) - values["polynomial"]
    found["polynomial"] = [robust_width(tilt[good, k]) for k in range(tilt.shape[1])]
    flags = np.asarray(table["flags"])
    found |= {
        "stars": n,
        "pixels": int(usable.sum()),
        "seconds first": first,
        "milliseconds a star": 1e3 * again / n,
        "flagged": {f.name: int(np.sum(flags & f > 0)) for f in slamjax.Flag if np.any(flags & f)},
        "rv wrong by 50 km/s": int(np.sum(~(np.abs(column(table, "rv") - values["rv"]) < 50))),
        "chi2_dof": float(np.nanmedian(column(table, "chi2") / column(table, "n_pix"))),
    }
    return found


def tables_of(found: dict[str, Any]) -> list[str]:
    quantities = [
        (
            name, one["error"], f"{one['robust']:.3f} ± {1.17 / np.sqrt(one['n']):.3f}", f"{one['mean']:+.2f}",
            f"{100 * one['within_68']:.1f}", f"{100 * one['within_95']:.1f}", one["beyond_5"],
        )
        for name, one in found["quantities"].items()
    ]  # fmt: skip
    growth = [
        (name, f"{one['predicted']:.3f}", f"{one['measured']:.3f}", f"{one['pull without']:.3f}")
        for name, one in found["growth"].items()
    ]
    told = ", ".join(f"{name} {count}" for name, count in found["flagged"].items()) or "none"
    return [
        f"{found['stars']:,} stars on {found['pixels']:,} pixels: pulls (fitted − injected) / error\n\n"
        + markdown_table(
            ["", "median error", "robust width", "median pull", "in 68 %", "in 95 %", "beyond 5"], quantities
        ),
        "Label errors with nuisances over those without, as stated and as measured (robust scatter):\n\n"
        + markdown_table(["label", "stated", "measured", "pull width without nuisances"], growth),
        "Robust scatter of the polynomial's coefficients: "
        + ", ".join(f"{value:.4f}" for value in found["polynomial"])
        + f". Velocities wrong by 50 km/s or more: {found['rv wrong by 50 km/s']}. Flags: {told}. Median chi2 a pixel "
        f"{found['chi2_dof']:.3f}. {found['milliseconds a star']:.0f} ms a star.",
    ]


def main() -> None:
    options = parse_options(__doc__, n_stars=500, model=None, miles=None)
    load = current_load()
    model = miles_model(options)
    found = recover(model, options)
    settings = {
        "data": Path(options.model or options.miles).name,
        "noise": type(model.noise).__name__,
        "injected": str(INJECTED),
        "searched": str(SEARCHED),
        "seed": options.seed,
    }
    tables = tables_of(found)
    write_results(options.out, "nuisances", settings, found, tables, load)
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
