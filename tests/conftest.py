"""Settings that every test file shares."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

# All of this before anything imports JAX; worker processes, notebooks and other processes that tests start inherit it.

# Compiled functions are kept outside the checkout, so that every checkout on a machine shares them: most of the tests'
# time is compilation.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slamjax-tests"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ.setdefault("NUMBA_CACHE_DIR", str(CACHE / "numba"))

# One thread per worker: pytest-xdist starts one worker per core.
for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

#: XLA optimises less, which takes a third of the time to compile. The operations and their precision stay the same.
QUICK_COMPILATION = {"xla_backend_optimization_level": "0", "xla_cpu_use_fusion_emitters": "false"}


def _flags(names):
    return " ".join(f"--{name}={QUICK_COMPILATION[name]}" for name in names)


def _xla_takes(names):
    """Whether the installed jaxlib has these flags: XLA ends a process at a flag that it does not know."""
    environment = {**os.environ, "XLA_FLAGS": _flags(names), "JAX_PLATFORMS": "cpu"}
    code = "import jax; jax.numpy.zeros(1)"
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True).returncode == 0


if "XLA_FLAGS" not in os.environ:
    known = list(QUICK_COMPILATION)
    if not _xla_takes(known):
        known = [name for name in known if _xla_takes([name])]
    os.environ["XLA_FLAGS"] = _flags(known)

import jax  # noqa: E402
import pytest  # noqa: E402
from helpers import in_precision  # noqa: E402
from hypothesis import settings  # noqa: E402

#: Scripts that made the data, and one that a test runs in a process of its own.
collect_ignore = ["data", "typed_walk.py"]

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


#: Files that take longest, which begin first, so that no worker is left alone with one of them.
_LONGEST = ("test_notebooks", "test_campaigns", "test_label_errors", "test_docs", "test_noise_learning")


#: Seconds since 1970 from which no slow test begins any more; a minute later none does. `.ci/run` sets it, for a run
#: must end in time on slow machines, too; what it leaves out is told as skipped.
_UNTIL = float(os.environ.get("SLAMJAX_TESTS_UNTIL") or "inf")


def pytest_collection_modifyitems(items):
    # where time may run out, the few long files are what is left
    last = math.isfinite(_UNTIL)
    items.sort(key=lambda item: (item.path.stem in _LONGEST) == last)


def pytest_runtest_setup(item):
    over = time.time() - _UNTIL
    if over > 60 or (over > 0 and item.get_closest_marker("slow")):
        pytest.skip("the time of this run is up (SLAMJAX_TESTS_UNTIL)")
