"""Markov chains of one star in whitened labels: NumPyro's NUTS, and HMC with a fixed number of leapfrog steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from numpyro.infer.hmc import hmc
from numpyro.infer.hmc_util import dual_averaging

from slamjax.sampling.density import Shared, Target, log_density
from slamjax.typing import Scalar

#: Leapfrog steps of a trajectory of `hmc_chain`, and the longest step in whitened labels: a trajectory is at most a
#: quarter turn of a unit normal.
_LEAPFROG_STEPS = 4
_LONGEST_STEP = 0.45
#: Acceptance that the step size of `hmc_chain` is adapted to.
_ACCEPTANCE = 0.85
#: Energy error beyond which a trajectory has diverged, as in Stan and NumPyro.
_DIVERGENCE = 1000.0


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Chain:
    """Draws of one chain: u (draw, F), ln density (draw,), and whether the trajectory diverged (draw,)."""

    u: Float[Array, "draw free"]
    log_density: Float[Array, " draw"]
    diverging: Bool[Array, " draw"]


def _start(key: Array, n_free: int, dtype: Any) -> Float[Array, " free"]:
    """A unit normal about the mode: chains must start apart, or R-hat could not tell whether they mix."""
    return jax.random.normal(key, (n_free,), dtype)


def nuts_chain(shared: Shared, target: Target, key: Array, warmup: int, draws: int) -> Chain:
    """One chain of the No-U-Turn sampler (Hoffman & Gelman 2014, JMLR 15, 1593).

    Step size and a dense mass matrix are adapted during the warm-up: whitening by the curvature at the mode is right
    for a Gaussian posterior only.
    """

    def potential_of(shared: Shared, target: Target) -> Any:
        return lambda u: -_finite(log_density(shared, target, u))

    init, kernel = hmc(potential_fn_gen=potential_of, algo="NUTS")
    first, second = jax.random.split(key)
    state = init(
        _start(first, target.lower.shape[-1], target.center.dtype),
        warmup,
        step_size=0.7,
        dense_mass=True,
        target_accept_prob=0.8,
        find_heuristic_step_size=False,
        max_tree_depth=7,
        model_args=(shared, target),
        rng_key=second,
    )

    def step(state: Any, _: Any) -> tuple[Any, Chain]:
        state = kernel(state, model_args=(shared, target))
        return state, Chain(state.z, -state.potential_energy, state.diverging)

    # warm-up and draws in one loop: two would compile twice
    chain = jax.lax.scan(step, state, None, length=warmup + draws)[1]
    return jax.tree_util.tree_map(lambda values: values[warmup:], chain)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Point:
    """A point of the chain with its potential energy and the gradient of that."""

    u: Float[Array, " free"]
    energy: Scalar
    slope: Float[Array, " free"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Move:
    """Where a trajectory leads after the Metropolis step, with its acceptance probability."""

    point: _Point
    acceptance: Scalar
    diverging: Array


def hmc_chain(shared: Shared, target: Target, key: Array, warmup: int, draws: int) -> Chain:
    """One chain of Hamiltonian Monte Carlo with four leapfrog steps of jittered length.

    Every star of a batch takes the same number of steps, so that none waits for another. The step size is adapted to
    an acceptance of 0.85 but kept short enough that a trajectory does not turn back.
    """
    dtype = target.center.dtype
    init_step, update_step = dual_averaging()
    value_and_slope = jax.value_and_grad(lambda u: -_finite(log_density(shared, target, u)))

    def move(point: _Point, key: Array, size: Array) -> _Move:
        keys = jax.random.split(key, 3)
        momentum = jax.random.normal(keys[0], point.u.shape, dtype)
        eps = size * jax.random.uniform(keys[1], (), dtype, 0.6, 1.0)

        def leapfrog(_: Any, state: tuple[_Point, Array]) -> tuple[_Point, Array]:
            at, p = state
            p = p - 0.5 * eps * at.slope
            u = at.u + eps * p
            energy, slope = value_and_slope(u)
            return _Point(u, energy, slope), p - 0.5 * eps * slope

        end, p = jax.lax.fori_loop(0, _LEAPFROG_STEPS, leapfrog, (point, momentum))
        change = end.energy - point.energy + 0.5 * (jnp.sum(p**2) - jnp.sum(momentum**2))
        change = jnp.where(jnp.isnan(change), jnp.inf, change)
        acceptance = jnp.minimum(jnp.exp(-change), 1)
        accepted = jax.random.uniform(keys[2], (), dtype) < acceptance
        return _Move(jax.tree_util.tree_map(partial(jnp.where, accepted), end, point), acceptance, change > _DIVERGENCE)

    def step(state: tuple[_Point, Any], turn: tuple[Array, Array]) -> tuple[tuple[_Point, Any], Chain]:
        point, adaptation = state
        key, number = turn
        adapting = number < warmup
        size = jnp.exp(jnp.where(adapting, adaptation[0], adaptation[1]))
        moved = move(point, key, jnp.minimum(size, _LONGEST_STEP))
        adapted = update_step(_ACCEPTANCE - moved.acceptance, adaptation)
        adaptation = jax.tree_util.tree_map(partial(jnp.where, adapting), adapted, adaptation)
        return (moved.point, adaptation), Chain(moved.point.u, -moved.point.energy, moved.diverging)

    keys = jax.random.split(key, warmup + draws + 1)
    u = _start(keys[0], target.lower.shape[-1], dtype)
    first = (_Point(u, *value_and_slope(u)), init_step(jnp.log(jnp.asarray(_LONGEST_STEP, dtype))))
    turns = (keys[1:], jnp.arange(warmup + draws))
    chain = jax.lax.scan(step, first, turns)[1]
    return jax.tree_util.tree_map(lambda values: values[warmup:], chain)


def _finite(value: Array) -> Array:
    """A density of 0 as a very small one: the gradient of −inf is NaN."""
    return jnp.where(jnp.isfinite(value), value, -1e30)
