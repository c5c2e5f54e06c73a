"""χ² of a star as a function of its scaled labels, per pixel or in the emulator's components."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from slamjax.emulators.base import Emulator
from slamjax.forward.line_spread import LineSpread, seen_through
from slamjax.noise.inverse_covariance import InverseCovariance
from slamjax.noise.models import Noise
from slamjax.sampling.components import Components
from slamjax.typing import Scalar

StarFlux = Float[Array, " pixel"]
#: Scaled labels of a star, and behind them the coordinates of its velocities, if these are sampled.
X = Float[Array, " label"]

_PRECISION = jax.lax.Precision.HIGHEST


def log_likelihood_from_chi2(noise: Noise, chi2: Any, logdet: Any, n_pix: Any) -> Any:
    """ln p of a spectrum from its χ² = rᵀΣ⁻¹r, which is all that a likelihood here knows of the data.

    The one place that says what distribution the noise has: a Gaussian.
    """
    return -0.5 * (chi2 + logdet + n_pix * jnp.log(2 * jnp.pi))


def n_good(noise: Noise, ivar: StarFlux) -> Any:
    """Number of pixels that count."""
    return jnp.sum(noise.weights(ivar) > 0)


class Likelihood(Protocol):
    """χ² of a star at scaled labels; what does not depend on the labels is computed once per star."""

    @property
    def noise(self) -> Noise: ...

    def prepare_star(self, flux: StarFlux, ivar: StarFlux, x: X, line_spread: LineSpread | None = None) -> Any:
        """What is kept of a spectrum, for labels about ``x``; ``line_spread`` is the star's own, if it has one."""
        ...

    def chi2_and_logdet(self, data: Any, x: X, noise_scale: Any) -> tuple[Scalar, Any]:
        """rᵀS⁻¹r, and the part of ln |S| that depends on x; S is Σ times the star's noise scale, and more."""
        ...

    def n_pix(self, ivar: StarFlux) -> Any:
        """Number of good pixels."""
        ...

    def log_prior(self, x: X) -> Any:
        """ln prior of the parameters behind the labels in x."""
        ...

    def fold(self, x: Any) -> Any:
        """Draws as they are kept: one of several x that mean the same."""
        ...


class LabelsOnly(ABC):
    """What likelihoods have in common that depend on labels alone, with a Σ that does not depend on them."""

    @abstractmethod
    def chi2(self, data: Any, x: X) -> Scalar:
        """rᵀΣ⁻¹r."""

    def chi2_and_logdet(self, data: Any, x: X, noise_scale: Any) -> tuple[Scalar, Any]:
        return self.chi2(data, x) / noise_scale, 0.0

    noise: Any

    def n_pix(self, ivar: StarFlux) -> Any:
        return n_good(self.noise, ivar)

    def log_prior(self, x: X) -> Any:
        return 0.0

    def fold(self, x: Any) -> Any:
        return x


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FluxStar:
    """A spectrum, its inverse covariance, and its own line spread, if it has one; of several spectra a tuple."""

    flux: StarFlux
    inv_cov: InverseCovariance
    line_spread: LineSpread | tuple[LineSpread | None, ...] | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FluxLikelihood(LabelsOnly):
    """χ² summed over pixels."""

    emulator: Emulator
    noise: Noise

    def prepare_star(self, flux: StarFlux, ivar: StarFlux, x: X, line_spread: LineSpread | None = None) -> FluxStar:
        return FluxStar(flux, self.noise.inverse_covariance(ivar), line_spread)

    def chi2(self, data: FluxStar, x: X) -> Scalar:
        predicted = seen_through(self.emulator, data.line_spread).at(x)
        return jnp.sum(jnp.square(data.inv_cov.whiten(data.flux - predicted)))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ProjectedStar:
    """χ²(x) = ‖R (z(x) − z₀) − d‖² + c.

    Attributes
    ----------
    origin : (r,) z₀, the components at the labels about which the form is expanded
    root : (r, r) R, triangular, with RᵀR = G Σ⁻¹ Gᵀ
    lead : (r,) d, the part of the residual there that components can remove
    rest : c, the part of χ² that they cannot
    """

    origin: Float[Array, " component"]
    root: Float[Array, "component component"]
    lead: Float[Array, " component"]
    rest: Scalar


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ProjectedLikelihood(LabelsOnly):
    """χ² as a quadratic form in the components z(x) about a star's fit, which avoids differences of large numbers."""

    emulator: Emulator
    noise: Noise
    components: Components

    def prepare_star(
        self, flux: StarFlux, ivar: StarFlux, x: X, line_spread: LineSpread | None = None
    ) -> ProjectedStar:
        inv_cov = self.noise.inverse_covariance(ivar)
        residual = inv_cov.whiten(flux - seen_through(self.emulator, line_spread).at(x))
        basis = jnp.asarray(self.components.basis)
        columns = jax.vmap(inv_cov.whiten)(basis if line_spread is None else line_spread(basis)).T
        orthogonal, root = jnp.linalg.qr(columns)
        lead = jnp.matmul(orthogonal.T, residual, precision=_PRECISION)
        rest = jnp.sum(jnp.square(residual - jnp.matmul(orthogonal, lead, precision=_PRECISION)))
        return ProjectedStar(self.components(x), root, lead, rest)

    def chi2(self, data: ProjectedStar, x: X) -> Scalar:
        moved = jnp.matmul(data.root, self.components(x) - data.origin, precision=_PRECISION)
        return jnp.sum(jnp.square(moved - data.lead)) + data.rest
