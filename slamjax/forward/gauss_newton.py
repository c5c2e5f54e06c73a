"""Damped Gauss-Newton steps of one star inside a box, where a fixed small number of them is enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from slamjax._util.linalg import eliminate

X = Float[Array, " label"]
Gram = Float[Array, "row row"]
#: Damping at the start, what it is divided or multiplied by, and its bounds.
_FIRST, _EASED, _RAISED, _BOUNDS = 1e-2, 4.0, 6.0, (1e-5, 1e5)


def gauss_newton(
    information: Callable[[X], Gram], start: X, low: X, high: X, steps: int, weak: float = 1e-6
) -> tuple[X, Gram]:
    """Labels after ``steps`` damped steps from ``start`` within ``low`` to ``high``, and the information there.

    ``information`` is the Gram matrix of residual and Jacobian, see `slamjax.emulators.base.Standardised.information`.
    A direction that the data do not constrain is held by ``weak`` over its squared range. Small systems are eliminated
    without LAPACK, whose concurrent calls in a compiled function can deadlock (jaxlib 0.10).
    """
    hold = weak * jnp.diag(1 / jnp.square(high - low))

    def step(_: Any, state: tuple[X, Gram, Array]) -> tuple[X, Gram, Array]:
        at, gram, damping = state
        damped = gram[1:, 1:] + damping * jnp.diag(jnp.diagonal(gram)[1:]) + hold
        new = jnp.clip(at + eliminate(damped, gram[0, 1:, None])[0][:, 0], low, high)
        new_gram = information(new)
        better = new_gram[0, 0] < gram[0, 0]
        damping = jnp.clip(jnp.where(better, damping / _EASED, damping * _RAISED), *_BOUNDS)
        return jnp.where(better, new, at), jnp.where(better, new_gram, gram), damping

    start = jnp.clip(start, low, high)
    begin = (start, information(start), jnp.full((), _FIRST, start.dtype))
    end, gram, _ = jax.lax.fori_loop(0, steps, step, begin)
    return end, gram
