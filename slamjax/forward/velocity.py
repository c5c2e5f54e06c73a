"""How a predicted spectrum changes with velocity, and the information of a spectrum on labels and velocity together.

Pixels as wide as lines do not determine the slope between them: a spline through them has wrong slopes, hence biased
velocities. The slope used here is the expectation given the pixels: with c the spectrum blurred by a line spread of
standard deviation σ, lines at random places, the covariance of c at a distance d is exp(−d² / 4σ²), and the pixels are
means of c. Regressions on such a slope are unbiased, whatever is lost between the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.special import erf

from slamjax._util.constants import LIGHT
from slamjax.typing import AnyArray, Flux, ScaledLabels

#: Pixels that determine a slope.
_WINDOW = 11
#: Full width at half maximum of the line spread in pixels, at most: beyond it pixels say all there is.
_RESOLVED = 2.5
#: Variance of independent errors of pixels, in units of that of the spectrum: keeps the weights small.
_JITTER = 1e-4
_SIGMA = 1 / np.sqrt(8 * np.log(2))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class VelocityStencil:
    """∂f/∂v per km/s at fixed observed wavelengths, as weighted sums over pixels near by.

    Attributes
    ----------
    pixels : (P, K) the pixels that are summed
    weights : (P, K) 0 where the flux is not predicted
    """

    pixels: Int[AnyArray, "pixel near"]
    weights: Float[AnyArray, "pixel near"]

    @classmethod
    def from_wavelengths(
        cls, wave: Float[np.ndarray, " pixel"], known: np.ndarray, fwhm: float | np.ndarray | None = None
    ) -> VelocityStencil:
        """For pixels at ``wave``; the flux is predicted at the ``known`` ones (P,) bool.

        ``fwhm`` is that of the line spread, in the unit of ``wave``; unknown: pixels resolve it.
        """
        places = np.flatnonzero(known)
        if places.size < 2:
            return cls(np.zeros((wave.size, 1), int), np.zeros((wave.size, 1)))
        weights, near = _slopes(log_edges(wave), np.log(wave), places, fwhm)
        full, pixels = np.zeros((wave.size, near.shape[1])), np.zeros((wave.size, near.shape[1]), int)
        full[places], pixels[places] = -weights / LIGHT, near
        return cls(pixels, full)

    def __call__(self, flux: Flux) -> Flux:
        """(..., P)"""
        near = self.pixels.shape[-1]
        terms = (jnp.asarray(self.weights)[:, k] * flux[..., self.pixels[:, k]] for k in range(near))
        return sum(terms, jnp.zeros_like(flux))

    def on_device(self, dtype: Any) -> VelocityStencil:
        return VelocityStencil(jnp.asarray(self.pixels), jnp.asarray(self.weights, dtype))


def log_edges(wave: np.ndarray) -> np.ndarray:
    """(P + 1,) edges of pixels in ln λ."""
    position = np.log(wave)
    middle = (position[1:] + position[:-1]) / 2
    return np.concatenate([[2 * position[0] - middle[0]], middle, [2 * position[-1] - middle[-1]]])


def line_spread(position: np.ndarray, fwhm: float | np.ndarray | None) -> np.ndarray:
    """(P,) standard deviation of the line spread in ln λ: as stated, at most what pixels resolve."""
    widest = _RESOLVED * _SIGMA * np.gradient(position)
    return widest if fwhm is None else np.minimum(widest, fwhm * _SIGMA / np.exp(position))


def _slopes(
    edges: np.ndarray, position: np.ndarray, places: np.ndarray, fwhm: float | np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (P', K) of the slope in ln λ of each of ``places``, and the pixels (P', K) that they are for."""
    near = windows(places)
    sigma = line_spread(position, fwhm)[places][:, None]
    middle = position[places][:, None]
    low, high = (edges[near] - middle) / sigma, (edges[near + 1] - middle) / sigma  # (P', K), in units of σ
    ends = ((np.stack([edges[places], edges[places + 1]], axis=1) - middle) / sigma)[:, :, None]
    to_ends = (_first(ends - low[:, None]) - _first(ends - high[:, None])) / (high - low)[:, None]
    cross = (to_ends[:, 1] - to_ends[:, 0]) / (ends[:, 1] - ends[:, 0])
    straight = np.broadcast_to([0.0, 1.0], (len(near), 1, 2))
    return predictors(low, high, cross[:, None], straight)[:, 0] / sigma, near


def predictors(
    low: np.ndarray, high: np.ndarray, cross: np.ndarray, straight: np.ndarray
) -> Float[np.ndarray, "pixel target near"]:
    """Weights of pixels from ``low`` to ``high`` (P, K), in units of σ, that give the expectation of M quantities.

    ``cross`` (P, M, K) are their covariances with the pixels. Weights give exactly what quantities of a constant
    spectrum and of one that grows like the position are, ``straight`` (P, M, 2): the level is no fluctuation.
    """
    matrix = between(low, high, low, high) + _JITTER * np.eye(low.shape[-1])
    basis = np.stack([np.ones_like(low), (low + high) / 2], axis=2)
    free = np.linalg.solve(matrix, np.swapaxes(cross, 1, 2))  # (P, K, M)
    along = np.linalg.solve(matrix, basis)  # (P, K, 2)
    basis = np.swapaxes(basis, 1, 2)
    missing = np.swapaxes(straight, 1, 2) - basis @ free
    return np.swapaxes(free + along @ np.linalg.solve(basis @ along, missing), 1, 2)


def windows(places: np.ndarray) -> np.ndarray:
    """(P', K) the pixels nearest to each of ``places``, of these."""
    size = min(_WINDOW, places.size)
    first = np.clip(np.arange(places.size) - size // 2, 0, places.size - size)
    return places[first[:, None] + np.arange(size)]


def between(low: np.ndarray, high: np.ndarray, other_low: np.ndarray, other_high: np.ndarray) -> np.ndarray:
    """(..., M, K) covariance of the mean flux of pixels (..., M) and others (..., K), in units of σ."""
    a, b = low[..., :, None], high[..., :, None]
    c, d = other_low[..., None, :], other_high[..., None, :]
    return (_second(b - c) - _second(a - c) - _second(b - d) + _second(a - d)) / ((b - a) * (d - c))


def _first(distance: np.ndarray) -> np.ndarray:
    """Integral of exp(−d² / 4)."""
    return np.sqrt(np.pi) * erf(distance / 2)


def _second(distance: np.ndarray) -> np.ndarray:
    """Integral of the integral."""
    return distance * _first(distance) + 2 * np.exp(-np.square(distance) / 4)


def rows_with_velocity(
    emulator: Any, stencil: VelocityStencil, x: ScaledLabels, flux: Flux, slope: Flux | None = None
) -> Float[Array, "row pixel"]:
    """Rows [flux − f(x); ∂f/∂x₁; …; ∂f/∂v] of a star; the last one may be given."""
    rows = emulator.residual_and_jacobian(x, jnp.zeros((), flux.dtype))
    predicted = -rows[0]
    slope = stencil(jnp.nan_to_num(predicted)) if slope is None else slope
    return jnp.concatenate([(flux - predicted)[None], rows[1:], slope[None]])
