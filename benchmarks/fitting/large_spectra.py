"""How close to bare matrix products are model, Jacobian and fits of spectra as large as APOGEE's?

Simulated spectra of 8,575 pixels with the labels of the real giants inside slamjax: lines whose depths are nonlinear in
the labels, S/N 100. Beside slamjax: the bare matrix product of the same shape, and a network of the Payne's size (Ting
et al. 2019, ApJ 879, 69: two hidden layers of 300) evaluated by JAX with random weights.
"""

from __future__ import annotations

import itertools
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, time_call, write_results
from benchmarks.common.scatter import column
from benchmarks.common.stars import LABELS, parse_options
from benchmarks.common.synthetic import simulated
from slamjax.spectra.spectra import Spectra

HIDDEN = 300
PRECISION = jax.lax.Precision.HIGHEST


def giants(n_pix: int, seed: int) -> Spectra:
    """Spectra (N, P) with the labels of 2,000 real giants."""
    parts = slamjax.datasets.load_xp_giants()
    return simulated(np.concatenate([part.values(LABELS) for part in parts]), LABELS, n_pix, seed)


def rate(seconds: float, *sizes: int) -> float:
    """GFlop/s of a product whose three sizes are given."""
    return 2 * float(np.prod(sizes)) / seconds / 1e9


@partial(jax.jit, static_argnames="jacobian")
def evaluate(emulator: Any, x: Any, jacobian: bool) -> Any:
    return emulator.at_with_jacobian(x) if jacobian else emulator.at(x)


@jax.jit
def by_autodiff(emulator: Any, x: Any) -> Any:
    """Flux and Jacobian as JAX would make them of the flux alone."""
    return emulator.at(x), jax.vmap(jax.jacfwd(emulator.at))(x)


def network(n_labels: int, n_pix: int) -> Any:
    """A Payne-like network with random weights: only its cost counts here."""
    rng = np.random.default_rng(0)
    sizes = (n_labels, HIDDEN, HIDDEN, n_pix)
    weights = [jnp.asarray(rng.normal(size=pair) / np.sqrt(pair[0]), jnp.float32) for pair in itertools.pairwise(sizes)]

    def predict(x: Any) -> Any:
        for weight in weights[:-1]:
            x = jax.nn.leaky_relu(jnp.matmul(x, weight, precision=PRECISION))
        return jnp.matmul(x, weights[-1], precision=PRECISION)

    def with_jacobian(x: Any) -> Any:
        push = lambda t: jax.jvp(predict, (x,), (jnp.broadcast_to(t, x.shape),))[1]  # noqa: E731
        return predict(x), jax.vmap(push)(jnp.eye(n_labels, dtype=x.dtype))

    return jax.jit(predict), jax.jit(with_jacobian)


