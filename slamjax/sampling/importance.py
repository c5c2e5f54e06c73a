"""Importance sampling about the mode: Student-t draws in whitened labels, weighted to the exact posterior.

Adaptive rounds improve the proposal's mean and covariance, a last one gives the draws. The largest weights are smoothed
by a generalised Pareto tail (Vehtari, Simpson, Gelman, Yao & Gabry 2024, JMLR 25, 72). Where its shape k is above 0.7
the weights are unreliable, and the star is sampled by NUTS.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from slamjax.sampling.density import Shared, Target, log_density
from slamjax.typing import Scalar

#: Degrees of freedom of the proposal: its tails must be wider than the posterior's.
_NU = 7.0
#: Adaptive rounds, draws of each, and proposals in the last round per draw that is wanted.
ROUNDS, ROUND_DRAWS, OVERSAMPLE = 3, 384, 2
#: Draws of a star whose density is evaluated together: bounds memory.
AT_ONCE = 16
#: Pareto shape above which weights are unreliable.
MAX_KHAT = 0.7


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Proposals:
    """Draws u (draw, F) of the proposal, their ln density and their ln importance weight (draw,).

    ``offset`` and ``shuffle`` (taken,) are the uniform random numbers of `resample`.
    """

    u: Float[Array, "draw free"]
    log_density: Float[Array, " draw"]
    log_weight: Float[Array, " draw"]
    offset: Scalar
    shuffle: Float[Array, " taken"]


def propose(shared: Shared, target: Target, key: Array, n: int) -> Proposals:
    """n draws from a Student-t that was adapted to the posterior."""
    first, second = jax.random.split(key)
    n_free, dtype = target.lower.shape[-1], target.center.dtype

    def density(u: Array) -> Array:
        return jax.lax.map(lambda draw: log_density(shared, target, draw), u, batch_size=AT_ONCE)

    eye = jnp.eye(n_free, dtype=dtype)

    def adapt(state: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], None]:
        mean, lower = state
        u, log_q = _student(key, mean, lower, ROUND_DRAWS)
        weight = jax.nn.softmax(_clip(density(u) - log_q))
        # no few draws must dominate: large weights are cut, as in truncated importance sampling
        weight = jnp.minimum(weight, 0.02)
        weight = weight / jnp.sum(weight)
        share = 1 / (1 + 20 * jnp.sum(jnp.square(weight)))
        mean = (1 - share) * mean + share * (weight @ u)
        centred = u - mean
        covariance = (weight[:, None] * centred).T @ centred
        # few draws give a noisy covariance, which is mixed with the one before
        lower = jnp.linalg.cholesky(share * covariance + (1 - share) * lower @ lower.T + 1e-3 * eye)
        return (mean, lower), None

    # a little wider than the curvature says: weights cannot correct a proposal that is too narrow
    start = (jnp.zeros(n_free, dtype), 1.1 * eye)
    (mean, lower), _ = jax.lax.scan(adapt, start, jax.random.split(first, ROUNDS))
    u, log_q = _student(second, mean, 1.05 * lower, n)
    log_p = density(u)
    offset, order = jax.random.split(jax.random.fold_in(key, 1))
    return Proposals(
        u,
        log_p,
        jnp.where(jnp.isfinite(log_p), log_p - log_q, -jnp.inf),
        jax.random.uniform(offset),
        jax.random.uniform(order, (n // OVERSAMPLE,)),
    )


def _student(key: Array, mean: Array, lower: Array, n: int) -> tuple[Array, Array]:
    """Draws (n, F) of a multivariate t and their ln density, up to a constant."""
    first, second = jax.random.split(key)
    n_free, dtype = lower.shape[-1], lower.dtype
    normal = jax.random.normal(first, (n, n_free), dtype)
    chi2 = 2 * jax.random.gamma(second, jnp.asarray(0.5 * _NU, dtype), (n,), dtype)
    t = normal * jnp.sqrt(_NU / chi2)[:, None]
    log_q = -0.5 * (_NU + n_free) * jnp.log1p(jnp.sum(jnp.square(t), axis=-1) / _NU)
    u = mean + jnp.matmul(t, lower.T, precision=jax.lax.Precision.HIGHEST)
    return u, log_q - jnp.sum(jnp.log(jnp.diagonal(lower)))


def _clip(log_weight: Array) -> Array:
    return jnp.where(jnp.isfinite(log_weight), log_weight, -1e30)


# --- on the host, for all stars of a batch at once


def effective_sample_size(weight: np.ndarray) -> np.ndarray:
    """Kish's effective sample size (N,) of normalised weights (N, S)."""
    return 1 / np.sum(np.square(weight), axis=1)


