"""How the model files beside this script were made: each by the code of a commit that wrote its schema.

Every model is trained on a few pixels of real stars and stored as that commit stored models. The .npz beside it holds
the flux that the same code predicted in double precision at the labels of four other stars. Today's code reads both in
``tests/model/test_old_files.py``. From the root of a clone, with COMMIT and NAME from `FILES`:

    git worktree add --detach /tmp/old COMMIT
    PYTHONPATH=/tmp/old python tests/data/old_models/make_old_models.py NAME

The files are never made again; a new schema adds lines to `FILES`.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

HERE = Path(__file__).parent
#: Name of each file: the commit that wrote it, and what is in it.
FILES = {
    "schema1": ("13b4c10", "SVR, independent pixels, no calibration but a limit of chi2"),
    "schema2": ("146c396", "SVR with C and gamma searched, one label in log10, made-up low-rank noise"),
    "schema2_calibrated": ("d9838f0", "SVR, low-rank noise and its calibration"),
    "schema3": ("c136c58", "SVR, compressed"),
    "schema4": ("6a373a5", "SVR"),
    "schema4_polynomial": ("f5d51bf", "quadratic in the labels"),
    "schema4_masks": ("f5d51bf", "SVR of MILES stars; log g acts in some pixels only"),
    "schema5": ("9ae80a3", "quadratic, low-rank noise and its calibration"),
    "schema5_without_errors": ("9ae80a3", "the same from spectra that state no errors"),
}
LABELS = ("teff", "logg", "fe_h", "alpha_m")


def train(name: str) -> tuple[Any, Any]:
    """The model, and the stars at whose labels its flux is stored. The names imported are those of old commits."""
    if name.startswith("schema5"):
        return train_schema5(name)
    from slamjax.prepare.recipe import Recipe
    from slamjax.readers.table import read_table

    from slamjax.training.pipeline import train

    giants = read_table(HERE.parent / "xp_giants.fits")
    recipe = Recipe.make(wave_range=(500, 530), wave_unit="nm", continuum="gaussian:50nm")
    rbf = {"C": 10, "epsilon": 0.05, "gamma": 0.1}
    common: dict[str, Any] = {"recipe": recipe, "cv": 3, "n_jobs": 1}
    match name:
        case "schema1":
            return train(giants[:80], LABELS, **common, **rbf), giants[80:84]
        case "schema2":
            from slamjax.noise import LowRankNoise

            grid = {"C": [0.3, 10], "epsilon": 0.05, "gamma": [0.03, 0.3]}
            model = train(giants[:80], LABELS, log_labels=["teff"], **common, **grid)
            variance = np.asarray(model.noise.model_variance)
            slow = np.sqrt(variance)[:, None] * np.linspace(-1, 1, len(variance))[:, None]
            noise = LowRankNoise(variance, slow, np.full(len(variance), 1.1), np.full((len(variance), 1), 0.3))
            return dataclasses.replace(model, noise=noise), giants[80:84]
        case "schema2_calibrated":
            from slamjax.datasets import load_xp_giants

            stars = load_xp_giants()[0]
            return train(stars[:260], LABELS, noise="lowrank", **common, **rbf), stars[260:264]
        case "schema3":
            return train(giants[:80], LABELS, noise="diagonal", **common, **rbf).compress(), giants[80:84]
        case "schema4":
            return train(giants[:80], LABELS, noise="diagonal", **common, **rbf), giants[80:84]
        case "schema4_polynomial":
            return train(giants[:80], LABELS, emulator="polynomial", noise="diagonal", **common), giants[80:84]
        case "schema4_masks":
            miles = read_table(HERE.parent / "miles.fits")
            miles = miles.on_pixels(np.arange(0, miles.n_pix, 15))
            common["recipe"] = Recipe.make(continuum="gaussian:10nm")
            masks = {"logg": np.arange(miles.n_pix) < 12}
            stars, names = miles[:80], LABELS[:3]
            model = train(stars, names, log_labels=["teff"], label_masks=masks, noise="diagonal", **common, **rbf)
            return model, miles[80:84]
    raise SystemExit(f"{name} is none of {', '.join(FILES)}")


def train_schema5(name: str) -> tuple[Any, Any]:
    """With the names of commit 9ae80a3, which are today's."""
    import slamjax

    stars = slamjax.datasets.load_xp_giants()[0]
    some = stars[:200]
    if name == "schema5_without_errors":
        some = some.with_arrays(some.flux, np.where(some.ivar > 0, np.inf, 0))
    model = slamjax.train(
        some,
        LABELS[:2],
        emulator=slamjax.Polynomial(ridge=1.0),
        recipe=slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm", continuum="gaussian:50nm"),
        search=slamjax.SearchSpec(folds=3),
        noise=slamjax.NoiseSpec("lowrank", ranks=(4,), floors=(0.2,)),
    )
    return model, stars[200:204]


def main(name: str) -> None:
    jax.config.update("jax_enable_x64", True)
    model, stars = train(name)
    labels = np.stack([np.asarray(stars.table[label], float) for label in model.label_names], axis=1)
    save = model.write if name.startswith("schema5") else model.save
    save(HERE / f"{name}.h5")
    np.savez(HERE / f"{name}.npz", labels=labels, flux=np.asarray(model(labels)))


if __name__ == "__main__":
    main(sys.argv[1])
