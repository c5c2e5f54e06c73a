"""The emulator in few components: f(x) = f₀ + zᵀ(x) G with z = Σ_γ k_γ(x, X) Q_γ, or a polynomial's monomials.

The flux of P pixels moves in a space of r dimensions, the leading principal components of the training range's spectra
in units of the noise. A component is a kernel sum like a pixel's, so r pixels stand for P; with several γ, a component
sums over all of them. What is cut off is measured in the same units: an error e of the flux moves no label by more
than √(eᵀΣ⁻¹e) standard errors.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

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
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.forward.likelihood import information
from slamjax.noise.models import InverseCovariance, Noise
from slamjax.sampling.monomials import Components, Monomials
from slamjax.typing import AnyArray, ScaledLabels, Support

#: Root mean square of √(eᵀΣ⁻¹e) over the range that a prior leaves, at the strongest errors of the spectra.
TOLERANCE = 0.03
#: Points of each kind (training stars, near them, anywhere in the box) to learn the components from, and to check.
_POINTS = 256
#: Components come in multiples of this: shapes stay few.
_STEP = 8
#: Directions of a kernel matrix of less than this part of the strongest's squared length are left out.
RIDGE = 1e-13
#: Support vectors tried in place of all, where a kernel is smooth enough for few.
_LANDMARKS = (192, 256, 384, 512, 768, 1024)


@partial(
    jax.tree_util.register_dataclass, data_fields=["support", "blocks", "basis", "whitened"], meta_fields=["n_support"]
)
@dataclass(frozen=True, eq=False)
class Projection:
    """Components of an emulator of kernels.

    Attributes
    ----------
    support : (S, L) support vectors, all of the emulator's or fewer
    blocks : kernel sums of the components, those of each γ apart
    basis : (r, P) G, flux for each component
    whitened : (r, P) the same in units of the noise it was chosen for: orthonormal
    n_support : S
    """

    support: Support
    blocks: tuple[KernelBlock, ...]
    basis: Float[AnyArray, "component pixel"]
    whitened: Float[AnyArray, "component pixel"]
    n_support: int

    @property
    def rank(self) -> int:
        return self.basis.shape[0]

    def __call__(self, x: ScaledLabels) -> Float[Array, "*batch component"]:
        """z at scaled labels x (..., L), up to a constant."""
        parts = []
        for block in self.blocks:
            each = block(x, self.support)
            parts.append(jnp.sum(each.reshape(*each.shape[:-1], -1, self.rank), axis=-2))
        return sum(parts[1:], start=parts[0])


@dataclass(frozen=True)
class Choice:
    """The projection, or None where flux space serves better; what was measured, and in words why."""

    projection: Components | None
    error: float
    reason: str


def choose_projection(
    emulator: Emulator, noise: Noise, training_labels: TrainingLabels, ivar: Float[np.ndarray, " pixel"]
) -> Choice:
    """Components of the emulator for stars with inverse variances of at most ``ivar`` (P,), where they save work."""
    if isinstance(emulator, PolynomialEmulator):
        trained = np.isfinite(np.asarray(emulator.intercept))
        rank, most = emulator.n_terms, int(0.8 * trained.sum())
        if rank > most:
            return Choice(None, 0.0, f"flux space: {rank} monomials against {trained.sum()} pixels")
        exactly = jax.tree_util.tree_map(jnp.asarray, Monomials.of(emulator))
        return Choice(exactly, 0.0, f"projected on {rank} monomials, exactly")
    if isinstance(emulator, KernelEmulator):
        return _by_kernel_sums(emulator, noise, training_labels, ivar)
    return Choice(None, 0.0, "flux space: nothing is known of this emulator's components")


def _by_kernel_sums(
    emulator: KernelEmulator, noise: Noise, training_labels: TrainingLabels, ivar: Float[np.ndarray, " pixel"]
) -> Choice:
    """Components enough for spectra with errors as small as ``ivar``, if they cost less than the pixels do.

    All but the last check is done in float64, whatever JAX runs in: in float32 the sums over all stars are themselves
    uncertain by about the tolerance, those of few support vectors less.

    Parameters
    ----------
    emulator, noise : exact, on the host, in one unit of flux
    domain : where labels may lie
    ivar : (P,) the strongest inverse variance of any star at each pixel
    """
    trained = np.isfinite(np.asarray(emulator.intercept))
    groups = sum(block.dual.shape[0] for block in emulator.blocks)
    with enable_x64(True):
        exact, exact_noise = (jax.tree_util.tree_map(jnp.asarray, part) for part in (emulator, noise))
        inv_cov = exact_noise.inverse_covariance(jnp.asarray(ivar, float))
        learn, check = (Moves.make(exact, inv_cov, training_labels, trained, seed) for seed in (0, 1))
        ranked = leading_directions(learn.whitened, min(learn.whitened.shape))
        most = ranked.shape[1]
        rank = next((k for k in range(_STEP, most, _STEP) if _cut(check, ranked[:, :k]) < 0.7 * TOLERANCE), most)
        if rank * groups > 0.8 * np.sum(trained):
            return Choice(
                None, 0.0, f"flux space: {rank} components for each of {groups} γ against {trained.sum()} pixels"
            )
        projection = _project(exact, inv_cov, learn, ranked[:, :rank], trained)
    thin = _thinned(projection, learn, check)
    for candidate in (projection,) if thin is None else (thin, projection):
        placed = jax.tree_util.tree_map(jnp.asarray, candidate)
        error = projection_error(placed, check)
        if error < (2 if candidate is projection else 1) * TOLERANCE:  # rounding included
            return Choice(
                placed,
                error,
                f"projected on {rank} components, {placed.n_support} of {len(emulator.support)} support vectors; "
                f"error {error:.2g} of the noise",
            )
    return Choice(None, 0.0, f"flux space: the error of {rank} components would be {error:.2g} of the noise")


@dataclass(frozen=True)
class Moves:
    """Pairs of points as far apart as a posterior is wide, and what the flux changes between them.

    χ² is evaluated about a star's fit: only changes of the flux count, and those within a posterior.

    Attributes
    ----------
    start, end : (3 n, L) n training stars, n points near them, n points of the box, and where a move ends
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
        start = scatter_points(training_labels, seed, _POINTS, reach=0.5, margin=0.05)
        sigma = np.asarray(_spreads(emulator, inv_cov, jnp.asarray(start)))
        step = 2 * np.random.default_rng(seed).normal(size=start.shape)
        end = start + np.einsum("nij,nj->ni", sigma, step)
        flux = np.asarray(predict(emulator, jnp.asarray(np.concatenate([start, end]))))
        change = np.where(trained, flux[len(start) :] - flux[: len(start)], 0)
        return cls(start, end, change, np.asarray(whiten(inv_cov, jnp.asarray(change))))


