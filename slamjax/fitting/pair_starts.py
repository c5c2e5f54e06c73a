"""Where fits of two stars begin: the best single star, beside others at a grid of velocities.

With w the second star's share and Δ the difference of the velocities, the stars stand at v − wΔ and v + (1 − w)Δ
about the velocity v of the single star: the centroid of their lines stays where it was.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax._util.jit import compiled
from slamjax.fitting.batches import StarRows
from slamjax.fitting.problem import Problem
from slamjax.typing import Scalar

#: Shares of the second star that are tried, unless they follow from the labels.
_SHARES = (0.15, 0.4)
#: Differences of the velocities that are tried, in pixels, as far as the bounds allow.
_DIFFERENCES = (0.0, 0.7, 1.5, 2.5, 4.0, 6.0, 9.0, 13.0, 18.0)
#: A pair starts at each of these ranges of differences: to the blue, near, to the red.
N_STARTS = 3
_NEAR = 1.0


@partial(compiled, one_thread=True)
def pair_starts(
    problem: Problem,
    single: Float[Array, "star one"],
    others: Float[Array, "other own"],
    stars: StarRows,
) -> Float[Array, "star start parameter"]:
    """Best of the grid in each range of velocity differences.

    Parameters
    ----------
    problem : with a `slamjax.forward.pair.PairEmulator`
    single : scaled labels and velocity of the best single star
    others : the second star's own labels that are tried
    """

    def of_star(given: tuple[Array, Array, Array]) -> Array:
        x, flux, ivar = given
        return _of_star(problem, x, others, flux, jnp.asarray(problem.noise.weights(ivar)))

    return jax.lax.map(of_star, (single, stars.flux, stars.ivar))


def _of_star(problem: Problem, x: Array, others: Array, flux: Array, weight: Array) -> Array:
    pair: Any = problem.emulator
    difference = jnp.asarray(np.concatenate([-np.array(_DIFFERENCES)[:0:-1], _DIFFERENCES]), x.dtype)

    def parameters(other: Array, share: Scalar) -> Array:
        n = difference.size
        labels = jnp.concatenate([x[:-1], other])
        if pair.light is not None:
            share = jnp.mean(pair.share(jnp.concatenate([labels, jnp.zeros(2, x.dtype)])))
        velocity = x[-1] + jnp.stack([-share * difference, (1 - share) * difference], axis=-1)
        fixed = jnp.broadcast_to(labels, (n, labels.size))
        of_light = [jnp.full((n, 1), share)] if pair.light is None else []
        return jnp.concatenate([fixed, velocity, *of_light], axis=-1)

    def tried(given: tuple[Array, Array]) -> tuple[Array, Array]:
        rows = jnp.clip(parameters(*given), problem.low, problem.high)
        residual = jnp.where(weight > 0, flux - pair.at(rows), 0)
        return rows, jnp.sum(weight * jnp.square(residual), axis=-1)

    shares = jnp.asarray(_SHARES if pair.light is None else _SHARES[:1], x.dtype)
    grid = (jnp.repeat(others, shares.size, axis=0), jnp.tile(shares, len(others)))
    rows, chi2 = jax.lax.map(tried, grid)
    best = jnp.argmin(jnp.where(jnp.isfinite(chi2), chi2, jnp.inf), axis=0)
    rows, chi2 = rows[best, jnp.arange(difference.size)], jnp.min(chi2, axis=0)
    ranges = [jnp.abs(difference) < _NEAR, difference <= -_NEAR, difference >= _NEAR]
    return jnp.stack([rows[jnp.argmin(jnp.where(each, chi2, jnp.inf))] for each in ranges])
