"""Settings that every test file shares."""

import os
from pathlib import Path

# Compiled functions are shared by the test processes, and by the next run: most of the tests' time is compilation.
# Before anything imports JAX; processes that tests start inherit it.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
import pytest
from helpers import in_precision
from hypothesis import settings

# shared machines are slow now and then: no deadline; the same examples every time
settings.register_profile("slamjax", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("slamjax")


#: Memory maps of a process at which compiled functions are given up; Linux allows 65,530.
_MANY_MAPS = 30_000


@pytest.fixture(autouse=True, scope="module")
def _no_more_compiled_functions_than_memory_maps():
    """Every compiled function holds some memory maps, and a process without any left is aborted by LLVM."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MANY_MAPS:
        jax.clear_caches()


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Runs a test once in each precision, with JAX set to it."""
    with in_precision(request.param):
        yield request.param
