"""Threads of BLAS."""

from __future__ import annotations

from typing import Any

from threadpoolctl import threadpool_limits


def one_blas_thread() -> Any:
    """Context in which NumPy's linear algebra uses one thread.

    OpenBLAS's threads wait for each other by spinning. Where other programs (or XLA's own threads) use the cores, an
    eigenvalue problem of a few hundred rows then takes ten times as long as on one thread, and slows all else.
    """
    return threadpool_limits(1, user_api="blas")
