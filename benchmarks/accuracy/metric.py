"""Noisy spectra of giants: labels with a learnt metric of the kernel against those with an isotropic one.

The same stars train both (``--n-train``), seed by seed; ratios of label scatter are of the same test stars, all of
them, whatever their flags.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.scatter import column, robust_width
from benchmarks.common.stars import LABELS, RECIPE, SVR_SETTINGS, load_stars, parse_options, source_name

METRICS = ("isotropic", "learned")


def judged(model: slamjax.Model, stars: Any) -> dict[str, np.ndarray]:
    """Robust scatter, root mean square and pull width of each label, and how many stars are flagged."""
    table = slamjax.fit(model, stars)
    error = np.stack([column(table, name) - column(table, f"{name}_ref") for name in LABELS], axis=1)
    sigma = np.stack([column(table, f"{name}_err") for name in LABELS], axis=1)
    known = np.isfinite(error).all(axis=1)
    return {
        "scatter": np.array([robust_width(one) for one in error[known].T]),
        "rms": np.sqrt(np.mean(np.square(error[known]), axis=0)),
        "pull": np.array([robust_width(one) for one in (error / sigma)[known].T]),
        "flagged": np.mean(np.asarray(table["flags"]) != 0),
    }


def one_seed(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    train, test = load_stars(argparse.Namespace(**{**vars(options), "seed": seed}))
    found: dict[str, Any] = {}
    for metric in METRICS:
        start = time.perf_counter()
        svr = slamjax.SVR(**SVR_SETTINGS, metric=metric)
        model = slamjax.train(train, LABELS, emulator=svr, recipe=RECIPE, seed=seed, on_progress=False)
        seconds = time.perf_counter() - start
        tried = model.info.provenance["settings"]["metrics"]
        found[metric] = judged(model, test) | {"seconds": seconds, "tried": tried}
    print(seed, found, flush=True)
    return found


def main() -> None:
    options = parse_options(__doc__, n_seeds=5)
    load = current_load()
    seeds = range(options.seed, options.seed + options.n_seeds)
    found = {seed: one_seed(options, seed) for seed in seeds}
    rows = []
    for seed, each in found.items():
        best = max(each["learned"]["tried"], key=lambda row: row["score"])["name"]
        for metric in METRICS:
            of = each[metric]
            name = metric if metric == "isotropic" else f"{metric}: {best}"
            rows.append(
                (seed, name, *of["scatter"], *(f"{p:.2f}" for p in of["pull"]), 100 * of["flagged"], of["seconds"])
            )
    ratios = {
        key: np.array([each["learned"][key] / each["isotropic"][key] for each in found.values()])
        for key in ("scatter", "rms")
    }
    error = 1 / np.sqrt(max(len(found), 2))
    summary = [
        (key, *(f"{m:.3f} ± {s * error:.3f}" for m, s in zip(r.mean(axis=0), r.std(axis=0), strict=True)))
        for key, r in ratios.items()
    ]
    header = ["seed", "metric", *LABELS, *(f"pull {name}" for name in LABELS), "flagged %", "training [s]"]
    tables = [
        "Learned over isotropic, mean over the seeds:\n\n" + markdown_table(["", *LABELS], summary),
        "Robust scatter:\n\n" + markdown_table(header, rows),
    ]
    settings = {"data": source_name(options.data), "stars": options.n_train, "tests": options.n_test}
    write_results(options.out, "metric", settings, {str(k): v for k, v in found.items()}, tables, load)
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
