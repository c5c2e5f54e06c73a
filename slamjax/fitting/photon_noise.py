"""What photon noise does to stars that state errors, under a model trained on stars that stated none."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax._util.jit import compiled
from slamjax.fitting.problem import Problem
from slamjax.noise.calibration import PhotonNoiseCorrection
from slamjax.noise.models import LowRankNoise

#: Stars looked at at once: bounds memory.
_BLOCK = 64


def photon_noise_correction(
    problem: Problem, n_labels: int, x: np.ndarray, flux: np.ndarray, ivar: np.ndarray
) -> PhotonNoiseCorrection:
    """How much of each star's label variance and χ² is the model's, at scaled labels (and nuisances) x (N, L + V).

    The share of the label variance is the ratio of the determinants of the labels' covariances without and with photon
    noise, to the power 1/L: the mean, in logarithm, over all directions, whatever labels are measured in.
    """
    noise: Any = problem.noise
    assert isinstance(noise, LowRankNoise)
    spans = np.asarray(problem.high, float) - np.asarray(problem.low, float)
    weak = np.diag(1 / np.square(spans))
    shares, expected = [], []
    for start in range(0, len(x), _BLOCK):
        rows = np.minimum(np.arange(start, start + _BLOCK), len(x) - 1)  # one shape, one compilation
        given = (jnp.asarray(x[rows].astype(flux.dtype)), jnp.asarray(flux[rows]), jnp.asarray(ivar[rows]))
        grams, parts = _informations(problem, *given)
        both = np.asarray(grams, float)
        sound: np.ndarray = np.isfinite(both).all(axis=(1, 2, 3))
        covariance = np.linalg.inv(np.where(sound[:, None, None, None], both, 0) + weak)[:, :, :n_labels, :n_labels]
        logdet = np.linalg.slogdet(covariance)[1]
        share = np.exp(np.minimum((logdet[:, 1] - logdet[:, 0]) / n_labels, 0))
        shares.append(np.where(sound, share, 1.0)[: len(x) - start])
        expected.append(np.asarray(parts, float)[: len(x) - start])
    model, photon = np.concatenate(expected).T
    return PhotonNoiseCorrection(np.concatenate(shares), model, photon)


@compiled
def _informations(
    problem: Problem, x: Float[Array, "star label"], flux: Float[Array, "star pixel"], ivar: Float[Array, "star pixel"]
) -> tuple[Float[Array, "star 2 label label"], Float[Array, "star 2"]]:
    """Fisher information with and without photon noise; Σ s²/D and Σ σ²/D."""
    return jax.lax.map(partial(_of_star, problem), (x, flux, ivar))


def _of_star(problem: Problem, given: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    x, flux, ivar = given
    noise: Any = problem.noise
    bare = jnp.where(ivar > 0, jnp.finfo(ivar.dtype).max / 4, 0)
    both = jnp.stack([problem.information(x, flux, noise.inverse_covariance(each))[1:, 1:] for each in (ivar, bare)])
    counts = (ivar > 0) & jnp.isfinite(noise.model_variance)
    photon = 1 / jnp.where(counts, ivar, 1)
    model = jnp.where(counts, noise.model_variance, 0)
    weight = jnp.where(counts, 1 / (noise.photon_scale * photon + jnp.where(counts, model, 1)), 0)
    return both, jnp.stack([jnp.sum(weight * model), jnp.sum(weight * photon)])
