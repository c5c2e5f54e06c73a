"""Fit stars again and again whenever ``one_process.py`` asks for it; with the slamjax that PYTHONPATH names.

    python one_process_worker.py model.h5 labels.npz 416 0 [lamost.fits ...]

The stars are those of the files, of the embedded giants without files, over and over, each time with other noise. After
a first run, which compiles and leaves the labels in ``labels.npz``, each line of the input makes it measure once and
print seconds by stage, ``[wall, CPU]``. Nothing of benchmarks is imported, for that would be another checkout's.
"""

import json
import sys
import time

import numpy as np

import slamjax


def stars(files: list[str], n: int, seed: int) -> slamjax.Spectra:
    """``n`` spectra in memory."""
    spectra = slamjax.read(files) if files else slamjax.datasets.load_xp_giants()[1]
    spectra = spectra[np.resize(np.arange(len(spectra)), n)]
    ivar = np.asarray(spectra.ivar)
    sigma = np.where(ivar > 0, 1 / np.sqrt(np.where(ivar > 0, ivar, 1)), 0)
    flux = spectra.flux + sigma * np.random.default_rng(seed).normal(size=ivar.shape)
    return spectra.with_arrays(flux.astype(np.float32), ivar)


def measured(fitter: slamjax.Fitter, spectra: slamjax.Spectra) -> dict[str, list[float]]:
    """Seconds of the whole fit, and of what is one of its parts, done alone."""
    model = fitter.model.matched(spectra)
    moving = model.needs_rv(spectra)
    velocity = np.zeros(len(spectra)) if moving else None
    stages = {"preparing once": lambda: model.prepare(spectra, velocity)}
    if moving:
        stages["velocities"] = lambda: slamjax.measure_rv(model, spectra, on_progress=False)
    stages["all"] = lambda: fitter.fit(spectra, on_progress=False)
    taken = {}
    for name, stage in stages.items():
        wall, cpu = time.perf_counter(), time.process_time()
        stage()
        taken[name] = [time.perf_counter() - wall, time.process_time() - cpu]
    return taken


def main(model_file: str, target: str, n: str, seed: str, *files: str) -> None:
    fitter, spectra = slamjax.Fitter(slamjax.Model.read(model_file)), stars(list(files), int(n), int(seed))
    began = time.process_time()
    table = fitter.fit(spectra, on_progress=False)
    columns = {name: np.asarray(table[name], float) for name in table.colnames if table[name].dtype.kind in "fiu"}
    np.savez(target, **columns)
    first = time.process_time() - began
    measured(fitter, spectra)
    print(json.dumps({"first": first, "slamjax": slamjax.__file__}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(measured(fitter, spectra)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
