"""Polynomials that are orthonormal on a star's good pixels.

Legendre polynomials on a model's whole range are nearly collinear on a part of it: if one arm of a spectrum is missing,
the normal equations of ten of them have no correct digit in float32. Polynomials of the same degrees, orthogonalised on
the star's pixels (Stieltjes' recurrence; Gautschi 2004, Orthogonal Polynomials, section 2.2), span the same space.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from slamjax.typing import AnyArray

#: A polynomial with a smaller norm on the pixels, before it is normalised, is rounding noise.
_NOTHING = {4: 1e-5, 8: 1e-12}
_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def orthonormal(
    place: Float[AnyArray, " pixel"], weight: Float[AnyArray, " pixel"], degree: int
) -> tuple[Float[Array, "term pixel"], Float[Array, "term term"]]:
    """q₀ … q_n with Σ w q_i q_j = δ_ij Σ w, 0 where w = 0, and their Legendre coefficients.

    Parameters
    ----------
    place : (P,) in [-1, 1]
    weight : (P,) not negative

    Returns
    -------
    q : (n + 1, P)
    coefficients : (n + 1, n + 1), lower triangular; q_k = Σ_j coefficients[k, j] P_j
        If fewer pixels than terms have weight, the last q are about 0 and their coefficients have norm 1.
    """
    dtype = jnp.result_type(place, weight)
    tiny = jnp.finfo(dtype).tiny
    w = jnp.asarray(weight, dtype) / jnp.maximum(jnp.max(weight), tiny)  # first, because the sum may overflow
    w = w / jnp.maximum(jnp.sum(w), tiny)
    counts = (w > 0).astype(dtype)
    root = jnp.sqrt(w)
    t = jnp.asarray(place, dtype)
    q = [counts]
    rows = [jnp.zeros(degree + 1, dtype).at[0].set(1)]
    j = jnp.arange(degree + 1, dtype=dtype)
    for _ in range(degree):
        new, row = t * q[-1], _times_place(rows[-1], j)
        previous, previous_rows = jnp.stack(q), jnp.stack(rows)
        for _ in range(2):  # twice, to full precision
            shared = _matmul(previous * root, new * root)
            new, row = new - _matmul(shared, previous), row - _matmul(shared, previous_rows)
        length = jnp.linalg.norm(new * root)
        # the remainder of t q may be rounding noise: more terms than pixels
        scale = jnp.where(length > _NOTHING[dtype.itemsize], length, jnp.linalg.norm(row))
        q.append(new / scale)
        rows.append(row / scale)
    return jnp.stack(q), jnp.stack(rows)


def _times_place(coefficients: Float[Array, " term"], j: Float[Array, " term"]) -> Float[Array, " term"]:
    """Legendre coefficients of t p(t): t P_j = ((j + 1) P_{j+1} + j P_{j-1}) / (2j + 1)."""
    up = jnp.roll(coefficients * (j + 1) / (2 * j + 1), 1).at[0].set(0)
    down = jnp.roll(coefficients * j / (2 * j + 1), -1).at[-1].set(0)
    return up + down
