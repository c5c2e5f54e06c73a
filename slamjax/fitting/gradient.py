"""Gradient minimisers from optax, for objectives that are not sums of squares (a robust loss)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from slamjax.fitting.problem import Problem, Star, Status, Summary, X
from slamjax.noise.inverse_covariance import InverseCovariance


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Coordinates:
    """x = low + (high − low) · sigmoid(origin + W v): v is unbounded, and near the start a unit step is one σ.

    W Wᵀ is the inverse of the Fisher information, with the prior's curvature, at the start. Without whitening,
    correlated labels cost L-BFGS dozens of steps and Adam thousands.
    """

    origin: X
    whiten: Float[Array, "label label"]
    low: X
    high: X

    def __call__(self, v: X) -> X:
        return self.low + (self.high - self.low) * jax.nn.sigmoid(self.origin + self.whiten @ v)

    @classmethod
    def from_start(cls, problem: Problem, x: X, flux: Star, inv_cov: InverseCovariance) -> Coordinates:
        part = jnp.clip((x - problem.low) / (problem.high - problem.low), 0.01, 0.99)
        slope = (problem.high - problem.low) * part * (1 - part)
        inside = problem.low + (problem.high - problem.low) * part
        curvature = problem.normal_equations(inside, flux, inv_cov)[1:, 1:]
        fisher = curvature * slope[:, None] * slope[None, :]
        # unconstrained directions get steps of about the range, and the matrix stays definite
        lower = jnp.linalg.cholesky(fisher + jnp.eye(x.size, dtype=x.dtype) * (0.3 + 1e-5 * jnp.trace(fisher)))
        whiten = jax.scipy.linalg.solve_triangular(lower, jnp.eye(x.size, dtype=x.dtype), lower=True).T
        return cls(jnp.log(part) - jnp.log1p(-part), whiten, problem.low, problem.high)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GradientState:
    """The current point v, the best point so far as scaled labels x with its objective, and optax's state."""

    coordinates: Coordinates
    v: X
    x: X
    value: Float[Array, ""]
    optimiser: Any
    n_iter: Int[Array, ""]
    status: Int[Array, ""]


class _Search(NamedTuple):
    """The current point with optax's state, and the best point of this visit with its objective."""

    v: X
    optimiser: Any
    best: X
    lowest: Array


@dataclass(frozen=True)
class GradientMinimiser:
    """Adam or L-BFGS in whitened coordinates without bounds.

    The search ends when ``stride`` steps decrease the objective by less than ``tolerance``.
    """

    name: Literal["adam", "lbfgs"]
    max_iter: int
    stride: int
    tolerance: float = 1e-4

    @property
    def _optimiser(self) -> Any:
        if self.name == "lbfgs":
            # strong Wolfe conditions: far from the minimum the sigmoid is concave, and a plain descent search would
            # give L-BFGS negative curvature. Few steps, because under vmap each one costs both of its branches.
            search = optax.scale_by_zoom_linesearch(max_linesearch_steps=8, initial_guess_strategy="one")
            return optax.lbfgs(memory_size=6, linesearch=search)
        return optax.adam(optax.exponential_decay(0.5, transition_steps=self.max_iter, decay_rate=1e-3))

    def init(self, problem: Problem, x: X, flux: Star, inv_cov: InverseCovariance) -> GradientState:
        coordinates = Coordinates.from_start(problem, x, flux, inv_cov)
        v = jnp.zeros_like(x)
        x = coordinates(v)
        zero = jnp.zeros((), jnp.int32)
        value = problem.objective(x, flux, inv_cov)
        return GradientState(coordinates, v, x, value, self._optimiser.init(v), zero, zero + Status.RUNNING)

    def advance(self, problem: Problem, state: GradientState, flux: Star, inv_cov: InverseCovariance) -> GradientState:
        optimiser = self._optimiser

        def objective(v: X) -> Float[Array, ""]:
            return problem.objective(state.coordinates(v), flux, inv_cov)

        def step(_: int, search: _Search) -> _Search:
            v, inner = search.v, search.optimiser
            if self.name == "lbfgs":
                value, slope = optax.value_and_grad_from_state(objective)(v, state=inner)
                update, inner = optimiser.update(slope, inner, v, value=value, grad=slope, value_fn=objective)
            else:
                value, slope = jax.value_and_grad(objective)(v)
                update, inner = optimiser.update(slope, inner, v)
            improved = value < search.lowest
            best, lowest = jnp.where(improved, v, search.best), jnp.where(improved, value, search.lowest)
            return _Search(v + update, inner, best, lowest)

        # Adam does not always descend: keep the best point
        first = _Search(state.v, state.optimiser, state.v, jnp.full_like(state.value, jnp.inf))
        v, inner, best, lowest = jax.lax.fori_loop(0, self.stride, step, first)
        last = objective(v)
        best, lowest = jnp.where(last < lowest, v, best), jnp.minimum(last, lowest)
        better = lowest < state.value
        n_iter = state.n_iter + self.stride
        # float32's kernel sums leave the objective uncertain by about 1e-3 of its square root
        rounding = 2e4 * jnp.finfo(v.dtype).eps * jnp.sqrt(jnp.maximum(lowest, 1))
        small = state.value - lowest < jnp.maximum(self.tolerance, rounding)
        status = jnp.where(
            small, Status.CONVERGED, jnp.where(n_iter >= self.max_iter, Status.EXHAUSTED, Status.RUNNING)
        )
        return GradientState(
            coordinates=state.coordinates,
            v=v,
            x=jnp.where(better, state.coordinates(best), state.x),
            value=jnp.minimum(lowest, state.value),
            optimiser=inner,
            n_iter=n_iter,
            status=status.astype(jnp.int32),
        )

    def redundant(self, states: GradientState, active: np.ndarray, n_stars: int) -> np.ndarray:
        """None: that needs the curvature."""
        return np.zeros(active.size, dtype=bool)

    def summary(self, problem: Problem, state: GradientState, flux: Star, inv_cov: InverseCovariance) -> Summary:
        loss = dataclasses.replace(problem, prior=None)
        curvature = jax.hessian(loss.objective)(state.x, flux, inv_cov)
        prior = problem.prior_information(state.x)[1:, 1:]
        chi2 = jnp.sum(jnp.square(inv_cov.whiten(flux - problem.emulator.at(state.x))))
        converged = state.status == Status.CONVERGED
        return Summary(state.x, 2 * state.value, chi2, curvature, prior, converged, state.n_iter)
