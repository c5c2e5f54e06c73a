"""Which stars' labels are further off than their errors say, and what do these stars have in common?"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.scatter import column
from benchmarks.common.stars import LABELS, calibrated_model, load_stars, parse_options, source_name
from slamjax.model.model import Model
from slamjax.spectra.spectra import Spectra

#: An outlier is this many stated errors off.
FAR = 3.0
#: Between the two sequences of [alpha/M] of the disc's giants.
GAP = 0.15


def main() -> None:
    options = parse_options(__doc__, n_seeds=5)
    load = current_load()
    runs = []
    for seed in range(options.seed, options.seed + options.n_seeds):
        train, test = load_stars(argparse.Namespace(**vars(options) | {"seed": seed}))
        runs.append(outliers(calibrated_model(train, options.cache, seed), test))
    traits = list(runs[0][LABELS[0]]["share"])
    rows = []
    for name in LABELS:
        count = float(np.median([r[name]["count"] for r in runs]))
        rows.append((f"{name}, beyond {FAR:g} errors", f"{count:.0f}", *(shares(runs, name, "share"))))
    rows.append(("all unflagged stars", f"{np.median([r['n'] for r in runs]):.0f}", *shares(runs, LABELS[0], "of all")))
    write_results(
        options.out,
        "outliers",
        {"data": source_name(options.data), "seeds": options.n_seeds, "training stars": options.n_train},
        {"runs": runs},
        [
            "Share of these stars that ... (medians over seeds):\n\n"
            + markdown_table(["stars", "number", *traits], rows)
        ],
        load,
    )


def shares(runs: list[dict[str, Any]], name: str, what: str) -> list[str]:
    return [f"{np.median([r[name][what][trait] for r in runs]):.0%}" for trait in runs[0][name][what]]


def outliers(model: Model, test: Spectra) -> dict[str, Any]:
    """Of each label: how many unflagged stars are far off, and the share of them that has each trait."""
    table = slamjax.fit(model, test)
    fitted = np.stack([column(table, name) for name in LABELS], axis=-1)
    known = np.stack([column(table, f"{name}_ref") for name in LABELS], axis=-1)
    error = np.stack([column(table, f"{name}_err") for name in LABELS], axis=-1)
    good = (np.asarray(table["flags"]) == 0) & np.all(np.isfinite(fitted), axis=1)
    columns = test.columns()
    spacing = model.training_labels.neighbour_distance(
        np.asarray(model.host_emulator.scaling(np.where(good[:, None], fitted, known)))
    )
    alpha = LABELS.index("alpha_m")
    chi2 = column(table, "chi2") / (column(table, "n_pix") - len(LABELS))
    magnitude, extinction = (np.asarray(columns[name], float) for name in ("phot_g_mean_mag", "ak_targ"))
    traits = {
        "change sequence in [alpha/M]": (fitted[:, alpha] - GAP) * (known[:, alpha] - GAP) < 0,
        "lie where training stars are sparsest (upper tenth)": upper(spacing, good, 90),
        "have the highest chi2 (upper tenth)": upper(chi2, good, 90),
        "are the faintest in G (upper quarter)": upper(magnitude, good, 75),
        "are the reddest by A_K (upper quarter)": upper(extinction, good, 75),
        "have APOGEE S/N in the lower quarter": ~upper(np.asarray(columns["apogee_snr"], float), good, 25),
    }
    found: dict[str, Any] = {"n": int(good.sum())}
    for k, name in enumerate(LABELS):
        far = good & (np.abs(fitted[:, k] - known[:, k]) > FAR * error[:, k])
        found[name] = {
            "count": int(far.sum()),
            "share": {trait: float(np.mean(has[far])) if far.any() else 0.0 for trait, has in traits.items()},
            "of all": {trait: float(np.mean(has[good])) for trait, has in traits.items()},
        }
    return found


def upper(values: np.ndarray, good: np.ndarray, percentile: float) -> np.ndarray:
    known = values > -1  # sentinels such as A_K = -84
    return known & (values > np.percentile(values[good & known], percentile))


if __name__ == "__main__":
    main()
