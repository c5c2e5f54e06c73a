"""Sequential minimal optimisation on a shared kernel matrix, compiled for CPUs by numba.

The steps are libsvm's (Fan, Chen & Lin 2005, JMLR 6, 1889): the pair of coefficients that promises the largest gain
by second order, until no pair violates the optimality conditions by more than the tolerance. What makes it fast is
that β = α − α* is one variable a star instead of two, the kernel matrix is there already, every loop over stars is one
that compilers turn into vector instructions, and coefficients that can no longer move are left out of a compact copy.

Largest values are searched in the bits of float32 read as integers, in the same order: compilers turn a maximum of
integers into vector instructions, and a maximum of floats not, for NaN has no order. There are no NaN here.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from jaxtyping import Float
from joblib import Parallel, delayed

from slamjax.training.svr.dual import Duals, Verdict

#: Stars are padded to a multiple of this, so that inner loops have a fixed length.
BLOCK = 64
#: Rather than infinity, which fast arithmetic may not meet; its square stays within float32.
_FAR = np.float32(1e15)
_SMALL = np.float32(1e-12)
#: At most this many coefficients in a compact copy: its matrix of 4 MiB stays near the core.
COMPACT = 1024
#: A compact copy is solved until its violation is this part of what it was; then it is made anew, and smaller.
_FALL = np.float32(0.1)
#: Columns that a thread takes at a time.
_TOGETHER = 8
#: A copy is worth making once this part of the stars, or less, can still move.
_FEW = 0.6


@numba.njit(nogil=True, error_model="numpy", fastmath=True, cache=True)
def _largest(bits):  # type: ignore[no-untyped-def]
    """The first place of the largest of float32 numbers, given as their bits."""
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


@numba.njit(nogil=True, error_model="numpy", fastmath=True, cache=True)
def _gains(down, gradient, row, diagonal, own, highest, gain):  # type: ignore[no-untyped-def]
    """What a step of each star against the chosen one would gain, twice; 0 where it would gain nothing."""
    zero, two = np.float32(0), np.float32(2)
    for t in range(gradient.shape[0]):
        violation = highest - (down[t] - gradient[t])
        violation = violation if violation > zero else zero
        curvature = own + diagonal[t] - two * row[t]
        curvature = curvature if curvature > _SMALL else _SMALL
        gain[t] = violation * violation / curvature


@numba.njit(nogil=True, error_model="numpy", fastmath=True, cache=True)
def _advance(gradient, up, wish, row_i, row_j, step):  # type: ignore[no-untyped-def]
    """The gradient after a step of one star up and another down, and how much each star wishes to go up then."""
    for t in range(gradient.shape[0]):
        value = gradient[t] + step * (row_i[t] - row_j[t])
        gradient[t] = value
        wish[t] = up[t] - value


@numba.njit(nogil=True, error_model="numpy", fastmath=True, cache=True)
def _add(gradient, change, row):  # type: ignore[no-untyped-def]
    for t in range(gradient.shape[0]):
        gradient[t] += change * row[t]


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _slopes(beta, box, epsilon, up, down, t):  # type: ignore[no-untyped-def]
    """Slope of −ε|β| to either side; far off where the box ends."""
    up[t] = -_FAR if beta >= box else (-epsilon if beta >= 0 else epsilon)
    down[t] = _FAR if beta <= -box else (-epsilon if beta > 0 else epsilon)


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _descend(kernel, diagonal, box, epsilon, tol, max_iter, beta, gradient, up, down, gain, wish):  # type: ignore[no-untyped-def]
    """Steps until no pair violates optimality by ``tol``; all arrays are padded. Returns the number of steps."""
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
        # a step ends where a coefficient meets zero, where its slope changes, or its bound; it is there exactly then
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


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _column(kernel, diagonal, box, epsilon, tol, max_iter, beta, gradient, n, rows, small, places, matrix):  # type: ignore[no-untyped-def]
    """Improve one column in place: all stars first, then compact copies of those that can still move."""
    size = gradient.shape[0]
    up, down, gain, wish = rows[0], rows[1], rows[2], rows[3]
    for t in range(n):
        _slopes(beta[t], box[t], epsilon, up, down, t)
    for t in range(n, size):
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
            some = min(max_iter - done, max(n // 4, 64))
            done += _descend(kernel, diagonal, box, epsilon, tol, some, beta, gradient, up, down, gain, wish)
            continue
        m = -(-count // BLOCK) * BLOCK
        copy = matrix[: m * m].reshape(m, m)
        for a in range(count):
            t = places[a]
            for b in range(count):
                copy[a, b] = kernel[t, places[b]]
            for b in range(count, m):
                copy[a, b] = 0
            small[0, a], small[1, a], small[2, a], small[3, a] = diagonal[t], box[t], beta[t], gradient[t]
            small[4, a], small[5, a] = up[t], down[t]
        for a in range(count, m):
            small[0, a], small[3, a], small[4, a], small[5, a] = 1, 0, -_FAR, _FAR
        done += _descend(
            copy, small[0, :m], small[1, :m], epsilon, max(tol, _FALL * (highest - lowest)), max_iter - done,
            small[2, :m], small[3, :m], small[4, :m], small[5, :m], small[6, :m], small[7, :m],
        )  # fmt: skip
        for a in range(count):
            t = places[a]
            change = small[2, a] - beta[t]
            if change != 0:
                beta[t], up[t], down[t] = small[2, a], small[4, a], small[5, a]
                _add(gradient, change, kernel[t])


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _columns(kernel, diagonal, box, epsilon, tol, max_iter, beta, gradient, n):  # type: ignore[no-untyped-def]
    rows = np.empty((4, gradient.shape[1]), np.float32)
    small, places = np.empty((8, COMPACT), np.float32), np.empty(COMPACT, np.int64)
    matrix = np.empty(COMPACT * COMPACT, np.float32)
    for k in range(len(beta)):
        _column(
            kernel, diagonal, box[k], epsilon[k], tol, max_iter, beta[k], gradient[k], n, rows, small, places, matrix
        )


def padded(values: Any) -> np.ndarray:
    """Rows (..., n) in float32, with zeros up to a multiple of `BLOCK`."""
    n = np.shape(values)[-1]
    out = np.zeros((*np.shape(values)[:-1], -(-n // BLOCK) * BLOCK), np.float32)
    out[..., :n] = values
    return out


class Smo:
    """Columns that share one kernel matrix, each improved by itself, on ``n_jobs`` threads.

    In float32: a step then costs half, and its rounding errors are gone when
    `slamjax.training.svr.shared_kernel` hands over the exact gradient again.
    """

    def __init__(self, kernel: Float[np.ndarray, "n n"], n_jobs: int, max_iter: int) -> None:
        self.kernel, self.diagonal = padded(kernel), padded(np.diag(kernel))
        self.n_jobs, self.max_iter = n_jobs, max_iter

    def improve(
        self, duals: Duals, beta: np.ndarray, gradient: np.ndarray, verdict: Verdict, tol: float, sweep: int
    ) -> np.ndarray:
        """β (M, n), whose sums are zero, improved until no pair of stars violates optimality by ``tol``."""
        n = beta.shape[1]
        found = padded(beta)

        def some(part: slice) -> None:
            _columns(
                self.kernel, self.diagonal, padded(duals.box[part]), duals.epsilon[part].astype(np.float32),
                np.float32(tol), self.max_iter, found[part], padded(gradient[part]), n,
            )  # fmt: skip

        parts = [slice(start, start + _TOGETHER) for start in range(0, len(beta), _TOGETHER)]
        # threads: compiled code lets go of the interpreter lock
        Parallel(n_jobs=self.n_jobs, prefer="threads")(delayed(some)(part) for part in parts)
        return found[:, :n].astype(float)
