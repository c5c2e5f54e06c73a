"""Dask clients: processes of this machine, a cluster that runs, or SLURM jobs. Dask is imported when one is made."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slamjax._util.files import existing_file
from slamjax._util.toml import read_toml
from slamjax.errors import SlamError

#: Workers that may die of a piece before it is set aside.
MOST_DEATHS = 3
#: Settings of Dask. Its scheduler counts a piece's deaths beyond the first ones that it allows.
_SETTINGS = {
    "distributed.scheduler.allowed-failures": MOST_DEATHS - 1,
    "distributed.worker.multiprocessing-method": "spawn",  # a process that is forked after JAX has begun may hang
    "distributed.worker.daemon": True,
    "distributed.admin.tick.limit": "60s",  # compiling holds the interpreter's lock
    "distributed.comm.timeouts.connect": "60s",
    "distributed.deploy.lost-worker-timeout": "120s",  # to begin again takes long on a busy machine
}
#: How long a scheduler may take to answer.
PATIENCE = "20s"
#: What a SLURM job is, in words of ``dask_jobqueue.SLURMCluster``.
_SLURM_NEEDS = ("cores", "memory", "walltime")


def import_distributed() -> Any:
    """distributed, or one sentence on how to get it."""
    try:
        import distributed
    except ImportError as error:
        raise SlamError(f"workers need Dask ({error}); install it with: pip install 'slamjax[survey]'") from error
    return distributed


@contextmanager
def local(workers: int, *, memory_limit: str | float = "auto", dashboard: bool = True) -> Iterator[Any]:
    """A client of processes on this machine, each with its share of the cores, or with a GPU of its own.

    Parameters
    ----------
    workers : int
    memory_limit : str or float
        Of a process; one that needs more is killed and begun again.
    dashboard : bool
        Whether to serve Dask's page of progress.

    Yields
    ------
    distributed.Client
    """
    if workers < 1:
        raise SlamError(f"{workers} workers can do nothing; give at least 1")
    distributed = import_distributed()
    import dask

    with dask.config.set(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port .* is already in use")
        address = ":8787" if dashboard else None
        cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=memory_limit,
            dashboard_address=address,
            silence_logs=50,
        )
        with cluster, distributed.Client(cluster) as client:
            client.register_plugin(_own_cores(distributed, workers))
            yield client


def _own_cores(distributed: Any, workers: int) -> Any:
    """A plugin that gives each process its cores before JAX begins: it has as many threads as it sees cores."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    gpus = sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))

    class OwnCores(distributed.WorkerPlugin):
        name = "slamjax-cores"

        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the client ends its workers
            take_cores(int(worker.name), workers, cores, gpus)

    return OwnCores()


def take_cores(number: int, workers: int, cores: list[int], gpus: list[str]) -> None:
    """Restrict this process to its share of cores, and to one GPU where there are some."""
    if gpus:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", gpus[number % len(gpus)])
    if len(cores) > 1:
        mine = cores[number % workers :: workers] or [cores[number % len(cores)]]
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), mine)


@contextmanager
def remote(address: str) -> Iterator[Any]:
    """A client of a cluster that runs already; its workers need slamjax and must see the same files."""
    distributed = import_distributed()
    try:
        client = distributed.Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise SlamError(f"no Dask scheduler answers at {address} ({error}); is it running?") from error
    with client:
        yield client


@contextmanager
def slurm(config: Path) -> Iterator[Any]:
    """A client of SLURM jobs, begun and ended with the run."""
    distributed = import_distributed()
    import dask

    with dask.config.set(_SETTINGS):
        cluster, jobs = slurm_cluster(config)
        with cluster, distributed.Client(cluster) as client:
            cluster.scale(jobs=jobs)
            yield client


def slurm_cluster(config: str | os.PathLike[str]) -> tuple[Any, int]:
    """The ``dask_jobqueue.SLURMCluster`` of a file of settings, and how many jobs are wanted.

    ``jobs`` is their number; all else is passed to SLURMCluster: ``cores``, ``memory`` and ``walltime`` of a job, and
    what else is needed, such as ``queue``, ``account`` or ``job_script_prologue``. A job is one process with all of its
    cores.
    """
    import_distributed()
    try:
        import dask_jobqueue
    except ImportError as error:
        raise SlamError(
            f"SLURM jobs need dask-jobqueue ({error}); install it with: pip install 'slamjax[survey]'"
        ) from error
    source = existing_file(config)
    settings = read_toml(source)
    missing = [name for name in ("jobs", *_SLURM_NEEDS) if name not in settings]
    if missing:
        raise SlamError(f"{source} does not state {', '.join(missing)}; give jobs, {', '.join(_SLURM_NEEDS)}")
    jobs = settings.pop("jobs")
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
        raise SlamError(f"jobs is {jobs!r} in {source}; give a number of jobs, at least 1")
    # one piece at a time, by all of a job's cores: JAX has as many threads as it sees cores
    given = {"processes": 1, "job_cpu": settings["cores"], **settings, "cores": 1}
    try:
        jobqueue: Any = dask_jobqueue
        return jobqueue.SLURMCluster(**given, scheduler_options={"dashboard_address": ":0"}), jobs
    except (TypeError, ValueError, RuntimeError) as error:
        raise SlamError(f"{source} is no configuration of SLURM jobs: {error}") from error
