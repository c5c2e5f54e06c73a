"""One batch of stars through a sampler: all stars and chains in one compiled call."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax.sampling.density import Shared, Target, draw_at, make_target
from slamjax.sampling.diagnostics import diagnose
from slamjax.sampling.hmc import Chain, hmc_chain, nuts_chain
from slamjax.sampling.importance import (
    MAX_KHAT,
    OVERSAMPLE,
    Proposals,
    effective_sample_size,
    propose,
    resample,
    smooth_weights,
)
from slamjax.sampling.specs import SamplerSpec

#: With method "auto", importance draws of a smaller effective sample size are drawn again by NUTS.
_ENOUGH = 400
#: Stars that are drawn again come in batches of at least this many, so that few shapes are compiled.
_FEWEST = 8
#: Random keys that are made together.
_KEYS = 4096

Tree = TypeVar("Tree")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Stars:
    """What a sampler needs of N stars, one row each; P pixels, L parameters.

    Attributes
    ----------
    flux, ivar : (N, P) prepared spectra, in units near the flux's spread; ivar may be `slamjax.noise.dense.DenseErrors`
    noise_scale : (N,) factor of each star's Σ
    x : (N, L) scaled labels (and coordinates of velocities) to start from
    priors : distributions with one row per star
    keys : (N, K) data of random keys
    line_spread : (N, P) σ of the Gaussians by which predictions are convolved, where stars have their own line spreads
    """

    flux: Any
    ivar: Any
    noise_scale: Any
    x: Any
    priors: tuple[Any, ...]
    keys: Any
    line_spread: Any = None


@dataclass(frozen=True)
class BatchDraws:
    """Draws of N stars, as NumPy arrays.

    Attributes
    ----------
    x : (star, chain, draw, label) scaled labels
    log_density, diverging : (star, chain, draw)
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

    def with_rows(self, rows: np.ndarray, other: BatchDraws) -> BatchDraws:
        """These draws with the stars ``rows`` from another sampler; the Pareto shape stays, for it is the reason."""
        fields = {}
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            if field.name != "khat":
                values = values.copy()
                values[rows] = getattr(other, field.name)
            fields[field.name] = values
        return BatchDraws(**fields)


def select(tree: Tree, rows: np.ndarray) -> Tree:
    """The given rows of all arrays of a pytree."""
    return jax.tree_util.tree_map(lambda leaf: leaf[rows], tree)


def sample_batch(shared: Shared, stars: Stars, spec: SamplerSpec, size: int) -> BatchDraws:
    """Draws from the posteriors of N ≤ ``size`` stars; batches are padded to ``size``, so that they compile once."""
    spectra = (stars.flux, stars.ivar, stars.noise_scale, stars.x, stars.priors, stars.line_spread)
    targets = map_padded(partial(_make_targets, shared), spectra, size)
    if spec.method in ("nuts", "hmc"):
        return _sample_chains(shared, (targets, stars.keys), spec, size)
    draws = _sample_importance(shared, (targets, stars.keys), spec, size)
    poor = ~(draws.khat < MAX_KHAT)
    if spec.method == "auto":
        poor |= np.min(draws.ess_bulk, axis=1) < min(_ENOUGH, 0.4 * spec.chains * spec.draws)
    rows = np.flatnonzero(poor)
    if not rows.size:
        return draws
    nuts = dataclasses.replace(spec, method="nuts")
    again = _sample_chains(shared, select((targets, stars.keys), rows), nuts, size, least=_FEWEST)
    return draws.with_rows(rows, again)


def _sample_chains(
    shared: Shared, stars: tuple[Any, ...], spec: SamplerSpec, size: int, least: int | None = None
) -> BatchDraws:
    chain = map_padded(partial(_run_chains, shared, spec=spec), stars, size, least)
    n = len(chain.u)
    quality = diagnose(np.moveaxis(chain.u, 0, 2))
    return BatchDraws(
        chain.u,
        chain.log_density,
        chain.diverging,
        quality.rhat,
        quality.ess_bulk,
        quality.ess_tail,
        khat=np.full(n, np.nan),
        sampler=np.full(n, spec.method, dtype="U10"),
    )


