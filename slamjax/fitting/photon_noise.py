"""Correction for photon noise of stars with stated errors, under a model trained on stars without."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax.fitting.problem import Problem
from slamjax.noise.calibration import PhotonNoiseCorrection

#: Stars per block: limits memory.
_BLOCK = 64


def photon_noise_correction(
    problem: Problem, n_labels: int, x: np.ndarray, flux: np.ndarray, ivar: np.ndarray
) -> PhotonNoiseCorrection:
    """Fractions of each star's label variance and χ² that are due to the model, at scaled parameters x (N, L + V).

    The fraction of the label variance is the ratio of the determinants of the labels' covariances without and with
    photon noise, to the power 1/L: the geometric mean over all directions, whatever the labels' units.
    """
    spans = np.asarray(problem.high, float) - np.asarray(problem.low, float)
    weak = np.diag(1 / np.square(spans))
    grams, expected = map_padded(
        lambda *star: _informations(problem, *star), (x.astype(flux.dtype), flux, ivar), _BLOCK
    )
    both = grams.astype(float)
    sound: np.ndarray = np.isfinite(both).all(axis=(1, 2, 3))
    covariance = np.linalg.inv(np.where(sound[:, None, None, None], both, 0) + weak)[:, :, :n_labels, :n_labels]
    logdet = np.linalg.slogdet(covariance)[1]
    share = np.exp(np.minimum((logdet[:, 1] - logdet[:, 0]) / n_labels, 0))
    model, photon = expected.astype(float).T
    return PhotonNoiseCorrection(np.where(sound, share, 1.0), model, photon)


@compiled
def _informations(
    problem: Problem, x: Float[Array, "star label"], flux: Float[Array, "star pixel"], ivar: Float[Array, "star pixel"]
) -> tuple[Float[Array, "star 2 label label"], Float[Array, "star 2"]]:
    """Fisher information with and without photon noise; Σ s²/D and Σ σ²/D."""
    return jax.lax.map(partial(_of_star, problem), (x, flux, ivar))


def _of_star(problem: Problem, given: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    x, flux, ivar = given
    bare = jnp.where(ivar > 0, jnp.finfo(ivar.dtype).max / 4, 0)
    inverse_covariances = [problem.noise.inverse_covariance(each) for each in (ivar, bare)]
    both = jnp.stack([problem.information(x, flux, inv_cov)[1:, 1:] for inv_cov in inverse_covariances])
    return both, problem.noise.variance_shares(ivar)
