"""Small symmetric matrices inside compiled batches, without LAPACK.

LAPACK calls per star cost more than the arithmetic, and concurrent ones can deadlock (see `slamjax._util.jit`).
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from slamjax.typing import Scalar

#: Of Newton and Schulz; each resolves eigenvalues that are smaller by 1.5.
_ITERATIONS = 24
_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


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


def convex_part(matrix: Float[Array, "row row"]) -> Float[Array, "row row"]:
    """A symmetric matrix without its negative eigenvalues, (A + |A|) / 2; 0 if it is not finite.

    |A| = A sign(A), with the sign by Newton and Schulz's iteration (Higham 2008, Functions of Matrices, 5.3): products
    only. Eigenvalues below a few 1e-5 of the largest keep part of a negative value.
    """
    finite = jnp.where(jnp.all(jnp.isfinite(matrix)), 0.5 * (matrix + matrix.T), 0)
    sign = finite / jnp.maximum(jnp.linalg.norm(finite), jnp.finfo(finite.dtype).tiny)
    for _ in range(_ITERATIONS):
        sign = 1.5 * sign - 0.5 * _matmul(sign, _matmul(sign, sign))
    absolute = _matmul(finite, sign)
    return 0.5 * finite + 0.25 * (absolute + absolute.T)
