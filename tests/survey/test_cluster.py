"""Processes of this machine fit the pieces, and some of them die."""

import os
import signal
import warnings

import numpy as np
import pytest
from survey.comparisons import assert_same
from survey.conftest import SIZE, N

import slamjax
from slamjax import Flag, SlamError

distributed = pytest.importorskip("distributed")
from slamjax.survey import clients  # noqa: E402

#: The piece that no worker survives.
DEADLY = 3


class Poison(distributed.WorkerPlugin):
    """Reading one of the pieces ends the process."""

    name = "poison"

    def setup(self, worker):
        from slamjax.survey import work

        read = work.read_piece

        def deadly(reading, piece):
            if piece.number == DEADLY:
                os.kill(os.getpid(), signal.SIGKILL)
            return read(reading, piece)

        work.read_piece = deadly


@pytest.fixture(scope="module")
def client():
    with warnings.catch_warnings(), clients.local(2, dashboard=False) as client:
        yield client


@pytest.mark.slow
def test_two_workers_give_the_same_table_and_one_may_be_killed(client, expected, fitter, table, tmp_path):
    cores = [frozenset(each) for each in client.run(os.sched_getaffinity, 0).values()]
    if len(os.sched_getaffinity(0)) > 1:
        assert not cores[0] & cores[1]
    killed = []

    def kill(done, total):
        if done and not killed:
            killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

    out = tmp_path / "labels.fits"
    report = slamjax.fit_survey(fitter, table, out, piece_size=SIZE, client=client, on_progress=kill)
    assert killed
    assert report.set_aside == ()
    assert report.done_now == N
    assert_same(slamjax.read_labels(out), expected)


@pytest.mark.long
def test_a_piece_that_kills_three_workers_is_set_aside(client, expected, fitter, table, tmp_path):
    client.register_plugin(Poison())
    out = tmp_path / "labels.fits"
    report = slamjax.fit_survey(fitter, table, out, piece_size=SIZE, client=client)
    assert report.set_aside == (f"rows {DEADLY * SIZE} to {(DEADLY + 1) * SIZE - 1} of {table}",)
    assert report.retries >= clients.MOST_DEATHS
    found = slamjax.read_labels(out)
    gone = np.arange(N) // SIZE == DEADLY
    assert set(found["problem"][gone]) == {"3 workers died with this piece; it was set aside"}
    assert np.all(found["flags"][gone] == Flag.NO_DATA)
    np.testing.assert_array_equal(found["teff"][~gone], expected["teff"][~gone])


def test_no_scheduler_is_told_in_a_sentence(monkeypatch):
    monkeypatch.setattr(clients, "PATIENCE", "1s")
    with (
        pytest.raises(SlamError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
        clients.remote("tcp://127.0.0.1:9"),
    ):
        pass
    with pytest.raises(SlamError, match="0 workers can do nothing"), clients.local(0):
        pass


def test_a_slurm_job_is_what_the_file_says(tmp_path):
    pytest.importorskip("dask_jobqueue")
    config = tmp_path / "slurm.toml"
    config.write_text('jobs = 3\ncores = 16\nmemory = "32GB"\nwalltime = "04:00:00"\naccount = "astro"\n')
    cluster, jobs = clients.slurm_cluster(config)
    with cluster:
        script = cluster.job_script().splitlines()
    assert jobs == 3
    for line in ("#SBATCH -A astro", "#SBATCH -n 1", "#SBATCH --cpus-per-task=16", "#SBATCH -t 04:00:00"):
        assert line in script
    assert "#SBATCH --mem=30G" in script
    command = script[-1]
    assert " distributed.cli.dask_worker " in command
    assert "--nworkers" not in command
    assert "--nthreads 1 " in command
    config.write_text('jobs = 3\ncores = 16\nmemory = "32GB"\n')
    with pytest.raises(SlamError, match=r"slurm\.toml does not state walltime; give jobs, cores, memory, walltime"):
        clients.slurm_cluster(config)
    config.write_text('jobs = 0\ncores = 16\nmemory = "32GB"\nwalltime = "1"\n')
    with pytest.raises(SlamError, match="jobs is 0 in"):
        clients.slurm_cluster(config)


def test_each_process_has_cores_of_its_own_and_a_gpu(monkeypatch):
    taken, environment = {}, {}
    monkeypatch.setattr(clients.os, "sched_setaffinity", lambda thread, cores: taken.update({"cores": cores}))
    monkeypatch.setattr(clients.os, "environ", environment)
    shares = []
    for number in range(3):
        environment.clear()
        clients.take_cores(number, 3, [0, 1, 2, 3, 8], ["0", "1"])
        shares.append((taken["cores"], environment["CUDA_VISIBLE_DEVICES"]))
    assert shares == [([0, 3], "0"), ([1, 8], "1"), ([2], "0")]
    clients.take_cores(5, 6, [0, 1], [])
    assert taken["cores"] == [1]
