"""An emulator for a page: its arrays, as small as they may be for predictions to stay what they are.

Large kernel expansions are projected onto the kernels of a few of their support vectors u_j, chosen one after the other
by pivoted Cholesky (Fine & Scheinberg 2001, JMLR 2, 243),

    K ≈ L Lᵀ,   Σ_i a_iλ k(x, x_i) ≈ Σ_j φ_j(x) W_jλ,   W = Lᵀ a,   L_u φ(x) = k(x, u),

with L_u the rows of L that are of the u_j, which the page computes by itself. φ_j becomes smaller and smaller, so W is
written in fewer and fewer digits, and ends where no pixel's scaled flux is off by more than a part of `EXACT`
anywhere in the training range. Compression (`slamjax.emulators.compression`) asks how far labels move; a page
shows the flux itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_triangular

from slamjax.emulators.base import Emulator
from slamjax.emulators.components import scatter_points
from slamjax.emulators.polynomial import PolynomialEmulator
from slamjax.emulators.svr import KernelBlock, KernelEmulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.errors import SlamError
from slamjax.explorer.packing import quantised, under

#: Largest error of a prediction, in units of the pixel's spread among the training stars.
EXACT = 1e-5
#: Parts of it that the projection may use, and the mean rounding where all terms of a sum are as large as they can be.
_CUT, _ROUNDED = 0.6, 0.4
#: Part of it that is left to rounding in emulators that are not projected.
_FLOAT32 = 0.1
#: Kernel expansions of more coefficients are projected.
_LARGE = 500_000
#: Points of each kind (training stars, near them, anywhere) at which errors are measured.
_POINTS = 512
#: What is left of k(x, x) where pivots end at the latest: below it, rounding decides.
_LEAST = 1e-12
#: Kernels of which K is positive semidefinite, as Cholesky needs it.
_SEMIDEFINITE = ("rbf", "linear", "poly")
#: How far sliders go beyond the training range, as a part of it.
MARGIN = 0.1


@dataclass(frozen=True, eq=False)
class PageEmulator:
    """An emulator as a page holds it.

    Attributes
    ----------
    header : what its arrays mean
    arrays : by name
    error : largest error of a prediction where it was checked, in units of the pixel's spread
    """

    header: dict[str, Any]
    arrays: dict[str, np.ndarray]
    error: float


def page_emulator(emulator: Emulator, training_labels: TrainingLabels) -> PageEmulator:
    """The emulator as a page holds it; raises SlamError for one that is neither a kernel sum nor a polynomial."""
    scale = np.asarray(emulator.flux_scale, float)
    arrays: dict[str, np.ndarray] = {
        "center": np.asarray(emulator.scaling.center, float),
        "width": np.asarray(emulator.scaling.width, float),
        "constant": np.asarray(emulator.flux_mean, float) + scale * np.asarray(emulator.intercept, float),
        "scale": scale,
    }
    header = {"kind": emulator.kind, "log": list(emulator.scaling.log), "pixels": emulator.n_pix}
    if isinstance(emulator, PolynomialEmulator):
        arrays |= {
            "exponents": np.asarray(emulator.exponents, np.int32),
            "basis": np.asarray(emulator.basis, np.float32),
        }
        return PageEmulator(header, arrays, _FLOAT32 * EXACT)
    if not isinstance(emulator, KernelEmulator):
        raise SlamError(f"a page holds kernel sums and polynomials, not an emulator of kind {emulator.kind!r}")
    arrays["support"] = np.asarray(emulator.support, float)
    header["blocks"] = [
        {"kernel": block.kernel, "degree": block.degree, "labels": list(block.labels)} for block in emulator.blocks
    ]
    for number, block in enumerate(emulator.blocks):
        facts = {
            "gamma": np.asarray(block.gamma, float),
            "coef0": np.asarray(block.coef0, float),
            "metric": np.broadcast_to(block.factors, (emulator.n_labels,)).astype(float),
        }
        arrays |= under(f"block{number}", facts)
    if _is_projected(emulator):
        parts, error = _projected(emulator, training_labels)
        header["projected"] = True
        return PageEmulator(header, arrays | parts, error)
    for number, block in enumerate(emulator.blocks):
        arrays[f"block{number}/dual"] = np.asarray(block.dual, np.float32)
    if emulator.basis is not None:
        arrays["basis"] = np.asarray(emulator.basis, np.float32)
    elif emulator.order is not None:
        arrays["order"] = np.asarray(emulator.order, np.int32)
    return PageEmulator(header, arrays, _FLOAT32 * EXACT)


def _is_projected(emulator: KernelEmulator) -> bool:
    large = sum(block.dual.size for block in emulator.blocks) > _LARGE
    return large and emulator.basis is None and all(block.kernel in _SEMIDEFINITE for block in emulator.blocks)


def _projected(emulator: KernelEmulator, training_labels: TrainingLabels) -> tuple[dict[str, np.ndarray], float]:
    """Pivots and coefficients of each γ of each block, with the pixels that they are of; and the largest error."""
    check = scatter_points(training_labels, 1, _POINTS)
    support = np.asarray(emulator.support, float)
    slots = np.arange(emulator.n_pix) if emulator.order is None else np.asarray(emulator.order)
    trained = np.isfinite(np.asarray(emulator.intercept))
    arrays: dict[str, np.ndarray] = {}
    error, first = 0.0, 0
    for number, block in enumerate(emulator.blocks):
        n_gamma, _, n_slot = block.dual.shape
        for g in range(n_gamma):
            pixels = np.flatnonzero(trained & (slots >= first) & (slots < first + n_slot))
            dual = np.asarray(block.dual[g], float)[:, slots[pixels] - first]
            first += n_slot
            part, its_error = _part(block, g, support, dual, check)
            arrays |= under(f"block{number}/{g}", part | {"pixels": pixels.astype(np.int32)})
            error = max(error, its_error)
    return arrays, error


def _part(
    block: KernelBlock, g: int, support: np.ndarray, dual: Float[np.ndarray, "support pixel"], check: np.ndarray
) -> tuple[dict[str, np.ndarray], float]:
    """Pivots among the support vectors and their coefficients W, for the pixels of one γ; and the largest error."""
    pivots, factor = _pivoted_cholesky(_kernel(block, g, support, support))
    values = solve_triangular(factor[pivots], _kernel(block, g, support[pivots], check), lower=True).T
    coefficients = factor.T @ dual
    exact = _kernel(block, g, check, support) @ dual
    rank = _rank(exact, values, coefficients)
    pivots, values = pivots[:rank], values[:, :rank]
    # the roundings of all rows add up like independent ones, each uniform within half a step
    reach = np.maximum(np.abs(values).max(axis=0, initial=0), np.diag(factor[pivots]))
    step = np.sqrt(12 / max(rank, 1)) * _ROUNDED * EXACT / reach
    whole = np.round(coefficients[:rank] / step[:, None])
    error = float(np.abs(exact - values @ (whole * step[:, None])).max(initial=0))
    return {"pivots": pivots.astype(np.int32), **under("rows", quantised(whole, step))}, error


def _kernel(block: KernelBlock, g: int, x: np.ndarray, y: np.ndarray) -> Float[np.ndarray, "n m"]:
    """k(x, y) in float64."""
    counted = list(block.labels) or list(range(x.shape[1]))
    x, y = ((each * block.factors)[:, counted] for each in (x, y))
    gamma, coef0 = float(block.gamma[g]), float(block.coef0[g])
    if block.kernel == "rbf":
        return np.exp(-gamma * sum(np.square(x[:, k, None] - y[:, k]) for k in range(len(counted))))
    product = x @ y.T
    return product if block.kernel == "linear" else (gamma * product + coef0) ** block.degree


def _pivoted_cholesky(kernel: Float[np.ndarray, "n n"]) -> tuple[np.ndarray, Float[np.ndarray, "n m"]]:
    """Rows m in the order in which they are chosen, each where most of the diagonal is left, and L (N, m)."""
    left = np.diag(kernel).copy()
    least = _LEAST * left.max()
    factor = np.zeros_like(kernel)
    pivots: list[int] = []
    while len(pivots) < len(kernel):
        pivot = int(np.argmax(left))
        if left[pivot] <= least:
            break
        done = len(pivots)
        column = kernel[:, pivot] - factor[:, :done] @ factor[pivot, :done]
        factor[:, done] = column / np.sqrt(left[pivot])
        factor[pivots, done] = 0  # but for rounding
        factor[pivot, done] = np.sqrt(left[pivot])
        left -= np.square(factor[:, done])
        left[pivot] = 0
        pivots.append(pivot)
    return np.array(pivots, int), factor[:, : len(pivots)]


def _rank(
    exact: Float[np.ndarray, "point pixel"],
    values: Float[np.ndarray, "point pivot"],
    coefficients: Float[np.ndarray, "pivot pixel"],
) -> int:
    """The smallest number of pivots that leave nothing off by more than a part of `EXACT`, or all."""
    low, high = 0, len(coefficients)
    while high - low > 4:  # the error shrinks with every pivot, near enough
        middle = (low + high) // 2
        left = np.abs(exact - values[:, :middle] @ coefficients[:middle]).max(initial=0)
        low, high = (low, middle) if left <= _CUT * EXACT else (middle, high)
    return high
