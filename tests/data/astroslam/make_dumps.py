"""Makes the dumps of this folder, with PyPI's astroslam in an environment of its own.

    python3.11 -m venv /tmp/astroslam
    /tmp/astroslam/bin/pip install "numpy<1.24" "pandas<2.1" astroslam==1.2022.1228.1
    /tmp/astroslam/bin/python tests/data/astroslam/make_dumps.py

Spectra are made up; models, dumps and predictions are astroslam's own.
"""

import collections
import collections.abc
from pathlib import Path

import joblib
import numpy as np

for moved in ("Set", "Mapping"):  # astroslam looks for them where Python 3.9 had them
    setattr(collections, moved, getattr(collections.abc, moved))

import slam.slam3  # noqa: E402

HERE = Path(__file__).parent
N_STARS, N_PIXELS, BAD = 40, 12, 5
GRID = {"C": [1.0, 10.0], "epsilon": [0.05], "gamma": [0.03, 0.1]}
FIXED = {"C": [10.0], "epsilon": [0.05], "gamma": [0.3]}


def stars():
    """Wavelengths, flux, ivar and labels; one pixel is bad in all stars, and some pixels of single stars are."""
    rng = np.random.default_rng(0)
    labels = rng.uniform([4000, 1, -1], [5200, 3.5, 0.4], size=(N_STARS, 3))
    x = (labels - labels.mean(axis=0)) / labels.std(axis=0)
    slopes, bends = rng.normal(size=(2, 3, N_PIXELS))
    flux = 1 + 0.05 * (x @ slopes + 0.3 * np.square(x) @ bends) + 0.003 * rng.normal(size=(N_STARS, N_PIXELS))
    ivar = np.full(flux.shape, 0.003**-2)
    ivar[:, BAD] = 0
    ivar[3, 7] = 0
    return np.linspace(500.0, 522.0, N_PIXELS), flux, ivar, labels


def trained(model="svr", grid=GRID, scoring="neg_mean_squared_error", kernel="rbf", **options):
    one = slam.slam3.Slam3(*stars(), mask_conv=None, **options)
    one.train_pixels(
        model=model, method="grid", param_grid=grid, cv=4, scoring=scoring, n_jobs=1, verbose=0, kernel=kernel
    )
    return one


def main():
    labels = np.random.default_rng(1).uniform([4100, 1.2, -0.8], [5100, 3.3, 0.3], size=(5, 3))
    models = {
        "grid": trained(),
        "robust": trained("nusvr", {"C": [10.0], "nu": [0.5], "gamma": [0.2]}, robust=True),
        "sigmoid": trained(grid=FIXED, kernel="sigmoid"),
        "absolute": trained(grid=FIXED, scoring="neg_mean_absolute_error"),
    }
    compressed = {"grid": 0, "robust": ("gzip", 9), "sigmoid": ("xz", 6), "absolute": ("bz2", 9)}
    for name, model in models.items():
        model.save_dump(HERE / f"{name}.dump", overwrite=True, compress=compressed[name])
    models["grid"].save_dump_sms(HERE / "sms.dump", overwrite=True, compress=("zlib", 9))
    grid = models["grid"]
    unscaled = {"labels": labels, "scaled_labels": grid.tr_labels_scaler.transform(labels)}
    flux = {name: model.predict_spectra(labels) for name, model in models.items()}
    flux["sms"] = grid.predict_spectra(unscaled["scaled_labels"], labels_scaler=False, flux_scaler=False)
    scalers = {
        "label_center": grid.tr_labels_scaler.mean_, "label_width": grid.tr_labels_scaler.scale_,
        "flux_mean": grid.tr_flux_scaler.mean_, "flux_scale": grid.tr_flux_scaler.scale_,
        "scores": grid.scores, "joblib": joblib.__version__, "numpy": np.__version__,
    }  # fmt: skip
    np.savez_compressed(HERE / "predictions.npz", **unscaled, **flux, **scalers)


if __name__ == "__main__":
    main()
