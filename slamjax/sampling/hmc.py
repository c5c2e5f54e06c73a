"""Markov chains of one star in whitened labels: NumPyro's NUTS, and HMC of a fixed number of steps."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from numpyro.infer.hmc import hmc
from numpyro.infer.hmc_util import dual_averaging

from slamjax.sampling.density import Shared, Target, log_density

Draws = tuple[Float[Array, "draw free"], Float[Array, " draw"], Bool[Array, " draw"]]

#: Leapfrog steps of `hmc_chain`, and the longest, in whitened labels: a quarter turn of a unit normal at most.
_LEAPFROGS = 4
_LONGEST = 0.45
#: Energy error beyond which a trajectory has diverged, as in Stan and NumPyro.
_DIVERGED = 1000.0


def start(key: Array, n_free: int, dtype: Any) -> Float[Array, " free"]:
    """Chains start apart, or R-hat could not tell that they mix: a unit normal about the mode."""
    return jax.random.normal(key, (n_free,), dtype)


def nuts_chain(shared: Shared, target: Target, key: Array, warmup: int, draws: int) -> Draws:
    """One chain of the No-U-Turn sampler (Hoffman & Gelman 2014): draws of u, their ln density, divergences.

    Step size and a dense mass matrix are adapted during the warm-up: whitening by the curvature at the mode is right
    for a Gaussian posterior only.
    """

    def potential_of(shared: Shared, target: Target) -> Any:
        return lambda u: -_finite(log_density(shared, target, u))

    init, kernel = hmc(potential_fn_gen=potential_of, algo="NUTS")
    first, second = jax.random.split(key)
    u = start(first, target.lower.shape[-1], target.center.dtype)
    state = init(
        u,
        warmup,
        step_size=0.7,
        dense_mass=True,
        target_accept_prob=0.8,
        find_heuristic_step_size=False,
        max_tree_depth=7,
        model_args=(shared, target),
        rng_key=second,
    )

    def step(state: Any, _: Any) -> tuple[Any, Any]:
        state = kernel(state, model_args=(shared, target))
        return state, (state.z, -state.potential_energy, state.diverging)

    state = jax.lax.fori_loop(0, warmup, lambda _, s: step(s, None)[0], state)
    return jax.lax.scan(step, state, None, length=draws)[1]


def hmc_chain(shared: Shared, target: Target, key: Array, warmup: int, draws: int) -> Draws:
    """One chain of Hamiltonian Monte Carlo with four leapfrogs of jittered length.

    Every star of a batch takes the same number of steps, so none waits for another. The step size is adapted to an
    acceptance of 0.85 but kept short enough that a trajectory does not turn back.
    """
    n_free, dtype = target.lower.shape[-1], target.center.dtype
    init_step, update_step = dual_averaging()

    def potential(u: Array) -> Array:
        return -_finite(log_density(shared, target, u))

    value_and_slope = jax.value_and_grad(potential)

    def move(carry: tuple[Any, ...], key: Array, size: Array) -> tuple[tuple[Any, ...], Array, Array]:
        u, energy, slope = carry
        keys = jax.random.split(key, 3)
        p = jax.random.normal(keys[0], (n_free,), dtype)
        eps = size * jax.random.uniform(keys[1], (), dtype, 0.6, 1.0)

        def leap(_: Any, state: tuple[Array, ...]) -> tuple[Array, ...]:
            u, p, _, slope = state
            p = p - 0.5 * eps * slope
            u = u + eps * p
            energy, slope = value_and_slope(u)
            return u, p - 0.5 * eps * slope, energy, slope

        new_u, new_p, new_energy, new_slope = jax.lax.fori_loop(0, _LEAPFROGS, leap, (u, p, energy, slope))
        change = new_energy - energy + 0.5 * (jnp.sum(new_p**2) - jnp.sum(p**2))
        change = jnp.where(jnp.isnan(change), jnp.inf, change)
        accept = jnp.minimum(jnp.exp(-change), 1)
        taken = jax.random.uniform(keys[2], (), dtype) < accept
        kept = jax.tree_util.tree_map(partial(jnp.where, taken), (new_u, new_energy, new_slope), carry)
        return kept, accept, change > _DIVERGED

    def warm(carry: tuple[Any, ...], key: Array) -> tuple[tuple[Any, ...], None]:
        state, adapt = carry
        state, accept, _ = move(state, key, jnp.minimum(jnp.exp(adapt[0]), _LONGEST))
        return (state, update_step(0.85 - accept, adapt)), None

    def step(carry: tuple[Any, ...], key: Array) -> tuple[Any, Any]:
        state, size = carry
        state, _, diverged = move(state, key, size)
        return (state, size), (state[0], -state[1], diverged)

    keys = jax.random.split(key, warmup + draws + 1)
    u = start(keys[0], n_free, dtype)
    state = (u, *value_and_slope(u))
    (state, adapt), _ = jax.lax.scan(
        warm, (state, init_step(jnp.log(jnp.asarray(_LONGEST, dtype)))), keys[1 : warmup + 1]
    )
    size = jnp.minimum(jnp.exp(adapt[1]), _LONGEST)
    return jax.lax.scan(step, (state, size), keys[warmup + 1 :])[1]


def _finite(value: Array) -> Array:
    """A density of 0 as one that is only very small: the slopes of −inf are NaN."""
    return jnp.where(jnp.isfinite(value), value, -1e30)
