"""How unlike the training set the spectra of fitted stars are."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax.fitting.batches import StarRows
from slamjax.fitting.problem import Problem
from slamjax.forward.emulator import ForwardEmulator
from slamjax.model.model import Model
from slamjax.noise.dense import Errors
from slamjax.noise.likeness import ResidualParts

#: Stars per block: limits memory.
_BLOCK = 64


def residual_parts(problem: Problem, x: np.ndarray, stars: StarRows) -> ResidualParts:
    """Of fits that ended at parameters x (N, V)."""
    given = (x.astype(stars.flux.dtype), stars.flux, stars.ivar, stars.line_spread)
    residual = map_padded(lambda *star: _residual(problem, *star), given, _BLOCK)
    return ResidualParts.of(problem.noise, residual, stars.ivar, stars.factorised)


def unlike(model: Model, x: np.ndarray, parts: ResidualParts, no_errors: np.ndarray) -> Float[np.ndarray, " star"]:
    """(N,) p-values of fits that ended at parameters x (N, V), see `slamjax.noise.likeness.Likeness`.

    NaN where nothing is known: for a model without held-out stars' measures, for spectra with no more good pixels than
    parameters, and for those that state no errors (``no_errors``, (N,) bool) though training spectra did.
    """
    likeness = model.info.calibration.likeness
    if likeness is None:
        return np.full(len(x), np.nan)
    distance = model.training_labels.neighbour_distance(x[:, : len(model.label_names)])
    p = likeness.p_value(parts, distance)
    return np.where((parts.n_pix > x.shape[1]) & ~(no_errors & model.info.has_errors), p, np.nan)


@partial(compiled, one_thread=True)
def _residual(
    problem: Problem,
    x: Float[Array, "star label"],
    flux: Float[Array, "star pixel"],
    ivar: Errors,
    line_spread: Float[Array, "star pixel"] | None,
) -> Float[Array, "star pixel"]:
    if line_spread is not None:
        return jax.vmap(partial(_own_residual, problem))(x, flux, ivar, line_spread)
    emulator = problem.emulator
    if isinstance(emulator, ForwardEmulator) and emulator.terms is not None:
        inv_cov = jax.vmap(problem.noise.inverse_covariance)(ivar)
        return flux - jax.vmap(emulator.prediction)(inv_cov, x, flux)
    return flux - emulator.at(x)


def _own_residual(problem: Problem, x: Array, flux: Array, ivar: Errors, sigma: Array) -> Array:
    """Of one star with a line spread of its own."""
    emulator: Any = problem.of_star(None, sigma).emulator
    if isinstance(emulator, ForwardEmulator):
        return flux - emulator.prediction(problem.noise.inverse_covariance(ivar), x, flux)
    return flux - emulator.at(x)
