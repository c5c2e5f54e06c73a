"""The posterior density of one star in whitened labels: what every sampler is given.

ln p(u) = ln p(f | x) + ln prior(labels(x)) + ln |∂ labels / ∂ x|,  x = x₀ + L u over the labels that are not fixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from slamjax.emulators.base import Emulator
from slamjax.emulators.scaling import LabelScaling
from slamjax.noise.models import InverseCovariance, Noise
from slamjax.sampling.priors import log_prob_inside, log_volume
from slamjax.sampling.projection import Components
from slamjax.typing import Scalar

Star = Float[Array, " pixel"]
X = Float[Array, " label"]
U = Float[Array, " free"]

_PRECISION = jax.lax.Precision.HIGHEST


def log_likelihood_from_chi2(noise: Noise, chi2: Any, logdet: Any, n_pix: Any) -> Any:
    """ln p of a spectrum from its χ² = rᵀΣ⁻¹r: all that a likelihood here knows of the data.

    The one place that says what distribution the noise has.
    """
    return -0.5 * (chi2 + logdet + n_pix * jnp.log(2 * jnp.pi))


class Likelihood(Protocol):
    """χ² of a star at scaled labels, with all that does not depend on them made once a star."""

    noise: Any

    def star(self, flux: Star, ivar: Star, x: X) -> Any:
        """What is kept of a spectrum, for labels about ``x``."""
        ...

    def terms(self, star: Any, x: X, own: Any) -> tuple[Scalar, Any]:
        """rᵀS⁻¹r, and ln |S| as far as it depends on x; S is Σ times the star's own factor, and more."""
        ...

    def log_prior(self, x: X) -> Any:
        """Of what stands behind the labels in x."""
        ...

    def folded(self, x: Any) -> Any:
        """Draws as they are kept: one of several x that mean the same."""
        ...


class LabelsAlone:
    """What likelihoods have in common that know labels only, and whose Σ does not depend on them."""

    def chi2(self, star: Any, x: X) -> Scalar:
        """rᵀΣ⁻¹r."""
        raise NotImplementedError

    def terms(self, star: Any, x: X, own: Any) -> tuple[Scalar, Any]:
        return self.chi2(star, x) / own, 0.0

    def log_prior(self, x: X) -> Any:
        return 0.0

    def folded(self, x: Any) -> Any:
        return x


@partial(jax.tree_util.register_dataclass, data_fields=["flux", "inv_cov"], meta_fields=[])
@dataclass(frozen=True)
class FluxStar:
    flux: Star
    inv_cov: InverseCovariance


@partial(jax.tree_util.register_dataclass, data_fields=["emulator", "noise"], meta_fields=[])
@dataclass(frozen=True)
class FluxLikelihood(LabelsAlone):
    """χ² pixel by pixel."""

    emulator: Emulator
    noise: Noise

    def star(self, flux: Star, ivar: Star, x: X) -> FluxStar:
        return FluxStar(flux, self.noise.inverse_covariance(ivar))

    def chi2(self, star: FluxStar, x: X) -> Scalar:
        return jnp.sum(jnp.square(star.inv_cov.whiten(star.flux - self.emulator.at(x))))


@partial(jax.tree_util.register_dataclass, data_fields=["origin", "root", "lead", "rest"], meta_fields=[])
@dataclass(frozen=True)
class ProjectedStar:
    """χ²(x) = ‖R (z(x) − z₀) − d‖² + c.

    Attributes
    ----------
    origin : (r,) z₀ at the labels about which the form is
    root : (r, r) R, triangular, with RᵀR = G Σ⁻¹ Gᵀ
    lead : (r,) d, the residual there as far as components can take it away
    rest : c, what is left of χ²
    """

    origin: Float[Array, " component"]
    root: Float[Array, "component component"]
    lead: Float[Array, " component"]
    rest: Scalar


@partial(jax.tree_util.register_dataclass, data_fields=["emulator", "noise", "projection"], meta_fields=[])
@dataclass(frozen=True)
class ProjectedLikelihood(LabelsAlone):
    """χ² as a quadratic form in the components z(x), about a star's fit: differences of large numbers stay small."""

    emulator: Emulator
    noise: Noise
    projection: Components

    def star(self, flux: Star, ivar: Star, x: X) -> ProjectedStar:
        inv_cov = self.noise.inverse_covariance(ivar)
        residual = inv_cov.whiten(flux - self.emulator.at(x))
        columns = jax.vmap(inv_cov.whiten)(self.projection.basis).T
        orthogonal, root = jnp.linalg.qr(columns)
        lead = jnp.matmul(orthogonal.T, residual, precision=_PRECISION)
        rest = jnp.sum(jnp.square(residual - jnp.matmul(orthogonal, lead, precision=_PRECISION)))
        return ProjectedStar(self.projection(x), root, lead, rest)

    def chi2(self, star: ProjectedStar, x: X) -> Scalar:
        moved = jnp.matmul(star.root, self.projection(x) - star.origin, precision=_PRECISION)
        return jnp.sum(jnp.square(moved - star.lead)) + star.rest


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["likelihood", "scaling", "priors"],
    meta_fields=["free"],
)
@dataclass(frozen=True)
class Shared:
    """What all stars have in common; ``free`` are the places of what is sampled: labels, and nuisances behind them."""

    likelihood: Any
    scaling: LabelScaling
    priors: tuple[dist.Distribution, ...]
    free: tuple[int, ...]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["data", "priors", "constant", "center", "lower"],
    meta_fields=[],
)
@dataclass(frozen=True)
class Target:
    """One star's own part.

    Attributes
    ----------
    data : of the spectrum, from `Likelihood.star`
    priors : distributions that are this star's own
    constant : (3,) ln |Σ|, the number of good pixels, and the factor of Σ that is the star's own
    center : (L,) x₀; fixed labels have their values here
    lower : (F, F) L, of the free labels
    """

    data: Any
    priors: tuple[dist.Distribution, ...]
    constant: Float[Array, " 3"]
    center: X
    lower: Float[Array, "free free"]


