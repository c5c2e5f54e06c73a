"""Emulators of held-out stars near their known labels, to second order: what many noise models are judged by.

    f(x + d) = f(x) + Σ_q φ_q(d) R_q,  φ = (d_1 … d_L, d_k d_l for k ≤ l),  R = (∂f/∂x_k; ∂²f/∂x_k∂x_l, halved if k = l)

With T = [r; R], r the residual at the known labels, T Σ⁻¹ Tᵀ is all that a fit under Σ needs: its steps are arithmetic
of matrices of a few rows, and no emulator is evaluated again.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax.emulators.base import Emulator

#: Stars per batch, and GiB of derivatives that are kept at most.
_BATCH, _LARGEST = 32, 1.0


def expansion(
    x: Float[np.ndarray, "star label"], fold: np.ndarray, emulators: tuple[Emulator, ...], unit: float
) -> Float[np.ndarray, "star term pixel"] | None:
    """R of each star, in ``unit`` of flux, with the emulator of its fold; None if that is too much to keep."""
    n_labels, n_pix = x.shape[1], emulators[0].n_pix
    n_terms = n_labels + n_labels * (n_labels + 1) // 2
    dtype = jax.dtypes.canonicalize_dtype(float)
    if len(x) * n_terms * n_pix * dtype.itemsize > _LARGEST * 2**30:
        return None
    terms = np.zeros((len(x), n_terms, n_pix), dtype)
    for number, emulator in enumerate(emulators):
        rows = np.flatnonzero(fold == number)
        if rows.size:
            device = emulator.in_unit(unit).padded().on_device()
            terms[rows] = map_padded(partial(_terms, device), (x[rows].astype(dtype),), _BATCH)
    return np.nan_to_num(terms, nan=0.0, copy=False)  # untrained pixels


@compiled
def _terms(emulator: Emulator, x: Float[Array, "star label"]) -> Float[Array, "star term pixel"]:
    first, second = (np.array(places) for places in np.triu_indices(x.shape[1]))
    half = np.where(first == second, 0.5, 1.0).astype(x.dtype)[:, None]

    def one(at: Array) -> Array:
        def slopes(point: Array) -> tuple[Array, Array]:
            jacobian = emulator.at_with_jacobian(point)[1]
            return jacobian, jacobian

        bends, jacobian = jax.jacfwd(slopes, has_aux=True)(at)
        return jnp.concatenate([jacobian, half * jnp.moveaxis(bends, -1, 1)[first, second]])

    return jax.vmap(one)(x)


def information_at(gram: Float[Array, "row row"], d: Float[Array, " label"]) -> Float[Array, "label_row label_row"]:
    """Gram matrix of residual and Jacobian at x + d, from that of T."""
    n_labels = d.shape[0]
    first, second = np.triu_indices(n_labels)
    eye = jnp.eye(n_labels, dtype=d.dtype)
    slope = jnp.concatenate([eye, eye[:, first] * d[second] + d[first] * eye[:, second]], axis=1)
    value = jnp.concatenate([jnp.ones(1, d.dtype), -d, -d[first] * d[second]])
    turned = jnp.concatenate([value[None], jnp.pad(slope, ((0, 0), (1, 0)))])
    product = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    return product(product(turned, gram), turned.T)
