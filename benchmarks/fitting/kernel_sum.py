"""What does summing the kernel expansion in slices cost, and how many digits does it keep?"""

from __future__ import annotations

from unittest import mock

import jax
import numpy as np

from benchmarks.common.reporting import current_load, markdown_table, seconds, time_call, write_results
from benchmarks.common.stars import load_stars, parse_options, source_name, train_machines
from slamjax.emulators import svr as module

SLICES = (1, 4, 8, 16, 32)


def main() -> None:
    options = parse_options(__doc__, n_stars=1000)
    load = current_load()
    train, test = load_stars(options)
    model = train_machines(train, options.cache).model
    labels = np.resize(test.values(model.label_names), (options.n_stars, model.host_emulator.n_labels))
    x = np.asarray(model.host_emulator.scaling(labels))
    with jax.enable_x64(True):
        exact = np.asarray(model.host_emulator.at(x))
    # of a bright star: the tenth with the smallest photon noise in each pixel
    photon = np.percentile(1 / model.prepare(test).ivar.astype(float), 10, axis=0)
    noise = np.sqrt(photon + np.asarray(model.noise.model_variance))

    rows, results = [], {}
    for slices in SLICES:
        with mock.patch.multiple(module, _MAX_SLICES=slices, _MIN_SLICE=1):
            predict = jax.jit(lambda emulator, at: emulator.at(at))
            timing = time_call(lambda predict=predict: predict(model.emulator, x.astype(np.float32)), repeats=15)
            flux = np.asarray(predict(model.emulator, x.astype(np.float32)))
        error = np.abs(flux - exact)
        scaled = error / np.asarray(model.host_emulator.flux_scale)
        rows.append(
            (slices, seconds(timing.median), f"{np.sqrt(np.mean(scaled**2)):.1e}", f"{(error / noise).max():.1e}")
        )
        results[slices] = {
            "seconds": timing.median,
            "rms": float(np.sqrt(np.mean(scaled**2))),
            "max": float((error / noise).max()),
        }
    table = markdown_table(
        ["slices", "time", "rms error in the pixel's spread", "largest error in a bright star's noise"], rows
    )
    settings = {"data": source_name(options.data), "training stars": len(train), "stars predicted": len(x)}
    write_results(options.out, "kernel_sum", settings, results, [table], load)


if __name__ == "__main__":
    main()
