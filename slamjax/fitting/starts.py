"""Where to start: the training stars whose predicted spectra fit best, some of them far apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax.fitting.problem import Problem
from slamjax.typing import Flux

#: Templates are thinned to this many: more cost memory and find no better start.
MAX_TEMPLATES = 2048
#: Two starts are at least this far apart, in scaled labels (1 = one standard deviation of the training labels).
APART = 1.0


@partial(jax.tree_util.register_dataclass, data_fields=["x", "flux"], meta_fields=[])
@dataclass(frozen=True)
class Templates:
    """Scaled labels (T, L) and predicted flux (T, P) of training stars; untrained pixels are 0."""

    x: Float[Array, "template label"]
    flux: Float[Array, "template pixel"]


def make_templates(problem: Problem, stars: np.ndarray) -> Templates:
    """Templates at the training stars' scaled labels, an even sample of them if there are many."""
    take = np.unique(np.linspace(0, len(stars) - 1, min(len(stars), MAX_TEMPLATES)).round().astype(int))
    # training stars may stand in order of something; an even sample of a shuffled list is a fair one
    rows = np.random.default_rng(0).permutation(len(stars))[take]
    x = jnp.asarray(stars[np.sort(rows)])
    return Templates(x, jnp.nan_to_num(_predict(problem, x)))


@jax.jit
def _predict(problem: Problem, x: Float[Array, "template label"]) -> Flux:
    return problem.emulator.at(x)


@partial(jax.jit, static_argnames="n_starts")
def choose_starts(
    problem: Problem,
    templates: Templates,
    flux: Float[Array, "star pixel"],
    ivar: Float[Array, "star pixel"],
    n_starts: int,
) -> Float[Array, "star start label"]:
    """For each star the best-χ² template, then the best of those at least `APART` from the ones taken, and so on.

    χ² = Σ w f² − 2 Σ w f t + Σ w t² for all stars and templates is two matrix products; only their order counts
    here, so pixels' correlations are left aside.
    """
    weight = problem.noise.weights(ivar)
    middle = jnp.mean(templates.flux, axis=0)  # differences keep float32's digits
    flux = jnp.where(weight > 0, flux - middle, 0)
    lines = templates.flux - middle
    chi2 = weight @ jnp.square(lines).T - 2 * (weight * flux) @ lines.T

    taken: list[Array] = []
    for _ in range(n_starts):
        best = jnp.argmin(chi2, axis=1)
        # where every template is near one already taken, the first start is taken again
        spent = ~jnp.isfinite(jnp.min(chi2, axis=1))
        start = templates.x[best]
        taken.append(jnp.where(spent[:, None], taken[0] if taken else start, start))
        far = jnp.sum(jnp.square(templates.x[None] - start[:, None]), axis=-1) >= APART**2
        chi2 = jnp.where(far, chi2, jnp.inf)
    return jnp.stack(taken, axis=1)
