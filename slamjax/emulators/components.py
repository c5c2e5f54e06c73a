"""Kernel sums of a few components instead of every pixel: shared by compression and projection.

All functions work on the host, or compiled in the precision of their arguments.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from slamjax._util.jit import compiled
from slamjax.emulators.base import Emulator
from slamjax.emulators.svr import KernelBlock, KernelEmulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.noise.inverse_covariance import InverseCovariance
from slamjax.typing import Flux, ScaledLabels


def scatter_points(
    training_labels: TrainingLabels, seed: int, count: int, *, reach: float = 1.0, margin: float = 0.0
) -> Float[np.ndarray, "point label"]:
    """``count`` training stars, as many points near them, and as many anywhere in the box: (3 count, L), in this order.

    ``reach``: scatter of the points near stars, in units of ``max_distance``; ``margin``: fraction of its width by
    which the box is widened on either side.
    """
    rng = np.random.default_rng(seed)
    low, high, stars = (
        np.asarray(part, float) for part in (training_labels.low, training_labels.high, training_labels.stars)
    )
    low, high = low - margin * (high - low), high + margin * (high - low)
    chosen = stars[rng.choice(len(stars), count, replace=len(stars) < count)]
    far = reach * float(training_labels.max_distance) / np.sqrt(len(low))
    near = chosen + far * rng.normal(size=chosen.shape) / training_labels.factors
    box = rng.uniform(low, high, size=chosen.shape)
    return np.concatenate([chosen, np.clip(near, low, high), box])


def component_blocks(
    emulator: KernelEmulator, onto: Float[np.ndarray, "pixel component"], trained: np.ndarray
) -> tuple[KernelBlock, ...]:
    """Kernel sums whose total over all γ is f · ``onto`` up to a constant, with f the flux of ``trained`` pixels."""
    rank = onto.shape[1]
    scale = np.where(trained, np.asarray(emulator.flux_scale, np.float64), 0)
    weighted = scale[:, None] * np.where(trained[:, None], onto, 0)
    sizes = [block.dual.shape[0] * block.dual.shape[2] for block in emulator.blocks]
    slots = np.zeros((sum(sizes), rank))
    if emulator.basis is None:
        slots[np.arange(len(scale)) if emulator.order is None else np.asarray(emulator.order)] = weighted
    else:  # every γ contributes to the same components
        once = np.asarray(emulator.basis, np.float64) @ weighted
        slots = np.tile(once, (len(slots) // len(once), 1))
    blocks = []
    for block, part in zip(emulator.blocks, np.split(slots, np.cumsum(sizes)[:-1]), strict=True):
        n_gamma, _, n_slot = block.dual.shape
        dual = np.asarray(block.dual, np.float64) @ part.reshape(n_gamma, n_slot, rank)
        blocks.append(dataclasses.replace(block, dual=dual))
    return tuple(blocks)


def label_sets(emulator: KernelEmulator) -> list[Bool[np.ndarray, " pixel"]]:
    """Sets of pixels (P,) whose kernels depend on the same labels; one set of all pixels if no label is masked."""
    order = np.arange(emulator.n_pix) if emulator.order is None else np.asarray(emulator.order)
    slots = [block.labels for block in emulator.blocks for _ in range(block.dual.shape[0] * block.dual.shape[2])]
    taken = [slots[slot] for slot in order]
    return [np.array([one == labels for one in taken]) for labels in dict.fromkeys(taken)]


def leading_directions(rows: Float[np.ndarray, "m p"], most: int) -> Float[np.ndarray, "p r"]:
    """Leading right singular vectors, by a random sketch if there are many (Halko et al. 2011, §4)."""
    if min(rows.shape) > most:
        sketch = rows @ np.random.default_rng(0).normal(size=(rows.shape[1], most))
        basis = np.linalg.qr(sketch)[0]
        basis = np.linalg.qr(rows @ (rows.T @ basis))[0]
        rows = basis.T @ rows
    return np.linalg.svd(rows, full_matrices=False)[2].T


@compiled
def predict(emulator: Emulator, x: ScaledLabels) -> Flux:
    return emulator.at(x)


@compiled
def whiten(inv_cov: InverseCovariance, rows: Any) -> Array:
    """Rows (M, P) in units of the noise."""
    return jax.lax.map(inv_cov.whiten, rows, batch_size=64)


@compiled
def transposed_whiten(inv_cov: InverseCovariance, rows: Any) -> Array:
    """Wᵀ of rows (M, P), with W the whitening."""
    transposed = jax.linear_transpose(inv_cov.whiten, jax.ShapeDtypeStruct(rows.shape[1:], rows.dtype))
    return jax.lax.map(lambda row: transposed(row)[0], rows, batch_size=64)


def directions_in_flux(inv_cov: InverseCovariance, kept: Float[np.ndarray, "pixel component"]) -> np.ndarray:
    """(P, r) by which flux is multiplied to get its components along whitened directions ``kept`` (P, r)."""
    return np.asarray(transposed_whiten(inv_cov, jnp.asarray(kept.T))).T
