"""Batches side by side, one on each core.

A batch in blocks that stay in the cache has products too small to be divided between cores, so several batches are
worked on at once instead.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import jax

from slamjax._util.jit import bound
from slamjax._util.x64 import enable_x64


def cores() -> int:
    """Cores that this process may use: JAX's own count, unless ``OMP_NUM_THREADS`` says fewer."""
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = [int(text) for name in ("PJRT_NPROC", "OMP_NUM_THREADS") if (text := os.environ.get(name, "")).isdigit()]
    return max(1, min([seen, *wanted]))


def together(function: Any, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Results of a `compiled` function for several arguments, computed side by side.

    LAPACK calls side by side may wait for each other for ever (see `slamjax._util.jit`): a program that has them runs
    for one after the other.
    """
    programs = [bound(function, *arguments) for arguments in calls]
    if len(programs) == 1 or cores() == 1 or any(program.calls_lapack for program in programs):
        return [program() for program in programs]
    in_float64 = bool(jax.config.read("jax_enable_x64"))

    def run(program: Any) -> Any:
        with enable_x64(in_float64):  # JAX's settings are those of a thread
            return jax.block_until_ready(program())

    return list(_pool(os.getpid(), cores()).map(run, programs))


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """The threads of a process: a fork has none of them."""
    return ThreadPoolExecutor(threads, thread_name_prefix="slamjax")
