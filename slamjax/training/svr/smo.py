"""Sequential minimal optimisation on a shared kernel matrix, compiled for CPUs by numba.

The steps are libsvm's (Fan, Chen & Lin 2005, JMLR 6, 1889): the pair of coefficients with the largest second-order
gain, until no pair violates the optimality conditions by more than the tolerance. It is fast because β = α − α* is one
variable per star instead of two, the kernel matrix exists already, every loop over stars is vectorised by the compiler,
and coefficients that can no longer move are left out of a compact copy.

Largest values are searched in the bits of float32 read as integers, which have the same order: compilers vectorise a
maximum of integers but not one of floats, because NaN has no order. There are no NaN here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from joblib import Parallel, delayed

from slamjax.training.svr.dual import Duals, Verdict
from slamjax.training.svr.machine_code import compiled

#: Stars are padded to a multiple of this, so that inner loops have a fixed length.
BLOCK = 64
#: Instead of infinity, which fast arithmetic excludes; its square stays within float32.
_FAR = np.float32(1e15)
_SMALL = np.float32(1e-12)
#: Coefficients in a compact copy, at most: its matrix of 4 MiB stays in the cache.
COMPACT = 1024
#: A compact copy is solved until its violation is this part of what it was; then a smaller one is made.
_FALL = np.float32(0.1)
#: Columns per task of a thread.
_TOGETHER = 8
#: A copy is worthwhile once at most this part of the stars can still move.
_FEW = 0.6


class Column(NamedTuple):
    """One column: float32 arrays over stars, padded to a multiple of `BLOCK`.

    Attributes
    ----------
    diagonal, box : of the kernel matrix; largest |β|
    beta, gradient : β and the gradient of its smooth part
    up, down : slopes of −ε|β| towards larger and smaller β
    gain, wish : scratch: the gain of a step, and how much a coefficient wants to grow
    """

    diagonal: np.ndarray
    box: np.ndarray
    beta: np.ndarray
    gradient: np.ndarray
    up: np.ndarray
    down: np.ndarray
    gain: np.ndarray
    wish: np.ndarray


class Copy(NamedTuple):
    """Memory for compact copies: the arrays of a `Column`, the stars' places, and the kernel matrix."""

    column: np.ndarray
    places: np.ndarray
    matrix: np.ndarray


