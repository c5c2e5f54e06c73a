"""Starting points: the training stars whose predicted spectra fit best, some of them far apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from slamjax._util.batching import map_blocks
from slamjax._util.jit import compiled
from slamjax.fitting.problem import Problem, Star
from slamjax.noise.dense import Errors
from slamjax.noise.models import Noise

#: Largest number of templates: more need memory and give no better starts.
MAX_TEMPLATES = 2048
#: Two starts are at least this far apart, in scaled labels (1 = one standard deviation of the training labels).
APART = 1.0
#: Templates are compared in at most this many components, and in no more than leave each of them within this
#: distance, in units of the model's error.
_MOST, _CLOSE = 32, 0.5
#: Spectra per step of a loop: more do not stay in a CPU's cache, with fewer matrix products are inefficient. The body
#: has the same shape for any number of stars, so that what becomes of a star does not depend on how many others there
#: are.
BLOCK = 16
_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Templates:
    """Predicted spectra of T training stars at scaled labels x (T, L), in R components; 0 at untrained pixels.

    Flux is ``middle`` (P,) + ``coordinates`` (T, R) @ ``lines`` (R, P).
    """

    x: Float[Array, "template label"]
    middle: Float[Array, " pixel"]
    lines: Float[Array, "line pixel"]
    coordinates: Float[Array, "template line"]


def make_templates(problem: Problem, stars: np.ndarray) -> Templates:
    """Templates at the training stars' scaled labels, an even sample of them if there are many."""
    x = jnp.asarray(sample_stars(stars))
    return in_components(problem.noise, x, _predict(problem.emulator, x))


def sample_stars(stars: np.ndarray) -> np.ndarray:
    """An even sample of rows, if there are many."""
    take = np.unique(np.linspace(0, len(stars) - 1, min(len(stars), MAX_TEMPLATES)).round().astype(int))
    # training stars may be sorted: sample a shuffled list
    rows = np.random.default_rng(0).permutation(len(stars))[take]
    return np.asarray(stars)[np.sort(rows)]


@partial(compiled, one_thread=True)
def _predict(emulator: Any, x: Float[Array, "template label"]) -> Float[Array, "template pixel"]:
    return jnp.nan_to_num(jax.lax.map(emulator.at, x, batch_size=4 * BLOCK))


def in_components(noise: Noise, x: Float[Array, "template label"], flux: Float[Array, "template pixel"]) -> Templates:
    """Templates of given flux (T, P) in the leading components of their differences in units of the model's error."""
    # on the host: the last digit of a mean by several threads depends on their number
    middle = jnp.asarray(np.mean(np.asarray(flux, float), axis=0), flux.dtype)
    lines = flux - middle
    white = np.asarray(_whitened(noise, lines), float)
    values, along = _leading(white, min(_MOST, *white.shape))
    left = np.square(white).sum(axis=1) - np.cumsum(np.square(along * values), axis=1).T
    close = left.max(axis=1) < _CLOSE**2
    n = int(np.argmax(close)) + 1 if close.any() else len(close)
    root = np.sqrt(len(white))
    coordinates, components = root * along[:, :n], along[:, :n].T @ np.asarray(lines, float) / root
    dtype = flux.dtype
    return Templates(x, middle, jnp.asarray(components, dtype), jnp.asarray(coordinates, dtype))


