"""Ten labels: a learnt metric against one γ for all labels, The Cannon's quadratic and a Payne-like network.

Synthetic stars (--turbospectrum), five folds. Emulators learn noise-free spectra, SVRs with a larger C and a smaller ε
than noisy spectra want; the isotropic SVR also with the best of a grid (C 10, 100; γ 0.01 to 0.1), and the network with
the best of several sizes and weight decays, both chosen by cross-validation within the training stars. Fits are of the
stars that were held out, with white noise by seed. Folds 0 and 1 were looked at while metric and settings were made.
With --parts, each fold's outcome is kept in that folder, and what is there already is not made again. Isotropic SVRs
and network can be left to the first folds (--rivals-to).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import joblib
import numpy as np
import optax

import slamjax
from benchmarks.calibration.signal_to_noise import FOLDS, folds_of, noisy
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.scatter import column, robust_width
from benchmarks.common.stars import parse_options
from slamjax.spectra.spectra import Spectra

#: Noise of the continuum at S/N 100, the unit of emulator errors.
NOISE = 0.01
JUDGED = (20.0, 50.0, 100.0, 300.0)
SEEN = (0, 1)
#: Emulators by which stars are fitted, and whose noise is learnt; the others are judged by their flux.
FITTED = ("SVR, learnt metric", "SVR, isotropic", "quadratic")
#: Of SVRs on spectra without noise.
SETTINGS = {"C": 100.0, "epsilon": 0.01, "gamma": 0.1}
#: Grids: of the isotropic SVR, tried at some pixels; of the network.
SVR_GRID = tuple(itertools.product((10.0, 100.0), (0.01, 0.02, 0.05, 0.1)))
SOME_PIXELS = 24
NETWORK_GRID = tuple(itertools.product((100, 300), (0.0, 1e-3)))
#: Steps of the network's optimiser, spectra in each, and its largest learning rate.
STEPS, BATCH, RATE = 8000, 128, 3e-3
#: Draws of labels that say how many stars noise carries to an edge.
DRAWS = 200
#: Components of the flux that the network predicts: the rest is far below the noise, and a layer of all pixels slow.
COMPONENTS = 100


def trained(stars: Spectra, names: tuple[str, ...], emulator: Any, noise: Any) -> tuple[slamjax.Model, float]:
    start = time.perf_counter()
    model = slamjax.train(stars, names, emulator=emulator, noise=noise, on_progress=False)
    return model, time.perf_counter() - start


def best_isotropic(stars: Spectra, names: tuple[str, ...]) -> slamjax.SVR:
    """The combination with the smallest cross-validated error at some pixels, one for all."""
    some = stars.on_pixels(np.linspace(0, stars.n_pix - 1, SOME_PIXELS).astype(int))
    scores = []
    for C, gamma in SVR_GRID:
        svr = slamjax.SVR(C=C, epsilon=SETTINGS["epsilon"], gamma=gamma, metric="isotropic", solver="batched")
        model = slamjax.train(some, names, emulator=svr, noise="diagonal", on_progress=False)
        scores.append(np.nanmedian(np.asarray(model.info.pixels["cv_mse"], float)))
    C, gamma = SVR_GRID[int(np.argmin(scores))]
    return slamjax.SVR(C=C, epsilon=SETTINGS["epsilon"], gamma=gamma, metric="isotropic")


def network(x: np.ndarray, y: np.ndarray, width: int, decay: float, seed: int = 0) -> Any:
    """Two hidden layers of leaky rectifiers for all of y, like The Payne (Ting et al. 2019, ApJ 879, 69)."""
    rng = np.random.default_rng(seed)
    sizes = (x.shape[1], width, width, y.shape[1])
    params = [
        (jnp.asarray(rng.normal(size=(a, b)) * np.sqrt(2 / a), jnp.float32), jnp.zeros(b, jnp.float32))
        for a, b in itertools.pairwise(sizes)
    ]

    def predict(params: Any, x: Any) -> Any:
        for weight, bias in params[:-1]:
            x = jax.nn.leaky_relu(x @ weight + bias)
        return x @ params[-1][0] + params[-1][1]

    optimiser = optax.adamw(optax.cosine_decay_schedule(RATE, STEPS), weight_decay=decay)
    target, at = jnp.asarray(y, jnp.float32), jnp.asarray(x, jnp.float32)

    def step(number: Any, state: Any) -> Any:
        params, memory = state
        rows = jax.random.randint(jax.random.fold_in(jax.random.key(seed), number), (BATCH,), 0, len(x))
        slope = jax.grad(lambda p: jnp.mean(jnp.square(predict(p, at[rows]) - target[rows])))(params)
        updates, memory = optimiser.update(slope, memory, params)
        return optax.apply_updates(params, updates), memory

    run = jax.jit(lambda state: jax.lax.fori_loop(0, STEPS, step, state))
    params, _ = run((params, optimiser.init(params)))
    return lambda x: np.asarray(predict(params, jnp.asarray(x, jnp.float32)), float)


def best_network(stars: Spectra, names: tuple[str, ...]) -> tuple[Any, tuple[int, float]]:
    """Trained on all stars with what predicted a fifth of them best."""
    values, flux = stars.values(names), np.asarray(stars.flux, float)
    center, width, mean, scale = values.mean(0), values.std(0), flux.mean(0), flux.std(0)
    lines = np.linalg.svd((flux - mean) / scale, full_matrices=False)[2][:COMPONENTS]
    x, y = (values - center) / width, ((flux - mean) / scale) @ lines.T
    out = np.arange(len(x)) % FOLDS == 0
    errors = []
    for setting in NETWORK_GRID:
        left = (network(x[~out], y[~out], *setting)(x[out]) - y[out]) @ lines * scale
        errors.append(np.median(np.square(left).mean(axis=0)))
    best = NETWORK_GRID[int(np.argmin(errors))]
    found = network(x, y, *best)
    return lambda labels: mean + scale * (found((labels - center) / width) @ lines), best


def judged(model: slamjax.Model, stars: Spectra, names: tuple[str, ...]) -> dict[str, Any]:
    """Errors and pulls (N, L), χ² per degree of freedom and flags."""
    table = slamjax.fit(model, stars)
    error = np.stack([column(table, name) - column(table, f"{name}_ref") for name in names], axis=1)
    sigma = np.stack([column(table, f"{name}_err") for name in names], axis=1)
    chi2 = column(table, "chi2") / np.maximum(column(table, "n_pix") - len(names), 1)
    return {"error": error, "pull": error / sigma, "chi2": chi2, "flags": column(table, "flags")}


def one_fold(stars: Spectra, names: tuple[str, ...], fold: int, rivals: bool) -> dict[str, Any]:
    """Flux errors of the emulators, fits by SVRs and the quadratic, the Cramér-Rao bound, and times.

    Without ``rivals``, of the SVR with the learnt metric and of the quadratic only.
    """
    out = folds_of(len(stars)) == fold
    train, test = stars[~out], stars[out]
    true = np.asarray(test.flux, float)
    emulators: dict[str, Any] = {"SVR, learnt metric": slamjax.SVR(**SETTINGS), "quadratic": slamjax.Polynomial()}
    chosen: dict[str, Any] = {}
    if rivals:
        emulators["SVR, isotropic"] = slamjax.SVR(**SETTINGS, metric="isotropic")
        svr = emulators["SVR, isotropic, best of a grid"] = best_isotropic(train, names)
        chosen["svr"] = [svr.C, svr.gamma]
    models, seconds, flux = {}, {}, {}
    for name, emulator in emulators.items():
        noise = "auto" if name in FITTED else "diagonal"
        models[name], seconds[name] = trained(train, names, emulator, noise)
        print(f"fold {fold}: {name} trained in {seconds[name]:.0f} s", flush=True)
        flux[name] = (np.asarray(models[name](test.values(names)), float) - true) / NOISE
    if rivals:
        start = time.perf_counter()
        predict, chosen["network"] = best_network(train, names)
        seconds["network"] = time.perf_counter() - start
        flux["network"] = (predict(test.values(names)) - true) / NOISE
    rng, fits = np.random.default_rng(fold), {}
    for snr in JUDGED:
        seen = noisy(test, np.full(len(test), snr), rng)
        for name in FITTED:
            if name in models:
                fits[name, snr] = judged(models[name], seen, names)
    learnt = models["SVR, learnt metric"]
    chosen["metrics"] = learnt.info.provenance["settings"]["metrics"]
    emulator = learnt.emulator
    jacobian = np.asarray(jax.vmap(jax.jacfwd(emulator))(jnp.asarray(test.values(names))), float)  # star, pixel, label
    bound = np.linalg.inv(np.einsum("npk,npl->nkl", jacobian, jacobian) / NOISE**2)
    print(f"fold {fold}: {seconds}", flush=True)
    return {"flux": flux, "fits": fits, "seconds": seconds, "bound": np.sqrt(np.einsum("nkk->nk", bound)),
            "chosen": chosen}  # fmt: skip


def kept(parts: Path | None, fold: int, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The outcome of a fold, from ``parts`` if it is there."""
    if parts is None:
        return make()
    file = parts / f"ten_labels-{fold}.pkl"
    if not file.exists():
        parts.mkdir(parents=True, exist_ok=True)
        joblib.dump(make(), file.with_suffix(".new"))
        file.with_suffix(".new").rename(file)
    found: dict[str, Any] = joblib.load(file)
    return found


