"""Train and test PyPI's ``pollux`` on one .npz of stars; run by ``versus_cannon.py`` in an environment of its own.

    python pollux_worker.py stars.npz labels.npz

The Cannon as pollux's own documentation trains and applies it: coefficients in closed form with the labels pinned,
per-pixel scatter beside them, labels of new stars by its optimiser. Nothing of slamjax is imported here.
"""

import sys
import time

import jax
import numpy as np
import pollux
from pollux.data import OutputData, PolluxData, ShiftScalePreprocessor


def errors(ivar: np.ndarray) -> np.ndarray:
    """Standard deviations; of a bad pixel so large that it does not count."""
    return np.where(ivar > 0, 1 / np.sqrt(np.where(ivar > 0, ivar, 1)), 1e3)


def main(source: str, target: str) -> None:
    stars = np.load(source)
    labels, flux = stars["train_labels"], stars["train_flux"]
    scale_labels, scale_flux = ShiftScalePreprocessor.from_data(labels), ShiftScalePreprocessor.from_data(flux)
    start = time.perf_counter()
    train = PolluxData(
        label=OutputData(labels, err=np.full_like(labels, 1e-3), preprocessor=scale_labels),
        flux=OutputData(flux, err=errors(stars["train_ivar"]), preprocessor=scale_flux),
    ).preprocess()
    cannon = pollux.Cannon(label_size=labels.shape[1], output_size=flux.shape[1])
    trained = cannon.optimize_iterative(
        train,
        blocks=["flux:data", "flux:err"],
        fixed_pars={"latents": train["label"].data},
        rng_key=jax.random.key(0),
        max_cycles=8,
        on_progress=False,
    )
    jax.block_until_ready(trained.params)
    train_seconds = time.perf_counter() - start
    test = PolluxData(
        flux=OutputData(stars["test_flux"], err=errors(stars["test_ivar"]), preprocessor=scale_flux)
    ).preprocess()
    seconds = []
    for _ in range(2):  # the second time it is compiled
        start = time.perf_counter()
        found = cannon.optimize_iterative(
            test,
            blocks=["latents"],
            fixed_pars=cannon.output_pars(trained.params),
            rng_key=jax.random.key(1),
            on_progress=False,
        )
        guess = np.asarray(scale_labels.inverse_transform(found.params["latents"]))
        seconds.append(time.perf_counter() - start)
    np.savez(
        target,
        labels=guess,
        train_seconds=train_seconds,
        test_seconds=seconds[-1],
        first_seconds=seconds[0],
        python=sys.version.split()[0],
        jax=jax.__version__,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
