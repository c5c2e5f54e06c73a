"""Nuisances beside the labels of a posterior: velocities are sampled, the polynomial is marginalised analytically.

Velocities are sampled in unbounded coordinates t, behind the scaled labels. A free one is
low + (high − low) sigmoid(t), uniform between its bounds; one with a Gaussian prior mean + sd t. A spectrum depends on
the square of a width only, so widths pass through 0 to negative values, which mean the same: a chain meets no wall.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from astropy.table import QTable
from jaxtyping import Array
from scipy.special import expit

from slamjax.forward.emulator import ForwardEmulator
from slamjax.forward.line_spread import LineSpread, seen_through
from slamjax.forward.nuisances import WIDTHS
from slamjax.noise.models import Noise
from slamjax.sampling.likelihoods import FluxStar, StarFlux, X, n_good
from slamjax.typing import Scalar

#: A start at its bound is moved inside by this fraction of the range.
_INSIDE = 1e-3


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ForwardLikelihood:
    """χ² summed over pixels, at x (L + V,): scaled labels and coordinates of velocities."""

    emulator: ForwardEmulator
    noise: Noise

    def prepare_star(self, flux: StarFlux, ivar: StarFlux, x: X, line_spread: LineSpread | None = None) -> FluxStar:
        return FluxStar(flux, self.noise.inverse_covariance(ivar), line_spread)

    def chi2_and_logdet(self, data: FluxStar, x: X, noise_scale: Any) -> tuple[Scalar, Any]:
        """χ² of S = s Σ + F T Fᵀ, with s the noise scale, and ln |S| − ln |s Σ|, which depends on x through F."""
        emulator = seen_through(self.emulator, data.line_spread)
        return emulator.marginal(data.inv_cov, parameters(emulator, x), data.flux, noise_scale)

    def n_pix(self, ivar: StarFlux) -> Any:
        return n_good(self.noise, ivar)

    def log_prior(self, x: X) -> Scalar:
        """ln prior of the velocities' coordinates."""
        total = jnp.zeros((), x.dtype)
        for k, name in enumerate(self.emulator.free):
            prior = getattr(self.emulator.nuisances, name)
            total = total + log_prior_at(prior, name, x[self.emulator.n_labels + k])
        return total

    def fold(self, x: Any) -> Any:
        """Draws (..., L + V) with widths at or above 0."""
        for k, name in enumerate(self.emulator.free):
            column, prior = self.emulator.n_labels + k, getattr(self.emulator.nuisances, name)
            x = x.at[..., column].set(folded(prior, name, x[..., column]))
        return x


def parameters(forward: ForwardEmulator, x: Any) -> Array:
    """Parameters of the forward emulator at x (..., L + V)."""
    parts = [x[..., : forward.n_labels]]
    for k, name in enumerate(forward.free):
        t = x[..., forward.n_labels + k]
        parts.append(forward.coordinate(name, velocity_at(forward, name, t, jax.nn.sigmoid))[..., None])
    return jnp.concatenate(parts, axis=-1)


def velocities(forward: ForwardEmulator, x: np.ndarray) -> np.ndarray:
    """Velocities (..., V) in km/s of draws x (..., L + V), on the host; widths are positive."""
    columns = []
    for k, name in enumerate(forward.free):
        value = velocity_at(forward, name, np.asarray(x[..., forward.n_labels + k], float), expit)
        columns.append(np.abs(value) if name in WIDTHS else value)
    return np.stack(columns, axis=-1)


def velocity_at(forward: ForwardEmulator, name: str, t: Any, sigmoid: Any) -> Any:
    """Velocity, km/s, at an unbounded coordinate t."""
    prior = getattr(forward.nuisances, name)
    if prior.is_gaussian:
        return prior.mean + prior.sd * t
    low = -prior.high if name in WIDTHS and prior.low == 0 else prior.low
    return low + (prior.high - low) * sigmoid(t)


def start_velocities(forward: ForwardEmulator, table: QTable) -> np.ndarray:
    """Coordinates (N, V) of the fitted velocities."""
    columns = []
    for name in forward.free:
        columns.append(coordinate_of(forward, name, np.nan_to_num(np.asarray(table[name].value, float))))
    return np.stack(columns, axis=-1) if columns else np.zeros((len(table), 0))


def coordinate_of(forward: ForwardEmulator, name: str, value: np.ndarray) -> np.ndarray:
    """Unbounded coordinates of velocities in km/s."""
    prior = getattr(forward.nuisances, name)
    if prior.is_gaussian:
        return np.asarray((value - prior.mean) / prior.sd)
    low = -prior.high if name in WIDTHS and prior.low == 0 else prior.low
    fraction = np.clip((value - low) / (prior.high - low), _INSIDE, 1 - _INSIDE)
    return np.asarray(np.log(fraction) - np.log1p(-fraction))


def log_prior_at(prior: Any, name: str, t: Any) -> Any:
    """ln prior density of an unbounded coordinate t, up to a constant."""
    if not prior.is_gaussian:
        return jax.nn.log_sigmoid(t) + jax.nn.log_sigmoid(-t)
    away = (jnp.abs(prior.mean + prior.sd * t) - prior.mean) / prior.sd if name in WIDTHS else t
    return -0.5 * jnp.square(away)


def folded(prior: Any, name: str, t: Any) -> Any:
    """Coordinates that mean a width at or above 0."""
    if name in WIDTHS and prior.is_gaussian:
        about = prior.mean / prior.sd
        return jnp.abs(t + about) - about
    return jnp.abs(t) if name in WIDTHS and prior.low == 0 else t
