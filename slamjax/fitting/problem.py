"""The objective of one star's fit, and the protocol of minimisers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax.emulators.base import Emulator
from slamjax.forward.emulator import ForwardEmulator
from slamjax.noise.inverse_covariance import InverseCovariance
from slamjax.noise.models import Noise
from slamjax.typing import LogPrior, Scalar

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
    """Emulator, noise, the box of scaled parameters that is searched, loss and prior."""

    emulator: Emulator | ForwardEmulator
    noise: Noise
    low: X
    high: X
    loss: Loss = field(metadata={"static": True})
    log_prior: LogPrior | None = field(metadata={"static": True})

    def information(self, x: X, flux: Star, inv_cov: InverseCovariance) -> Float[Array, "row row"]:
        """Gram matrix of residual and Jacobian, see `slamjax.emulators.base.Standardised.information`."""
        return self.emulator.information(inv_cov, x, flux)

    def objective(self, x: X, flux: Star, inv_cov: InverseCovariance) -> Scalar:
        """½ Σ ρ(z²) − ln prior, with z the whitened residuals.

        ρ(z²) = z² for "chi2", 2 (√(1 + z²) − 1) for "soft_l1", which grows with |z| only.
        """
        square = jnp.square(inv_cov.whiten(flux - self.emulator.at(x)))
        rho = square if self.loss == "chi2" else 2 * (jnp.sqrt(1 + square) - 1)
        return 0.5 * jnp.sum(rho) + self.penalty(x)

    def penalty(self, x: X) -> Scalar:
        """−ln prior; 0 where there is none."""
        if self.log_prior is None:
            return jnp.zeros((), x.dtype)
        return -self.log_prior(self.emulator.scaling.inverse(x))


class Minimiser(Protocol):
    """Minimises one star's problem, a few steps at a time; hashable, because it is static under jit."""

    def init(self, problem: Problem, x: X, flux: Star, ivar: Star) -> Any: ...
    def advance(self, problem: Problem, state: Any, flux: Star, ivar: Star) -> Any: ...
    def redundant(self, states: Any, active: np.ndarray, n_stars: int) -> np.ndarray:
        """(active,) bool, between visits: starts that cannot end better than a finished one of the same star."""
        ...

    def summary(self, problem: Problem, state: Any, flux: Star, ivar: Star) -> Summary: ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Summary:
    """Where a problem ended.

    Attributes
    ----------
    x : (L,) scaled labels
    objective : what was minimised, doubled (χ² for plain least squares), to compare starts
    chi2 : rᵀ Σ⁻¹ r
    curvature : (L, L) inverse covariance of x: Fisher information, or the objective's Hessian
    """

    x: X
    objective: Scalar
    chi2: Scalar
    curvature: Float[Array, "label label"]
    converged: Array
    n_iter: Array
