"""Gradient minimisers from optax, for objectives that are not sums of squares (a prior, a robust loss)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from slamjax.fitting.problem import Problem, Star, Status, Summary, X
from slamjax.noise.models import InverseCovariance


@partial(jax.tree_util.register_dataclass, data_fields=["origin", "whiten", "low", "high"], meta_fields=[])
@dataclass(frozen=True)
class Coordinates:
    """x = low + (high − low) · sigmoid(origin + W v): no bounds on v, and near the start a step of 1 is a sigma.

    W Wᵀ is the inverse of the Fisher information, with the prior's curvature, at the start. Unwhitened, labels that
    go along with each other cost L-BFGS dozens of steps and Adam thousands.
    """

    origin: X
    whiten: Float[Array, "label label"]
    low: X
    high: X

    def __call__(self, v: X) -> X:
        return self.low + (self.high - self.low) * jax.nn.sigmoid(self.origin + self.whiten @ v)

    @classmethod
    def at(cls, problem: Problem, x: X, flux: Star, inv_cov: InverseCovariance) -> Coordinates:
        part = jnp.clip((x - problem.low) / (problem.high - problem.low), 0.01, 0.99)
        slope = (problem.high - problem.low) * part * (1 - part)
        inside = problem.low + (problem.high - problem.low) * part
        curvature = problem.information(inside, flux, inv_cov)[1:, 1:]
        if problem.log_prior is not None:
            curvature = curvature + _convex(jax.hessian(problem.penalty)(inside))
        fisher = curvature * slope[:, None] * slope[None, :]
        # a direction without information gets steps of about the range, and the matrix stays definite
        lower = jnp.linalg.cholesky(fisher + jnp.eye(x.size, dtype=x.dtype) * (0.3 + 1e-5 * jnp.trace(fisher)))
        whiten = jax.scipy.linalg.solve_triangular(lower, jnp.eye(x.size, dtype=x.dtype), lower=True).T
        return cls(jnp.log(part) - jnp.log1p(-part), whiten, problem.low, problem.high)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["coordinates", "v", "x", "value", "optimiser", "n_iter", "status"],
    meta_fields=[],
)
@dataclass(frozen=True)
class GradientState:
    """The current point v, the best point met so far as scaled labels x with its objective, optax's own state."""

    coordinates: Coordinates
    v: X
    x: X
    value: Float[Array, ""]
    optimiser: Any
    n_iter: Int[Array, ""]
    status: Int[Array, ""]


@dataclass(frozen=True)
class GradientMinimiser:
    """Adam or L-BFGS in whitened coordinates without bounds.

    A visit of ``stride`` steps that gains less than ``tolerance`` in the objective ends the search.
    """

    name: Literal["adam", "lbfgs"]
    max_iter: int
    stride: int
    tolerance: float = 1e-4

    @property
    def _optimiser(self) -> Any:
        if self.name == "lbfgs":
            # strong Wolfe conditions: far from the minimum the sigmoid is concave, and a search that only asks for
            # descent would teach L-BFGS a negative curvature. Few steps, for under vmap every one costs both of its
            # branches.
            search = optax.scale_by_zoom_linesearch(max_linesearch_steps=8, initial_guess_strategy="one")
            return optax.lbfgs(memory_size=6, linesearch=search)
        return optax.adam(optax.exponential_decay(0.5, transition_steps=self.max_iter, decay_rate=1e-3))

    def init(self, problem: Problem, x: X, flux: Star, ivar: Star) -> GradientState:
        inv_cov = problem.noise.inverse_covariance(ivar)
        coordinates = Coordinates.at(problem, x, flux, inv_cov)
        v = jnp.zeros_like(x)
        x = coordinates(v)
        zero = jnp.zeros((), jnp.int32)
        value = problem.objective(x, flux, inv_cov)
        return GradientState(coordinates, v, x, value, self._optimiser.init(v), zero, zero + Status.RUNNING)

    def advance(self, problem: Problem, state: GradientState, flux: Star, ivar: Star) -> GradientState:
        optimiser = self._optimiser
        inv_cov = problem.noise.inverse_covariance(ivar)

        def objective(v: X) -> Float[Array, ""]:
            return problem.objective(state.coordinates(v), flux, inv_cov)

        def step(_: int, carry: tuple[X, Any, X, Any]) -> tuple[X, Any, X, Any]:
            v, inner, best, lowest = carry
            if self.name == "lbfgs":
                value, slope = optax.value_and_grad_from_state(objective)(v, state=inner)
                update, inner = optimiser.update(slope, inner, v, value=value, grad=slope, value_fn=objective)
            else:
                value, slope = jax.value_and_grad(objective)(v)
                update, inner = optimiser.update(slope, inner, v)
            improved = value < lowest
            return v + update, inner, jnp.where(improved, v, best), jnp.where(improved, value, lowest)

        # Adam does not only descend: the best point met is kept beside the current one
        first = (state.v, state.optimiser, state.v, jnp.full_like(state.value, jnp.inf))
        v, inner, best, lowest = jax.lax.fori_loop(0, self.stride, step, first)
        last = objective(v)
        best, lowest = jnp.where(last < lowest, v, best), jnp.minimum(last, lowest)
        better = lowest < state.value
        n_iter = state.n_iter + self.stride
        # float32's kernel sums leave the objective uncertain by some 1e-3 of its square root
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
        """None: without a curvature at hand there is no telling."""
        return np.zeros(active.size, dtype=bool)

    def summary(self, problem: Problem, state: GradientState, flux: Star, ivar: Star) -> Summary:
        inv_cov = problem.noise.inverse_covariance(ivar)
        curvature = jax.hessian(problem.objective)(state.x, flux, inv_cov)
        chi2 = jnp.sum(jnp.square(inv_cov.whiten(flux - problem.emulator.at(state.x))))
        converged = state.status == Status.CONVERGED
        return Summary(state.x, 2 * state.value, chi2, curvature, converged, state.n_iter)


def _convex(matrix: Float[Array, "label label"]) -> Float[Array, "label label"]:
    """The matrix without its negative part, which no positive definite whitening can use."""
    value, vector = jnp.linalg.eigh(matrix)
    return (vector * jnp.maximum(value, 0)) @ vector.T
