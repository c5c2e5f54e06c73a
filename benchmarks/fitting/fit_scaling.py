"""What a fit costs with training stars, pixels, labels and stars: beside bare matrix products and least_squares.

Simulated spectra. The rival is `scipy.optimize.least_squares` given model and Jacobian of all pixels as NumPy matrix
products, the quickest that one can make it: the original loops over pixels (fit_speed.py has that). The bare products
are those of the evaluations that slamjax's fits asked for, each of the exact emulator's size.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import least_squares

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, plot_costs, seconds, time_call, write_results
from benchmarks.common.stars import parse_options
from benchmarks.common.synthetic import simulated
from slamjax.model.model import Model
from slamjax.spectra.spectra import Spectra


@dataclass(frozen=True)
class Size:
    training_stars: int = 2000
    pixels: int = 343
    labels: int = 4
    stars: int = 1000


VARIED: dict[str, tuple[int, ...]] = {
    "training_stars": (1000, 2000, 5000),
    "pixels": (343, 1715, 8575),
    "labels": (3, 5, 10, 20),
    "stars": (100, 1000, 10000),
}
LINES = {
    "fit": ("o-", "slamjax.fit"),
    "matrix products": ("k:", "matrix products"),
    "least_squares": ("s--", "least_squares, NumPy"),
}


def cost(size: Size, seed: int, n_rival: int) -> dict[str, float]:
    """Seconds per star."""
    rng = np.random.default_rng(seed)
    labels = rng.normal(size=(size.training_stars + size.stars, size.labels)).clip(-2, 2)
    names = [f"label{k}" for k in range(size.labels)]
    every = simulated(labels, names, size.pixels, seed)
    train, test = every[np.arange(size.training_stars)], every[np.arange(size.training_stars, len(every))]
    # a kernel as wide as the labels' spread, whatever their number
    model = slamjax.train(
        train,
        names,
        emulator=slamjax.SVR(gamma=0.4 / size.labels),
        search=slamjax.SearchSpec(folds=2),
        noise="diagonal",
    )
    table = slamjax.fit(model, test[:2])
    timing = time_call(lambda: slamjax.fit(model, test), repeats=3)
    table = slamjax.fit(model, test)
    steps = float(np.mean(table["n_iter"]))
    rows = min(256, size.stars) * (size.labels + 1)
    left, right = jnp.ones((rows, size.training_stars), jnp.float32), jnp.asarray(model.emulator.blocks[0].dual[0])
    product = jax.jit(partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST))
    bare = time_call(lambda: product(left, right), repeats=5).median / rows * (size.labels + 1) * steps
    return {
        "fit": timing.median / size.stars,
        "matrix products": bare,
        "least_squares": rival(model, test[np.arange(min(n_rival, size.stars))]),
        "steps": steps,
        "first call": timing.first,
        "unflagged": float(np.mean(np.asarray(table["flags"]) == 0)),
    }


def rival(model: Model, spectra: Spectra) -> float:
    """Seconds per star of least_squares on NumPy's matrix products, from the best training star."""
    exact, prepared = model.host_emulator, model.prepare(spectra)
    block = exact.blocks[0]
    gamma, dual, support = float(block.gamma[0]), np.asarray(block.dual[0]), np.asarray(exact.support)
    if exact.order is not None:
        dual = dual[:, np.asarray(exact.order)]
    dual = dual * np.asarray(exact.flux_scale)
    constant = np.asarray(exact.flux_mean) + np.asarray(exact.flux_scale) * np.asarray(exact.intercept)
    templates_x = np.asarray(model.training_labels.stars)
    templates = np.asarray(model(exact.scaling.inverse(templates_x)))
    weight = 1 / np.sqrt(1 / prepared.ivar.astype(float) + np.asarray(model.noise.model_variance))
    bounds = np.asarray(model.training_labels.low), np.asarray(model.training_labels.high)

    def similarity(x: np.ndarray) -> np.ndarray:
        return np.exp(-gamma * np.square(x - support).sum(axis=1))

    start = time.perf_counter()
    for flux, w in zip(prepared.flux.astype(float), weight, strict=True):
        best = np.argmin(np.square(w * (templates - flux)).sum(axis=1))
        least_squares(
            lambda x, w=w, flux=flux: w * (constant + similarity(x) @ dual - flux),
            np.clip(templates_x[best], *bounds),
            jac=lambda x, w=w: w[:, None] * ((-2 * gamma * (x - support).T * similarity(x)) @ dual).T,
            bounds=bounds,
        )
    return (time.perf_counter() - start) / len(spectra)


def main() -> None:
    options = parse_options(__doc__, n_rival=5)
    load = current_load()
    done: dict[Size, dict[str, float]] = {}
    runs: dict[str, dict[int, dict[str, float]]] = {}
    for what, values in VARIED.items():
        runs[what] = {}
        for value in values:
            size = replace(Size(), **{what: value})
            if size not in done:
                done[size] = cost(size, options.seed, options.n_rival)
                print(size, done[size], flush=True)
            runs[what][value] = done[size]
    plot_costs(runs, LINES, "ms per star", options.out / "fit_scaling.png", unit=1e-3)
    body: list[Any] = [
        (
            what.replace("_", " "), value, seconds(one["fit"]), f"{one['steps']:.1f}",
            f"{one['fit'] / one['matrix products']:.1f}", f"{one['least_squares'] / one['fit']:,.0f}×",
        )
        for what, found in runs.items()
        for value, one in found.items()
    ]  # fmt: skip
    header = ["varied", "", "fit, per star", "evaluations", "over its matrix products", "least_squares over fit"]
    normal = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in vars(Size()).items())
    said = f"Unless varied: {normal}; three starts, spectra as read, after compilation."
    tables = [said, markdown_table(header, body)]
    result = {what: [{what: value} | one for value, one in found.items()] for what, found in runs.items()}
    write_results(
        options.out,
        "fit_scaling",
        {"spectra": "simulated", "seed": options.seed},
        result,
        tables,
        load,
    )


if __name__ == "__main__":
    main()
