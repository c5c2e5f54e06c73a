"""``numba.njit`` whose machine code is kept for other processes wherever numba can keep it.

With ``cache=True`` numba ends an import where neither the package nor the home folder can be written to (a cluster's
nodes, containers), and training where the disk is full. Compiling again takes seconds and is always possible.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: ``numba.njit`` with these options and a cache that may fail."""

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        with contextlib.suppress(RuntimeError, OSError):  # there is no place for a cache
            dispatcher.enable_caching()
            cache = dispatcher._cache
            cache.load_overload = _or_none(cache.load_overload)
            cache.save_overload = _or_none(cache.save_overload)
        return dispatcher

    return decorate


def _or_none(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, and None where it fails: on a full disk, or at a damaged file."""

    def call(*args: Any) -> Any:
        try:
            return method(*args)
        except Exception:  # unpickling raises errors of many kinds
            return None

    return call
