"""Memory that is freed and needed again at once, where Dask has changed what becomes of it."""

from __future__ import annotations

import ctypes
import os
from functools import cache

#: glibc's numbers of what ``mallopt`` sets: the size from which an allocation is given back as soon as it is freed, and
#: how much free memory at the end of the heap is kept.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_BYTES = {_MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: 256 * 2**20}


@cache
def keep_freed_memory() -> None:
    """Undo that Dask makes its workers, and what their client begins, return all freed memory at once.

    It sets MALLOC_TRIM_THRESHOLD_, which also ends glibc's adaption to what a program needs. Each matrix product of a
    fit takes and frees a few hundred kB, and page faults took as long as the products. Other processes are left as they
    are.
    """
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    for what, size in _BYTES.items():
        mallopt(what, size)
