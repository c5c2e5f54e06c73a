"""Train and test PyPI's ``astroslam`` on one .npz of stars; run by ``versus_astroslam.py`` in its own environment.

    python astroslam_worker.py stars.npz labels.npz model.dump

The steps of its tutorial: SVRs by grid search in cross-validation, the training star with the smallest χ² as the start,
least squares from there. Nothing of slamjax is imported here.
"""

import collections
import collections.abc
import resource
import sys
import time

import joblib
import numpy as np

for moved in ("Set", "Mapping"):  # astroslam looks for them where Python 3.9 had them
    setattr(collections, moved, getattr(collections.abc, moved))

import sklearn  # noqa: E402
from slam.slam3 import Slam3  # noqa: E402


def clocks() -> np.ndarray:
    """Seconds of the clock, and of all cores, those of processes that have ended included."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return np.array([time.perf_counter(), sum(one.ru_utime + one.ru_stime for one in used)])


def main(source: str, target: str, dump: str) -> None:
    stars = np.load(source)
    grid = {name: stars[f"grid_{name}"].tolist() for name in ("C", "epsilon", "gamma")}
    jobs, folds = int(stars["n_jobs"]), int(stars["folds"])
    start = clocks()
    slam = Slam3(stars["wave"], stars["train_flux"].copy(), stars["train_ivar"].copy(), stars["train_labels"].copy())
    slam.train_pixels(model="svr", method="grid", param_grid=grid, cv=folds, n_jobs=jobs, verbose=0)
    train_seconds = clocks() - start
    start = clocks()
    flux, ivar = stars["test_flux"].copy(), stars["test_ivar"].copy()
    with joblib.parallel_backend("multiprocessing"):  # forked processes know what was mended above
        guess = slam.predict_labels_quick(flux, ivar, n_jobs=jobs)
        found = slam.predict_labels_multi(guess, flux, ivar, n_jobs=jobs)
    test_seconds = clocks() - start
    slam.save_dump(dump, overwrite=True)
    np.savez(
        target,
        labels=np.array([one["x"] for one in found]),
        predicted=slam.predict_spectra(stars["train_labels"][:50]),
        train_seconds=train_seconds,
        test_seconds=test_seconds,
        python=sys.version.split()[0],
        numpy=np.__version__,
        sklearn=sklearn.__version__,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
