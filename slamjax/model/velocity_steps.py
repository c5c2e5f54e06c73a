"""Labels and velocity of spectra near rest.

With the residual r, the labels' derivatives J and g = ∂f/∂v, a Gauss-Newton step gives the velocity that is left and
its error, marginalised over the labels. The error has two parts, that of the photon noise and that of the model error.
The second is multiplied by ``velocity_scale`` of `slamjax.model.ModelInfo`, estimated in training from held-out stars:
model errors are correlated from pixel to pixel, and training stars are not exactly at rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax._util.batching import map_padded
from slamjax._util.constants import LIGHT
from slamjax._util.jit import compiled
from slamjax.forward.gauss_newton import gauss_newton
from slamjax.forward.line_spread import seen_through
from slamjax.forward.velocity import VelocityStencil, rows_with_velocity
from slamjax.noise.inverse_covariance import DiagonalInverseCovariance

#: Stars per block: limits memory.
_BLOCK = 64


class Scaled(Protocol):
    """A pytree with emulator and noise on the device and the box of scaled labels, such as a `ScaledModel`."""

    @property
    def emulator(self) -> Any: ...
    @property
    def noise(self) -> Any: ...
    @property
    def low(self) -> Any: ...
    @property
    def high(self) -> Any: ...
    @property
    def line_spread(self) -> Any: ...


@dataclass(frozen=True, eq=False)
class SeenSpectra:
    """N spectra at rest as velocities are measured from them, in the unit of the device.

    ``slope`` (N, P) is ∂f/∂v of the prediction; None where the prediction's own pixels say it. ``line_spread`` (N, P)
    is σ of the Gaussians by which predictions are convolved, where spectra have their own line spreads.
    """

    flux: Float[np.ndarray, "star pixel"]
    ivar: Float[np.ndarray, "star pixel"]
    slope: Float[np.ndarray, "star pixel"] | None = None
    line_spread: Float[np.ndarray, "star pixel"] | None = None


@dataclass(frozen=True, eq=False)
class VelocityStep:
    """What N spectra, fitted at rest, say about their velocities.

    Attributes
    ----------
    left : (N,) km/s that are left; NaN where nothing is known
    photon, model : (N,) its variance by photon noise, and by the model error of independent pixels
    growth : (N, L) factors of the labels' errors, marginalised over the velocity
    chi2 : (N,) rᵀΣ⁻¹r at the best labels and velocity near by
    """

    left: Float[np.ndarray, " star"]
    photon: Float[np.ndarray, " star"]
    model: Float[np.ndarray, " star"]
    growth: Float[np.ndarray, "star label"]
    chi2: Float[np.ndarray, " star"]

    def error(self, velocity_scale: float, n_pix: np.ndarray) -> Float[np.ndarray, " star"]:
        """(N,) error of ``left``, with the model's variance multiplied by ``velocity_scale``.

        A star whose χ² is larger than its number of pixels ``n_pix`` (N,) is noisier than Σ by that factor.
        """
        excess = np.maximum(self.chi2 / np.maximum(n_pix, 1), 1)
        variance = self.photon + velocity_scale * self.model
        return np.where(np.isfinite(self.left), np.sqrt(variance * excess), np.inf)


def velocity_step(
    scaled: Scaled,
    stencil: VelocityStencil,
    x: Float[np.ndarray, "star label"],
    seen: SeenSpectra,
) -> VelocityStep:
    """The step from fitted labels ``x`` (scaled); NaN labels give no step."""
    flux = seen.flux
    low, high = np.asarray(scaled.low, float), np.asarray(scaled.high, float)
    usable = np.isfinite(x).all(axis=1)
    x = np.clip(np.where(usable[:, None], np.nan_to_num(x), (low + high) / 2), low, high).astype(flux.dtype)
    program = partial(_grams, scaled, stencil.on_device(flux.dtype))
    given = (x, flux, seen.ivar, seen.slope, seen.line_spread)
    whole, photon = (gram.astype(float) for gram in map_padded(program, given, _BLOCK))
    sound = usable & np.isfinite(whole).all(axis=(1, 2)) & np.isfinite(photon).all(axis=(1, 2)) & (whole[:, -1, -1] > 0)
    # an unconstrained label is known to its range
    weak = np.diag(np.concatenate([1 / np.square(high - low), [1e-12]]))
    eye = np.eye(len(weak))
    curvature = np.where(sound[:, None, None], whole[:, 1:, 1:] + weak, eye)
    covariance = np.linalg.inv(curvature)
    right = np.where(sound[:, None], whole[:, 1:, 0], 0)
    step = np.einsum("njk,nk->nj", covariance, right)
    held = np.einsum("nll->nl", np.linalg.inv(curvature[:, :-1, :-1]))
    growth = np.sqrt(np.maximum(np.einsum("nll->nl", covariance)[:, :-1] / held, 1))
    own = covariance[:, -1]
    by_photons = np.einsum("nj,njk,nk->n", own, np.where(sound[:, None, None], photon, 0), own)
    variance = np.maximum(own[:, -1], 0)
    return VelocityStep(
        left=np.where(sound, step[:, -1], np.nan),
        photon=np.where(sound, np.clip(by_photons, 0, variance), np.inf),
        model=np.where(sound, variance - np.clip(by_photons, 0, variance), 0),
        growth=np.where(sound[:, None], growth, 1.0),
        chi2=np.where(sound, whole[:, 0, 0] - np.einsum("nj,nj->n", step, right), np.nan),
    )


@compiled
def _grams(
    scaled: Scaled,
    stencil: VelocityStencil,
    x: Float[Array, "star label"],
    flux: Float[Array, "star pixel"],
    ivar: Float[Array, "star pixel"],
    slope: Float[Array, "star pixel"] | None,
    line_spread: Float[Array, "star pixel"] | None,
) -> tuple[Float[Array, "star row row"], Float[Array, "star parameter parameter"]]:
    """R Σ⁻¹ Rᵀ of all rows, and R D⁻¹ S D⁻¹ Rᵀ of all but the residual: D is the diagonal part of Σ, S the photons'."""

    def one(given: tuple[Array, Array, Array, Array | None, Array | None]) -> tuple[Array, Array]:
        x, flux, ivar, slope, sigma = given
        rows = rows_with_velocity(_emulator(scaled, sigma), stencil, x, flux, slope)
        inv_cov = scaled.noise.inverse_covariance(ivar)
        stated = (ivar > 0) & jnp.isfinite(ivar)
        photon = jnp.where(stated, jnp.square(inv_cov.weight) / jnp.where(stated, ivar, 1), 0)
        return inv_cov.gram(rows), DiagonalInverseCovariance(photon).gram(rows[1:])

    return jax.lax.map(one, (x, flux, ivar, slope, line_spread), batch_size=_BLOCK)


