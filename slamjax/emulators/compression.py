"""Compression of an emulator: kernel sums of few components instead of every pixel.

    f(ℓ) = μ + s [ z(x) B + b ],   z(x) = Σ_γ k_γ(x, X) Q_γ                                Q_γ (stars, R), B (R, pixels)

The components are the leading principal components of spectra from the whole range that a fit searches, in units of
the noise. The error e = f − f_exact is measured in the same units at other points of the range: its norm √(eᵀΣ⁻¹e),
and the shift of each label, (JΣ⁻¹Jᵀ)⁻¹JΣ⁻¹e, in standard errors. Σ is the model error alone: photon noise makes both
smaller.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from slamjax._util.jit import compiled
from slamjax._util.x64 import enable_x64
from slamjax.emulators.base import Emulator
from slamjax.emulators.components import (
    component_blocks,
    directions_in_flux,
    label_sets,
    leading_directions,
    predict,
    scatter_points,
    whiten,
)
from slamjax.emulators.svr import KernelEmulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.errors import SlamError
from slamjax.noise.inverse_covariance import InverseCovariance
from slamjax.noise.models import Noise

#: Points of each kind (training stars, near them, anywhere in the box), and the largest number of corners of the box.
_POINTS, _CORNERS = 768, 256
#: Largest number of components; they come in multiples of the second.
_MOST, _STEP = 768, 8
#: The root mean square error of a pixel, in units of its noise, may be this many times the tolerance of a label:
#: little of it lies along the labels. At the default tolerance χ² changes by at most a tenth of its scatter.
_DEPTH = 1.7
#: Fraction of that which truncation may use; growth of the number of components where it is not enough.
_SPENT, _GROWTH = 0.9, 1.1
#: Points at which shifts of labels are computed.
_JUDGED = 512
#: An emulator is compressed automatically from this many coefficients, if its work shrinks to this fraction.
_LARGE, _WORTHWHILE = 4_000_000, 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class _Sample:
    """Points x (M, L) of the range, and the kernel sums there in units of flux (M, P).

    ``whitened`` (M, P), one for each set of pixels, are the sums of these pixels alone in units of the noise.
    """

    x: np.ndarray
    sums: np.ndarray
    whitened: list[np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Compressed:
    """A compressed emulator and its errors.

    Attributes
    ----------
    emulator : the compressed emulator
    pixel_error : (P,) the largest |error| at any checked point over the noise of that pixel; NaN where untrained
    report : number of components, tolerance, ``largest_error`` and ``largest_shift``
    """

    emulator: KernelEmulator
    pixel_error: np.ndarray
    report: dict[str, Any]


def compress(exact: Emulator, noise: Noise, training: TrainingLabels, tolerance: float = 0.01) -> Compressed:
    """An emulator in few components.

    Parameters
    ----------
    exact : KernelEmulator
        As trained, in float64.
    noise : Noise
        Unit of the errors.
    training : TrainingLabels
    tolerance : float
        Largest shift of any label, in standard errors, at all checked points: training stars, points near them, points
        in the box that a fit searches, and its corners. The root mean square error of a pixel there is at most 1.7
        times as large, in units of the noise.

    Raises
    ------
    SlamError
        If the emulator is compressed already, or no compression meets the tolerance.
    """
    if exact.is_compressed:
        raise SlamError("the model is compressed already; compress the one it was made from")
    if not exact.is_compressible:
        raise SlamError("the emulator has few components already; only kernel expansions are compressed")
    if not tolerance > 0:
        raise SlamError(f"tolerance is {tolerance}; give a number above 0")
    exact = cast(KernelEmulator, exact)
    unit = exact.flux_unit()
    trained = np.isfinite(np.asarray(exact.intercept))
    # pixels that depend on different labels have separate components: a masked label must not enter through them
    sets = label_sets(exact)
    with enable_x64(True):
        in_unit = exact.in_unit(unit)
        emulator = jax.tree_util.tree_map(jnp.asarray, in_unit)
        device = jax.tree_util.tree_map(jnp.asarray, noise.in_unit(unit))
        unseen = jnp.full(exact.n_pix, jnp.inf)
        inv_cov = device.inverse_covariance(unseen)
        learn, check = (_sample(emulator, inv_cov, training, trained, sets, seed) for seed in (0, 1))
        longest = _DEPTH * tolerance * np.sqrt(trained.sum())
        directions = [leading_directions(rows, min(_MOST, *rows.shape)) for rows in learn.whitened]
        share = _SPENT * longest / np.sqrt(len(sets))
        ranks = [_rank(rows, some, share) for rows, some in zip(check.whitened, directions, strict=True)]
        while True:
            kept = [some[:, :rank] for some, rank in zip(directions, ranks, strict=True)]
            small = _project(exact, in_unit, inv_cov, learn, kept, sets)
            placed = jax.tree_util.tree_map(jnp.asarray, small.in_unit(unit))
            error = np.where(trained, _sums(placed, check.x) - check.sums, 0)
            length = float(np.sqrt(np.square(np.asarray(whiten(inv_cov, jnp.asarray(error)))).sum(axis=1)).max())
            shift = _largest_shift(emulator, inv_cov, check.x, error)
            if length <= longest and shift <= tolerance:
                break
            if all(rank >= some.shape[1] for rank, some in zip(ranks, directions, strict=True)):
                raise SlamError(
                    f"{sum(ranks)} components leave an error of {length:.2g} of the noise, which moves a label by "
                    f"{shift:.2g} of its error; give a larger tolerance, or use the model as it is"
                )
            ranks = [
                min(some.shape[1], int(np.ceil(_GROWTH * rank / _STEP)) * _STEP)
                for rank, some in zip(ranks, directions, strict=True)
            ]
        weights = np.asarray(device.weights(unseen))
    pixel_error = np.where(trained, np.abs(error).max(axis=0) * np.sqrt(weights), np.nan)
    report = {"components": sum(ranks), "tolerance": tolerance, "largest_error": length, "largest_shift": shift}
    return Compressed(small, pixel_error, report)


def compress_if_large(exact: Emulator, noise: Noise, training: TrainingLabels) -> Compressed | None:
    """`compress` where it is worthwhile: the emulator is large, and its work at least halves without loss."""
    if not exact.is_compressible or _work(cast(KernelEmulator, exact)) < _LARGE:
        return None
    try:
        small = compress(exact, noise, training)
    except SlamError:  # few components are not enough
        return None
    return small if _work(small.emulator) < _WORTHWHILE * _work(cast(KernelEmulator, exact)) else None


def _work(emulator: KernelEmulator) -> int:
    """Multiplications for one star's flux, without the kernels."""
    return sum(block.dual.size for block in emulator.blocks) + (0 if emulator.basis is None else emulator.basis.size)


