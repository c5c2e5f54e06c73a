"""How fast are all SVRs trained together, against scikit-learn's one by one, and is the answer the same?

Real MILES stars as in the original SLAM's tutorial (a grid of C and gamma, three folds), and fixed settings on MILES
and on Gaia XP stars of all kinds. Tables: ``--miles`` and ``--data`` (Gaia XP); the rival runs on an even sample of
the pixels, on two processes, and its time is scaled to all of them.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.svm import SVR

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, seconds, write_results
from benchmarks.common.stars import LABELS, RECIPE, parse_options
from slamjax.spectra.spectra import Spectra
from slamjax.training.search import Candidate, make_folds, svr_candidates
from slamjax.training.svr.batched import Stars, fit_pixels_together
from slamjax.training.svr.dual import Duals
from slamjax.training.svr.pixel import SvrSettings
from slamjax.training.svr.shared_kernel import Matrices, SharedKernel

EPSILON, TOL = 0.05, 1e-3
GRID = {"C": [0.1, 1.0, 10.0], "gamma": [0.1, 1.0, 10.0]}
MILES_LABELS, MILES_RANGE = ("teff", "logg", "fe_h"), (400, 720)
SETTINGS = SvrSettings("rbf", 3, 0.0, TOL, -1, 20, "batched")
PROCESSES = 2


def scaled(spectra: Spectra, labels: tuple[str, ...], n_pix: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Standardised labels x (N, L) and flux y (N, P) of an even sample of the pixels."""
    values = spectra.values(labels)
    known = np.isfinite(values).all(axis=1)
    flux = spectra.flux[known].astype(float)
    sound = np.flatnonzero(spectra.good[known].all(axis=0) & (flux.std(axis=0) > 0))
    kept = sound if n_pix is None else sound[even(len(sound), n_pix)]
    return standard(values[known]), standard(flux[:, kept])


def standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=0)) / values.std(axis=0)


def even(n: int, wanted: int) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, min(n, wanted)).round().astype(int))


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


# ---- the tutorial's grid ------------------------------------------------------------------------------------------


def search_one(x: np.ndarray, y: np.ndarray, fold: np.ndarray, n_jobs: int = 1) -> GridSearchCV:
    search = GridSearchCV(
        SVR(kernel="rbf", epsilon=EPSILON, tol=TOL), GRID, cv=PredefinedSplit(fold), n_jobs=n_jobs,
        scoring="neg_mean_squared_error",
    )  # fmt: skip
    return search.fit(x, y)