def _emulator(scaled: Scaled, sigma: Array | None) -> Any:
    """That of one star, seen through its own line spread if it has one."""
    if sigma is None or scaled.line_spread is None:
        return scaled.emulator
    return seen_through(scaled.emulator, scaled.line_spread.of_star(sigma))


def settle(
    scaled: Scaled,
    stencil: VelocityStencil,
    x: Float[np.ndarray, "star label"],
    seen: SeenSpectra,
    steps: int,
    most: float,
) -> Float[np.ndarray, "star label"]:
    """Scaled labels after damped Gauss-Newton steps from ``x``, with a velocity of some ``most`` km/s left."""
    dtype = seen.flux.dtype
    program = partial(_settled, scaled, stencil.on_device(dtype))

    def batch(x: Array, flux: Array, ivar: Array, sigma: Array | None) -> Array:
        return program(x, flux, ivar, sigma, jnp.asarray(most, dtype), steps=steps)

    return map_padded(batch, (x.astype(dtype), seen.flux, seen.ivar, seen.line_spread), _BLOCK)


@partial(compiled, static_argnames="steps")
def _settled(
    scaled: Scaled,
    stencil: VelocityStencil,
    x: Array,
    flux: Array,
    ivar: Array,
    sigma: Array | None,
    most: Array,
    *,
    steps: int,
) -> Array:
    low, high = scaled.low, scaled.high

    def one(given: tuple[Array, Array, Array, Array | None]) -> Array:
        x, flux, ivar, sigma = given
        emulator = _emulator(scaled, sigma)
        inv_cov = scaled.noise.inverse_covariance(ivar)

        def without_velocity(x: Array) -> Array:
            gram = inv_cov.gram(rows_with_velocity(emulator, stencil, x, flux))
            along = gram[:-1, -1]
            return gram[:-1, :-1] - along[:, None] * along / (gram[-1, -1] + 1 / jnp.square(most))

        return gauss_newton(without_velocity, x, low, high, steps, weak=1.0)[0]

    return jax.lax.map(one, (x, flux, ivar, sigma), batch_size=_BLOCK)


def pixel_velocity(wave: Float[np.ndarray, " pixel"]) -> float:
    """Width of a typical pixel in km/s."""
    return LIGHT * float(np.median(np.diff(np.log(wave)))) if wave.size > 1 else LIGHT
