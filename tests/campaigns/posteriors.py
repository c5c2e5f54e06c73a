"""Posterior files: damaged at random, with and without their seal, and made to be wrong by another program."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from campaigns.frame import Campaign, Outcome, Report, judged
from campaigns.mutations import damaged
from slamjax._util.seal import sealed_at_end
from slamjax.sampling import Diagnostics, Posterior
from slamjax.views import describe

_END = 105  # bytes of the seal
_VARIABLES = ["posterior/teff", "posterior/star", "sample_stats/lp", "constant_data/flags", "constant_data/rhat"]


def prepare(folder: Path) -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal([4500, 2.0], [50, 0.1], size=(2, 100, 6, 2))
    ess = np.full((6, 2), 1000.0)
    Posterior(
        ("teff", "logg"), ("K", "dex"), draws, rng.normal(size=draws.shape[:3]), np.zeros(draws.shape[:3], bool),
        Diagnostics(np.ones((6, 2)), ess, ess), khat=np.full(6, 0.1), sampler=np.full(6, "importance"),
        flags=np.arange(6), stars={"row": np.arange(6), "id": np.array(list("abcdef"))}, attrs={"seed": 0, "fixed": []},
    ).write(folder / "sound.nc")  # fmt: skip
    Posterior.read(folder / "sound.nc").to_arviz().to_netcdf(str(folder / "older.nc"), engine="h5netcdf")


@cache
def _sound(folder: Path) -> Posterior:
    return Posterior.read(folder / "sound.nc")


def attempt(number: int, folder: Path) -> Report:
    rng = np.random.default_rng(number)
    target = folder / "attempt.nc"
    target.unlink(missing_ok=True)
    whole = (folder / "sound.nc").read_bytes()
    if number % 4:
        target.write_bytes(damaged(whole, rng))
        return judged(lambda: _same(Posterior.read(target), folder), named=target.name)
    shutil.copy(folder / "older.nc", target)
    with h5py.File(target, "r+") as file:
        what = _craft(file, rng)
    if number % 8:
        target.write_bytes(sealed_at_end(target.read_bytes()))
    report = judged(lambda: _same(Posterior.read(target), folder), named=target.name)
    return Report(report.outcome, f"{what}: {report.detail}")


def _same(posterior: Posterior, folder: Path) -> Report:
    known = _sound(folder)
    describe(posterior)
    posterior.table()
    same = np.array_equal(posterior.labels, known.labels) and np.array_equal(posterior.flags, known.flags)
    same &= np.array_equal(posterior.stars["row"], known.stars["row"])
    return Report(Outcome.SAME if same else Outcome.WRONG, "read")


def _craft(file: Any, rng: np.random.Generator) -> str:
    """Change the file in one of many ways; returns which."""
    name = str(rng.choice(_VARIABLES))
    kind = int(rng.integers(10))
    if kind == 0:
        del file[str(rng.choice(["posterior", "sample_stats", "constant_data", "constant_data/label", name]))]
    elif kind == 1:
        _put(file, name, np.zeros((2, 3)))
    elif kind == 2:
        _put(file, name, np.full(file[name].shape, b"text"))
    elif kind == 3:
        del file[name]
        file.create_dataset(name, (10**6, 10**6), "f8", chunks=(100, 100))
    elif kind == 4:
        del file[name]
        file[name] = h5py.ExternalLink("nowhere.h5", "/")
    elif kind == 5:
        file["posterior/loop"] = file["/"]
    elif kind == 6:
        file["posterior"].attrs["fixed"] = "json:" + "[" * 100_000
    elif kind == 7:
        del file["posterior/teff"].attrs["unit"]
    elif kind == 8:
        _put(file, name, h5py.Empty("f8"))
    else:
        file["posterior/teff"].attrs["unit"] = "furlong per fortnight"
    return f"{name}, change {kind}"


def _put(file: Any, name: str, values: Any) -> None:
    del file[name]
    file.create_dataset(name, data=values)


CAMPAIGN = Campaign("posterior NetCDF", attempt, prepare, tried=600, short=40)
