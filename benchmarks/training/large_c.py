"""How fast are SVRs of large C and small ε on spectra without noise, against scikit-learn and pairs of coefficients?

Synthetic spectra with ten labels (``--data turbospectrum.fits``); an even sample of the pixels, one core. The batched
solver hands columns that pairs of coefficients (SMO) do not finish soon to operator splitting. All get the same columns
and tolerance; scikit-learn trains an even sample of them.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVR

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.stars import parse_options, source_name
from benchmarks.training.training_speed import even, standard
from slamjax.training.svr.dual import Duals
from slamjax.training.svr.relay import Relay
from slamjax.training.svr.shared_kernel import solve_columns
from slamjax.training.svr.smo import Smo

LABELS = ("teff", "logg", "feh", "alpha_fe", "vmic", "c_fe", "ti_alpha", "cr_fe", "ni_fe", "mg_alpha")
#: C, ε and γ.
CASES = ((10.0, 0.05, 0.1), (10.0, 0.01, 0.02), (100.0, 0.05, 0.02), (100.0, 0.01, 0.02), (100.0, 0.01, 0.1),
         (100.0, 0.01, 0.25), (1000.0, 0.01, 0.05))  # fmt: skip
TOL, RIVAL_PIXELS = 5e-4, 6


def cost(x: np.ndarray, y: np.ndarray, C: float, epsilon: float, gamma: float) -> dict[str, Any]:
    """Milliseconds a pixel, kernel matrix included, and how far objectives are apart."""
    found: dict[str, Any] = {"C": C, "epsilon": epsilon, "gamma": gamma}
    objectives = []
    for name, solver in (("batched", Relay), ("SMO alone", Smo)):
        start = time.perf_counter()
        kernel = rbf_kernel(x, gamma=gamma)
        columns = np.ascontiguousarray(y.T)
        duals = Duals(kernel, columns, np.full(columns.shape, C), np.full(len(columns), epsilon))
        _, _, verdict = solve_columns(duals, solver(kernel, 1, 2000 * max(len(x), 500)), TOL)
        found[name] = (time.perf_counter() - start) / y.shape[1] * 1e3
        found[f"missed, {name}"] = int(np.sum(verdict.violation > TOL))
        objectives.append(verdict.objective)
    found["objectives apart"] = float(np.max(np.abs(objectives[0] / objectives[1] - 1)))
    some = even(y.shape[1], RIVAL_PIXELS)
    start = time.perf_counter()
    machine = SVR(C=C, epsilon=epsilon, gamma=gamma, tol=TOL, cache_size=500)
    found["support"] = int(np.median([len(machine.fit(x, y[:, pixel]).support_) for pixel in some]))
    found["scikit-learn"] = (time.perf_counter() - start) / len(some) * 1e3
    return found


def main() -> None:
    options = parse_options(__doc__, n_pix=96)
    if options.data is None:
        raise SystemExit("give a table of synthetic spectra: --data turbospectrum.fits")
    load, spectra = current_load(), slamjax.read_table(options.data)
    rows = np.sort(np.random.default_rng(options.seed).permutation(len(spectra))[:560])
    flux = spectra.flux[rows].astype(float)
    x, y = standard(spectra.values(LABELS)[rows]), standard(flux[:, even(spectra.n_pix, options.n_pix)])
    cost(x[:100], y[:100, :8], 1.0, 0.1, 0.1)  # loads and compiles
    runs = [cost(x, y, *case) for case in CASES]
    shown = ("batched", "SMO alone", "scikit-learn")
    body = []
    for one in runs:
        case = [f"{one[name]:g}" for name in ("C", "epsilon", "gamma")]
        ratio, apart = one["scikit-learn"] / one["batched"], f"{one['objectives apart']:.0e}"
        body.append([*case, one["support"], *(one[name] for name in shown), ratio, apart])
    head = ["C", "ε", "γ", "support vectors", *(f"{name}, ms a pixel" for name in shown), "ratio", "objectives apart"]
    settings = {"from": source_name(options.data), "stars": len(x), "pixels": y.shape[1], "tolerance": f"{TOL:g}"}
    write_results(options.out, "large_c", settings, {"runs": runs}, [markdown_table(head, body)], load)


if __name__ == "__main__":
    main()
