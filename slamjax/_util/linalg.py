"""Small positive definite systems inside compiled batches, without LAPACK.

LAPACK calls per star cost more than the arithmetic, and concurrent ones can deadlock (see `slamjax._util.jit`).
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from slamjax.typing import Scalar


def eliminate(
    matrix: Float[Array, "row row"], right: Float[Array, "row column"]
) -> tuple[Float[Array, "row column"], Scalar]:
    """A⁻¹B and ln |A| of a positive definite A, by Gauss-Jordan elimination unrolled over the rows."""
    n = matrix.shape[0]
    rows = jnp.concatenate([matrix, right], axis=1)
    logdet = jnp.zeros((), matrix.dtype)
    for k in range(n):
        pivot = jnp.maximum(rows[k, k], 1e-6 * matrix[k, k])
        logdet = logdet + jnp.log(pivot)
        row = rows[k] / pivot
        here = jnp.arange(n) == k
        rows = jnp.where(here[:, None], row, rows - jnp.where(here, 0, rows[:, k])[:, None] * row)
    return rows[:, n:], logdet