@compiled(nogil=True, error_model="numpy", fastmath=True)
def _largest(bits):  # type: ignore[no-untyped-def]
    """Index of the first of the largest float32 numbers, given as their bits."""
    best, at = np.int32(-2147483648), 0
    for block in range(bits.shape[0] // BLOCK):
        here = np.int32(-2147483648)
        for k in range(BLOCK):
            value = bits[block * BLOCK + k]
            # negative floats grow as their bits shrink
            here = max(here, value ^ ((value >> np.int32(31)) & np.int32(0x7FFFFFFF)))
        if here > best:
            best, at = here, block * BLOCK
    for k in range(BLOCK):
        value = bits[at + k]
        if value ^ ((value >> np.int32(31)) & np.int32(0x7FFFFFFF)) == best:
            return at + k
    return at


@compiled(nogil=True, error_model="numpy", fastmath=True)
def _gains(down, gradient, row, diagonal, diagonal_i, highest, gain):  # type: ignore[no-untyped-def]
    """Twice the gain of a step of each star against the chosen one; 0 where there is none."""
    zero, two = np.float32(0), np.float32(2)
    for t in range(gradient.shape[0]):
        violation = highest - (down[t] - gradient[t])
        violation = violation if violation > zero else zero
        curvature = diagonal_i + diagonal[t] - two * row[t]
        curvature = curvature if curvature > _SMALL else _SMALL
        gain[t] = violation * violation / curvature


@compiled(nogil=True, error_model="numpy", fastmath=True)
def _advance(gradient, up, wish, row_i, row_j, step):  # type: ignore[no-untyped-def]
    """The gradient after a step of one star up and another down, and how much each star then wants to grow."""
    for t in range(gradient.shape[0]):
        value = gradient[t] + step * (row_i[t] - row_j[t])
        gradient[t] = value
        wish[t] = up[t] - value


@compiled(nogil=True, error_model="numpy", fastmath=True)
def _add(gradient, change, row):  # type: ignore[no-untyped-def]
    for t in range(gradient.shape[0]):
        gradient[t] += change * row[t]


@compiled(nogil=True, error_model="numpy")
def _slopes(beta, box, epsilon, up, down, t):  # type: ignore[no-untyped-def]
    """Slopes of −ε|β| to either side; large where the box ends."""
    up[t] = -_FAR if beta >= box else (-epsilon if beta >= 0 else epsilon)
    down[t] = _FAR if beta <= -box else (-epsilon if beta > 0 else epsilon)


@compiled(nogil=True, error_model="numpy")
def _descend(kernel, column, epsilon, tol, max_iter):  # type: ignore[no-untyped-def]
    """Steps until no pair violates optimality by ``tol``. Returns the number of steps."""
    diagonal, box, beta, gradient, up, down, gain, wish = column
    gain_bits, wish_bits = gain.view(np.int32), wish.view(np.int32)
    for t in range(gradient.shape[0]):
        wish[t] = up[t] - gradient[t]
    for count in range(max_iter):
        i = _largest(wish_bits)
        highest = wish[i]
        row = kernel[i]
        _gains(down, gradient, row, diagonal, diagonal[i], highest, gain)
        j = _largest(gain_bits)
        violation = highest - (down[j] - gradient[j])
        if violation < tol:
            worst = np.float32(0)
            for t in range(gradient.shape[0]):
                worst = max(worst, highest - (down[t] - gradient[t]))
            if worst < tol:
                return count
        step = violation / max(diagonal[i] + diagonal[j] - np.float32(2) * row[j], _SMALL)
        before_i, before_j = beta[i], beta[j]
        # a step ends where a coefficient meets its bound, or zero, where the slope changes; it is then exactly there
        end_i = np.float32(0) if before_i < 0 else box[i]
        end_j = np.float32(0) if before_j > 0 else -box[j]
        room_i, room_j = end_i - before_i, before_j - end_j
        if step >= room_i or step >= room_j:
            if room_i <= room_j:
                step = room_i
                beta[i], beta[j] = end_i, before_j - step
                if room_i == room_j:
                    beta[j] = end_j
            else:
                step = room_j
                beta[i], beta[j] = before_i + step, end_j
        else:
            beta[i], beta[j] = before_i + step, before_j - step
        _slopes(beta[i], box[i], epsilon, up, down, i)
        _slopes(beta[j], box[j], epsilon, up, down, j)
        _advance(gradient, up, wish, row, kernel[j], step)
    return max_iter


@compiled(nogil=True, error_model="numpy")
def _improve(kernel, column, copy, epsilon, tol, max_iter, n):  # type: ignore[no-untyped-def]
    """Improve the n stars of a column in place: all stars first, then compact copies of those that can still move."""
    diagonal, box, beta, gradient, up, down, _, _ = column
    small, places, matrix = copy
    for t in range(n):
        _slopes(beta[t], box[t], epsilon, up, down, t)
    for t in range(n, gradient.shape[0]):
        up[t], down[t] = -_FAR, _FAR
    done = 0
    while done < max_iter:
        highest, lowest = -_FAR, _FAR
        for t in range(n):
            highest, lowest = max(highest, up[t] - gradient[t]), min(lowest, down[t] - gradient[t])
        if highest - lowest < tol:
            break
        count = 0
        for t in range(n):
            if up[t] - gradient[t] > lowest or down[t] - gradient[t] < highest:
                if count < COMPACT:
                    places[count] = t
                count += 1
        if count > min(COMPACT, int(_FEW * n)):
            done += _descend(kernel, column, epsilon, tol, min(max_iter - done, max(n // 4, 64)))
            continue
        m = -(-count // BLOCK) * BLOCK
        block = matrix[: m * m].reshape(m, m)
        for a in range(count):
            t = places[a]
            for b in range(count):
                block[a, b] = kernel[t, places[b]]
            for b in range(count, m):
                block[a, b] = 0
            small[0, a], small[1, a], small[2, a], small[3, a] = diagonal[t], box[t], beta[t], gradient[t]
            small[4, a], small[5, a] = up[t], down[t]
        for a in range(count, m):
            small[0, a], small[3, a], small[4, a], small[5, a] = 1, 0, -_FAR, _FAR
        movable = Column(
            small[0, :m], small[1, :m], small[2, :m], small[3, :m],
            small[4, :m], small[5, :m], small[6, :m], small[7, :m],
        )  # fmt: skip
        done += _descend(block, movable, epsilon, max(tol, _FALL * (highest - lowest)), max_iter - done)
        for a in range(count):
            t = places[a]
            change = small[2, a] - beta[t]
            if change != 0:
                beta[t], up[t], down[t] = small[2, a], small[4, a], small[5, a]
                _add(gradient, change, kernel[t])


@compiled(nogil=True, error_model="numpy")
def _improve_all(kernel, diagonal, box, epsilon, tol, max_iter, beta, gradient, n):  # type: ignore[no-untyped-def]
    """Improve the columns of ``beta`` (M, n) in place."""
    scratch = np.empty((4, gradient.shape[1]), np.float32)
    copy = Copy(
        np.empty((8, COMPACT), np.float32), np.empty(COMPACT, np.int64), np.empty(COMPACT * COMPACT, np.float32)
    )
    for k in range(len(beta)):
        column = Column(diagonal, box[k], beta[k], gradient[k], scratch[0], scratch[1], scratch[2], scratch[3])
        _improve(kernel, column, copy, epsilon[k], tol, max_iter, n)


def padded(values: Any) -> np.ndarray:
    """Rows (..., n) in float32, filled with zeros up to a multiple of `BLOCK`."""
    n = np.shape(values)[-1]
    out = np.zeros((*np.shape(values)[:-1], -(-n // BLOCK) * BLOCK), np.float32)
    out[..., :n] = values
    return out


class Smo:
    """Columns that share one kernel matrix, each improved on its own, on ``n_jobs`` threads.

    In float32, which halves the cost of a step; `slamjax.training.svr.shared_kernel` removes its rounding errors by
    handing over the exact gradient again.
    """

    def __init__(self, kernel: Float[np.ndarray, "n n"], n_jobs: int, max_iter: int) -> None:
        self.kernel, self.diagonal = padded(kernel), padded(np.diag(kernel))
        self.n_jobs, self.max_iter = n_jobs, max_iter

    def improve(
        self, duals: Duals, beta: np.ndarray, gradient: np.ndarray, verdict: Verdict, tol: float, sweep: int
    ) -> np.ndarray:
        """β (M, n), whose sums are zero, improved until no pair of stars violates optimality by ``tol``."""
        n = beta.shape[1]
        improved = padded(beta)

        def task(columns: slice) -> None:
            _improve_all(
                self.kernel, self.diagonal, padded(duals.box[columns]), duals.epsilon[columns].astype(np.float32),
                np.float32(tol), self.max_iter, improved[columns], padded(gradient[columns]), n,
            )  # fmt: skip

        tasks = [slice(start, start + _TOGETHER) for start in range(0, len(beta), _TOGETHER)]
        # threads: compiled code releases the interpreter lock
        Parallel(n_jobs=self.n_jobs, prefer="threads")(delayed(task)(columns) for columns in tasks)
        return improved[:, :n].astype(float)
