"""What grows with the number of parts and of workers of a survey, measured with very many that hold nearly nothing."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import slamjax
from benchmarks.common.stars import LABELS, RECIPE
from benchmarks.survey.measured import peak_gib
from slamjax.spectra.spectra import Spectra
from slamjax.survey import cluster, collect_shards
from slamjax.survey.parts import shard_folders
from slamjax.survey.pieces import Piece
from slamjax.survey.work import Done, Job, Reading

#: Pieces that are given out for each worker.
GIVEN_OUT = 40


def cost_of_parts(n: int) -> dict[str, float]:
    """Seconds and bytes of memory of each further part, from a tenth of ``n`` to ``n``; in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="slamjax-parts-") as name:
        folder = Path(name)
        train, stars = slamjax.datasets.load_xp_giants()
        model = slamjax.train(train[:200], LABELS, emulator=slamjax.Polynomial(), recipe=RECIPE, noise="diagonal")
        fitter = slamjax.Fitter(model, n_starts=1)
        few, small = _collected(fitter, stars, n // 10, folder)
        many, large = _collected(fitter, stars, n, folder)
    more = n - n // 10
    return {"seconds a part": (many - few) / more, "bytes of memory a part": max(0.0, (large - small) * 2**30 / more)}


def _collected(fitter: slamjax.Fitter, stars: Spectra, n: int, folder: Path) -> tuple[float, float]:
    """Seconds to collect ``n`` parts of one star each, and the peak of memory in GiB."""
    output, table = folder / f"labels{n}.parquet", folder / f"stars{n}.fits"
    slamjax.write_table(stars[np.arange(n) % len(stars)], table)
    slamjax.fit_survey(fitter, table, output, piece_size=1, shard=(1, 1), on_progress=False)
    began = time.perf_counter()
    collect_shards(shard_folders(output), output)
    return time.perf_counter() - began, peak_gib()


def nothing(job: Job, piece: Piece) -> Done:
    """In place of work."""
    return Done(None, piece.n)


def dispatch(workers: int) -> float:
    """Seconds to give out a piece and to get it back, with so many workers, all of them in this process."""
    import distributed

    cluster.work = nothing
    pieces = [Piece(number, "table", ("none",), 0, 1) for number in range(GIVEN_OUT * workers)]
    options: dict[str, Any] = {
        "processes": False,
        "threads_per_worker": 1,
        "dashboard_address": None,
        "memory_limit": 0,
    }
    with distributed.LocalCluster(n_workers=workers, **options) as local, distributed.Client(local) as client:
        some = list(cluster.on_cluster(client, Job("", "first", {}, Reading()), pieces[:workers]))
        began = time.perf_counter()
        found = list(cluster.on_cluster(client, Job("", "again", {}, Reading()), pieces))
        seconds = time.perf_counter() - began
        assert len(some) + len(found) == workers + len(pieces)
        return seconds / len(pieces)