def exact_one(
    x: np.ndarray, y: np.ndarray, fold: np.ndarray, candidate: Candidate
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """libsvm at tol = 1e-5: β of all stars, predictions for held-out stars, of one pixel."""
    machine = SVR(kernel="rbf", tol=1e-5, cache_size=500, **vars(candidate))
    held_out = np.empty(len(y))
    for number in range(int(fold.max()) + 1):
        out = fold == number
        held_out[out] = machine.fit(x[~out], y[~out]).predict(x[out])
    machine.fit(x, y)
    beta = np.zeros(len(y))
    beta[machine.support_] = machine.dual_coef_[0]
    return beta, machine.intercept_, held_out


def tutorial(x: np.ndarray, y: np.ndarray, n_rival: int) -> dict[str, Any]:
    fold = make_folds(np.arange(len(x)), 3, 0)
    svr = slamjax.SVR(C=GRID["C"], epsilon=EPSILON, gamma=GRID["gamma"], metric="isotropic")
    found = svr_candidates(svr, x, slamjax.SearchSpec())
    stars = Stars(x, y, np.ones_like(y), fold)
    start_up, _ = timed(
        lambda: fit_pixels_together(Stars(x, y[:, :2], np.ones_like(y[:, :2]), fold), found[:1], SETTINGS, -1, None)
    )
    own, (fits, report) = timed(lambda: fit_pixels_together(stars, found, SETTINGS, -1, None))
    some = even(y.shape[1], n_rival)
    few = some[even(len(some), 8)]
    over_grid, _ = timed(lambda: [search_one(x, y[:, p], fold, PROCESSES) for p in few])
    workers = Parallel(n_jobs=PROCESSES)
    workers(delayed(search_one)(x, y[:, p], fold) for p in few[:2])  # processes started before the clock
    over_pixels, searches = timed(lambda: workers(delayed(search_one)(x, y[:, p], fold) for p in some))
    rival = min(over_grid / len(few), over_pixels / len(some)) * y.shape[1]
    same, off = [], []
    for p, search in zip(some, searches, strict=True):
        best = found[fits[p].best]
        same.append((best.C, best.gamma) == (search.best_params_["C"], search.best_params_["gamma"]))
        scores = {
            (c["C"], c["gamma"]): -s
            for c, s in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True)
        }
        off.append(scores[best.C, best.gamma] / min(scores.values()) - 1)
    exact = Parallel(n_jobs=PROCESSES)(
        delayed(exact_one)(x, y[:, p], fold, found[fits[p].best]) for p in range(y.shape[1])
    )
    worse, differences, sums, outside = [], [], [], []
    for p, (beta, _, held_out) in enumerate(exact):
        best = found[fits[p].best]
        duals = Duals(rbf_kernel(x, gamma=best.gamma), y[None, :, p], np.full((1, len(x)), best.C), np.array([EPSILON]))
        objective = [float(duals.objective(b[None], duals.gradient(b[None]))[0]) for b in (fits[p].dual, beta)]
        worse.append((objective[0] - objective[1]) / abs(objective[1]))
        differences.append(np.abs(fits[p].held_out - held_out) / EPSILON)
        sums.append(abs(fits[p].dual.sum()))
        outside.append(np.abs(fits[p].dual).max() - best.C)
    return {
        "stars": len(x), "pixels": y.shape[1], "rival pixels": len(some),
        "start_up_seconds": start_up, "own_seconds": own, "rival_seconds": rival,
        "rival_over_pixels": over_pixels / len(some), "rival_over_grid": over_grid / len(few),
        "ratio": rival / own, "same": float(np.mean(same)), "cv_score_off": float(np.max(off)),
        "objective_worse": float(np.max(worse)), "sum": float(np.max(sums)), "outside": float(np.max(outside)),
        "prediction_median": float(np.max([np.median(d) for d in differences])),
        "prediction_max": float(np.max([d.max() for d in differences])),
        "report": vars(report),
    }  # fmt: skip


# ---- fixed settings -----------------------------------------------------------------------------------------------


def fit_one(x: np.ndarray, y: np.ndarray, candidate: Candidate, tol: float) -> tuple[np.ndarray, np.ndarray]:
    machine = SVR(kernel="rbf", tol=tol, cache_size=500, **vars(candidate)).fit(x, y)
    beta = np.zeros(len(y))
    beta[machine.support_] = machine.dual_coef_[0]
    return beta, machine.intercept_


def fixed(x: np.ndarray, y: np.ndarray, C: float, n_rival: int) -> dict[str, Any]:
    """All pixels at one C; to half of scikit-learn's tolerance, so that the objective is as near as is wanted."""
    candidate = Candidate(C, EPSILON, 0.1)

    def together(pixels: np.ndarray) -> Any:
        kernel = Matrices(x, SETTINGS).at(candidate.gamma)
        shared = SharedKernel(x, np.ones(len(x), bool), kernel, SETTINGS, -1)
        return shared.solve(np.ascontiguousarray(pixels.T), np.ones_like(pixels.T), candidate, 0.5 * TOL)

    together(y[:, :2])  # loaded before the clock
    own, solution = timed(lambda: together(y))
    some = even(y.shape[1], n_rival)
    workers = Parallel(n_jobs=PROCESSES)
    workers(delayed(fit_one)(x[:200], y[:200, p], candidate, TOL) for p in some[:2])
    sampled, _ = timed(lambda: workers(delayed(fit_one)(x, y[:, p], candidate, TOL) for p in some))
    rival = sampled / len(some) * y.shape[1]
    checked = some[even(len(some), 16)]
    exact = workers(delayed(fit_one)(x, y[:, p], candidate, 1e-5) for p in checked)
    kernel = rbf_kernel(x, gamma=candidate.gamma)
    duals = Duals(kernel, y.T[checked], np.full((len(checked), len(x)), C), np.full(len(checked), EPSILON))
    best = np.stack([beta for beta, _ in exact])
    mine, theirs = (duals.objective(b, duals.gradient(b)) for b in (solution.beta[checked], best))
    difference = (solution.beta[checked] - best) @ kernel
    difference += solution.intercept[checked, None] - np.stack([intercept for _, intercept in exact])
    return {
        "stars": len(x), "pixels": y.shape[1], "C": C, "own_seconds": own, "rival_seconds": rival, "ratio": rival / own,
        "rival pixels": len(some), "objective_worse": float(np.max((mine - theirs) / np.abs(theirs))),
        "prediction_median": float(np.median(np.abs(difference), axis=1).max() / EPSILON),
        "prediction_max": float(np.abs(difference).max() / EPSILON), "report": vars(solution.report),
    }  # fmt: skip


