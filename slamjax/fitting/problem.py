"""What is minimised for one star: the same for every minimiser."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from slamjax.emulators.base import Emulator
from slamjax.forward.emulator import ForwardEmulator
from slamjax.forward.likelihood import information
from slamjax.noise.models import InverseCovariance, Noise
from slamjax.typing import LogPrior, Scalar

Loss = Literal["chi2", "soft_l1"]
LOSSES = ("chi2", "soft_l1")

Star = Float[Array, " pixel"]
X = Float[Array, " label"]


class Status(IntEnum):
    """How far a problem has come."""

    RUNNING = 0
    CONVERGED = 1
    EXHAUSTED = 2
    REDUNDANT = 3


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["emulator", "noise", "low", "high"],
    meta_fields=["loss", "log_prior"],
)
@dataclass(frozen=True)
class Problem:
    """Emulator, noise, the box of scaled labels that is searched, and what makes it more than least squares."""

    emulator: Emulator | ForwardEmulator
    noise: Noise
    low: X
    high: X
    loss: Loss
    log_prior: LogPrior | None

    def information(self, x: X, flux: Star, inv_cov: InverseCovariance) -> Float[Array, "row row"]:
        """Gram matrix of residual and Jacobian, see `slamjax.forward.likelihood.information`."""
        return information(self.emulator, inv_cov, x, flux)

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


class State(Protocol):
    """What every minimiser's state shows the driver; a pytree whose leaves the driver stacks."""

    @property
    def x(self) -> X: ...
    @property
    def status(self) -> Int[Array, ""]: ...
    @property
    def n_iter(self) -> Int[Array, ""]: ...


class Minimiser(Protocol):
    """A way to minimise one star's problem, a few steps at a time; hashable, for it is static under jit."""

    def init(self, problem: Problem, x: X, flux: Star, ivar: Star) -> Any: ...
    def advance(self, problem: Problem, state: Any, flux: Star, ivar: Star) -> Any: ...
    def redundant(self, states: Any, active: np.ndarray, n_stars: int) -> np.ndarray:
        """(active,) bool, asked between visits: starts that cannot end better than a finished one of their star."""
        ...

    def summary(self, problem: Problem, state: Any, flux: Star, ivar: Star) -> Summary: ...


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["x", "objective", "chi2", "curvature", "converged", "n_iter"],
    meta_fields=[],
)
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
