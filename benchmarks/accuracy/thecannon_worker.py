"""Train and test PyPI's ``thecannon`` on one .npz of stars; run by ``versus_cannon.py`` in an environment of its own.

    python thecannon_worker.py stars.npz labels.npz

Nothing of slamjax is imported here, so that thecannon may have the NumPy it needs.
"""

import sys
import time

import numpy as np
from TheCannon.dataset import Dataset
from TheCannon.model import CannonModel


def main(source: str, target: str) -> None:
    stars = np.load(source)
    n_train, n_test = len(stars["train_flux"]), len(stars["test_flux"])
    # copies: thecannon writes into its arrays
    dataset = Dataset(
        stars["wave"],
        np.arange(n_train),
        stars["train_flux"].copy(),
        stars["train_ivar"].copy(),
        stars["train_labels"].copy(),
        np.arange(n_test),
        stars["test_flux"].copy(),
        stars["test_ivar"].copy(),
    )
    dataset.set_label_names([str(name) for name in stars["names"]])
    model = CannonModel(2, useErrors=False)
    start = time.perf_counter()
    model.train(dataset)
    found = {"train_seconds": time.perf_counter() - start}
    # its own start is 1 in every scaled label; 0 is the median training star
    for name, guess in (("default", None), ("median", np.zeros(len(stars["names"])))):
        start = time.perf_counter()
        model.infer_labels(dataset, guess)
        found[f"{name}_seconds"] = time.perf_counter() - start
        labels = np.asarray(dataset.test_label_vals, dtype=float)
        # what thecannon writes where its fit fails, before it scales it back
        failed = np.all(np.isclose((labels - model.pivots) / model.scales, -9999.0), axis=1)
        found[f"{name}_labels"] = np.where(failed[:, None], np.nan, labels)
    np.savez(target, numpy=np.__version__, python=sys.version.split()[0], **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