def labels_at(shared: Shared, target: Target, u: U) -> X:
    """Scaled labels x (L,) at whitened labels u (F,)."""
    free = jnp.asarray(shared.free)
    return target.center.at[free].add(jnp.matmul(target.lower, u, precision=_PRECISION))


def draw_at(shared: Shared, target: Target, u: U) -> X:
    """x at whitened labels u, as a draw is kept."""
    return shared.likelihood.folded(labels_at(shared, target, u))


def log_density_at(shared: Shared, target: Target, x: X) -> Scalar:
    """ln of the posterior density of x, up to the evidence."""
    logdet, n_pix, own = target.constant
    chi2, more = shared.likelihood.terms(target.data, x, own)
    scaled = x[: shared.scaling.n_labels]
    labels = shared.scaling.inverse(scaled)
    prior = sum((log_prob_inside(p, labels) for p in (*shared.priors, *target.priors)), start=jnp.zeros(()))
    return (
        log_likelihood_from_chi2(shared.likelihood.noise, chi2, logdet + n_pix * jnp.log(own) + more, n_pix)
        + prior
        + log_volume(shared.scaling, scaled)
        + shared.likelihood.log_prior(x)
    )


def log_density(shared: Shared, target: Target, u: U) -> Scalar:
    """The same at whitened labels u."""
    return log_density_at(shared, target, labels_at(shared, target, u))


# --- where the posterior is and how wide: once a star, before any sampler

#: Newton steps on the way from the fit to the posterior's mode.
_STEPS = 25
#: A direction that the data do not constrain is taken to have this standard deviation, in scaled labels, at most.
_WIDEST = 1.5


def make_target(
    shared: Shared, flux: Star, ivar: Star, own: Scalar, x: X, priors: tuple[dist.Distribution, ...]
) -> tuple[Target, Float[Array, ""]]:
    """The target about the posterior's mode, whitened by the curvature there; and the mode's ln density."""
    noise = shared.likelihood.noise
    n_free = len(shared.free)
    constant = jnp.stack(
        [noise.inverse_covariance(ivar).logdet(), jnp.sum(noise.weights(ivar) > 0).astype(flux.dtype), own]
    )
    target = Target(shared.likelihood.star(flux, ivar, x), priors, constant, x, jnp.eye(n_free, dtype=x.dtype))

    def density(u: U) -> Scalar:
        return log_density(shared, target, u)

    def step(carry: tuple[U, Scalar, Scalar, Any]) -> tuple[U, Scalar, Scalar, Any]:
        u, value, damping, n = carry
        slope, curvature = jax.grad(density)(u), -jax.hessian(density)(u)
        root, vector = _spectrum(curvature)
        new = u + vector @ ((vector.T @ slope) / (root * (1 + damping)))
        at_new = density(new)
        better = at_new > value
        # ln p left to gain, if it is a parabola: once a hundredth, the mode is known to a tenth of its width
        left = 0.5 * jnp.sum(jnp.square(vector.T @ slope) / root)
        damping = jnp.where(better, damping / 8, 8 * jnp.maximum(damping, 0.1))
        n = jnp.where((left < 1e-2) | (damping > 1e4), _STEPS, n + 1)
        return jnp.where(better, new, u), jnp.where(better, at_new, value), damping, n

    u = jnp.zeros(n_free, x.dtype)
    first = (u, density(u), jnp.zeros((), x.dtype), jnp.zeros((), jnp.int32))
    mode, value, _, _ = jax.lax.while_loop(lambda carry: carry[-1] < _STEPS, step, first)
    root, vector = _spectrum(-jax.hessian(density)(mode))
    # ½ (A + Aᵀ) of the inverse is positive definite by construction: its Cholesky factor exists
    covariance = (vector / root) @ vector.T
    lower = jnp.linalg.cholesky(0.5 * (covariance + covariance.T))
    return Target(target.data, priors, constant, labels_at(shared, target, mode), lower), value


def _spectrum(curvature: Float[Array, "free free"]) -> tuple[U, Float[Array, "free free"]]:
    """Eigenvalues, none below what the widest direction has, and eigenvectors."""
    sound = jnp.where(jnp.isfinite(curvature), curvature, 0)
    value, vector = jnp.linalg.eigh(0.5 * (sound + sound.T))
    return jnp.maximum(value, 1 / _WIDEST**2), vector
