"""Settings that every test file shares."""

import importlib.util
import mmap
import os
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


def _xla_knows(flag):
    """Whether the installed jaxlib has this flag; XLA aborts the process at a flag that it does not know."""
    folder = Path(importlib.util.find_spec("jaxlib").origin).parent
    for library in sorted(folder.glob("*.so"), key=lambda path: -path.stat().st_size):
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(flag.encode()) >= 0:
                return True
    return False


if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = " ".join(
        f"--{flag}={value}" for flag, value in QUICK_COMPILATION.items() if _xla_knows(flag)
    )

import jax  # noqa: E402
import pytest  # noqa: E402
from helpers import in_precision  # noqa: E402
from hypothesis import settings  # noqa: E402

#: Scripts that made the data.
collect_ignore = ["data"]

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
