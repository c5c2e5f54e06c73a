"""``jax.jit`` for the batches that slamjax itself runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, TypeVar

import jax
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

#: LAPACK calls (Cholesky, triangular solves, QR, eigenvectors) of a batch that XLA runs side by side on a CPU can wait
#: for each other for ever where its pool has two threads (jaxlib 0.10). In the order of least memory they rarely meet;
#: code here is also written so that each needs the one before.
_IN_ORDER = {"xla_cpu_enable_concurrency_optimized_scheduler": False}


def compiled(function: F, **static: Any) -> F:
    """``jax.jit(function, **static)`` that does not hang on few cores; inside another jit just the function."""

    @cache
    def program() -> Callable[..., Any]:
        return jax.jit(function, compiler_options=_options(), **static)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        # XLA takes options for whole programs only
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree_util.tree_leaves((args, kwargs))):
            return function(*args, **kwargs)
        return program()(*args, **kwargs)

    return call  # type: ignore[return-value]


@cache
def _options() -> dict[str, Any] | None:
    """The option, if this XLA knows it."""
    try:
        jax.jit(lambda x: x, compiler_options=_IN_ORDER)(np.float32(0))
    except (RuntimeError, ValueError):  # XlaRuntimeError is a RuntimeError
        return None
    return dict(_IN_ORDER)
