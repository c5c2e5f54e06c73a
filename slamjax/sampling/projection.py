"""Which components a posterior is sampled in, so that χ² costs r components instead of P pixels.

Spectra of P pixels vary in a space of r dimensions: the leading principal components, in units of the noise, of the
spectra within the training range. A component is a kernel sum like a pixel's, so r of them replace P pixels; with
several γ, a component sums over all of them. The truncation error is measured in the same units: an error e of the
flux moves no label by more than √(eᵀΣ⁻¹e) standard errors.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import singledispatch

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.spatial.distance import cdist

from slamjax._util.jit import compiled
from slamjax._util.x64 import enable_x64
from slamjax.emulators.base import Emulator
from slamjax.emulators.components import (
    component_blocks,
    directions_in_flux,
    leading_directions,
    predict,
    scatter_points,
    whiten,
)
from slamjax.emulators.polynomial import PolynomialEmulator
from slamjax.emulators.svr import KernelBlock, KernelEmulator
from slamjax.emulators.training_labels import TrainingLabels, far_apart
from slamjax.noise.inverse_covariance import InverseCovariance
from slamjax.noise.models import Noise
from slamjax.sampling.components import Components, KernelSums, Monomials
from slamjax.typing import AnyArray, ScaledLabels

#: Largest root mean square of √(eᵀΣ⁻¹e) within a posterior, at the smallest flux errors of the spectra.
TOLERANCE = 0.03
#: Points of each kind (training stars, near them, anywhere in the box) that components are learnt from and checked at.
_N_POINTS = 256
#: Components come in multiples of this, so that few shapes are compiled.
_STEP = 8
#: Directions of a kernel matrix below this part of the strongest's squared length are dropped.
RIDGE = 1e-13
#: Numbers of support vectors that are tried in place of all; smooth kernels need few.
_LANDMARKS = (192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True)
class Choice:
    """The components to sample in, or None for pixels; their measured error; and the reason in words."""

    components: Components | None
    error: float
    reason: str


@singledispatch
def choose_components(
    emulator: Emulator, noise: Noise, training_labels: TrainingLabels, ivar: Float[np.ndarray, " pixel"]
) -> Choice:
    """Components of the emulator for stars with inverse variances of at most ``ivar``, where they save work.

    Parameters
    ----------
    emulator, noise : on the host in float64, in one unit of flux
    training_labels : where labels may lie
    ivar : (P,) the largest inverse variance of any star at each pixel
    """
    return Choice(None, 0.0, f"flux space: {type(emulator).__name__} has no known components")


@choose_components.register
def _of_polynomial(
    emulator: PolynomialEmulator, noise: Noise, training_labels: TrainingLabels, ivar: Float[np.ndarray, " pixel"]
) -> Choice:
    n_trained = int(np.isfinite(np.asarray(emulator.intercept)).sum())
    rank = emulator.n_terms
    if rank > int(0.8 * n_trained):
        return Choice(None, 0.0, f"flux space: {rank} monomials against {n_trained} pixels")
    components = jax.tree_util.tree_map(jnp.asarray, Monomials.from_emulator(emulator))
    return Choice(components, 0.0, f"projected on {rank} monomials, exactly")


@choose_components.register
def _of_kernels(
    emulator: KernelEmulator, noise: Noise, training_labels: TrainingLabels, ivar: Float[np.ndarray, " pixel"]
) -> Choice:
    """As many components as errors as small as ``ivar`` need, if these cost less than the pixels.

    All but the last check is done in float64: in float32 the sums over all stars are themselves uncertain by about
    the tolerance, those over few support vectors less.
    """
    trained = np.isfinite(np.asarray(emulator.intercept))
    n_gamma = sum(block.dual.shape[0] for block in emulator.blocks)
    with enable_x64(True):
        emulator64, noise64 = (jax.tree_util.tree_map(jnp.asarray, part) for part in (emulator, noise))
        inv_cov = _inverse_covariance(noise64, np.asarray(ivar, float))
        learn, check = (Moves.make(emulator64, inv_cov, training_labels, trained, seed) for seed in (0, 1))
        ranked = leading_directions(learn.whitened, min(learn.whitened.shape))
        most = ranked.shape[1]
        enough = (k for k in range(_STEP, most, _STEP) if _truncation_error(check, ranked[:, :k]) < 0.7 * TOLERANCE)
        rank = next(enough, most)
        if rank * n_gamma > 0.8 * np.sum(trained):
            return Choice(
                None, 0.0, f"flux space: {rank} components for each of {n_gamma} γ against {trained.sum()} pixels"
            )
        full = _project(emulator64, inv_cov, learn, ranked[:, :rank], trained)
    thinned = _thin_support(full, learn, check)
    for candidate in (full,) if thinned is None else (thinned, full):
        components = jax.tree_util.tree_map(jnp.asarray, candidate)
        error = projection_error(components, check)
        if error < (2 if candidate is full else 1) * TOLERANCE:  # rounding included
            return Choice(
                components,
                error,
                f"projected on {rank} components, {components.n_support} of {len(emulator.support)} support vectors; "
                f"error {error:.2g} of the noise",
            )
    return Choice(None, 0.0, f"flux space: the error of {rank} components would be {error:.2g} of the noise")


@dataclass(frozen=True)
class Moves:
    """Pairs of points as far apart as a posterior is wide, and the change of the flux between them.

    χ² is evaluated about a star's fit, so only changes of the flux within a posterior count.

    Attributes
    ----------
    start, end : (3 n, L) n training stars, n points near them, n points of the box, and where each move ends
    change : (3 n, P) flux at the end minus flux at the start
    whitened : (3 n, P) the same in units of the noise
    """

    start: np.ndarray
    end: np.ndarray
    change: np.ndarray
    whitened: np.ndarray

    @classmethod
    def make(
        cls,
        emulator: KernelEmulator,
        inv_cov: InverseCovariance,
        training_labels: TrainingLabels,
        trained: np.ndarray,
        seed: int,
    ) -> Moves:
        start = scatter_points(training_labels, seed, _N_POINTS, reach=0.5, margin=0.05)
        root = np.asarray(_covariance_roots(emulator, inv_cov, jnp.asarray(start)))
        step = 2 * np.random.default_rng(seed).normal(size=start.shape)
        end = start + np.einsum("nij,nj->ni", root, step)
        flux = np.asarray(predict(emulator, jnp.asarray(np.concatenate([start, end]))))
        change = np.where(trained, flux[len(start) :] - flux[: len(start)], 0)
        return cls(start, end, change, np.asarray(whiten(inv_cov, jnp.asarray(change))))


def projection_error(components: KernelSums, moves: Moves) -> float:
    """Root mean square √(eᵀΣ⁻¹e) of the moves, rounding on the device included; see `_rms_length`."""
    first, second = (np.asarray(_evaluate(components, jnp.asarray(x)), np.float64) for x in (moves.start, moves.end))
    return _rms_length(moves.whitened - (second - first) @ np.asarray(components.whitened, np.float64))


def _truncation_error(moves: Moves, kept: np.ndarray) -> float:
    return _rms_length(moves.whitened - (moves.whitened @ kept) @ kept.T)


def _rms_length(error: np.ndarray) -> float:
    """Root mean square length of the rows over each kind of points; the largest of the three.

    Points of the box count a third: most have no training star near.
    """
    kinds = np.sqrt(np.sum(np.square(error), axis=1).reshape(3, -1).mean(axis=1)) * np.array([1, 1, 1 / 3])
    return float(kinds.max()) if np.all(np.isfinite(kinds)) else np.inf


def _project(
    emulator: KernelEmulator, inv_cov: InverseCovariance, learn: Moves, kept: np.ndarray, trained: np.ndarray
) -> KernelSums:
    """z = Vᵀ W f, with W the whitening and V the leading directions (P, r) of the whitened changes."""
    # f = Gᵀ z in the space of the changes, by least squares: the residual is the truncation error
    basis = np.linalg.lstsq(learn.whitened @ kept, learn.change, rcond=None)[0]
    blocks = component_blocks(emulator, directions_in_flux(inv_cov, kept), trained)
    components = KernelSums(emulator.support, blocks, basis, kept.T, len(emulator.support))
    return jax.tree_util.tree_map(np.asarray, components)  # on the host: device arrays would stay float64


def _thin_support(full: KernelSums, learn: Moves, check: Moves) -> KernelSums | None:
    """The same components from fewer support vectors, where that stays within the tolerance.

    Matrices of smooth kernels have a low rank: sums over thousands of stars, which cancel, become sums over hundreds
    of points, which cancel less. Least squares at the training stars and other points of the range.
    """
    support = np.asarray(full.support, np.float64)
    n_gamma = sum(block.dual.shape[0] for block in full.blocks)
    if any(block.kernel != "rbf" for block in full.blocks) or n_gamma > 4:
        return None
    metric = full.blocks[0].factors
    at = np.concatenate([support[_spread(support * metric, 2048)], learn.start, learn.end])
    order = _spread(at * metric, _LANDMARKS[-1])
    wanted = [[sums for _, sums in _kernel_sums(block, at, support)] for block in full.blocks]
    change = check.whitened @ full.whitened.T
    for count in _LANDMARKS:
        if count > 0.6 * len(support):
            return None
        landmarks, blocks, fitted = at[order[:count]], [], np.zeros_like(change)
        for block, sums_at in zip(full.blocks, wanted, strict=True):
            duals = []
            for gamma, sums in zip(np.asarray(block.gamma, float), sums_at, strict=True):
                duals.append(_least_squares(_rbf(at, landmarks, gamma, block), sums))
                end, start = (_rbf(x, landmarks, gamma, block) for x in (check.end, check.start))
                fitted += (end - start) @ duals[-1]
            blocks.append(dataclasses.replace(block, dual=np.stack(duals)))
        if _rms_length(change - fitted) < 0.7 * TOLERANCE:
            return KernelSums(landmarks, tuple(blocks), full.basis, full.whitened, count)
    return None


def _kernel_sums(block: KernelBlock, x: np.ndarray, support: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Each γ of a block and its sums at x, in float64 on the host."""
    pairs = zip(np.asarray(block.gamma, float), np.asarray(block.dual, float), strict=True)
    return [(gamma, _rbf(x, support, gamma, block) @ dual) for gamma, dual in pairs]


