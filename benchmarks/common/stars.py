"""The stars, the settings and the trained models that all benchmarks share."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
from sklearn.svm import SVR

import slamjax
from slamjax.model.model import Model
from slamjax.spectra.spectra import Spectra

RESULTS = Path(__file__).parents[1] / "results"
LABELS = ("teff", "logg", "fe_h", "alpha_m")
SELECTION = "logg < 3.6 & teff > 3600 & teff < 5600 & fe_h > -1.5 & apogee_snr > 80 & isfinite(alpha_m)"
RECIPE = slamjax.Recipe.make(wave_range=(376, 1010), wave_unit="nm", continuum="gaussian:50nm")
SVR_SETTINGS = {"C": 10.0, "epsilon": 0.05, "gamma": 0.1}
EMULATOR = slamjax.SVR(**SVR_SETTINGS)
#: As scikit-learn trains it.
PUBLISHED = slamjax.SVR(**SVR_SETTINGS, metric="isotropic")


@dataclass(frozen=True)
class Trained:
    """A slamjax model, and the original SLAM's scikit-learn SVRs, one per pixel, trained on the same scaled stars."""

    model: Model
    svrs: list[SVR]

    def scaled(self, labels: np.ndarray) -> np.ndarray:
        """Labels (N, L) as the SVRs take them."""
        return np.asarray(self.model.host_emulator.scaling(labels))

    def flux_by_loop(self, x: np.ndarray) -> np.ndarray:
        """Flux (N, P) at scaled labels x (N, L) as the original predicts it: one ``predict`` per pixel."""
        exact = self.model.host_emulator
        scaled = np.stack([svr.predict(x) for svr in self.svrs], axis=1)
        return np.asarray(exact.flux_mean) + np.asarray(exact.flux_scale) * scaled


def parse_options(description: str, **defaults: int | str | None) -> argparse.Namespace:
    """The command line of every benchmark; ``defaults`` are its own options, ``n_stars`` as ``--n-stars``.

    None makes an option for a file, such as ``--model``.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="slamjax FITS table to draw stars from instead of the embedded sample"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for results")
    parser.add_argument("--n-train", type=int, default=2000, help="training stars (at most what the sample has)")
    parser.add_argument("--n-test", type=int, default=2000, help="test stars (at most what the sample has)")
    parser.add_argument("--seed", type=int, default=0, help="draws the stars")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path.home() / ".cache" / "slamjax-benchmarks",
        help="folder for trained models",
    )
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path if value is None else type(value), default=value)
    return parser.parse_args()


def load_pools(data: Path | None) -> tuple[Spectra, Spectra]:
    """Stars to draw training stars from and stars to draw test stars from; the same ones where a file is given."""
    if data is None:
        return slamjax.datasets.load_xp_giants()
    stars = slamjax.read_table(data).select(SELECTION)
    return stars, stars


def source_name(data: Path | None) -> str:
    """The name of the data in the tables."""
    return "the sample embedded in slamjax" if data is None else data.name


def load_stars(options: argparse.Namespace) -> tuple[Spectra, Spectra]:
    """Training and test stars, drawn by seed; no star is in both, not even by two spectra of it."""
    train_pool, test_pool = load_pools(options.data)
    rng = np.random.default_rng(options.seed)
    rows = _draw(len(train_pool), options.n_train, rng)
    train = train_pool[rows]
    if test_pool is train_pool:
        groups = train_pool.star_groups()
        test_pool = train_pool[~np.isin(groups, groups[rows])]
    return train, test_pool[_draw(len(test_pool), options.n_test, rng)]


def _draw(n: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.choice(n, min(n, wanted), replace=False))


def calibrated_model(train: Spectra, cache: Path, seed: int = 0, labels: tuple[str, ...] = LABELS) -> Model:
    """A model with low-rank noise, from ``cache`` if it was trained before with the same stars, settings and code."""
    cache.mkdir(parents=True, exist_ok=True)
    model_file = cache / f"{fingerprint(train, labels)}-lowrank{seed}.h5"
    if not model_file.exists():
        slamjax.train(train, labels, emulator=EMULATOR, recipe=RECIPE, noise="lowrank", seed=seed).write(model_file)
    return slamjax.Model.read(model_file)


def least_ess(posterior: slamjax.Posterior) -> np.ndarray:
    """(N,) bulk effective draws of each star's worst label."""
    return np.nanmin(posterior.diagnostics.ess_bulk, axis=1)


def train_machines(train: Spectra, cache: Path) -> Trained:
    """A model and the SVRs, from ``cache`` if they were trained before with the same stars, settings and code."""
    cache.mkdir(parents=True, exist_ok=True)
    key = fingerprint(train)
    model_file, svr_file = cache / f"{key}.h5", cache / f"{key}.joblib"
    if not model_file.exists():
        slamjax.train(train, LABELS, emulator=PUBLISHED, recipe=RECIPE, noise="diagonal").write(model_file)
    model = slamjax.Model.read(model_file)
    if not model.trained.all():
        raise SystemExit(f"{np.sum(~model.trained)} pixels could not be trained; give more stars by --n-train")
    if not svr_file.exists():
        partial = svr_file.with_suffix(".partial")  # a run that is stopped must leave no half of a file
        joblib.dump(_train_svrs(model, train), partial)
        partial.replace(svr_file)
    return Trained(model, joblib.load(svr_file))


def _train_svrs(model: Model, train: Spectra) -> list[SVR]:
    """scikit-learn's SVRs of the same problem: same scaled labels and flux, same weights, same stars left out."""
    exact = model.host_emulator
    x = np.asarray(exact.scaling(train.values(LABELS)))
    prepared = model.recipe(train)
    y = (prepared.flux - np.asarray(exact.flux_mean)) / np.asarray(exact.flux_scale)
    good, ivar = prepared.good, prepared.ivar.astype(float)

    def one(pixel: int) -> SVR:
        rows = np.flatnonzero(good[:, pixel])
        weight = ivar[rows, pixel] / ivar[rows, pixel].mean()
        return SVR(kernel="rbf", cache_size=500, **SVR_SETTINGS).fit(x[rows], y[rows, pixel], sample_weight=weight)

    # threads: libsvm lets go of the interpreter lock
    return joblib.Parallel(n_jobs=-1, prefer="threads")(joblib.delayed(one)(pixel) for pixel in range(y.shape[1]))


def fingerprint(
    train: Spectra, labels: tuple[str, ...] = LABELS, settings: tuple[object, ...] = (RECIPE, SVR_SETTINGS)
) -> str:
    """Changes with the stars, the settings, scikit-learn and the training code, so that no stale model is timed."""
    digest = hashlib.sha256(train.digests().tobytes() + train.values(labels).tobytes())
    digest.update(repr((labels, *settings, version("scikit-learn"))).encode())
    package = Path(slamjax.__file__).parent
    for room in ("training/**/*", "preprocessing/*", "emulators/*", "noise/*", "forward/*"):
        for path in sorted(package.glob(f"{room}.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
