"""Starting points: the training stars whose predicted spectra fit best, some of them far apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax._util.jit import compiled
from slamjax.fitting.problem import Problem

#: Largest number of templates: more need memory and give no better starts.
MAX_TEMPLATES = 2048
#: Two starts are at least this far apart, in scaled labels (1 = one standard deviation of the training labels).
APART = 1.0
#: Bad pixels are filled with the mean template before whitening; harmless up to this fraction of the pixels.
_MANY_BAD = 0.05
_matmul = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
#: Spectra whitened at once: limits memory.
_BLOCK = 64
#: Largest number of stars whose median gives a batch's typical errors.
_N_TYPICAL = 128


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Templates:
    """Predicted spectra of T training stars at scaled labels x (T, L), relative to their mean; 0 at untrained pixels.

    Flux is ``middle`` (P,) + ``lines`` (T, P), because differences keep float32's digits; for a compressed emulator
    ``middle`` + ``coordinates`` (T, R) @ ``lines`` (R, P).
    """

    x: Float[Array, "template label"]
    middle: Float[Array, " pixel"]
    lines: Float[Array, "line pixel"]
    coordinates: Float[Array, "template line"] | None

    def squares(self, white: Float[Array, "line pixel"]) -> Float[Array, " template"]:
        """|t|² of each template from whitened lines."""
        if self.coordinates is None:
            return jnp.sum(jnp.square(white), axis=-1)
        return jnp.sum(_matmul(self.coordinates, _matmul(white, white.T)) * self.coordinates, axis=-1)

    def products(self, along: Float[Array, "star line"]) -> Float[Array, "star template"]:
        """f·t of each star and template from products with lines."""
        return along if self.coordinates is None else _matmul(along, self.coordinates.T)

    def flux(self) -> Float[Array, "template pixel"]:
        """All templates, relative to their mean."""
        return self.lines if self.coordinates is None else _matmul(self.coordinates, self.lines)


def make_templates(problem: Problem, stars: np.ndarray) -> Templates:
    """Templates at the training stars' scaled labels, an even sample of them if there are many."""
    return _predict(problem.emulator, jnp.asarray(sample_stars(stars)))


def sample_stars(stars: np.ndarray) -> np.ndarray:
    """An even sample of rows, if there are many."""
    take = np.unique(np.linspace(0, len(stars) - 1, min(len(stars), MAX_TEMPLATES)).round().astype(int))
    # training stars may be sorted: sample a shuffled list
    rows = np.random.default_rng(0).permutation(len(stars))[take]
    return np.asarray(stars)[np.sort(rows)]


@compiled
def _predict(emulator: Any, x: Float[Array, "template label"]) -> Templates:
    if emulator.basis is None:
        flux = jnp.nan_to_num(emulator.at(x))
        middle = jnp.mean(flux, axis=0)
        return Templates(x, middle, flux - middle, None)
    components = emulator.components(x)
    mean = jnp.mean(components, axis=0)
    about = emulator.flux_mean + emulator.flux_scale * (_matmul(mean, emulator.basis) + emulator.intercept)
    lines = jnp.nan_to_num(emulator.flux_scale * emulator.basis)
    return Templates(x, jnp.nan_to_num(about), lines, components - mean)


def _typical_ivar(ivar: Float[Array, "star pixel"]) -> Float[Array, " pixel"]:
    """Median of each pixel over the stars in which it is good, 0 if there are none; estimated from a sample."""
    ivar = ivar[:: -(-len(ivar) // _N_TYPICAL)]
    ordered = jnp.sort(jnp.where(ivar > 0, ivar, jnp.inf), axis=0)
    known = jnp.sum(ivar > 0, axis=0)
    middle = jnp.take_along_axis(ordered, jnp.maximum(known - 1, 0)[None] // 2, axis=0)[0]
    return jnp.where(known > 0, middle, 0)


@partial(compiled, static_argnames="n_starts")
def choose_starts(
    problem: Problem,
    templates: Templates,
    flux: Float[Array, "star pixel"],
    ivar: Float[Array, "star pixel"],
    n_starts: int,
) -> Float[Array, "star start label"]:
    """For each star the best-χ² template, then the best of those at least `APART` from the first, and so on.

    Correlations between pixels matter: without them a star starts, and may end, in another minimum. Those of the
    batch's median errors are used for all its stars, so that all χ² = |f|² − 2 f·t + |t|² in whitened pixels are one
    matrix product. A spectrum with many bad pixels is compared with independent pixels and its own weights.
    """
    weight = problem.noise.weights(ivar)
    flux = jnp.where(weight > 0, flux - templates.middle, 0)

    def independent_pixels() -> Float[Array, "star template"]:
        every = templates.flux()
        return _matmul(weight, jnp.square(every).T) - 2 * _matmul(weight * flux, every.T)

    typical = _typical_ivar(ivar)
    inv_cov = problem.noise.inverse_covariance(typical)
    white_lines = jax.lax.map(inv_cov.whiten, templates.lines, batch_size=_BLOCK)
    white_flux = jax.lax.map(inv_cov.whiten, flux, batch_size=_BLOCK)
    joint = templates.squares(white_lines) - 2 * templates.products(_matmul(white_flux, white_lines.T))
    usable = problem.noise.weights(typical) > 0
    bad = jnp.sum(usable & ~(weight > 0), axis=-1) / jnp.maximum(jnp.sum(usable), 1)
    many = (bad > _MANY_BAD)[:, None]
    chi2 = jax.lax.cond(jnp.any(many), lambda: jnp.where(many, independent_pixels(), joint), lambda: joint)

    taken: list[Array] = []
    for _ in range(n_starts):
        best = jnp.argmin(chi2, axis=1)
        # if every template is near one that is taken, repeat the first start
        spent = ~jnp.isfinite(jnp.min(chi2, axis=1))
        start = templates.x[best]
        taken.append(jnp.where(spent[:, None], taken[0] if taken else start, start))
        far = jnp.sum(jnp.square(templates.x[None] - start[:, None]), axis=-1) >= APART**2
        chi2 = jnp.where(far, chi2, jnp.inf)
    return jnp.stack(taken, axis=1)
