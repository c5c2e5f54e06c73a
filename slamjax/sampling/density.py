"""The posterior density of one star in whitened labels: the target of every sampler.

ln p(u) = ln p(f | x) + ln prior(labels(x)) + ln |∂ labels / ∂ x|,  x = x₀ + L u over the labels that are not fixed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from slamjax.emulators.scaling import LabelScaling
from slamjax.forward.label_density import log_volume
from slamjax.forward.line_spread import LineSpreadGrid
from slamjax.sampling.distributions import log_prob_inside
from slamjax.sampling.likelihoods import StarFlux, X, log_likelihood_from_chi2
from slamjax.typing import Scalar

#: Whitened labels: those that are sampled, of zero mean and unit covariance near the mode.
U = Float[Array, " free"]

_PRECISION = jax.lax.Precision.HIGHEST


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Shared:
    """What all stars have in common.

    Attributes
    ----------
    likelihood : a `Likelihood`
    scaling : of the labels
    priors : distributions of physical labels, multiplied
    free : positions in x of what is sampled: labels, and velocities behind them
    line_spread : what that of each star is made from, where stars have their own
    """

    likelihood: Any
    scaling: LabelScaling
    priors: tuple[dist.Distribution, ...]
    free: tuple[int, ...] = field(metadata={"static": True})
    line_spread: LineSpreadGrid | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Target:
    """One star's posterior, but for what is `Shared`.

    Attributes
    ----------
    data : the spectrum, from `Likelihood.prepare_star`
    priors : further priors of this star
    logdet : ln |Σ|
    n_pix : number of good pixels; of the spectra of each model, if there are several
    noise_scale : the star's factor of Σ, or of that of each model
    center : (L,) x₀; fixed labels have their values here
    lower : (F, F) L, of the free labels
    """

    data: Any
    priors: tuple[dist.Distribution, ...]
    logdet: Scalar
    n_pix: Float[Array, "*model"]
    noise_scale: Float[Array, "*model"]
    center: X
    lower: Float[Array, "free free"]


def labels_at(shared: Shared, target: Target, u: U) -> X:
    """Scaled labels x (L,) at whitened labels u (F,)."""
    free = jnp.asarray(shared.free)
    return target.center.at[free].add(jnp.matmul(target.lower, u, precision=_PRECISION))


def draw_at(shared: Shared, target: Target, u: U) -> X:
    """x at whitened labels u, as a draw is kept."""
    return shared.likelihood.fold(labels_at(shared, target, u))


def log_density_at(shared: Shared, target: Target, x: X) -> Scalar:
    """ln of the posterior density of x, up to the evidence."""
    chi2, extra_logdet = shared.likelihood.chi2_and_logdet(target.data, x, target.noise_scale)
    logdet = target.logdet + jnp.sum(target.n_pix * jnp.log(target.noise_scale)) + extra_logdet
    scaled = x[: shared.scaling.n_labels]
    labels = shared.scaling.inverse(scaled)
    prior = sum((log_prob_inside(p, labels) for p in (*shared.priors, *target.priors)), start=jnp.zeros(()))
    return (
        log_likelihood_from_chi2(shared.likelihood.noise, chi2, logdet, jnp.sum(target.n_pix))
        + prior
        + log_volume(shared.scaling, scaled)
        + shared.likelihood.log_prior(x)
    )


def log_density(shared: Shared, target: Target, u: U) -> Scalar:
    """`log_density_at` as a function of whitened labels u."""
    return log_density_at(shared, target, labels_at(shared, target, u))


# --- the mode and the curvature there, found once per star before any sampler runs

#: Newton steps at most on the way from the fit to the posterior's mode.
_MAX_STEPS = 25
#: The largest standard deviation, in scaled labels, of a direction that the data do not constrain.
_WIDEST = 1.5


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Newton:
    """State of the damped Newton search for the mode; ``n_steps`` of `_MAX_STEPS` ends it.

    The best point so far with its density, the slope there, and eigenvalues and eigenvectors of the curvature there.
    """

    u: U
    log_density: Scalar
    slope: U
    value: U
    vector: Float[Array, "free free"]
    damping: Scalar
    n_steps: Array


def make_target(
    shared: Shared,
    flux: StarFlux,
    ivar: StarFlux,
    noise_scale: Float[Array, "*model"],
    x: X,
    priors: tuple[dist.Distribution, ...],
    sigma: StarFlux | None = None,
) -> Target:
    """A star's target about the posterior's mode, whitened by the curvature there; the search starts at ``x``.

    ``sigma`` is that of the Gaussians by which predictions are convolved, where stars have their own line spreads.
    """
    noise = shared.likelihood.noise
    own = None if shared.line_spread is None or sigma is None else shared.line_spread.of_star(sigma)
    start = Target(
        data=shared.likelihood.prepare_star(flux, ivar, x, own),
        priors=priors,
        logdet=noise.inverse_covariance(ivar).logdet(),
        n_pix=shared.likelihood.n_pix(ivar).astype(flux.dtype),
        noise_scale=noise_scale,
        center=x,
        lower=jnp.eye(len(shared.free), dtype=x.dtype),
    )

    def value_and_slope(u: U) -> tuple[U, tuple[Scalar, U]]:
        value, slope = jax.value_and_grad(lambda u: log_density(shared, start, u))(u)
        return slope, (value, slope)

    def step(state: _Newton) -> _Newton:
        """One step from the best point so far, and the density, its slope and its curvature where that leads."""
        along = state.vector.T @ state.slope
        u = state.u + state.vector @ (along / (state.value * (1 + state.damping)))
        hessian, (log_p, slope) = jax.jacfwd(value_and_slope, has_aux=True)(u)
        value, vector = _eigen(-hessian)
        better = log_p > state.log_density
        damping = jnp.where(better, state.damping / 8, 8 * jnp.maximum(state.damping, 0.1))
        best = _Newton(u, log_p, slope, value, vector, damping, state.n_steps)
        best = jax.tree_util.tree_map(partial(jnp.where, better), best, dataclasses.replace(state, damping=damping))
        # ln p still to gain if it is a parabola: below a thousandth, the mode is known to a twentieth of its width
        to_gain = 0.5 * jnp.sum(jnp.square(best.vector.T @ best.slope) / best.value)
        done = (to_gain < 1e-3) | (damping > 1e4)
        return dataclasses.replace(best, n_steps=jnp.where(done, _MAX_STEPS, state.n_steps + 1))

    n_free, dtype = len(shared.free), x.dtype
    zero, one = jnp.zeros(n_free, dtype), jnp.ones(n_free, dtype)
    # the first step stays where it is and evaluates: what is compiled there is not compiled a second time
    first = _Newton(
        zero, jnp.asarray(-jnp.inf, dtype), zero, one, jnp.diag(one), jnp.zeros((), dtype), jnp.zeros((), jnp.int32)
    )
    mode = jax.lax.while_loop(lambda state: state.n_steps < _MAX_STEPS, step, first)
    # ½ (A + Aᵀ) of the inverse is positive definite by construction, so its Cholesky factor exists
    covariance = (mode.vector / mode.value) @ mode.vector.T
    lower = jnp.linalg.cholesky(0.5 * (covariance + covariance.T))
    return dataclasses.replace(start, center=labels_at(shared, start, mode.u), lower=lower)


def _eigen(curvature: Float[Array, "free free"]) -> tuple[U, Float[Array, "free free"]]:
    """Eigenvalues, none below that of the widest direction, and eigenvectors."""
    finite = jnp.where(jnp.isfinite(curvature), curvature, 0)
    value, vector = jnp.linalg.eigh(0.5 * (finite + finite.T))
    return jnp.maximum(value, 1 / _WIDEST**2), vector
