"""An emulator for a page: its arrays, as small as they may be for predictions to stay what they are.

Large kernel expansions are projected,

    Σ_i a_iλ k(x, x_i) ≈ Σ_r z_r(x) V_rλ,   z_r(x) = Σ_i (Σ_λ a_iλ V_rλ) k(x, x_i),

onto orthonormal spectra V that leave no pixel's scaled flux off by more than `EXACT` anywhere in the range of the
sliders. Compression (`slamjax.emulators.compression`) asks how far labels move; a page shows the flux itself.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax._util.jit import compiled
from slamjax._util.x64 import enable_x64
from slamjax.emulators.base import Emulator
from slamjax.emulators.components import component_blocks, label_sets, leading_directions, scatter_points
from slamjax.emulators.polynomial import PolynomialEmulator
from slamjax.emulators.svr import KernelEmulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.errors import SlamError
from slamjax.explorer.packing import quantised, under
from slamjax.typing import ScaledLabels

#: Largest error of a prediction, in units of the pixel's spread among the training stars.
EXACT = 1e-5
#: Parts of it that projection and rounding may use.
_CUT, _ROUNDED = 0.5, 0.1
#: Kernel expansions of more coefficients are projected, onto at most so many components.
_LARGE, _MOST = 500_000, 768
#: Points of each kind (training stars, near them, anywhere) to learn components from.
_POINTS = 512
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
        return PageEmulator(header, arrays, _ROUNDED * EXACT)
    if not isinstance(emulator, KernelEmulator):
        raise SlamError(f"a page holds kernel sums and polynomials, not an emulator of kind {emulator.kind!r}")
    error = _ROUNDED * EXACT
    if emulator.basis is None and sum(block.dual.size for block in emulator.blocks) > _LARGE:
        emulator, error, amplitude = _projected(emulator, training_labels)
        # errors of the components' roundings add up like independent ones
        step = _ROUNDED * EXACT / (amplitude * np.sqrt(len(amplitude)))
        arrays |= under("basis", quantised(np.asarray(emulator.basis, float), step))
    elif emulator.basis is not None:
        arrays["basis"] = np.asarray(emulator.basis, np.float32)
    elif emulator.order is not None:
        arrays["order"] = np.asarray(emulator.order, np.int32)
    arrays["support"] = np.asarray(emulator.support, float)
    blocks = []
    for number, block in enumerate(emulator.blocks):
        arrays |= under(
            f"block{number}",
            {
                "gamma": np.asarray(block.gamma, float),
                "coef0": np.asarray(block.coef0, float),
                "metric": np.broadcast_to(block.factors, (emulator.n_labels,)).astype(float),
                "dual": np.asarray(block.dual, np.float32),
            },
        )
        blocks.append({"kernel": block.kernel, "degree": block.degree, "labels": list(block.labels)})
    return PageEmulator(header | {"blocks": blocks}, arrays, error)


def _projected(
    emulator: KernelEmulator, training_labels: TrainingLabels
) -> tuple[KernelEmulator, float, Float[np.ndarray, " component"]]:
    """The emulator in components, its largest error at points that these were not chosen by, and how far each goes."""
    trained = np.isfinite(np.asarray(emulator.intercept))
    sets = label_sets(emulator)
    with enable_x64(True):
        exact = jax.tree_util.tree_map(jnp.asarray, emulator)
        learn, check = (_scaled_flux(exact, training_labels, trained, seed) for seed in (0, 1))
    directions, error = [], 0.0
    for some in sets:
        found = leading_directions(np.where(some, learn, 0), min(_MOST, *learn.shape))
        rank, its_error = _rank(np.where(some, check, 0), found)
        directions.append(np.where(some[:, None], found[:, :rank], 0))
        error = max(error, its_error)
    joined = np.concatenate(directions, axis=1)
    scale = np.asarray(emulator.flux_scale, float)
    onto = np.where(scale[:, None] > 0, joined / np.where(scale > 0, scale, 1)[:, None], 0)
    blocks = component_blocks(emulator, onto, trained)
    amplitude = np.maximum(np.abs(check @ joined).max(axis=0), np.abs(learn @ joined).max(axis=0))
    small = dataclasses.replace(emulator, blocks=blocks, order=None, basis=joined.T)
    return small, error + _ROUNDED * EXACT, np.maximum(amplitude, EXACT)


def _scaled_flux(
    emulator: KernelEmulator, training_labels: TrainingLabels, trained: np.ndarray, seed: int
) -> Float[np.ndarray, "point pixel"]:
    """Kernel sums at training stars, near them, and anywhere in the box of the sliders; 0 where not trained."""
    x = scatter_points(training_labels, seed, _POINTS, margin=MARGIN)
    parts = [np.asarray(_sums(emulator, jnp.asarray(x[i : i + 256]))) for i in range(0, len(x), 256)]
    return np.where(trained, np.concatenate(parts), 0)


def _rank(
    rows: Float[np.ndarray, "point pixel"], directions: Float[np.ndarray, "pixel component"]
) -> tuple[int, float]:
    """The smallest number of directions that leave no number of the rows off by more than a part of `EXACT`, or all."""
    within = rows @ directions
    most = directions.shape[1]

    def left(rank: int) -> float:
        return float(np.abs(rows - within[:, :rank] @ directions[:, :rank].T).max())

    low, high, error = 0, most, left(most)
    while high - low > 8:  # the error shrinks with every direction, near enough
        middle = (low + high) // 2
        its_error = left(middle)
        if its_error <= _CUT * EXACT:
            high, error = middle, its_error
        else:
            low = middle
    return high, error


@compiled
def _sums(emulator: Emulator, x: ScaledLabels) -> Array:
    return emulator.sums(x)  # type: ignore[attr-defined]
