"""Training, fitting, sampling and reading again and again in one process: what it holds does not grow.

Memory, memory maps (each compiled program takes dozens, and Linux allows 65,530), open files and threads are looked at
after every round. The first half of the rounds may fill caches; the second half does the same, and must add nothing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from helpers import xp_giants
from models import LABELS, SVR_10, THREE_FOLDS, giants_model, recipe

import slamjax
from campaigns.frame import Campaign, Outcome, Report, judged, resident

#: What the second half of the rounds may add: memory in MiB, memory maps, open files, threads.
_MAY_GROW = (64, 500, 2, 2)
_NAMES = ("MiB", "maps", "open files", "threads")


@dataclass(frozen=True)
class Run:
    """``rounds`` calls of ``work`` with the number of the round and a generator."""

    title: str
    rounds: int
    work: Callable[[int, np.random.Generator], object]


@cache
def _many() -> slamjax.Spectra:
    return slamjax.datasets.load_xp_giants()[0]


def _train(number: int, rng: np.random.Generator) -> slamjax.Model:
    """A model of another number of stars each time, with independent pixels."""
    stars = xp_giants()[rng.choice(150, int(rng.integers(80, 130)), replace=False)]
    options = {"recipe": recipe(), "search": THREE_FOLDS, "noise": "diagonal"}
    return slamjax.train(stars, LABELS, emulator=_emulator(number), **options)


def _train_noise(number: int, rng: np.random.Generator) -> slamjax.Model:
    """The same with a covariance of pixels, calibrated errors and velocities, which compile."""
    stars = _many()[rng.choice(len(_many()), int(rng.integers(250, 420)), replace=False)]
    return slamjax.train(stars, LABELS, emulator=_emulator(number), recipe=recipe(), search=THREE_FOLDS)


def _emulator(number: int) -> object:
    return (SVR_10, slamjax.Polynomial())[number % 2]


def _fit(number: int, rng: np.random.Generator, model: slamjax.Model | None = None) -> None:
    stars = xp_giants()[rng.integers(0, 150, int(rng.integers(1, 400)))]
    slamjax.fit(giants_model() if model is None else model, stars)


def _train_and_fit(number: int, rng: np.random.Generator) -> None:
    _fit(number, rng, _train(number, rng))


def _sample(number: int, rng: np.random.Generator) -> None:
    stars = xp_giants()[rng.integers(0, 150, int(rng.integers(1, 6)))]
    slamjax.sample(giants_model(), stars, sampler=slamjax.SamplerSpec(method="importance", draws=50), seed=number)


def _store(number: int, rng: np.random.Generator) -> None:
    """Every kind of file written and read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slamjax.write_table(xp_giants()[rng.integers(0, 150, int(rng.integers(1, 400)))], folder / "stars.fits")
        stars = slamjax.read_table(folder / "stars.fits")
        giants_model().write(folder / "model.h5")
        labels = slamjax.LabelTable({"teff": stars.values(("teff",))[:, 0], "flags": np.zeros(len(stars), int)})
        slamjax.Model.read(folder / "model.h5")
        slamjax.write_labels(labels, folder / "labels.fits")
        slamjax.read_labels(folder / "labels.fits")


_RUNS = (
    Run("trainings with independent pixels", 30, _train),
    Run("files written and read", 100, _store),
    Run("fits of changing sizes", 100, _fit),
    Run("trainings with learnt noise", 30, _train_noise),
    Run("trainings, each with a fit", 30, _train_and_fit),
    Run("posteriors of changing numbers of stars", 30, _sample),
)


def _held() -> tuple[float, int, int, int]:
    """MiB, memory maps, open files and threads of this process."""
    return (
        resident(os.getpid()) / 2**20,
        Path("/proc/self/maps").read_bytes().count(b"\n"),
        len(os.listdir("/proc/self/fd")),
        len(os.listdir("/proc/self/task")),
    )


def attempt(number: int, folder: Path) -> Report:
    run, half = _RUNS[number], _RUNS[number].rounds // 2

    def repeat() -> Report:
        held = []
        for each in range(run.rounds):
            run.work(each % half, np.random.default_rng((number, each % half)))
            held.append(_held())
        first, second = np.max(held[:half], axis=0), np.max(held[half:], axis=0)
        said = ", ".join(f"{a:.0f} to {b:.0f} {name}" for a, b, name in zip(first, second, _NAMES, strict=True))
        grew = np.any(second - first > _MAY_GROW)
        return Report(Outcome.GREEDY if grew else Outcome.SAME, f"{run.rounds} {run.title}: {said}")

    return judged(repeat)


CAMPAIGN = Campaign("the same work again and again", attempt, tried=len(_RUNS), short=1, seconds=1200)