def _least_squares(design: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Coefficients (S, r) with design @ coefficients ≈ values; directions weaker than `RIDGE` are dropped."""
    value, vector = np.linalg.eigh(design.T @ design)
    kept = value > RIDGE * value[-1]
    root = vector[:, kept] / np.sqrt(value[kept])
    return root @ (root.T @ (design.T @ values))


def _rbf(x: np.ndarray, support: np.ndarray, gamma: float, block: KernelBlock) -> np.ndarray:
    """exp(−γ |M (x − s)|²) over the labels that count for a block, in float64 on the host."""
    counted, metric = list(block.labels) or slice(None), block.factors
    x, support = x * metric, support * metric
    return np.exp(-gamma * cdist(x[:, counted], support[:, counted], "sqeuclidean"))


def _spread(points: np.ndarray, count: int) -> np.ndarray:
    return far_apart(points, count, about=points.mean(axis=0))


@compiled
def _inverse_covariance(noise: Noise, ivar: Float[AnyArray, " pixel"]) -> InverseCovariance:
    return noise.inverse_covariance(ivar)


@compiled
def _covariance_roots(
    emulator: Emulator, inv_cov: InverseCovariance, x: ScaledLabels
) -> Float[Array, "point label label"]:
    """Square roots of the covariances of x, given a spectrum and a prior as wide as the training labels."""

    def at(x: ScaledLabels) -> Float[Array, "label label"]:
        fisher = emulator.information(inv_cov, x, emulator.at(x))[1:, 1:]
        lower = jnp.linalg.cholesky(fisher + jnp.eye(x.size, dtype=x.dtype))
        return jax.scipy.linalg.solve_triangular(lower, jnp.eye(x.size, dtype=x.dtype), lower=True).T

    return jax.lax.map(at, x, batch_size=64)


@compiled
def _evaluate(components: KernelSums, x: ScaledLabels) -> Array:
    return components(x)