def projection_error(projection: Projection, moves: Moves) -> float:
    """√(eᵀΣ⁻¹e) of the moves as the projection has them on the device, see `_size`."""
    first, second = (np.asarray(_components(projection, jnp.asarray(x)), np.float64) for x in (moves.start, moves.end))
    return _size(moves.whitened - (second - first) @ np.asarray(projection.whitened, np.float64))


def _cut(moves: Moves, kept: np.ndarray) -> float:
    return _size(moves.whitened - (moves.whitened @ kept) @ kept.T)


def _size(error: np.ndarray) -> float:
    """Root mean square length of the rows over each kind of points; the largest of the three.

    Points of the box, of which most have no training star near, count a third.
    """
    kinds = np.sqrt(np.sum(np.square(error), axis=1).reshape(3, -1).mean(axis=1)) * np.array([1, 1, 1 / 3])
    return float(kinds.max()) if np.all(np.isfinite(kinds)) else np.inf


def _project(
    emulator: KernelEmulator, inv_cov: InverseCovariance, learn: Moves, kept: np.ndarray, trained: np.ndarray
) -> Projection:
    """z = Vᵀ W f, with W the whitening and V the leading directions (P, r) of the whitened changes."""
    # f = Gᵀ z in the space of the changes: least squares, whose residual is what was cut off
    basis = np.linalg.lstsq(learn.whitened @ kept, learn.change, rcond=None)[0]
    blocks = component_blocks(emulator, directions_in_flux(inv_cov, kept), trained)
    projection = Projection(emulator.support, blocks, basis, kept.T, len(emulator.support))
    return jax.tree_util.tree_map(np.asarray, projection)  # on the host: device arrays would stay float64


