"""What training costs with the number of stars, of pixels, and with C and γ: batched and by scikit-learn.

Real Gaia XP stars of all kinds. Both get the same columns; scikit-learn runs an even sample of
the pixels on two threads, which is how slamjax calls it, and its time is scaled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVR

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, plot_costs, write_results
from benchmarks.common.stars import LABELS, RECIPE, parse_options, source_name
from benchmarks.training.training_speed import even, scaled, timed
from slamjax.training.svr.dual import Duals
from slamjax.training.svr.shared_kernel import solve_columns
from slamjax.training.svr.smo import Smo

STARS, PIXELS, CS = (500, 1000, 2000, 4000, 8000), (32, 64, 128, 256), (0.1, 1.0, 10.0, 100.0)
GAMMAS = (0.01, 0.1, 1.0, 10.0)
LINES = {
    "scikit-learn": ("s--", "scikit-learn"),
    "batched": ("o-", "batched"),
}
EPSILON, GAMMA, TOL, C = 0.05, 0.1, 1e-3, 1.0
#: Pixels that scikit-learn trains.
RIVAL_PIXELS = 8


def cost(x: np.ndarray, y: np.ndarray, C: float, gamma: float = GAMMA) -> dict[str, Any]:
    """Seconds for all pixels of y (N, P), kernel matrix included."""
    n, n_pix = y.shape

    def duals(pixels: np.ndarray) -> Duals:
        kernel = rbf_kernel(x, gamma=gamma)
        columns = np.ascontiguousarray(pixels.T)
        return Duals(kernel, columns, np.full(columns.shape, C), np.full(len(columns), EPSILON))

    def batched() -> Any:
        given = duals(y)
        return solve_columns(given, Smo(given.kernel, -1, 2000 * max(n, 500)), TOL)[2]

    own, verdict = timed(batched)
    found = {"batched": own, "missed": int(np.sum(verdict.violation > TOL))}
    some = even(n_pix, RIVAL_PIXELS)
    machine = {"C": C, "epsilon": EPSILON, "gamma": gamma, "tol": TOL, "cache_size": 500}
    rival, _ = timed(
        lambda: Parallel(n_jobs=2, prefer="threads")(delayed(SVR(**machine).fit)(x, y[:, p]) for p in some)
    )
    found["scikit-learn"] = rival / len(some) * n_pix
    return found


def main() -> None:
    options = parse_options(__doc__)
    load = current_load()
    stars = slamjax.read_table(options.data) if options.data else slamjax.datasets.load_xp_giants()[0]
    known = np.flatnonzero(np.isfinite(stars.values(LABELS)).all(axis=1))
    rows = np.random.default_rng(options.seed).permutation(known)
    x, y = scaled(RECIPE(stars[rows]), LABELS, PIXELS[-1])
    cost(x[:200], y[:200, :4], 1.0)  # loads and compiles
    sizes = [n for n in STARS if n <= len(x)]
    middle = min(2000, len(x))
    runs = {
        "stars": {n: cost(x[:n], y[:n, even(y.shape[1], 64)], C) for n in sizes},
        "pixels": {p: cost(x[:middle], y[:middle, even(y.shape[1], p)], C) for p in PIXELS},
        "C": {c: cost(x[:middle], y[:middle, even(y.shape[1], 64)], c) for c in CS},
        "gamma": {g: cost(x[:middle], y[:middle, even(y.shape[1], 64)], C, g) for g in GAMMAS},
    }
    tables = []
    for what, note in (
        ("stars", f"64 pixels, C = {C:g}"),
        ("pixels", f"{middle} stars, C = {C:g}"),
        ("C", f"{middle} stars, 64 pixels"),
        ("gamma", f"{middle} stars, 64 pixels, C = {C:g}"),
    ):
        body = [
            (
                f"{value:g}", f"{one['batched']:.2f}", f"{one['scikit-learn']:.1f}",
                f"{one['scikit-learn'] / one['batched']:.1f}",
            )
            for value, one in runs[what].items()
        ]  # fmt: skip
        header = [what, "batched s", "scikit-learn s", "ratio"]
        tables.append(
            f"By {what} ({note}), gamma = {GAMMA:g} unless varied, ε = {EPSILON:g}:\n\n" + markdown_table(header, body)
        )
    plot_costs(runs, LINES, "seconds", options.out / "training_scaling.png")
    settings = {"data": source_name(options.data), "seed": options.seed}
    result = {what: [{what: value} | one for value, one in found.items()] for what, found in runs.items()}
    write_results(options.out, "training_scaling", settings, result, tables, load)


if __name__ == "__main__":
    main()
