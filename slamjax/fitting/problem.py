"""The objective of one star's fit, and the protocol of minimisers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax.emulators.base import Emulator
from slamjax.fitting.prior import Prior, StarPrior
from slamjax.forward.emulator import ForwardEmulator
from slamjax.forward.line_spread import LineSpreadGrid, seen_through
from slamjax.noise.inverse_covariance import InverseCovariance
from slamjax.noise.models import Noise
from slamjax.typing import Scalar

Loss = Literal["chi2", "soft_l1"]
LOSSES = ("chi2", "soft_l1")

Star = Float[Array, " pixel"]
X = Float[Array, " label"]


class Status(IntEnum):
    """State of a problem."""

    RUNNING = 0
    CONVERGED = 1
    EXHAUSTED = 2
    REDUNDANT = 3


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Problem:
    """Emulator, noise, the box of scaled parameters that is searched, loss and prior, of all stars or of one.

    ``line_spread`` is what that of each star is made from, where stars have their own; of joint fits that of several
    spectra. ``dense`` says whether stars have covariances of their own, `slamjax.noise.dense.DenseErrors`.
    """

    emulator: Emulator | ForwardEmulator
    noise: Noise
    low: X
    high: X
    loss: Loss = field(metadata={"static": True})
    prior: Prior | None = None
    line_spread: LineSpreadGrid | None = None
    dense: bool = field(default=False, metadata={"static": True})

    def of_star(self, star: StarPrior | None, sigma: Star | None = None) -> Problem:
        """The problem of a star, with what the prior has of it, and the line spread of ``sigma`` (P,)."""
        problem = self
        if self.line_spread is not None and sigma is not None:
            emulator = seen_through(self.emulator, self.line_spread.of_star(sigma))
            problem = dataclasses.replace(problem, emulator=emulator, line_spread=None)
        if self.prior is None or star is None:
            return problem
        return dataclasses.replace(problem, prior=self.prior.of_star(star))

    def information(self, x: X, flux: Star, inv_cov: InverseCovariance) -> Float[Array, "row row"]:
        """Gram matrix of residual and Jacobian, see `slamjax.emulators.base.Standardised.information`."""
        return self.emulator.information(inv_cov, x, flux)

    def normal_equations(self, x: X, flux: Star, inv_cov: InverseCovariance) -> Float[Array, "row row"]:
        """`information` and that of the prior: of what Levenberg-Marquardt minimises, χ² − 2 w ln prior.

        w is the star's noise scale: χ² / w is its χ² with the noise that it has.
        """
        gram = self.information(x, flux, inv_cov)
        return gram if self.prior is None else gram + self.prior.information(self.emulator.scaling, x)

    def objective(self, x: X, flux: Star, inv_cov: InverseCovariance) -> Scalar:
        """½ Σ ρ(z²) − w ln prior, with z the whitened residuals and w as of `normal_equations`.

        ρ(z²) = z² for "chi2", 2 (√(1 + z²) − 1) for "soft_l1", which grows with |z| only.
        """
        square = jnp.square(inv_cov.whiten(flux - self.emulator.at(x)))
        rho = square if self.loss == "chi2" else 2 * (jnp.sqrt(1 + square) - 1)
        half = 0.5 * jnp.sum(rho)
        return half if self.prior is None else half + self.prior.cost(self.emulator.scaling, x)

    def prior_information(self, x: X) -> Float[Array, "row row"]:
        """The prior's part of `normal_equations`; 0 where there is none."""
        if self.prior is None:
            return jnp.zeros((x.size + 1, x.size + 1), x.dtype)
        return self.prior.information(self.emulator.scaling, x)


class Minimiser(Protocol):
    """Minimises one star's problem, a few steps at a time; hashable, because it is static under jit."""

    def init(self, problem: Problem, x: X, flux: Star, inv_cov: InverseCovariance) -> Any: ...
    def advance(self, problem: Problem, state: Any, flux: Star, inv_cov: InverseCovariance) -> Any: ...
    def redundant(self, states: Any, active: np.ndarray, n_stars: int) -> np.ndarray:
        """(active,) bool, between visits: starts that cannot end better than a finished one of the same star."""
        ...

    def summary(self, problem: Problem, state: Any, flux: Star, inv_cov: InverseCovariance) -> Summary: ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Summary:
    """Where a problem ended.

    Attributes
    ----------
    x : (L,) scaled labels
    objective : what was minimised, doubled (χ² for plain least squares), to compare starts
    chi2 : rᵀ Σ⁻¹ r
    curvature : (L, L) inverse covariance of x without the prior: Fisher information, or the loss's Hessian
    prior_curvature : (L, L) that of the prior, times the star's weight; 0 where there is none
    """

    x: X
    objective: Scalar
    chi2: Scalar
    curvature: Float[Array, "label label"]
    prior_curvature: Float[Array, "label label"]
    converged: Array
    n_iter: Array