def having(folds: list[dict[str, Any]], what: str, key: Any) -> list[Any]:
    """Of the folds in which this emulator took part."""
    return [each[what][key] for each in folds if key in each[what]]


def flux_rows(folds: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Root mean square error of each pixel over the held-out stars: its median and 95th percentile over pixels."""
    rows = []
    for name in dict.fromkeys(name for each in folds for name in each["flux"]):
        errors = np.concatenate(having(folds, "flux", name))
        rms = np.sqrt(np.mean(np.square(errors), axis=0))
        seconds = np.median(having(folds, "seconds", name))
        rows.append((name, len(errors), f"{np.median(rms):.2f}", f"{np.percentile(rms, 95):.2f}", f"{seconds:.0f}"))
    return rows


def fit_rows(folds: list[dict[str, Any]], measure: str) -> list[tuple[Any, ...]]:
    """One row per emulator and S/N: scatter, or pull width, χ² and flags."""
    rows = []
    for name, snr in dict.fromkeys(key for each in folds for key in each["fits"]):
        parts = having(folds, "fits", (name, snr))
        values, chi2, flags = (np.concatenate([part[key] for part in parts]) for key in (measure, "chi2", "flags"))
        widths = [f"{robust_width(one[np.isfinite(one)]):.3g}" for one in values.T]
        rows.append(
            (name, len(chi2), f"{snr:g}", *widths, f"{np.nanmedian(chi2):.3f}", f"{100 * np.mean(flags != 0):.1f}")
        )
    return rows


def bound_rows(folds: list[dict[str, Any]], names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Scatter at S/N 100 over the median Cramér-Rao bound, label by label."""
    bound = np.median(np.concatenate([each["bound"] for each in folds]), axis=0)
    rows = [("Cramér-Rao bound", *(f"{value:.3g}" for value in bound))]
    for name in dict.fromkeys(name for each in folds for name, _ in each["fits"]):
        error = np.concatenate([part["error"] for part in having(folds, "fits", (name, 100.0))])
        scatter = np.array([robust_width(one[np.isfinite(one)]) for one in error.T])
        rows.append((f"{name}, over the bound", *(f"{value:.2f}" for value in scatter / bound)))
    return rows


def flag_rows(found: dict[int, dict[str, Any]], stars: Spectra, names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Stars that are flagged, and those that a perfect emulator would put at an edge of the training range.

    The latter by draws from independent normal distributions about the known labels, as wide as the Cramér-Rao bound.
    """
    labels, fold_of, edge = stars.values(names), folds_of(len(stars)), int(slamjax.Flag.AT_BOUND)
    rows = []
    for snr in (*JUDGED, np.inf):
        rng, expected, flags = np.random.default_rng(0), [], [np.zeros(1, int)]
        for fold, each in found.items():
            known, others = labels[fold_of == fold], labels[fold_of != fold]
            sigma = each["bound"] / NOISE / snr
            drawn = known + sigma * rng.normal(size=(DRAWS, *known.shape))
            expected.append(
                np.mean(np.any((drawn < others.min(axis=0)) | (drawn > others.max(axis=0)), axis=2), axis=0)
            )
            if np.isfinite(snr):
                flags.append(each["fits"]["SVR, learnt metric", snr]["flags"].astype(int))
        seen = np.concatenate(flags[1:] or flags)
        measured = [100 * np.mean(each) for each in (seen != 0, seen & edge != 0, seen & ~edge != 0)]
        cells = [f"{value:.1f}" for value in measured] if np.isfinite(snr) else ["–"] * 3
        rows.append((f"{snr:g}", *cells, f"{100 * np.mean(np.concatenate(expected)):.1f}"))
    return rows


def main() -> None:
    options = parse_options(__doc__, turbospectrum=None, parts=None, first_fold=0, last_fold=FOLDS - 1,
                            rivals_to=FOLDS - 1)  # fmt: skip
    load, stars = current_load(), slamjax.read_table(Path(options.turbospectrum))
    names = tuple(stars.table.colnames)
    numbers = range(options.first_fold, options.last_fold + 1)
    found = {
        number: kept(options.parts, number, partial(one_fold, stars, names, number, number <= options.rivals_to))
        for number in numbers
    }
    tables = []
    for title, chosen in (("folds looked at once", [k for k in numbers if k not in SEEN]), ("all folds", numbers)):
        folds = [found[k] for k in chosen]
        if not folds or (title == "all folds" and len(folds) == 1 and tables):
            continue
        n = sum(len(each["bound"]) for each in folds)
        head = f"{title}, {n} stars"
        table = markdown_table(
            ["emulator", "stars", "median pixel", "95th percentile", "training [s]"], flux_rows(folds)
        )
        tables += [f"Error of the predicted flux in units of the noise at S/N 100 ({head}):\n\n{table}"]
        table = markdown_table(["", *names], bound_rows(folds, names))
        tables += [f"Label scatter at S/N 100 ({head}):\n\n{table}"]
        header = ["emulator", "stars", "S/N", *names, "χ²/dof", "flagged %"]
        tables += [f"Pull widths ({head}):\n\n" + markdown_table(header, fit_rows(folds, "pull"))]
        tables += [f"Label scatter ({head}):\n\n" + markdown_table(header, fit_rows(folds, "error"))]
    header = ["S/N", "flagged %", "at an edge %", "other flags %", "at an edge if the emulator were perfect %"]
    table = markdown_table(header, flag_rows(found, stars, names))
    tables += [f"Flags of fits with the learnt metric ({numbers.start} to {numbers.stop - 1} of the folds):\n\n{table}"]
    results = {"chosen": {k: each["chosen"] for k, each in found.items()},
               "seconds": {k: each["seconds"] for k, each in found.items()}}  # fmt: skip
    settings = {"folds": f"{numbers.start} to {numbers.stop - 1}", "stars": len(stars)}
    write_results(options.out, "ten_labels", settings, results, tables, load)
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
