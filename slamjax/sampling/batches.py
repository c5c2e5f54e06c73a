"""One batch of stars through a sampler: all stars and chains in one compiled call."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from slamjax._util.jit import compiled
from slamjax.sampling.density import Shared, Target, draw_at, make_target
from slamjax.sampling.diagnostics import diagnose
from slamjax.sampling.hmc import hmc_chain, nuts_chain
from slamjax.sampling.importance import LIMIT_KHAT, OVERSAMPLE, propose, resample, smooth_weights

SAMPLERS = ("auto", "importance", "nuts", "hmc")
#: Importance draws worth fewer than this are drawn again by NUTS if the sampler is "auto".
_ENOUGH = 400


@dataclass(frozen=True)
class Options:
    """What is asked of a sampler; hashable, for it is static under jit."""

    sampler: str
    draws: int
    warmup: int
    chains: int
    at_once: int = 16  # importance draws of a star evaluated together


@dataclass(frozen=True)
class Result:
    """Of N stars, as NumPy arrays.

    Attributes
    ----------
    x : (chain, draw, star, label) scaled labels
    log_density, diverging : (chain, draw, star)
    rhat, ess_bulk, ess_tail : (star, label)
    khat, sampler : (star,)
    """

    x: np.ndarray
    log_density: np.ndarray
    diverging: np.ndarray
    rhat: np.ndarray
    ess_bulk: np.ndarray
    ess_tail: np.ndarray
    khat: np.ndarray
    sampler: np.ndarray


def sample_batch(
    shared: Shared,
    flux: np.ndarray,
    ivar: np.ndarray,
    scale: np.ndarray,
    x: np.ndarray,
    priors: tuple[Any, ...],
    keys: Array,
    options: Options,
    size: int,
) -> Result:
    """The posterior of N ≤ ``size`` stars; the batch is padded to ``size``, so that all batches share a compilation."""
    n = len(flux)
    pad = np.concatenate([np.arange(n), np.zeros(size - n, dtype=int)])
    place = jnp.asarray(x[pad], dtype=flux.dtype)
    own = jax.tree_util.tree_map(lambda leaf: leaf[pad], priors)
    scales = jnp.asarray(scale[pad], dtype=flux.dtype)
    targets = _targets(shared, jnp.asarray(flux[pad]), jnp.asarray(ivar[pad]), scales, place, own)
    padded = keys[pad]
    if options.sampler in ("nuts", "hmc"):
        return _first(_chains(shared, targets, padded, options), n)
    result = _importance(shared, targets, padded, options)
    poor = ~(result.khat < LIMIT_KHAT)
    if options.sampler == "auto":
        poor |= np.min(result.ess_bulk, axis=1) < min(_ENOUGH, 0.4 * options.chains * options.draws)
    poor[n:] = False
    rows = np.flatnonzero(poor)
    if rows.size:
        room = max(8, 1 << (int(rows.size) - 1).bit_length()) if rows.size < size else size
        again = np.concatenate([rows, np.full(max(0, min(room, size) - rows.size), rows[0])])
        some = jax.tree_util.tree_map(lambda leaf: leaf[again], targets)
        chained = _chains(shared, some, padded[again], dataclasses.replace(options, sampler="nuts"))
        result = _replace(result, _first(chained, rows.size), rows)
    return _first(result, n)


def _chains(shared: Shared, targets: Target, keys: Array, options: Options) -> Result:
    x, density, diverging = (np.asarray(part) for part in _run_chains(shared, targets, keys, options))
    quality = diagnose(x)
    n = len(keys)
    return Result(
        x, density, diverging, quality.rhat, quality.ess_bulk, quality.ess_tail,
        np.full(n, np.nan), np.full(n, options.sampler, dtype="U10"),
    )  # fmt: skip


def _importance(shared: Shared, targets: Target, keys: Array, options: Options) -> Result:
    wanted = options.chains * options.draws
    x, density, log_weight = (np.asarray(part) for part in _run_importance(shared, targets, keys, options))
    weight, khat = smooth_weights(log_weight)
    taken = resample(weight, wanted, jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys))
    n = len(keys)
    drawn = np.take_along_axis(x, taken[..., None], axis=1)
    drawn = np.moveaxis(drawn.reshape(n, options.chains, options.draws, -1), 0, 2)
    density = np.moveaxis(np.take_along_axis(density, taken, axis=1).reshape(n, options.chains, options.draws), 0, 2)
    # an effective size of the weights; resampled draws cannot be worth more than their number
    effective = np.minimum(1 / np.sum(np.square(weight), axis=1), wanted)
    each = np.repeat(effective[:, None], x.shape[-1], axis=1)
    return Result(
        drawn, density, np.zeros(density.shape, bool), np.full(each.shape, np.nan), each, each, khat,
        np.full(n, "importance", dtype="U10"),
    )  # fmt: skip


def _first(result: Result, n: int) -> Result:
    """The first n stars."""
    fields = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return Result(**{name: a[:, :, :n] if name in _PER_DRAW else a[:n] for name, a in fields.items()})


def _replace(result: Result, other: Result, rows: np.ndarray) -> Result:
    """The result with the stars ``rows`` from another; their Pareto shape stays, it says why."""
    for field in dataclasses.fields(result):
        into, values = getattr(result, field.name), getattr(other, field.name)
        if field.name == "khat":
            continue
        into[(slice(None), slice(None), rows) if field.name in _PER_DRAW else rows] = values
    return result


_PER_DRAW = ("x", "log_density", "diverging")


@compiled
def _targets(shared: Shared, flux: Any, ivar: Any, scale: Any, x: Any, priors: Any) -> Target:
    return jax.vmap(lambda *star: make_target(shared, *star)[0])(flux, ivar, scale, x, priors)


@partial(compiled, static_argnames="options")
def _run_chains(shared: Shared, targets: Target, keys: Array, options: Options) -> tuple[Array, Array, Array]:
    """Scaled labels (chain, draw, star, label), ln density and divergences (chain, draw, star)."""
    chain = nuts_chain if options.sampler == "nuts" else hmc_chain

    def star(target: Target, key: Array) -> tuple[Array, Array, Array]:
        def one(key: Array) -> tuple[Array, Array, Array]:
            u, density, diverging = chain(shared, target, key, options.warmup, options.draws)
            return jax.vmap(partial(draw_at, shared, target))(u), density, diverging

        return jax.vmap(one)(jax.random.split(key, options.chains))

    return jax.vmap(star, out_axes=2)(targets, keys)


@partial(compiled, static_argnames="options")
def _run_importance(shared: Shared, targets: Target, keys: Array, options: Options) -> tuple[Array, Array, Array]:
    """Scaled labels (star, draw, label), ln density and ln weight (star, draw)."""

    def star(target: Target, key: Array) -> tuple[Array, Array, Array]:
        n = OVERSAMPLE * options.chains * options.draws
        u, density, weight = propose(shared, target, key, n, options.at_once)
        return jax.vmap(partial(draw_at, shared, target))(u), density, weight

    return jax.vmap(star)(targets, keys)
