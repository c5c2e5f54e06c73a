"""Gradient minimisers from optax, for objectives that are not sums of squares (a prior, a robust loss)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from slamjax.fitting.problem import Problem, Star, Status, Summary, X


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["u", "x", "value", "optimiser", "n_iter", "status"],
    meta_fields=[],
)
@dataclass(frozen=True)
class GradientState:
    """Unbounded coordinates u, the scaled labels x they stand for, the objective there, optax's own state."""

    u: X
    x: X
    value: Float[Array, ""]
    optimiser: Any
    n_iter: Int[Array, ""]
    status: Int[Array, ""]


@dataclass(frozen=True)
class GradientMinimiser:
    """adam or L-BFGS in coordinates u with x = low + (high − low) · sigmoid(u): the box needs no clipping.

    A visit of ``stride`` steps that gains less than ``tolerance`` in the objective ends the search.
    """

    name: Literal["adam", "lbfgs"]
    max_iter: int
    stride: int
    tolerance: float = 1e-4

    @property
    def _optimiser(self) -> Any:
        if self.name == "lbfgs":
            return optax.lbfgs(memory_size=8)
        schedule = optax.exponential_decay(0.1, transition_steps=self.max_iter, decay_rate=0.01)
        return optax.adam(schedule)

    def init(self, problem: Problem, x: X, flux: Star, ivar: Star) -> GradientState:
        part = jnp.clip((x - problem.low) / (problem.high - problem.low), 0.01, 0.99)
        u = jnp.log(part) - jnp.log1p(-part)
        x = _inside(problem, u)
        zero = jnp.zeros((), jnp.int32)
        value = problem.objective(x, flux, ivar)
        return GradientState(u, x, value, self._optimiser.init(u), zero, zero + Status.RUNNING)

    def advance(self, problem: Problem, state: GradientState, flux: Star, ivar: Star) -> GradientState:
        optimiser = self._optimiser

        def objective(u: X) -> Float[Array, ""]:
            return problem.objective(_inside(problem, u), flux, ivar)

        def step(_: int, carry: tuple[X, Any, X, Any]) -> tuple[X, Any, X, Any]:
            u, inner, best_u, best_value = carry
            if self.name == "lbfgs":
                value, slope = optax.value_and_grad_from_state(objective)(u, state=inner)
                update, inner = optimiser.update(slope, inner, u, value=value, grad=slope, value_fn=objective)
            else:
                value, slope = jax.value_and_grad(objective)(u)
                update, inner = optimiser.update(slope, inner, u)
            improved = value < best_value
            best_u, best_value = jnp.where(improved, u, best_u), jnp.where(improved, value, best_value)
            return u + update, inner, best_u, best_value

        # adam does not only descend: the best point met is kept beside the current one
        first = (state.u, state.optimiser, state.u, jnp.full_like(state.value, jnp.inf))
        u, inner, best_u, best_value = jax.lax.fori_loop(0, self.stride, step, first)
        last = objective(u)
        best_u = jnp.where(last < best_value, u, best_u)
        value = jnp.minimum(last, best_value)
        n_iter = state.n_iter + self.stride
        gained = state.value - value
        small = gained < jnp.maximum(self.tolerance, 16 * jnp.finfo(u.dtype).eps * jnp.abs(value))
        status = jnp.where(small, Status.CONVERGED, jnp.where(n_iter >= self.max_iter, Status.EXHAUSTED, Status.RUNNING))
        better = value <= state.value
        return GradientState(
            u=u,
            x=jnp.where(better, _inside(problem, best_u), state.x),
            value=jnp.minimum(value, state.value),
            optimiser=inner,
            n_iter=n_iter,
            status=status.astype(jnp.int32),
        )

    def summary(self, problem: Problem, state: GradientState, flux: Star, ivar: Star) -> Summary:
        curvature = jax.hessian(problem.objective)(state.x, flux, ivar)
        chi2 = jnp.sum(jnp.square(problem.noise.standardise(flux - problem.emulator.at(state.x), ivar)))
        converged = state.status == Status.CONVERGED
        return Summary(state.x, 2 * state.value, chi2, curvature, converged, state.n_iter)


def _inside(problem: Problem, u: X) -> X:
    return problem.low + (problem.high - problem.low) * jax.nn.sigmoid(u)