def main() -> None:
    options = parse_options(__doc__, n_pixels=8575, n_stars=256, n_fits=512, n_posteriors=256)
    load = current_load()
    stars = giants(options.n_pixels, options.seed)
    start = time.perf_counter()
    model = slamjax.train(
        stars,
        LABELS,
        emulator=slamjax.SVR(C=1.0, epsilon=0.1, gamma=0.1),
        search=slamjax.SearchSpec(folds=2),
        noise="diagonal",
    )
    training = time.perf_counter() - start
    start = time.perf_counter()
    small = model.compress()
    compressing = time.perf_counter() - start
    told = small.info.provenance["settings"]["compression"]
    n, n_support, n_labels = options.n_stars, len(model.host_emulator.support), len(LABELS)
    rng = np.random.default_rng(options.seed)
    x = jnp.asarray(np.asarray(model.training_labels.stars)[rng.integers(0, len(stars), n)], jnp.float32)
    rows = n * (n_labels + 1)
    left, right = (
        jnp.ones((rows, n_support), jnp.float32),
        jnp.asarray(model.host_emulator.blocks[0].dual[0], jnp.float32),
    )
    product = jax.jit(partial(jnp.matmul, precision=PRECISION))
    # the same product with the sums sliced as float32 needs it is what slamjax computes: no faster than this one
    bare = time_call(lambda: product(left, right), repeats=5).median
    few = time_call(lambda: product(left[:n], right), repeats=5).median
    predict, with_jacobian = network(n_labels, options.n_pixels)
    cases = {
        "matrix product alone": (few, bare),
        "slamjax, exact": tuple(
            time_call(lambda j=j: evaluate(model.emulator, x, j), repeats=5).median for j in (False, True)
        ),
        "slamjax, exact, Jacobian by jax.jacfwd": (
            float("nan"),
            time_call(lambda: by_autodiff(model.emulator, x), repeats=5).median,
        ),
        f"slamjax, {told['components']} components": tuple(
            time_call(lambda j=j: evaluate(small.emulator, x, j), repeats=5).median for j in (False, True)
        ),
        "network of the Payne's size": tuple(
            time_call(call, repeats=5).median for call in (lambda: predict(x), lambda: with_jacobian(x))
        ),
    }
    share = bare / cases["slamjax, exact"][1]
    some = stars[np.sort(rng.choice(len(stars), options.n_fits, replace=False))]
    fits, tables = {}, {}
    for name, given, exact in (("exact", model, True), ("compressed", small, False)):
        timing = time_call(lambda given=given, exact=exact: slamjax.fit(given, some, compress=not exact), repeats=3)
        fits[name] = {"first": timing.first, "stars_a_second": len(some) / timing.median}
        tables[name] = slamjax.fit(given, some, compress=not exact)
    shift = {
        name: np.abs(column(tables["compressed"], name) - column(tables["exact"], name))
        / column(tables["exact"], f"{name}_err")
        for name in LABELS
    }
    flops = rate(bare, rows, n_support, options.n_pixels)
    header = ["", "µs per star", "with Jacobian, µs per star"]
    body = [(name, 1e6 * a / n, 1e6 * b / n) for name, (a, b) in cases.items()]
    drawn = stars[np.arange(options.n_posteriors)]
    sampling = time_call(lambda: slamjax.sample(small, drawn), repeats=1)
    posterior = slamjax.sample(small, drawn)
    ess = float(np.nanmin(posterior.diagnostics.ess_bulk))
    results = {
        "training_seconds": training, "compressing_seconds": compressing, "compression": told,
        "seconds": {name: list(pair) for name, pair in cases.items()}, "matmul_gflops": flops,
        "share_of_matmul_rate": share, "fits": fits,
        "fit_ratio": fits["compressed"]["stars_a_second"] / fits["exact"]["stars_a_second"],
        "posteriors_a_second": len(drawn) / sampling.median, "least_ess": ess,
        "shift": {name: [float(np.nanmedian(s)), float(np.nanmax(s))] for name, s in shift.items()},
    }  # fmt: skip
    text = [
        f"{options.n_pixels:,} pixels, {len(stars):,} training stars, {n_labels} labels; batches of {n} stars, "
        f"float32. The matrix product of model and Jacobian alone runs at {flops:.0f} GFlop/s:\n\n"
        + markdown_table(header, body)
        + f"\n\nModel and Jacobian reach {share:.0%} of the matrix product's rate. Compression to "
        f"{told['components']} components took {compressing:.1f} s and leaves an error of at most "
        f"{told['largest_error']:.3f} of the noise (whole spectrum, anywhere in the box), which moves no "
        f"label by more than {told['largest_shift']:.4f} of its error.",
        "Whole fits of spectra as read, three starts, after compilation:\n\n"
        + markdown_table(
            ["", "stars per second", "ratio"],
            [
                (name, f"{one['stars_a_second']:.1f}", f"{one['stars_a_second'] / fits['exact']['stars_a_second']:.1f}")
                for name, one in fits.items()
            ],
        )
        + "\n\nLabels move by "
        + ", ".join(f"{name} {np.nanmedian(s):.4f} (largest {np.nanmax(s):.3f})" for name, s in shift.items())
        + f" of their errors, in the median. Training took {training:.0f} s (two folds). `slamjax.sample` "
        f"({posterior.attrs['likelihood']}) draws posteriors of {len(drawn)} stars in {sampling.median:.0f} s, "
        f"choosing its components included, each label's bulk ESS at least {ess:.0f}.",
    ]
    settings = {"spectra": "simulated", "pixels": options.n_pixels, "training stars": len(stars), "seed": options.seed}
    write_results(options.out, "large_spectra", settings, results, text, load)


if __name__ == "__main__":
    main()
