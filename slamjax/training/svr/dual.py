"""The ε-SVR dual of many pixels that share their stars, and how good a solution is.

    min_β ½ βᵀKβ − yᵀβ + ε‖β‖₁   subject to   1ᵀβ = 0,  |β_i| ≤ c_i

A column is one such problem: a pixel with its C and ε. All columns share the kernel matrix K of the stars; c_i = 0
leaves a star out of a column. Everything here is float64, whatever precision a solver works in: solvers are judged by
it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

Columns = Float[np.ndarray, "column star"]
Each = Float[np.ndarray, " column"]


@dataclass(frozen=True)
class Duals:
    """Columns that share K (n, n): targets y and boxes c (M, n), ε (M,)."""

    kernel: Float[np.ndarray, "star star"]
    y: Columns
    box: Columns
    epsilon: Each

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, chosen: np.ndarray | slice) -> Duals:
        return replace(self, y=self.y[chosen], box=self.box[chosen], epsilon=self.epsilon[chosen])

    def feasible(self, beta: Columns) -> Columns:
        """β with a sum of zero to float64 precision; zeros and bounds stay exact.

        Solvers leave a sum of rounding errors. It is distributed over the coefficients between their bounds, equally as
        far as there is room; over others only if there are none.
        """
        beta = np.clip(beta, -self.box, self.box)
        least = 1e-14 * self.box.sum(axis=1)
        for movable in (self._free(beta), self.box > 0):
            for _ in range(4):
                excess = beta.sum(axis=1)
                excess = np.where(np.abs(excess) > least, excess, 0)
                if not excess.any():
                    return beta
                down = excess[:, None] > 0
                room = np.where(movable, np.where(down, beta + self.box, self.box - beta), 0)
                part = np.minimum(room, (np.abs(excess) / np.maximum((room > 0).sum(axis=1), 1))[:, None])
                beta = beta - np.where(down, part, -part)
        return beta

    def _free(self, beta: Columns) -> Bool[np.ndarray, "column star"]:
        return (beta != 0) & (np.abs(beta) < self.box)

    def gradient(self, beta: Columns) -> Columns:
        """Kβ − y (M, n)."""
        return beta @ self.kernel - self.y

    def objective(self, beta: Columns, gradient: Columns) -> Each:
        """½ βᵀKβ − yᵀβ + ε‖β‖₁."""
        return 0.5 * np.einsum("mn,mn->m", beta, gradient - self.y) + self.epsilon * np.abs(beta).sum(axis=1)

    def judge(self, beta: Columns, gradient: Columns) -> Verdict:
        """How far feasible β are from the optimum, and their intercepts."""
        up, down = self._multipliers(beta, gradient)
        highest, lowest = up.max(axis=1), down.min(axis=1)
        free = self._free(beta)
        count = free.sum(axis=1)
        # as in libsvm: the mean over the coefficients between their bounds, or the middle of the possible range
        inner = np.where(free, up, 0).sum(axis=1) / np.maximum(count, 1)
        closed = ~np.any(self.box > 0, axis=1)
        with np.errstate(invalid="ignore"):
            intercept = np.where(count > 0, inner, 0.5 * (highest + lowest))
        intercept = np.where(closed, 0.0, intercept)
        objective = self.objective(beta, gradient)
        residual = np.abs(gradient + intercept[:, None])
        loss = np.einsum("mn,mn->m", self.box, np.maximum(residual - self.epsilon[:, None], 0))
        primal = 0.5 * np.einsum("mn,mn->m", beta, gradient + self.y) + loss
        return Verdict(np.where(closed, 0, np.maximum(highest - lowest, 0)), primal + objective, objective, intercept)

    def _multipliers(self, beta: Columns, gradient: Columns) -> tuple[Columns, Columns]:
        """Intercepts below which a coefficient wants to grow, and above which it wants to shrink.

        At an optimum no star's first exceeds another's second.
        """
        epsilon = self.epsilon[:, None]
        up = np.where(beta < self.box, np.where(beta >= 0, -epsilon, epsilon) - gradient, -np.inf)
        down = np.where(beta > -self.box, np.where(beta > 0, -epsilon, epsilon) - gradient, np.inf)
        return up, down


@dataclass(frozen=True)
class Verdict:
    """Of each column: KKT violation as libsvm measures it, duality gap, objective, intercept."""

    violation: Each
    gap: Each
    objective: Each
    intercept: Each

    def __getitem__(self, chosen: np.ndarray | slice) -> Verdict:
        return Verdict(self.violation[chosen], self.gap[chosen], self.objective[chosen], self.intercept[chosen])