def _thinned(projection: Projection, learn: Moves, check: Moves) -> Projection | None:
    """The same components from fewer support vectors, where that stays within the tolerance.

    Matrices of smooth kernels have a low rank: the sums over thousands of stars, which cancel, become sums over
    hundreds of points, which cancel less. Least squares at the training stars and other points of the range.
    """
    support = np.asarray(projection.support, np.float64)
    n_gamma = sum(block.dual.shape[0] for block in projection.blocks)
    if any(block.kernel != "rbf" for block in projection.blocks) or n_gamma > 4:
        return None
    at = np.concatenate([support[_spread_out(support, min(len(support), 2048))], learn.start, learn.end])
    order = _spread_out(at, min(len(at), _LANDMARKS[-1]))
    gammas = [np.asarray(block.gamma, float) for block in projection.blocks]
    wanted = [
        [
            _rbf(at, support, one, block.labels) @ dual
            for one, dual in zip(gamma, np.asarray(block.dual, float), strict=True)
        ]
        for gamma, block in zip(gammas, projection.blocks, strict=True)
    ]
    change = check.whitened @ projection.whitened.T
    for count in _LANDMARKS:
        if count > 0.6 * len(support):
            return None
        chosen, blocks, got = at[order[:count]], [], np.zeros_like(change)
        for gamma, block, sums in zip(gammas, projection.blocks, wanted, strict=True):
            duals = []
            for one, sum_at in zip(gamma, sums, strict=True):
                few = _rbf(at, chosen, one, block.labels)
                value, vector = np.linalg.eigh(few.T @ few)
                kept = value > RIDGE * value[-1]
                root = vector[:, kept] / np.sqrt(value[kept])
                duals.append(root @ (root.T @ (few.T @ sum_at)))
                moved = (_rbf(x, chosen, one, block.labels) for x in (check.end, check.start))
                got += np.subtract(*moved) @ duals[-1]
            blocks.append(dataclasses.replace(block, dual=np.stack(duals)))
        if _size(change - got) < 0.7 * TOLERANCE:
            return Projection(chosen, tuple(blocks), projection.basis, projection.whitened, count)
    return None


def _rbf(x: np.ndarray, s: np.ndarray, gamma: float, labels: tuple[int, ...]) -> np.ndarray:
    square = sum((x[:, None, k] - s[None, :, k]) ** 2 for k in labels or range(s.shape[1]))
    return np.exp(-gamma * square)


def _spread_out(points: np.ndarray, count: int) -> np.ndarray:
    """Rows of ``count`` points, each the farthest from those before it."""
    rows = [int(np.argmin(np.sum(np.square(points - points.mean(axis=0)), axis=1)))]
    distance = np.sum(np.square(points - points[rows[0]]), axis=1)
    while len(rows) < count:
        rows.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.sum(np.square(points - points[rows[-1]]), axis=1))
    return np.array(rows)


@compiled
def _spreads(emulator: Emulator, inv_cov: InverseCovariance, x: ScaledLabels) -> Float[Array, "point label label"]:
    """Square roots of the covariances that a spectrum and a prior of the training labels' width give x."""

    def one(x: ScaledLabels) -> Float[Array, "label label"]:
        fisher = information(emulator, inv_cov, x, emulator.at(x))[1:, 1:]
        lower = jnp.linalg.cholesky(fisher + jnp.eye(x.size, dtype=x.dtype))
        return jax.scipy.linalg.solve_triangular(lower, jnp.eye(x.size, dtype=x.dtype), lower=True).T

    return jax.lax.map(one, x, batch_size=64)


@compiled
def _components(projection: Projection, x: ScaledLabels) -> Array:
    return projection(x)