def smooth_weights(log_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pareto-smoothed normalised weights (N, S) and the shape k (N,) of each star's tail.

    The M = min(S / 5, 3 √S) largest weights become quantiles of the generalised Pareto distribution fitted to them.
    """
    log_weight = np.asarray(log_weight, np.float64)
    size = log_weight.shape[1]
    with np.errstate(invalid="ignore"):
        log_weight = log_weight - log_weight.max(axis=1, keepdims=True)
    usable = np.isfinite(log_weight.max(axis=1))
    log_weight = np.where(np.isfinite(log_weight), log_weight, -np.inf)
    weight = np.exp(log_weight)
    m = int(min(size // 5, np.ceil(3 * np.sqrt(size))))
    order = np.argsort(weight, axis=1)
    tail = order[:, -m:]
    cut = np.take_along_axis(weight, order[:, -m - 1 : -m], axis=1)
    excess = np.take_along_axis(weight, tail, axis=1) - cut
    shape, scale = _fit_pareto(np.maximum(excess, 1e-300))
    probability = (np.arange(m) + 0.5) / m
    quantile = scale[:, None] * np.where(
        np.abs(shape[:, None]) < 1e-8,
        -np.log1p(-probability),
        np.expm1(-shape[:, None] * np.log1p(-probability)) / np.where(np.abs(shape) < 1e-8, 1, shape)[:, None],
    )
    np.put_along_axis(weight, tail, np.minimum(cut + quantile, 1.0), axis=1)
    total = weight.sum(axis=1, keepdims=True)
    usable &= np.isfinite(total[:, 0]) & (total[:, 0] > 0)
    weight = np.where(usable[:, None], weight / np.where(total > 0, total, 1), 1 / size)
    return weight, np.where(usable, shape, np.inf)


def _fit_pareto(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shape and scale of generalised Pareto distributions, rows of ascending excesses (N, M).

    Zhang & Stephens (2009, Technometrics 51, 316): a posterior mean over a grid; the shape with a weak prior at 0.5.
    """
    m = x.shape[1]
    grid = 30 + int(np.sqrt(m))
    quartile = x[:, int(m / 4 + 0.5) - 1]
    steps = 1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))
    b = steps / (3 * quartile[:, None]) + 1 / x[:, -1:]
    k = np.log1p(-b[:, :, None] * x[:, None, :]).mean(axis=2)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_like = m * (np.log(-b / k) - k - 1)
    log_like = np.where(np.isfinite(log_like), log_like, -np.inf)
    top = log_like.max(axis=1, keepdims=True)
    share = np.exp(log_like - np.where(np.isfinite(top), top, 0))
    share = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-300)
    mean = np.sum(b * share, axis=1)
    shape = np.log1p(-mean[:, None] * x).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = -shape / mean
    shape = (m * shape + 5) / (m + 10)
    return np.where(np.isfinite(shape), shape, np.inf), np.where(np.isfinite(scale), scale, 0.0)


def resample(
    weight: Float[np.ndarray, "star draw"], offset: Float[np.ndarray, " star"], shuffle: Float[np.ndarray, "star taken"]
) -> Int[np.ndarray, "star taken"]:
    """Indices of the draws to take: systematic resampling from a random offset, in random order."""
    n = shuffle.shape[1]
    offset = np.asarray(offset, np.float64)[:, None]
    row = np.arange(len(weight))[:, None]
    total = np.cumsum(weight, axis=1)
    steps = total / total[:, -1:]
    places = (offset + np.arange(n)) / n
    # all stars in one search: star k's steps and places lie between k and k + 1
    index = np.searchsorted((steps + row).ravel(), (places + row).ravel(), side="right").reshape(places.shape)
    index = np.clip(index - row * weight.shape[1], 0, weight.shape[1] - 1)
    return np.take_along_axis(index, np.argsort(shuffle, axis=1), axis=1)
