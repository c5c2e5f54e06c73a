"""Does a change of the code change the results? Labels, errors, χ² and flags of two commits, side by side.

Run it with one commit's package on the path and ``--record FOLDER``, then with the other's and ``--compare FOLDER``:

    git worktree add /tmp/before COMMIT
    PYTHONPATH=/tmp/before python benchmarks/parity.py --record /tmp/parity --data ... --miles ... --lamost ...
    python benchmarks/parity.py --compare /tmp/parity --data ... --miles ... --lamost ...

Four jobs: a training on 60 pixels, 500 Gaia XP giants fitted, 64 of them sampled with a seed, 13 LAMOST files fitted
under a model of MILES stars. Fits and samples of the second run use the model files that the first one wrote, so that
these are held to load as well. Differences are in units of the first run's errors.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

import slamjax

LABELS = ("teff", "logg", "fe_h", "alpha_m")
SELECTION = "logg < 3.6 & teff > 3600 & teff < 5600 & fe_h > -1.5 & apogee_snr > 80 & isfinite(alpha_m)"
#: Largest difference allowed, in errors.
WANTED = 1e-3


def train(stars: Any, labels: tuple[str, ...], C: float, **options: Any) -> Any:
    """An SVR model, with the calls of whichever version is imported."""
    if hasattr(slamjax, "SVR"):
        newer = {"metric": "isotropic"} if hasattr(slamjax.SVR, "metric") else {}
        svr = slamjax.SVR(C=C, epsilon=0.05, gamma=0.1, **newer)
        return slamjax.train(stars, labels, emulator=svr, **options)
    return slamjax.train(stars, labels, C=C, epsilon=0.05, gamma=0.1, **options)


def write(model: Any, path: Path) -> None:
    (model.write if hasattr(model, "write") else model.save)(path)


def read(path: Path) -> Any:
    return slamjax.Model.read(path) if hasattr(slamjax.Model, "read") else slamjax.load(path)


def giants(path: Path, first: int, n: int) -> Any:
    stars = slamjax.read_table(path).select(SELECTION)
    rows = np.random.default_rng(5).permutation(len(stars))
    return stars[np.sort(rows[first : first + n])]


def recipe(**options: Any) -> Any:
    return slamjax.Recipe.make(**options)


def column(table: Any, name: str) -> np.ndarray:
    return np.asarray(table[name])


def of_table(prefix: str, table: Any, labels: tuple[str, ...]) -> dict[str, np.ndarray]:
    names = [
        *labels,
        *(f"{name}_err" for name in labels),
        "chi2",
        "flags",
        *(n for n in ("rv", "rv_err") if n in table.colnames),
    ]
    return {f"{prefix}/{name}": column(table, name) for name in names}


def arrays(options: argparse.Namespace, folder: Path, record: bool) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    small = train(
        giants(options.data, 0, 700),
        LABELS,
        10.0,
        recipe=recipe(wave_range=(500, 618), wave_unit="nm", continuum="gaussian:50nm"),
    )
    print("trained", small, flush=True)
    exact = getattr(small, "exact", None) or small.host_emulator
    at = np.asarray(exact.scaling(giants(options.data, 700, 50).values(LABELS)))
    found["train/flux"] = np.asarray(exact.at(at), float)
    found["train/variance"] = np.asarray(small.noise.model_variance, float)
    found["train/chi2_scale"] = np.array([small.info.calibration.chi2_scale])
    fits = of_table("small", slamjax.fit(small, giants(options.data, 700, 500)), LABELS)
    found |= fits
    if record:
        write(small, folder / "small.h5")
        wide = train(
            giants(options.data, 0, 1200),
            LABELS,
            10.0,
            noise="diagonal" if options.quick else "lowrank",
            recipe=recipe(wave_range=(376, 1010), wave_unit="nm", continuum="gaussian:50nm"),
        )
        write(wide, folder / "wide.h5")
        print("trained", wide, flush=True)
        miles = slamjax.read_table(options.miles).select("teff > 3500 & teff < 9000")
        wave = slamjax.Recipe.make(wave_range=(400, 720), wave_unit="nm", continuum="gaussian:5nm")
        names = ("teff", "logg", "fe_h")
        miles = miles[np.isfinite(miles.values(list(names))).all(axis=1)]
        miles = miles.on_pixels(slice(0, None, 2))
        miles_model = train(miles, names, 2.0, recipe=wave, log_labels=["teff"], noise="lowrank")
        write(miles_model, folder / "miles.h5")
        print("trained", miles_model, flush=True)
    wide, miles_model = read(folder / "wide.h5"), read(folder / "miles.h5")
    stars = giants(options.data, 1200, 500)
    found |= of_table("xp", slamjax.fit(wide, stars), LABELS)
    print("fitted 500", flush=True)
    posterior = slamjax.sample(wide, stars[:64], seed=3)
    table = posterior.table()
    for name in LABELS:
        found[f"sample/{name}"], found[f"sample/{name}_err"] = column(table, name), column(table, f"{name}_err")
    found["sample/flags"] = column(table, "flags")
    print("sampled 64", flush=True)
    lasp = Table.read(options.lamost / "lasp.csv", comment="#")
    files = [str(options.lamost / name) for name in lasp["file"]]
    found |= of_table("lamost", slamjax.fit_files(miles_model, files), ("teff", "logg", "fe_h"))
    return found


def compare(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> bool:
    """Prints the largest difference of every quantity; whether all are small."""
    sound = True
    for name, old in before.items():
        new = after[name]
        if name.endswith("flags"):
            changed = int(np.sum(old != new))
            print(f"{name:24s} {changed} of {old.size} differ")
            sound &= changed == 0
            continue
        known = np.isfinite(old)
        same = np.array_equal(known, np.isfinite(new))
        unit = np.abs(before.get(f"{name}_err", old))
        ratio = np.abs(new - old)[known] / np.where(unit[known] > 0, unit[known], 1)
        largest = float(ratio.max(initial=0))
        of = "of an error" if f"{name}_err" in before else "relative"
        print(f"{name:24s} {largest:.2e} {of}{'' if same else '; other rows failed'}")
        sound &= same and largest <= WANTED
    return sound


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("record", "compare", "data", "miles", "lamost"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--quick", action="store_true", help="diagonal noise for the wide model")
    options = parser.parse_args()
    folder = options.record or options.compare
    folder.mkdir(parents=True, exist_ok=True)
    found = arrays(options, folder, record=options.record is not None)
    if options.record:
        np.savez(folder / "before.npz", **found)
        return
    np.savez(folder / "after.npz", **found)
    raise SystemExit(0 if compare(dict(np.load(folder / "before.npz")), found) else 1)


if __name__ == "__main__":
    main()
