"""Pieces to the workers of a Dask cluster and their tables back, whatever happens to the workers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from slamjax.errors import SlamError
from slamjax.survey.engines import Engine
from slamjax.survey.pieces import Piece
from slamjax.survey.work import Done, Job, problems_of, unfitted, work

#: Seconds after which it is looked for new workers.
_LOOK = 5.0


@dataclass(frozen=True)
class SetAside:
    """Instead of a table: the piece killed every worker that it was given to."""

    problem: str

    def as_done(self, engine: Engine, piece: Piece) -> Done:
        """Rows without labels that say so."""
        files = piece.paths if piece.kind == "files" else None
        table = unfitted(engine, [self.problem] * piece.n, files)
        problems = problems_of(table, piece)
        return Done(table, piece.n, problem=self.problem, problems=problems, began=time.time(), set_aside=True)


def on_cluster(client: Any, job: Job, pieces: Sequence[Piece]) -> Iterator[tuple[Piece, Done | SetAside, int]]:
    """Finished pieces as they come, each with how many workers died with it.

    As many pieces are given out as there are threads: none waits at a worker that might die of another one.
    """
    import distributed
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    waiting = iter(pieces)
    running: dict[Any, Piece] = {}

    def give_out() -> None:
        present = client.nthreads()
        _revive(client, len(present))
        threads = max(1, sum(present.values()))
        while len(running) < threads and (piece := next(waiting, None)) is not None:
            running[client.submit(work, job, piece, key=f"{job.task}-{job.digest}-{piece.number}", pure=False)] = piece

    give_out()
    while running:
        for future in _finished(distributed, list(running)):
            piece = running.pop(future)
            deaths = client.run_on_scheduler(_deaths, key=future.key)
            try:
                result: Done | SetAside = future.result()
            except KilledWorker:
                result = SetAside(f"{max(deaths, 1)} workers died with this piece; it was set aside")
            except (FutureCancelledError, OSError) as error:
                raise SlamError(f"the cluster was lost ({error}); the same command continues") from error
            future.release()
            give_out()
            yield piece, result, deaths
        give_out()


def _finished(distributed: Any, futures: list[Any]) -> list[Any]:
    """Those that are finished; none after some seconds, in which workers may have come."""
    try:
        return list(distributed.wait(futures, timeout=_LOOK, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        return []


def _revive(client: Any, present: int) -> None:
    """Let a cluster of ours begin workers again that it has given up: their process died while it began."""
    wanted = len(getattr(client.cluster, "worker_spec", None) or ())
    if present < wanted:
        client.cluster.scale(wanted)


def _deaths(key: str, dask_scheduler: Any) -> int:
    """Workers that died while they had a piece."""
    task = dask_scheduler.tasks.get(key)
    return 0 if task is None else int(task.suspicious)
