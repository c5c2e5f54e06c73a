"""Levenberg-Marquardt inside a box, for one star (vmapped and jitted by the driver).

With a prior, χ² here and Σ⁻¹'s sums are those of `Problem.normal_equations`: the prior's cost, slope and curvature are
added to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from slamjax._util.linalg import eliminate
from slamjax.fitting.problem import Problem, Star, Status, Summary, X
from slamjax.noise.inverse_covariance import InverseCovariance
from slamjax.typing import Scalar

Matrix = Float[Array, "n n"]
#: A matrix with one row and column more, for the residual.
Bordered = Float[Array, "m m"]

#: Remaining step at convergence, in standard errors, by bytes of a number: float32's kernel sums resolve a few
#: thousandths.
_TOLERANCE = {4: 2e-3, 8: 1e-4}
#: Remaining step, in standard errors, from which on a fit is near its minimum; it ends after so many more steps if
#: rounding keeps it from its tolerance.
_NEAR, _LINGER = {4: 1e-2, 8: 3e-3}, 16
#: Steps shorter than this, in standard errors, say nothing of the curvature.
_SHORT = {4: 3e-2, 8: 3e-4}
#: A start is given up if even twice its predicted gain leaves χ² this far above that of a finished start.
_HOPELESS = 25.0


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LMState:
    """Current point, its Gram matrix, correction of the curvature, damping and its growth at a rejected step.

    ``n_close`` counts the steps that began near the minimum.
    """

    x: X
    gram: Float[Array, "row row"]
    bend: Float[Array, "label label"]
    damping: Float[Array, ""]
    growth: Float[Array, ""]
    n_close: Int[Array, ""]
    n_iter: Int[Array, ""]
    status: Int[Array, ""]


@dataclass(frozen=True)
class LevenbergMarquardt:
    """(JᵀΣ⁻¹J + λ D) δ = JᵀΣ⁻¹r, with D the diagonal of JᵀΣ⁻¹J (Marquardt 1963, J. SIAM 11, 431).

    A label at an edge of the box is held there if the gradient points outwards. The search ends where the remaining
    Gauss-Newton step is below 0.002 standard errors (in float64 a ten-thousandth), or a hundredth where rounding or
    slow convergence leaves no better; the last step is taken, too.
    """

    max_iter: int = 60
    stride: int = 4  # steps per visit of the driver

    def init(self, problem: Problem, x: X, flux: Star, inv_cov: InverseCovariance) -> LMState:
        """A state before its first evaluation: χ² is infinite, and the first step, of length 0, evaluates it.

        So new stars in a batch need no separate evaluation.
        """
        x = jnp.clip(x, problem.low, problem.high)
        one = jnp.ones((), x.dtype)
        zero = jnp.zeros((), jnp.int32)
        gram = jnp.zeros((x.size + 1, x.size + 1), x.dtype).at[0, 0].set(jnp.inf)
        bend = jnp.zeros((x.size, x.size), x.dtype)
        return LMState(x, gram, bend, 3e-3 * one, 4 * one, zero, zero, zero + Status.RUNNING)

    def advance(self, problem: Problem, state: LMState, flux: Star, inv_cov: InverseCovariance) -> LMState:
        return jax.lax.fori_loop(0, self.stride, lambda _, s: self._step(problem, s, flux, inv_cov), state)

    def _step(self, problem: Problem, state: LMState, flux: Star, inv_cov: InverseCovariance) -> LMState:
        x, gram = state.x, state.gram
        chi2, downhill, curvature = gram[0, 0], gram[0, 1:], gram[1:, 1:]
        held = ((x <= problem.low) & (downhill < 0)) | ((x >= problem.high) & (downhill > 0))
        downhill = jnp.where(held, 0, downhill)
        # a label that is unconstrained within ten times its range must not make the system singular
        weakest = jnp.square(0.1 / (problem.high - problem.low))
        diagonal = jnp.maximum(jnp.diagonal(curvature), weakest)
        free = jnp.where(held[:, None] | held[None, :], 0, curvature + state.bend)
        fixed = free + jnp.diag(jnp.where(held, 1, 1e-6 * weakest))
        left = downhill @ _solve(fixed, downhill)
        near = jnp.isfinite(chi2) & (left < _NEAR[x.dtype.itemsize] ** 2)
        n_close = state.n_close + near
        arrived = near & ((left < _TOLERANCE[x.dtype.itemsize] ** 2) | (n_close > _LINGER))
        step = _solve(fixed + jnp.diag(jnp.where(held, 0, state.damping * diagonal)), downhill)
        new_x = jnp.clip(x + step, problem.low, problem.high)
        step = new_x - x
        new_gram = problem.normal_equations(new_x, flux, inv_cov)

        predicted = 2 * step @ downhill - step @ free @ step
        actual = chi2 - new_gram[0, 0]
        noise = _rounding(chi2)
        better = jnp.isfinite(new_gram[0, 0]) & (actual > -noise)
        ratio = jnp.where(predicted < noise, 1, actual / jnp.where(predicted > 0, predicted, 1))
        change = jnp.where(ratio < 0.25, 4.0, jnp.where(ratio > 0.75, 1 / 3, 1.0))
        damping = state.damping * jnp.where(better, change, state.growth)
        bend = _bend(state.bend, step, gram, new_gram)
        running = state.status == Status.RUNNING
        n_iter = state.n_iter + running
        # out of steps, but near
        arrived |= (n_iter >= self.max_iter) & jnp.isfinite(chi2) & (left < _NEAR[4] ** 2)
        ended = jnp.where(n_iter >= self.max_iter, Status.EXHAUSTED, Status.RUNNING)
        status = jnp.where(running, jnp.where(arrived, Status.CONVERGED, ended), state.status)
        new = LMState(
            x=jnp.where(better, new_x, x),
            gram=jnp.where(better, new_gram, gram),
            bend=jnp.where(jnp.all(jnp.isfinite(bend)), bend, state.bend),
            damping=jnp.clip(damping, 1e-7, 1e7),
            growth=jnp.where(better, 4, jnp.minimum(2 * state.growth, 64)).astype(x.dtype),
            n_close=n_close,
            n_iter=n_iter,
            status=status.astype(jnp.int32),
        )
        exhausted = state.status == Status.EXHAUSTED
        return jax.tree_util.tree_map(lambda a, b: jnp.where(exhausted, b, a), new, state)

    def redundant(self, states: LMState, active: np.ndarray, n_stars: int) -> np.ndarray:
        """Starts that have reached the end of a finished one, or whose predicted minimum lies far above it.

        Problem k is about star k mod ``n_stars``.
        """
        gram = np.asarray(states.gram, float)
        finished = np.asarray(states.status) == Status.CONVERGED
        chi2 = np.where(finished, gram[:, 0, 0], np.inf).reshape(-1, n_stars)
        star = active % n_stars
        best = np.argmin(chi2, axis=0)[star] * n_stars + star
        lowest = chi2.min(axis=0)[star]
        known = np.isfinite(lowest)
        curvature, downhill = gram[active, 1:, 1:], gram[active, 0, 1:]
        weak = 1e-6 * np.trace(curvature, axis1=1, axis2=2) + 1e-30  # keeps a flat direction from being singular
        step = np.linalg.solve(curvature + weak[:, None, None] * np.eye(downhill.shape[1]), downhill[..., None])[..., 0]
        gain = np.sum(downhill * step, axis=1)
        offset = np.asarray(states.x, float)[active] - np.asarray(states.x, float)[best]
        distance = np.einsum("ni,nij,nj->n", offset, curvature, offset)
        here = gram[active, 0, 0]
        arrived = (distance < 1) & (here < lowest + 2)
        hopeless = here - 2 * gain > lowest + _HOPELESS
        return known & (arrived | hopeless)

    def summary(self, problem: Problem, state: LMState, flux: Star, inv_cov: InverseCovariance) -> Summary:
        objective = jnp.where(state.status == Status.REDUNDANT, jnp.inf, state.gram[0, 0])
        prior = problem.prior_information(state.x)
        data = state.gram - prior
        converged = state.status == Status.CONVERGED
        return Summary(state.x, objective, data[0, 0], data[1:, 1:], prior[1:, 1:], converged, state.n_iter)


def _bend(bend: Matrix, step: X, gram: Bordered, new_gram: Bordered) -> Matrix:
    """Curvature of χ² beyond JᵀΣ⁻¹J, from the change of the gradient along a step.

    Where the emulator is curved and residuals are large, JᵀΣ⁻¹J is too small: Gauss-Newton steps overshoot and may
    never converge. A symmetric rank-one term u uᵀ / uᵀs with u = y − (J₊ᵀΣ⁻¹J₊ + B) s, y the change of the
    gradient, corrects that (as NL2SOL does; Dennis, Gay & Welsch 1981, ACM TOMS 7, 348, with their sizing of B). Only
    positive terms are used: the system stays definite, and too large a curvature only costs steps. Rejected trial
    points are used as well.
    """
    length = step @ new_gram[1:, 1:] @ step
    change = gram[0, 1:] - new_gram[0, 1:] - new_gram[1:, 1:] @ step
    along = step @ bend @ step
    bend = bend * jnp.clip(jnp.abs(step @ change) / jnp.where(along > 0, along, 1), 0, 1)
    missing = change - bend @ step
    gain = missing @ step
    # shorter steps are dominated by rounding; nearly orthogonal ones divide by almost 0
    significant = (length > _SHORT[step.dtype.itemsize] ** 2) & (
        gain > 1e-2 * jnp.linalg.norm(missing) * jnp.linalg.norm(step)
    )
    return bend + jnp.where(significant, 1, 0) * jnp.outer(missing, missing) / jnp.where(significant, gain, 1)


def _rounding(chi2: Scalar) -> Scalar:
    """Largest increase of χ² by rounding.

    Kernel sums cancel: terms are up to C, their sum is about 1. In float32 a pixel's flux is accurate to about 1e-3 of
    its noise, and χ² to 2 √χ² times that. A prior may make the sum negative.
    """
    return 5e4 * jnp.finfo(chi2.dtype).eps * jnp.sqrt(jnp.abs(chi2))


def _solve(matrix: Float[Array, "label label"], right: X) -> X:
    """One right-hand side of `slamjax._util.linalg.eliminate`."""
    return eliminate(matrix, right[:, None])[0][:, 0]