def _sample(
    emulator: KernelEmulator,
    inv_cov: InverseCovariance,
    training_labels: TrainingLabels,
    trained: np.ndarray,
    sets: Sequence[np.ndarray],
    seed: int,
) -> _Sample:
    """Training stars, points near them, points of the box, and its corners."""
    x = np.concatenate([scatter_points(training_labels, seed, _POINTS), _corners(training_labels, seed)])
    sums = np.where(trained, _sums(emulator, x), 0)
    return _Sample(x, sums, [np.asarray(whiten(inv_cov, jnp.asarray(np.where(some, sums, 0)))) for some in sets])


def _corners(training_labels: TrainingLabels, seed: int) -> np.ndarray:
    """All corners of the box (C, L), or a sample if there are many."""
    low, high = np.asarray(training_labels.low, float), np.asarray(training_labels.high, float)
    if 2 ** len(low) <= _CORNERS:
        upper = np.array(list(itertools.product([False, True], repeat=len(low))))
    else:
        upper = np.random.default_rng(seed).random((_CORNERS, len(low))) < 0.5
    return np.where(upper, high, low)


def _sums(emulator: KernelEmulator, x: np.ndarray) -> np.ndarray:
    """Flux (M, P) without its constant part."""
    constant = np.asarray(emulator.flux_mean) + np.asarray(emulator.flux_scale) * np.asarray(emulator.intercept)
    parts = [np.asarray(predict(emulator, jnp.asarray(x[i : i + 256]))) for i in range(0, len(x), 256)]
    return np.concatenate(parts) - constant


def _rank(rows: Float[np.ndarray, "m p"], directions: Float[np.ndarray, "p r"], tolerance: float) -> int:
    """Smallest number of directions that leave no row longer than ``tolerance``, or all of them."""
    within = rows @ directions
    outside = np.square(rows - within @ directions.T).sum(axis=1)
    beyond = np.cumsum(np.square(within[:, ::-1]), axis=1)[:, ::-1]
    most = directions.shape[1]
    return next((k for k in range(_STEP, most, _STEP) if np.sqrt((outside + beyond[:, k]).max()) <= tolerance), most)


def _largest_shift(emulator: KernelEmulator, inv_cov: InverseCovariance, x: np.ndarray, error: np.ndarray) -> float:
    """Largest shift of any label by a flux error, in standard errors, at a sample of the points."""
    rows = np.linspace(0, len(x) - 1, min(len(x), _JUDGED)).astype(int)
    shifts = _shifts(emulator, inv_cov, jnp.asarray(x[rows]), jnp.asarray(error[rows]))
    return float(np.abs(np.asarray(shifts)).max())


def _project(
    exact: KernelEmulator,
    in_unit: KernelEmulator,
    inv_cov: InverseCovariance,
    learn: _Sample,
    kept: Sequence[np.ndarray],
    sets: Sequence[np.ndarray],
) -> KernelEmulator:
    """Components z = f Wᵀ V of each set of pixels, with W the whitening, and the flux of each component."""
    trained = np.isfinite(np.asarray(exact.intercept))
    onto = [np.where(some[:, None], directions_in_flux(inv_cov, v), 0) for some, v in zip(sets, kept, strict=True)]
    blocks = component_blocks(in_unit, np.concatenate(onto, axis=1), trained)
    basis = np.concatenate(
        [
            np.where(some, np.linalg.lstsq(rows @ v, learn.sums, rcond=None)[0], 0)
            for some, rows, v in zip(sets, learn.whitened, kept, strict=True)
        ]
    )
    scale = np.asarray(in_unit.flux_scale, float)
    inverse = np.where(trained & (scale > 0), 1 / np.where(scale > 0, scale, 1), 0)
    return dataclasses.replace(exact, blocks=blocks, order=None, basis=basis * inverse)


@compiled
def _shifts(emulator: KernelEmulator, inv_cov: InverseCovariance, x: jax.Array, error: jax.Array) -> Any:
    def one(given: tuple[jax.Array, jax.Array]) -> jax.Array:
        x, error = given
        _, jacobian = emulator.at_with_jacobian(x)
        gram = inv_cov.gram(jnp.concatenate([error[None], jacobian]))
        # unconstrained labels are known to the spread of the training stars
        covariance = jnp.linalg.inv(gram[1:, 1:] + jnp.eye(x.size))
        return covariance @ gram[1:, 0] / jnp.sqrt(jnp.diagonal(covariance))

    return jax.lax.map(one, (x, error), batch_size=16)
