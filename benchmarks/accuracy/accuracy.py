"""How far do labels of stars never seen in training lie from APOGEE's, over five draws of training and test stars?"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, signed, write_results
from benchmarks.common.scatter import Scatter, column, robust_width, scatter
from benchmarks.common.stars import EMULATOR, LABELS, RECIPE, load_pools, parse_options, source_name
from slamjax.spectra.spectra import Spectra

#: The robust scatter that may not be exceeded, median over the seeds.
LIMITS = {"teff": 130.0, "logg": 0.45, "fe_h": 0.24, "alpha_m": 0.082}


def run(train_pool: Spectra, test_pool: Spectra, n_train: int, n_test: int, seed: int) -> dict[str, Any]:
    """Train on stars drawn by ``seed``, fit others, count every star with finite labels."""
    start = time.perf_counter()
    n_train = min(n_train, len(train_pool))
    data = slamjax.DataSpec(n_train=n_train)
    model = slamjax.train(train_pool, LABELS, emulator=EMULATOR, recipe=RECIPE, noise="diagonal", data=data, seed=seed)
    trained = time.perf_counter()
    unseen = np.flatnonzero(~model.info.record.contains(test_pool))
    rows = np.random.default_rng(seed).choice(unseen, min(n_test, unseen.size), replace=False)
    table = slamjax.fit(model, test_pool[np.sort(rows)])
    flags = np.asarray(table["flags"])
    measured = {
        which: {
            name: scatter(column(some, name), column(some, f"{name}_ref"), column(some, f"{name}_err"))
            for name in LABELS
        }
        for which, some in (("all", table), ("unflagged", table[flags == 0]))
    }
    return {
        "seed": seed,
        "n_train": n_train,
        "n_test": len(table),
        "train_seconds": trained - start,
        "fit_seconds": time.perf_counter() - trained,
        "flagged": int(np.sum(flags != 0)),
        "flags": {str(flag.name): int(np.sum((flags & flag) != 0)) for flag in slamjax.Flag},
        **measured,
    }


def main() -> None:
    options = parse_options(__doc__, n_seeds=5)
    load = current_load()
    train_pool, test_pool = load_pools(options.data)
    runs = []
    for seed in range(options.seed, options.seed + options.n_seeds):
        runs.append(run(train_pool, test_pool, options.n_train, options.n_test, seed))
        print(seed, {name: round(found.robust, 4) for name, found in runs[-1]["all"].items()}, flush=True)

    reference = test_pool.values(LABELS)
    # what one would get without a spectrum: every star the median label
    spread = {name: robust_width(reference[:, k]) for k, name in enumerate(LABELS)}
    median = {
        which: {name: _median([r[which][name] for r in runs]) for name in LABELS} for which in ("all", "unflagged")
    }
    tables = [
        f"Median over {len(runs)} seeds:\n\n"
        + markdown_table(
            [
                "label",
                "robust scatter",
                "limit",
                "kept",
                "bias",
                "pull width",
                "scatter, unflagged",
                "spread of the labels",
            ],
            [
                (
                    name,
                    found.robust,
                    LIMITS[name],
                    "yes" if found.robust <= LIMITS[name] else "**no**",
                    signed(found.bias),
                    found.pull_width,
                    median["unflagged"][name].robust,
                    spread[name],
                )
                for name, found in median["all"].items()
            ],
        ),
        "Robust scatter of every star with finite labels, seed by seed:\n\n"
        + markdown_table(
            ["seed", *LABELS, "stars counted", "flagged", "flags"],
            [
                (
                    r["seed"],
                    *(r["all"][name].robust for name in LABELS),
                    f"{min(found.n for found in r['all'].values()):,} of {r['n_test']:,}",
                    r["flagged"],
                    ", ".join(f"{name} {count:,}" for name, count in r["flags"].items() if count) or "none",
                )
                for r in runs
            ],
        ),
    ]
    settings = {
        "data": source_name(options.data),
        "training stars": runs[0]["n_train"],
        "test stars": runs[0]["n_test"],
        "seeds": ", ".join(str(r["seed"]) for r in runs),
    }
    results = {
        "runs": [_plain(r) for r in runs],
        "median": {which: {name: s.to_dict() for name, s in per.items()} for which, per in median.items()},
        "limits": LIMITS,
        "label_spread": spread,
    }
    write_results(options.out, "accuracy", settings, results, tables, load)


def _median(found: list[Scatter]) -> Scatter:
    items = [f.to_dict() for f in found]
    middle = {key: float(np.median([item[key] for item in items])) for key in items[0]}
    return Scatter(**(middle | {"n": int(middle["n"])}))


def _plain(run: dict[str, Any]) -> dict[str, Any]:
    measured = {which: {name: s.to_dict() for name, s in run[which].items()} for which in ("all", "unflagged")}
    return run | measured


if __name__ == "__main__":
    main()
