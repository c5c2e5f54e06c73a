"""The Cramér-Rao bound: how well a spectrum can tell labels at best."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slamjax._util.jit import compiled
from slamjax.fitting.covariance import covariances
from slamjax.model.model import Model
from slamjax.validation.simulation import checked_ivar, checked_labels, device_noise

#: Stars at once.
_BATCH = 256


def crlb(model: Model, labels: np.ndarray, ivar: np.ndarray) -> np.ndarray:
    """C = (J Σ⁻¹ Jᵀ)⁻¹ at given labels: no unbiased estimate has a smaller covariance (Cramér 1946; Rao 1945).

    Σ, photon noise and model error, does not depend on labels, so this is the whole Fisher information. Use it to plan
    an observation (which S/N, which pixels), or to see what a fit leaves unused.

    Parameters
    ----------
    model : Model
    labels : (N, L) or (L,) array
        In physical units, in the order of ``model.label_names``.
    ivar : (N, P) or (P,) array
        Inverse photon variance of the prepared flux on the model's grid, as ``model.prepare(stars).ivar``; 0 for
        pixels that are not observed.

    Returns
    -------
    (N, L, L) array, or (L, L) for labels (L,)
        In products of the labels' units. A label that is not constrained within the training range has an infinite
        variance, and NaN covariances, as in the table of a fit.
    """
    points = checked_labels(model, labels)
    n = len(points)
    unit, noise = model.host_emulator.flux_unit(), device_noise(model)
    exact = model.host_emulator
    emulator = exact.in_unit(unit).on_device()
    weights = np.where(model.trained, checked_ivar(model, ivar, n), 0) * unit**2
    x = np.asarray(exact.scaling(points))
    dtype = jax.dtypes.canonicalize_dtype(float)
    fisher = np.zeros((n, points.shape[1], points.shape[1]))
    for start in range(0, n, _BATCH):
        rows = np.arange(start, min(n, start + _BATCH))
        filled = np.concatenate([rows, np.zeros(min(n, _BATCH) - rows.size, int)])  # one shape, one compilation
        part = _fisher(emulator, noise, jnp.asarray(x[filled], dtype), jnp.asarray(weights[filled], dtype))
        fisher[rows] = np.asarray(part, float)[: rows.size]
    covariance, _ = covariances(fisher, np.asarray(model.training_labels.high) - np.asarray(model.training_labels.low))
    slope = np.asarray(exact.scaling.slope(x))
    covariance = covariance * slope[:, :, None] * slope[:, None, :]
    return covariance if np.ndim(labels) == 2 else covariance[0]


@compiled
def _fisher(emulator: Any, noise: Any, x: jax.Array, ivar: jax.Array) -> jax.Array:
    # the residual's row of the Gram matrix is not needed: its flux is the model's
    return emulator.information(noise.inverse_covariance(ivar), x, jnp.zeros((), x.dtype))[:, 1:, 1:]
