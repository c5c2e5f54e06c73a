"""Machine code is kept where that is possible, and compiled where it is not."""

import errno

import numpy as np
import pytest

numba = pytest.importorskip("numba")
from numba.core import caching  # noqa: E402

from slamjax.training.svr.machine_code import compiled  # noqa: E402


def doubled(x):
    return x + x


@pytest.fixture
def kept(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path


def works():
    return compiled(nogil=True)(doubled)(np.float32(2)) == 4


def test_another_process_finds_the_code(kept):
    assert works()
    assert list(kept.rglob("*.nbi"))
    again = compiled(nogil=True)(doubled)
    assert again(np.float32(2)) == 4
    assert sum(again.stats.cache_hits.values()) == 1


def test_no_place_for_a_cache_is_no_error(monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(doubled)
    assert works()


def test_a_full_disk_is_no_error(kept, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    assert works()


def test_a_damaged_cache_is_no_error(kept):
    assert works()
    for path in kept.rglob("*.nb?"):
        path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(Exception):  # noqa: B017, PT011 (unpickling raises errors of many kinds)
        numba.njit(cache=True)(doubled)(np.float32(2))
    assert works()
