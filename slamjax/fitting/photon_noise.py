"""Shares of photon noise in the errors and χ² of fitted stars."""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Float

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax.fitting.batches import StarRows
from slamjax.fitting.problem import Problem
from slamjax.noise.dense import Errors
from slamjax.noise.photon_part import photon_information

#: Stars per block: limits memory.
_BLOCK = 64


def photon_parts(problem: Problem, x: np.ndarray, stars: StarRows, of_labels: bool) -> tuple[np.ndarray, np.ndarray]:
    """(N, V, V) the photons' part of the information at parameters x (N, V), and (N, 2) Σ s²/D and Σ a σ²/D.

    Without ``of_labels`` the former is 0, and only χ² is taken apart.
    """
    flux, ivar = stars.flux, stars.ivar
    if not of_labels:
        expected = map_padded(lambda each: problem.noise.variance_shares(each), (ivar,), _BLOCK)
        return np.zeros((*x.shape, x.shape[1])), np.asarray(expected, float)
    given = (x.astype(flux.dtype), flux, ivar, stars.line_spread)
    photon, expected = map_padded(lambda *star: _parts(problem, *star), given, _BLOCK)
    return photon.astype(float), expected.astype(float)


@partial(compiled, one_thread=True)
def _parts(
    problem: Problem,
    x: Float[Array, "star label"],
    flux: Float[Array, "star pixel"],
    ivar: Errors,
    line_spread: Float[Array, "star pixel"] | None,
) -> tuple[Float[Array, "star label label"], Float[Array, "star 2"]]:
    return jax.lax.map(partial(_of_star, problem), (x, flux, ivar, line_spread), batch_size=16)


def _of_star(problem: Problem, given: tuple[Array, Array, Errors, Array | None]) -> tuple[Array, Array]:
    x, flux, ivar, sigma = given
    own = problem.of_star(None, sigma)
    photon = photon_information(problem.noise, ivar, lambda inv_cov: own.information(x, flux, inv_cov))
    return photon[1:, 1:], problem.noise.variance_shares(ivar)