def _sample_importance(shared: Shared, stars: tuple[Any, ...], spec: SamplerSpec, size: int) -> BatchDraws:
    n_draws = spec.chains * spec.draws
    proposals = map_padded(partial(_run_importance, shared, n=OVERSAMPLE * n_draws), stars, size)
    weight, khat = smooth_weights(proposals.log_weight)
    taken = resample(weight, proposals.offset, proposals.shuffle)
    n, n_labels = len(khat), proposals.u.shape[-1]
    x = np.take_along_axis(proposals.u, taken[..., None], axis=1).reshape(n, spec.chains, spec.draws, n_labels)
    log_density = np.take_along_axis(proposals.log_density, taken, axis=1).reshape(x.shape[:-1])
    # resampled draws cannot be worth more than their number
    ess = np.minimum(effective_sample_size(weight), n_draws)[:, None].repeat(n_labels, axis=1)
    return BatchDraws(
        x,
        log_density,
        np.zeros(log_density.shape, bool),
        np.full(ess.shape, np.nan),
        ess,
        ess,
        khat,
        sampler=np.full(n, "importance", dtype="U10"),
    )


@compiled
def _make_targets(shared: Shared, flux: Any, ivar: Any, noise_scale: Any, x: Any, priors: Any, sigma: Any) -> Target:
    return jax.vmap(partial(make_target, shared))(flux, ivar, noise_scale, x, priors, sigma)


@partial(compiled, static_argnames="spec")
def _run_chains(shared: Shared, targets: Target, keys: Array, *, spec: SamplerSpec) -> Chain:
    """Chains of every star, (star, chain, draw), with scaled labels x (L,) in place of u."""
    run = nuts_chain if spec.method == "nuts" else hmc_chain

    def of_chain(target: Target, key: Array) -> Chain:
        chain = run(shared, target, key, spec.warmup, spec.draws)
        return dataclasses.replace(chain, u=jax.vmap(partial(draw_at, shared, target))(chain.u))

    # one axis of stars and chains: loops within loops under two vmaps take many times longer to trace
    n = len(keys)
    each = jax.vmap(lambda key: jax.random.split(key, spec.chains))(jax.random.wrap_key_data(keys)).reshape(-1)
    repeated = jax.tree_util.tree_map(lambda leaf: jnp.repeat(leaf, spec.chains, axis=0), targets)
    chains = jax.vmap(of_chain)(repeated, each)
    return jax.tree_util.tree_map(lambda leaf: leaf.reshape(n, spec.chains, *leaf.shape[1:]), chains)


@partial(compiled, static_argnames="n")
def _run_importance(shared: Shared, targets: Target, keys: Array, *, n: int) -> Proposals:
    """Proposals for every star, (star, draw), with scaled labels x (L,) in place of u."""

    def of_star(target: Target, key: Array) -> Proposals:
        proposals = propose(shared, target, key, n)
        return dataclasses.replace(proposals, u=jax.vmap(partial(draw_at, shared, target))(proposals.u))

    return jax.vmap(of_star)(targets, jax.random.wrap_key_data(keys))


def star_keys(seed: int, numbers: np.ndarray) -> np.ndarray:
    """Data of the random keys of stars with these numbers (N,), or pairs of numbers (N, 2).

    A second number of 0 counts as none, so that (k, 0) has the key of k.
    """
    given = np.asarray(numbers).reshape(len(numbers), -1)
    first, second = given[:, 0], given[:, 1] if given.shape[1] == 2 else np.zeros(len(given), int)
    make = partial(_star_keys, jax.random.key_data(jax.random.key(seed)))
    return map_padded(make, (first.astype(np.uint32), second.astype(np.uint32)), _KEYS, least=1)


@compiled
def _star_keys(seed: Any, first: Any, second: Any) -> Array:
    key = jax.random.wrap_key_data(seed)

    def of_star(one: Array, other: Array) -> Array:
        alone = jax.random.fold_in(key, one)
        both = jax.random.fold_in(alone, other)
        return jnp.where(other == 0, jax.random.key_data(alone), jax.random.key_data(both))

    return jax.vmap(of_star)(first, second)
