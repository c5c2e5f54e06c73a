"""What held-out stars' χ² owes to their emulators having seen fewer stars than the final one has.

With K folds, f_k the emulator that has not seen fold k and f̄ their mean, the variance of a prediction is
(K - 1)/K Σ_k (f_k - f̄)² if all stars train (the delete-a-group jackknife; Efron & Stein 1981, Ann. Statist. 9, 586),
and larger by the mean of (f_k - f̄)² if a fold is left out.
"""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.forward.scaled import ScaledModel
from slamjax.noise.models import Noise
from slamjax.training.held_out import HeldOut

#: Stars at which the folds' emulators are compared, and stars per batch.
_SAMPLE, _BATCH = 128, 32


def chi2_of_fewer_stars(noise: Noise, training_labels: TrainingLabels, held_out: HeldOut) -> float:
    """Mean of (f_k - f̄)ᵀ Σ⁻¹ (f_k - f̄) over Σ s²/D, in the median of some stars; 0 where there is one emulator."""
    if len(held_out.emulators) < 2:
        return 0.0
    sample = held_out[np.unique(np.linspace(0, len(held_out.x) - 1, _SAMPLE).astype(int))]
    unit = held_out.emulators[0].flux_unit()
    folds = [ScaledModel.from_host(emulator, noise, training_labels, unit) for emulator in held_out.emulators]
    x, ivar = sample.x.astype(folds[0].dtype), folds[0].ivar(np.where(sample.known, sample.ivar, 0))
    flux = np.stack([map_padded(partial(_flux, each), (x,), _BATCH) for each in folds], axis=1)
    apart = np.nan_to_num(flux - flux.mean(axis=1, keepdims=True))
    square, model = map_padded(partial(_chi2, folds[0]), (apart, ivar), _BATCH)
    told = np.asarray(model) > 0
    return float(np.median(np.asarray(square)[told] / np.asarray(model)[told])) if told.any() else 0.0


@compiled
def _flux(scaled: ScaledModel, x: Float[Array, "star label"]) -> Float[Array, "star pixel"]:
    return scaled.emulator.at(x)


@compiled
def _chi2(
    scaled: ScaledModel, apart: Float[Array, "star fold pixel"], ivar: Float[Array, "star pixel"]
) -> tuple[Float[Array, " star"], Float[Array, " star"]]:
    white = scaled.noise.inverse_covariance(ivar[:, None]).whiten(apart)
    return jnp.mean(jnp.sum(jnp.square(white), axis=-1), axis=-1), scaled.noise.variance_shares(ivar)[..., 0]
