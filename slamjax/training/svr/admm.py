"""All columns of a dual at once in JAX, for accelerators: alternating directions on a low-rank kernel matrix.

    x ← argmin ½ xᵀK̃x − yᵀx + ρ/2 ‖x − z + u‖²,  1ᵀx = 0
    z ← the point of the box nearest x + u, shrunk towards zero by ε/ρ
    u ← u + x − z                                                     (Boyd et al. 2011, Found. Trends ML 3, 1)

K̃ = U Λ Uᵀ holds K to rounding error where K has low rank, so that the first step is two thin matrix products for all
columns together, whatever their boxes: pixels, folds' candidates, masks. Every column has a ρ of its own, which the
eigenbasis makes free. What K̃ leaves out comes back through y, from the exact gradient, between sweeps.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax._util.x64 import enable_x64
from slamjax.training.svr.dual import Duals, Verdict

#: The largest diagonal element of K − K̃, in units of K's largest: no element of K − K̃ is larger.
_LEFT_OUT = 1e-6
#: ρ to begin with, in units of 1/C; over-relaxation.
_FIRST_RHO, _RELAXATION = 0.1, 1.6
#: Steps of the first sweep, each later one has twice as many; and steps between changes of ρ.
_STEPS, _STEPS_A_RHO = 250, 25
#: ρ changes where the residuals of both kinds differ by more than this factor, and by at most the other.
_UNBALANCED, _CHANGE = 4.0, 3.0
#: Columns are worked on together up to this many.
_TOGETHER = 2048


def pivoted_cholesky(kernel: Float[np.ndarray, "n n"], left_out: float, rank: int) -> Float[np.ndarray, "n r"]:
    """L with |K − LLᵀ| ≤ ``left_out`` everywhere, or of that ``rank`` (Harbrecht et al. 2012, APNUM 62, 428)."""
    n = len(kernel)
    rest = np.diag(kernel).copy()
    rows = np.zeros((min(rank, n), n))
    for k in range(len(rows)):
        at = int(rest.argmax())
        if rest[at] <= left_out:
            return rows[:k].T
        rows[k] = (kernel[at] - rows[:k, at] @ rows[:k]) / np.sqrt(rest[at])
        rest = np.maximum(rest - np.square(rows[k]), 0)
        rest[at] = 0
    return rows.T


class Admm:
    """Columns that share one kernel matrix, improved together on JAX's default device.

    In float64, whatever JAX's default: what is left in K's large directions after the thin products is a difference
    of large numbers, and float32 leaves a violation of about 1e-6 C times the largest eigenvalue.
    """

    def __init__(self, kernel: Float[np.ndarray, "n n"]) -> None:
        left_out = _LEFT_OUT * float(np.diag(kernel).max())
        factor = pivoted_cholesky(kernel, left_out, len(kernel) // 2)
        if factor.shape[1] == len(kernel) // 2:
            values, vectors = np.linalg.eigh(kernel)
        else:
            basis, triangle = np.linalg.qr(factor)
            values, inner = np.linalg.eigh(triangle @ triangle.T)
            vectors = basis @ inner
        kept = values > 1e-3 * left_out
        self.vectors, self.values = vectors[:, kept], values[kept]

    def improve(
        self, duals: Duals, beta: np.ndarray, gradient: np.ndarray, verdict: Verdict, tol: float, sweep: int
    ) -> np.ndarray:
        """β (M, n) after a sweep of steps, whatever ``tol``."""
        # K̃β' − y' is the exact gradient at β' = β: what K̃ leaves out of K is part of y'
        y = (beta @ self.vectors * self.values) @ self.vectors.T - gradient
        found = np.empty_like(beta)
        with enable_x64(True):
            vectors, values = jnp.asarray(self.vectors), jnp.asarray(self.values)
            for start in range(0, len(beta), _TOGETHER):
                part = slice(start, min(len(beta), start + _TOGETHER))
                count = part.stop - part.start
                size = 1 << (count - 1).bit_length()  # few shapes to compile
                given = (y, duals.box, duals.epsilon, beta, -gradient - verdict.intercept[:, None])
                filled = [jnp.asarray(np.concatenate([a[part], np.zeros((size - count, *a.shape[1:]))])) for a in given]
                found[part] = np.asarray(_sweep(vectors, values, *filled, steps=_STEPS << sweep))[:count]
        return found


@partial(jax.jit, static_argnames="steps")
def _sweep(
    vectors: Float[Array, "n r"],
    values: Float[Array, " r"],
    y: Float[Array, "m n"],
    box: Float[Array, "m n"],
    epsilon: Float[Array, " m"],
    z: Float[Array, "m n"],
    multiplier: Float[Array, "m n"],
    *,
    steps: int,
) -> Float[Array, "m n"]:
    product = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    ones = jnp.sum(vectors, axis=0)
    outside = vectors.shape[0] - jnp.sum(jnp.square(ones))
    rho = (_FIRST_RHO / jnp.maximum(jnp.max(box, axis=1), 1e-12))[:, None]

    def norm(a: Float[Array, "m n"]) -> Float[Array, "m 1"]:
        return jnp.sqrt(jnp.sum(jnp.square(a), axis=1, keepdims=True))

    def step(state: Any, _: Any) -> Any:
        z, u, rho = state
        damped = values / (values + rho)
        right = y + rho * (z - u)
        x = (right - product(damped * product(right, vectors), vectors.T)) / rho
        # (K̃ + ρ)⁻¹1, and its sum: the multiplier of 1ᵀx = 0
        lean = (1 - product(damped * ones, vectors.T)) / rho
        total = (outside + jnp.sum(jnp.square(ones) * rho / (values + rho), axis=1, keepdims=True)) / rho
        x = x - lean * (jnp.sum(x, axis=1, keepdims=True) / total)
        ahead = _RELAXATION * x + (1 - _RELAXATION) * z + u
        new = jnp.clip(jnp.sign(ahead) * jnp.maximum(jnp.abs(ahead) - epsilon[:, None] / rho, 0), -box, box)
        return (new, ahead - new, rho), (norm(x - new), rho * norm(new - z))

    def balanced(state: Any, _: Any) -> Any:
        state, (apart, moved) = jax.lax.scan(step, state, None, length=_STEPS_A_RHO)
        z, u, rho = state
        ratio = apart[-1] * norm(rho * u) / jnp.maximum(moved[-1] * norm(z), 1e-30)
        change = jnp.where(
            (ratio > _UNBALANCED) | (ratio < 1 / _UNBALANCED), jnp.clip(jnp.sqrt(ratio), 1 / _CHANGE, _CHANGE), 1
        )
        return (z, u / change, rho * change), None

    (z, _, _), _ = jax.lax.scan(balanced, (z, multiplier / rho, rho), None, length=steps // _STEPS_A_RHO)
    return z
