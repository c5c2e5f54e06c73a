"""How fast is the emulator against a loop of ``SVR.predict`` over pixels, and do both predict the same flux?"""

from __future__ import annotations

import jax
import numpy as np

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, seconds, time_call, wanted_row, write_results
from benchmarks.common.stars import Trained, load_stars, parse_options, source_name, train_machines


def exported_flux(machines: Trained, labels: np.ndarray) -> np.ndarray:
    """Flux predicted by the rival's own SVRs, exported."""
    exact = machines.model.host_emulator
    emulator = slamjax.from_sklearn(
        machines.svrs, scaling=exact.scaling, flux_mean=exact.flux_mean, flux_scale=exact.flux_scale
    )
    return np.asarray(emulator(labels))


def main() -> None:
    options = parse_options(__doc__, n_stars=1000, n_single=20)
    load = current_load()
    train, test = load_stars(options)
    machines = train_machines(train, options.cache)
    model, exact = machines.model, machines.model.host_emulator
    # where there are fewer test stars than asked for, some are taken twice: time does not depend on it
    labels = np.resize(test.values(model.label_names), (options.n_stars, exact.n_labels))
    x = machines.scaled(labels)
    sample = np.unique(np.linspace(0, len(x) - 1, options.n_single).astype(int))

    batch = time_call(lambda: model(labels))
    single = time_call(lambda: model(labels[:1]), repeats=201)
    loop_single = time_call(lambda: [machines.flux_by_loop(x[i : i + 1]) for i in sample], repeats=3)
    loop_batch = time_call(lambda: machines.flux_by_loop(x), repeats=3)
    per_star = {
        "model(labels), all stars in one call": batch.median / len(x),
        "model(labels), one star": single.median,
        "loop of SVR.predict, one star at a time (as the original SLAM)": loop_single.median / len(sample),
        "loop of SVR.predict, all stars at once": loop_batch.median / len(x),
    }
    fast, _, slow_single, slow_batch = per_star.values()
    ratios = {"one star at a time": (slow_single / fast, 500), "all stars at once": (slow_batch / fast, 100)}

    truth = machines.flux_by_loop(x)
    scale = np.asarray(exact.flux_scale)
    differences = {
        "slamjax.train": np.abs(np.asarray(model(labels)) - truth),
        "slamjax.from_sklearn": np.abs(exported_flux(machines, labels) - truth),
    }
    with jax.enable_x64(True):
        differences["slamjax.from_sklearn, in float64"] = np.abs(exported_flux(machines, labels) - truth)
    largest = {
        name: (float(difference.max()), float((difference / scale).max())) for name, difference in differences.items()
    }
    tables = [
        markdown_table(
            ["way", "time per star", "times model(labels) in one call"],
            [(name, seconds(value), value / fast) for name, value in per_star.items()],
        ),
        markdown_table(
            ["model(labels) in one call against the loop of SVR.predict", "wanted", "measured", "reached"],
            [wanted_row(name, got, wanted) for name, (got, wanted) in ratios.items()],
        ),
        markdown_table(
            ["exported by", "largest difference from SVR.predict, in flux", "in units of the pixel's spread"],
            [(name, f"{flux:.1e}", f"{scaled:.1e}") for name, (flux, scaled) in largest.items()],
        ),
    ]
    settings = {
        "data": source_name(options.data),
        "training stars": len(train),
        "stars predicted": len(x),
        "of which timed one at a time": len(sample),
        "pixels": model.wave.size,
        "support vectors per pixel (mean)": float(np.mean(model.info.pixels["n_support"])),
    }
    results = {
        "seconds_a_star": per_star,
        "first_call_seconds": {"all stars": batch.first, "one star": single.first},
        "ratios": {name: {"measured": got, "wanted": wanted} for name, (got, wanted) in ratios.items()},
        "largest_difference": {name: {"flux": flux, "scaled": scaled} for name, (flux, scaled) in largest.items()},
    }
    write_results(options.out, "emulator_speed", settings, results, tables, load)


if __name__ == "__main__":
    main()
