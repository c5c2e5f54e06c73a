"""Line spreads of single stars in the forward model: what an emulator predicts, convolved as this star's lines are.

The flux of pixel p is a weighted mean of that of its neighbours q,

    f'_p = Σ_q w_pq f_q / Σ_q w_pq,   w_pq = exp(−(λ_q − λ_p)² / 2 σ_p²) Δλ_q   up to 5 σ_p,

with σ_p² what the star's line spread exceeds the model's by. Untrained pixels and those beyond the ends do not count.
The mean is linear, so derivatives with respect to labels go the same way.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from slamjax.emulators.scaling import LabelScaling
from slamjax.forward.emulator import ForwardEmulator
from slamjax.forward.joint import JointEmulator
from slamjax.noise.inverse_covariance import InverseCovariance
from slamjax.noise.joint import Span
from slamjax.typing import AnyArray, Flux, Jacobian, Scalar, ScaledLabels

#: Standard deviations at which the Gaussian is cut off.
CUTOFF = 5.0
#: A width of 0 is replaced by this, in pixels: the Gaussian has then the pixel itself.
_NARROW = 1e-3
#: Neighbours that are summed in one pass over the pixels.
_UNROLL = 33


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LineSpread:
    """A star's weighted means over neighbours.

    Attributes
    ----------
    weights : (K, P) of the neighbours from −(K − 1) / 2 to (K − 1) / 2 of each pixel; their sum is 1
    trained : (P,) bool; other pixels stay as they are
    """

    weights: Float[Array, "neighbour pixel"]
    trained: Bool[Array, " pixel"]

    def __call__(self, flux: Flux) -> Array:
        """(..., P)"""
        n, n_pix = self.weights.shape
        known = jnp.where(self.trained, flux, 0)
        seen = jnp.pad(known, [(0, 0)] * (known.ndim - 1) + [(n // 2, n // 2)])

        def add(total: Array, given: tuple[Array, Array]) -> tuple[Array, None]:
            k, weight = given
            return total + weight * jax.lax.dynamic_slice_in_dim(seen, k, n_pix, axis=-1), None

        total, _ = jax.lax.scan(add, jnp.zeros_like(known), (jnp.arange(n), self.weights), unroll=min(n, _UNROLL))
        return jnp.where(self.trained, total, flux)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LineSpreadGrid:
    """The neighbours of a model's pixels, from which the line spread of each star is made.

    Attributes
    ----------
    away : (K, P) wavelengths of the neighbours less the pixel's own
    width : (K, P) of the neighbours; 0 where these do not count
    narrow : (P,) smallest σ
    trained : (P,) bool
    """

    away: Float[AnyArray, "neighbour pixel"]
    width: Float[AnyArray, "neighbour pixel"]
    narrow: Float[AnyArray, " pixel"]
    trained: Bool[AnyArray, " pixel"]

    @classmethod
    def from_wavelengths(
        cls, wave: Float[np.ndarray, " pixel"], trained: Bool[np.ndarray, " pixel"], half_width: int
    ) -> LineSpreadGrid:
        """Up to ``half_width`` pixels on each side, on the host."""
        n_pix, pixel = wave.size, np.gradient(wave)
        at = np.arange(n_pix)[None] + np.arange(-half_width, half_width + 1)[:, None]
        inside = (at >= 0) & (at < n_pix)
        near = np.clip(at, 0, n_pix - 1)
        width = np.where(inside & trained[near], pixel[near], 0)
        return cls(wave[near] - wave, width, _NARROW * pixel, np.asarray(trained))

    def on_device(self, dtype: Any) -> LineSpreadGrid:
        away, width, narrow = (jnp.asarray(each, dtype) for each in (self.away, self.width, self.narrow))
        return LineSpreadGrid(away, width, narrow, jnp.asarray(self.trained))

    def of_star(self, sigma: Float[Array, " pixel"]) -> LineSpread:
        """For Gaussians of ``sigma`` (P,) in the unit of wavelength, 0 for a pixel that stays as it is."""
        distance = self.away / jnp.maximum(sigma, self.narrow)
        weight = jnp.where(jnp.abs(distance) <= CUTOFF, jnp.exp(-0.5 * jnp.square(distance)) * self.width, 0)
        total = jnp.sum(weight, axis=0)
        return LineSpread(weight / jnp.where(total > 0, total, 1), jnp.asarray(self.trained))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class JointLineSpreadGrid:
    """The neighbours of the pixels of several models, for all spectra of a star.

    Attributes
    ----------
    grids : of each model; None where its spectra have no line spreads of their own
    spans : where their pixels lie
    """

    grids: tuple[LineSpreadGrid | None, ...]
    spans: tuple[Span, ...] = field(metadata={"static": True})

    def of_star(self, sigma: Float[Array, " pixel"]) -> tuple[LineSpread | None, ...]:
        """Of each model one with a leading axis of its spectra, for Gaussians of ``sigma`` (P,) of all pixels."""
        each = zip(self.grids, self.spans, strict=True)
        return tuple(
            None if grid is None else jax.vmap(grid.of_star)(span.of(sigma).reshape(span.n_visits, span.n_pix))
            for grid, span in each
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ConvolvedEmulator:
    """An emulator seen through a line spread: what fits and samplers ask of an emulator."""

    emulator: Any
    line_spread: LineSpread

    @property
    def scaling(self) -> LabelScaling:
        return self.emulator.scaling

    @property
    def n_labels(self) -> int:
        return self.scaling.n_labels

    @property
    def trained(self) -> Bool[Array, " pixel"]:
        return self.emulator.trained

    def at(self, x: ScaledLabels) -> Flux:
        """Flux (..., P) at scaled labels x (..., L)."""
        return self.line_spread(self.emulator.at(x))

    def at_with_jacobian(self, x: ScaledLabels) -> tuple[Flux, Jacobian]:
        """Flux (..., P) and its derivatives (..., L, P) with respect to x (..., L)."""
        flux, slopes = self.emulator.at_with_jacobian(x)
        return self.line_spread(flux), self.line_spread(slopes)

    def residual_and_jacobian(self, x: ScaledLabels, flux: Flux | Scalar) -> Float[Array, "*batch row pixel"]:
        """Rows [flux − f(x); ∂f/∂x₁; …] (..., L + 1, P)."""
        predicted, slopes = self.at_with_jacobian(x)
        return jnp.concatenate([(flux - predicted)[..., None, :], slopes], axis=-2)

    def information(
        self, inv_cov: InverseCovariance, x: ScaledLabels, flux: Flux | Scalar
    ) -> Float[Array, "*batch row row"]:
        """G of `slamjax.emulators.base.Standardised.information`."""
        return inv_cov.gram(self.residual_and_jacobian(x, flux))


def seen_through(emulator: Any, line_spread: LineSpread | tuple[LineSpread | None, ...] | None) -> Any:
    """The emulator as a star with this line spread is predicted; one with nuisances shifts first, then convolves."""
    if line_spread is None:
        return emulator
    if isinstance(emulator, JointEmulator):
        assert isinstance(line_spread, tuple)
        return emulator.seen_through(line_spread)
    assert isinstance(line_spread, LineSpread)
    if isinstance(emulator, ForwardEmulator):
        return dataclasses.replace(emulator, line_spread=line_spread)
    return ConvolvedEmulator(emulator, line_spread)


def neighbours_needed(sigma: Float[np.ndarray, "star pixel"], wave: Float[np.ndarray, " pixel"]) -> int:
    """Pixels on each side that the widest of these Gaussians reaches, rounded up to a power of two; 0 for none."""
    if wave.size < 2 or not np.any(sigma > 0):
        return 0
    pixels = int(np.ceil(CUTOFF * np.max(sigma / np.gradient(wave))))
    return min(1 << max(1, pixels - 1).bit_length(), wave.size - 1)


@cache
def _widths_of_samples() -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations, in pixels, that Gaussians sampled at pixels have, and those that they are made with."""
    made = np.linspace(0.1, 1.5, 1401)
    pixel = np.arange(-10, 11)
    weight = np.exp(-0.5 * np.square(pixel / made[:, None]))
    return np.sqrt(weight @ np.square(pixel) / weight.sum(axis=1)), made


def sampled_sigma(sigma: Float[np.ndarray, "*star pixel"], wave: Float[np.ndarray, " pixel"]) -> np.ndarray:
    """σ of Gaussians that have the standard deviation ``sigma`` once they are sampled at pixels.

    A Gaussian narrower than a pixel loses width by sampling: nearly all at a third of a pixel, a thousandth at 0.8.
    """
    has, made = _widths_of_samples()
    pixel = np.gradient(wave)
    ratio = np.asarray(sigma) / pixel
    return np.where(ratio > 0, np.where(ratio < has[-1], np.interp(ratio, has, made), ratio), 0) * pixel