def _leading(rows: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The n largest singular values of rows (T, P) and their left vectors (T, n), by two random power steps.

    (Halko, Martinsson & Tropp 2011, SIAM Rev. 53, 217.)
    """
    n_drawn = min(n + 8, *rows.shape)
    span = rows.T @ np.random.default_rng(0).normal(size=(len(rows), n_drawn))
    for _ in range(2):
        span = rows.T @ (rows @ np.linalg.qr(span)[0])
    vectors, values, _ = np.linalg.svd(rows @ np.linalg.qr(span)[0], full_matrices=False)
    return values[:n], vectors[:, :n]


@partial(compiled, one_thread=True)
def _whitened(noise: Noise, lines: Float[Array, "template pixel"]) -> Float[Array, "template pixel"]:
    inv_cov = noise.inverse_covariance(jnp.full(lines.shape[1], jnp.inf, lines.dtype))
    return jax.lax.map(inv_cov.whiten, lines, batch_size=4 * BLOCK)


@partial(compiled, static_argnames="n_starts", one_thread=True)
def choose_starts(
    problem: Problem,
    templates: Templates,
    flux: Float[Array, "star pixel"],
    ivar: Errors,
    n_starts: int,
    factorised: Any = None,
    count: Any = None,
    line_spread: Float[Array, "star pixel"] | None = None,
) -> Float[Array, "star start label"]:
    """For each star the best-χ² template, then the best of those at least `APART` from the first, and so on.

    χ² has the star's own errors and their correlations: without them a star starts, and may end, in another minimum.
    With c a template's coordinates and G = R Σ⁻¹ Rᵀ for the rows R = [f − middle; lines], it is a constant less
    2 G₀·c, plus cᵀ G c: one matrix product of the distinct elements of G and of c cᵀ.

    ``factorised`` is what `slamjax.noise.Noise.factorised` gives of the stars, where it is known; the first ``count``
    stars are wanted, all by default. ``line_spread`` are the stars' own, see `slamjax.fitting.batches.Starts`:
    templates are convolved for each star.
    """
    compare = _comparison(problem, templates)

    def starts(block: tuple[Array, Errors, Any, Array | None]) -> Float[Array, "star start label"]:
        return best_apart(templates.x, compare(block), n_starts)

    count = flux.shape[0] if count is None else count
    return jnp.asarray(map_blocks(starts, (flux, ivar, factorised, line_spread), BLOCK, count))


@partial(compiled, one_thread=True)
def template_chi2(
    problem: Problem,
    templates: Templates,
    flux: Float[Array, "star pixel"],
    ivar: Float[Array, "star pixel"],
    factorised: Any,
    line_spread: Float[Array, "star pixel"] | None,
    count: Any,
) -> Float[Array, "star template"]:
    """χ² of the first ``count`` stars with each template but for a constant of each star, see `choose_starts`."""
    stars = (flux, ivar, factorised, line_spread)
    return jnp.asarray(map_blocks(_comparison(problem, templates), stars, BLOCK, count))


def _comparison(
    problem: Problem, templates: Templates
) -> Callable[[tuple[Array, Errors, Any, Array | None]], Float[Array, "star template"]]:
    """χ² with each template, but for a constant of each star, of a block of (flux, ivar, factorised, line spread)."""
    first, second = np.triu_indices(templates.lines.shape[0])
    dtype = templates.lines.dtype
    twice = jnp.asarray(np.where(first == second, 1, 2), dtype)
    pairs = templates.coordinates[:, first] * templates.coordinates[:, second]
    terms = jnp.concatenate([-2 * templates.coordinates, pairs * twice], axis=1).T

    def of_star(star: tuple[Star, Errors, Any, Star | None]) -> Float[Array, " term"]:
        flux, ivar, factorised, sigma = star
        middle, lines = templates.middle, templates.lines
        if problem.line_spread is not None and sigma is not None:
            convolve = problem.line_spread.of_star(sigma)
            middle, lines = convolve(middle), convolve(lines)
        gram = problem.noise.inverse_covariance(ivar, factorised).gram(jnp.concatenate([(flux - middle)[None], lines]))
        return jnp.concatenate([gram[0, 1:], gram[1 + first, 1 + second]])

    return lambda block: _matmul(jax.vmap(of_star)(block), terms)


@partial(compiled, one_thread=True)
def factorised(noise: Noise, ivar: Float[Array, "star pixel"], count: Any) -> Any:
    """What takes long of the first ``count`` stars' Σ⁻¹, see `slamjax.noise.Noise.factorised`."""
    return map_blocks(jax.vmap(noise.factorised), ivar, BLOCK, count)


def best_apart(
    x: Float[Array, "template label"], chi2: Float[Array, "star template"], n_starts: int
) -> Float[Array, "star start label"]:
    """(N, S) templates at x (T, L): that of the lowest χ², then the best at least `APART` from it, and so on."""
    return x[numbers_apart(x, chi2, n_starts)]


def numbers_apart(
    x: Float[Array, "template label"], chi2: Float[Array, "star template"], n_starts: int
) -> Int[Array, "star start"]:
    """Numbers of the templates that `best_apart` takes."""
    taken: list[Array] = []
    for _ in range(n_starts):
        best = jnp.argmin(chi2, axis=1)
        # if every template is near one that is taken, repeat the first start
        spent = ~jnp.isfinite(jnp.min(chi2, axis=1))
        taken.append(jnp.where(spent, taken[0] if taken else best, best))
        far = jnp.sum(jnp.square(x[None] - x[best][:, None]), axis=-1) >= APART**2
        chi2 = jnp.where(far, chi2, jnp.inf)
    return jnp.stack(taken, axis=1)