def main() -> None:
    options = parse_options(__doc__, n_pixels=1500, n_rival=48, n_xp=5000, miles=None)
    if options.miles is None or options.data is None:
        raise SystemExit("give --miles and --data: the embedded sample holds too few stars for these comparisons")
    load = current_load()
    warnings.simplefilter("ignore", ConvergenceWarning)
    miles = slamjax.read_table(Path(options.miles))
    xp = slamjax.read_table(options.data)
    known = np.flatnonzero(np.isfinite(xp.values(LABELS)).all(axis=1))
    rows = np.sort(np.random.default_rng(options.seed).choice(known, min(options.n_xp, len(known)), replace=False))
    inside = slamjax.Recipe.make(wave_range=MILES_RANGE, wave_unit="nm")(miles)
    grid = tutorial(*scaled(inside, MILES_LABELS, options.n_pixels), options.n_rival)
    print(grid, flush=True)
    sets = {"MILES": scaled(inside, MILES_LABELS, None), "Gaia XP": scaled(RECIPE(xp[rows]), LABELS, None)}
    runs = []
    for name, (x, y) in sets.items():
        for C in (1.0, 10.0):
            runs.append({"data": name} | fixed(x, y, C, 2 * options.n_rival))
            print(runs[-1], flush=True)
    tables = [
        f"The tutorial's grid: {grid['stars']} MILES stars, {grid['pixels']} pixels, 9 combinations, 3 folds and a "
        f"last fit. GridSearchCV on {PROCESSES} processes, each a pixel ({seconds(grid['rival_over_pixels'])} a pixel) "
        f"or each a combination ({seconds(grid['rival_over_grid'])}), measured on {grid['rival pixels']} pixels:\n\n"
        + markdown_table(
            ["", "seconds", "ratio"],
            [
                ("slamjax, batched", f"{grid['own_seconds']:.1f}", "1"),
                ("scikit-learn GridSearchCV", f"{grid['rival_seconds']:.0f}", f"{grid['ratio']:.1f}"),
            ],
        )
        + f"\n\nSame hyper-parameters on {grid['same']:.1%} of these pixels, elsewhere the CV score is at most "
        f"{grid['cv_score_off']:.2%} from the best. Against libsvm at tol = 1e-5, all {grid['pixels']} pixels: "
        f"objective at most {grid['objective_worse']:.1e} (relative) above, |sum of β| at most {grid['sum']:.0e}, "
        f"bounds kept to {max(grid['outside'], 0):.0e}; predictions for held-out stars differ by "
        f"{grid['prediction_median']:.4f} ε in a pixel's median and {grid['prediction_max']:.3f} ε at most. "
        f"{grid['report']['columns']:,} machines, {grid['report']['by_sklearn']} of them left to scikit-learn.",
        "Fixed settings, gamma = 0.1, ε = 0.05, tol = 1e-3 (slamjax: half of that), against joblib on "
        f"{PROCESSES} processes; objective and predictions against libsvm at tol = 1e-5:\n\n"
        + markdown_table(
            ["stars", "pixels", "C", "slamjax s", "scikit-learn s", "ratio", "objective above by",
             "prediction off by, a pixel's median", "at most"],
            [
                (
                    f"{r['stars']} {r['data']}", r["pixels"], f"{r['C']:g}", f"{r['own_seconds']:.1f}",
                    f"{r['rival_seconds']:.0f}", f"{r['ratio']:.1f}", f"{r['objective_worse']:.0e}",
                    f"{r['prediction_median']:.4f} ε", f"{r['prediction_max']:.3f} ε",
                )
                for r in runs
            ],
        ),
    ]  # fmt: skip
    settings = {"data": f"miles.fits, {options.data.name}", "processes of the rival": PROCESSES, "seed": options.seed}
    write_results(options.out, "training_speed", settings, {"grid": grid, "fixed": runs}, tables, load)


if __name__ == "__main__":
    main()
