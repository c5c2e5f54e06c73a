"""Blocks of pixels by the workers of a Dask client are the same SVRs as in this process."""

import numpy as np
import pytest
from helpers import xp_giants

import slamjax
from slamjax import SlamError
from slamjax.training.svr.spread import blocks_of

distributed = pytest.importorskip("distributed")
RECIPE = slamjax.Recipe.make(wave_range=(500, 600), wave_unit="nm")
SEARCH = slamjax.SearchSpec(folds=2)
#: Solvers, and tolerances so fine that how pixels are divided does not show.
TOL = {"sklearn": 1e-3, "batched": 1e-4, "inducing": 1e-7}


@pytest.fixture(scope="module")
def client():
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "memory_limit": 0}
    with distributed.LocalCluster(processes=False, **options) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.mark.parametrize("solver", TOL)
def test_a_model_is_that_of_one_process(solver, client):
    emulator = slamjax.SVR(
        C=[1, 10], epsilon=0.05, gamma=0.1, solver=solver, n_inducing=40, tol=TOL[solver], metric="isotropic"
    )
    told = []

    def train(**more):
        return slamjax.train(
            xp_giants()[:80],
            ["teff", "logg"],
            emulator=emulator,
            recipe=RECIPE,
            search=SEARCH,
            noise="diagonal",
            **more,
        )

    here, there = train(), train(client=client, on_progress=lambda *step: told.append(step))
    stars = np.asarray(xp_giants()[:5].values(["teff", "logg"]))
    exact = {"rtol": 0, "atol": 0} if solver == "sklearn" else {"rtol": 0, "atol": 1e-4}
    np.testing.assert_allclose(there(stars), here(stars), **exact)
    np.testing.assert_allclose(there.info.pixels["model_error"], here.info.pixels["model_error"], rtol=1e-3)
    assert there.info.pixels["C"].tolist() == here.info.pixels["C"].tolist()
    assert there.info.pixels["n_train"].tolist() == here.info.pixels["n_train"].tolist()
    assert told


def test_blocks_are_neighbouring_pixels_a_few_for_each_thread():
    assert [len(block) for block in blocks_of(1000, 5)] == [50] * 20
    assert [len(block) for block in blocks_of(50, 16)] == [17, 17, 16]
    np.testing.assert_array_equal(np.concatenate(blocks_of(343, 3)), np.arange(343))
    assert len(blocks_of(3, 8)) == 1


def test_a_lost_cluster_is_told():
    class Lost:
        def nthreads(self):
            return {"worker": 1}

        def submit(self, *args, **kwargs):
            return self

        def result(self):
            raise OSError("Timed out")

    with pytest.raises(SlamError, match="the cluster was lost"):
        slamjax.train(xp_giants()[:40], ["teff"], recipe=RECIPE, search=SEARCH, noise="diagonal", client=Lost())
