"""XP-like stars of any number: spectra of real giants with fresh noise, in Parquet files, and a model of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.table import Table

import slamjax
from benchmarks.common.stars import EMULATOR, LABELS, RECIPE
from slamjax.spectra.spectra import Spectra

#: Stars of a file, and of those made at once.
FILE, BLOCK = 100_000, 5_000


def with_fresh_noise(stars: Spectra, first: int, n: int, seed: int) -> Spectra:
    """``n`` stars, numbered from ``first``: those given over and over, each time with other noise."""
    rows = np.arange(first, first + n) % len(stars)
    rng = np.random.default_rng([seed, first])
    ivar = np.asarray(stars.ivar)[rows]
    sigma = np.where(ivar > 0, 1 / np.sqrt(np.where(ivar > 0, ivar, 1)), 0)
    flux = np.asarray(stars.flux)[rows] + sigma * rng.normal(size=ivar.shape)
    ivar = ivar / 2  # the spectra have noise of their own
    table = Table({"source_id": np.arange(first, first + n), **{name: stars.values(name)[rows] for name in LABELS}})
    return Spectra(
        stars.wave,
        flux.astype(np.float32),
        ivar.astype(np.float32),
        table,
        wave_unit=stars.wave_unit,
        medium=stars.medium,
        frame=stars.frame,
        flux_unit=stars.flux_unit,
    )


def write_stars(folder: Path, n: int, seed: int) -> list[str]:
    """Parquet files of ``n`` stars; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    _, stars = slamjax.datasets.load_xp_giants()
    paths = []
    for start in range(0, n, FILE):
        stop = min(n, start + FILE)
        path = folder / f"xp-{start:09d}-{stop - start}-{seed}.parquet"
        if not path.exists():
            slamjax.write_table(_blocks(stars, start, stop, seed), path)
        paths.append(str(path))
    return paths


def _blocks(stars: Spectra, start: int, stop: int, seed: int) -> Iterator[Spectra]:
    for first in range(start, stop, BLOCK):
        yield with_fresh_noise(stars, first, min(BLOCK, stop - first), seed)


def write_model(path: Path) -> None:
    """A model of a thousand other giants, with low-rank noise, unless it is there."""
    if not path.exists():
        stars, _ = slamjax.datasets.load_xp_giants()
        slamjax.train(stars, LABELS, emulator=EMULATOR, recipe=RECIPE, noise="lowrank").write(path)
