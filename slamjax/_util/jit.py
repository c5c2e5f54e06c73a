"""``jax.jit`` for batches that slamjax runs itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, TypeVar

import jax
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

#: LAPACK calls (Cholesky, triangular solves, QR, eigenvectors) that XLA runs concurrently on a CPU can deadlock in a
#: pool of two threads (jaxlib 0.10). In the order of least memory they rarely coincide; code here is also written so
#: that each depends on the one before.
_IN_ORDER = {"xla_cpu_enable_concurrency_optimized_scheduler": False}


def compiled(function: F, **static: Any) -> F:
    """``jax.jit(function, **static)`` that does not deadlock on few cores; inside another jit, the function itself."""

    @cache
    def program() -> Callable[..., Any]:
        return jax.jit(function, compiler_options=_options(), **static)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        # XLA accepts options for whole programs only
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree_util.tree_leaves((args, kwargs))):
            return function(*args, **kwargs)
        return program()(*args, **kwargs)

    return call  # type: ignore[return-value]


@cache
def _options() -> dict[str, Any] | None:
    """The option, if this version of XLA knows it."""
    try:
        jax.jit(lambda x: x, compiler_options=_IN_ORDER)(np.float32(0))
    except (RuntimeError, ValueError):  # XlaRuntimeError is a RuntimeError
        return None
    return dict(_IN_ORDER)
