"""Nuisances beside the labels of a posterior: velocities are sampled, the polynomial is integrated out.

Velocities move in coordinates t without bounds, behind the scaled labels. A free one is low + (high − low) sigmoid(t),
uniform between its bounds; one with a Gaussian prior mean + sd t. Spectra know the square of a width only, so that
widths go through 0 to negative ones, which stand for the same: there is no wall at which a chain would turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from astropy.table import QTable
from jaxtyping import Array
from scipy.special import expit

from slamjax.forward.emulator import ForwardEmulator
from slamjax.forward.nuisances import WIDTHS, Gaussian
from slamjax.noise.models import Noise
from slamjax.sampling.density import FluxStar, Star, X
from slamjax.typing import Scalar

#: A start at its bound is moved this part of the range inside.
_INSIDE = 1e-3


@partial(jax.tree_util.register_dataclass, data_fields=["emulator", "noise"], meta_fields=[])
@dataclass(frozen=True)
class ForwardLikelihood:
    """Pixel by pixel, at x (L + V,): scaled labels and coordinates of velocities."""

    emulator: ForwardEmulator
    noise: Noise

    def star(self, flux: Star, ivar: Star, x: X) -> FluxStar:
        return FluxStar(flux, self.noise.inverse_covariance(ivar))

    def terms(self, star: FluxStar, x: X, own: Any) -> tuple[Scalar, Any]:
        """χ² of S = own Σ + F T Fᵀ, and ln |S| − ln |own Σ|, which depends on x: brighter models spread wider."""
        return self.emulator.marginal(star.inv_cov, parameters(self.emulator, x), star.flux, own)

    def log_prior(self, x: X) -> Scalar:
        """Of the velocities' coordinates."""
        total = jnp.zeros((), x.dtype)
        for k, name in enumerate(self.emulator.free):
            prior, t = getattr(self.emulator.nuisances, name), x[self.emulator.n_labels + k]
            if isinstance(prior, Gaussian):
                away = (jnp.abs(prior.mean + prior.sd * t) - prior.mean) / prior.sd if name in WIDTHS else t
                total = total - 0.5 * jnp.square(away)
            else:
                total = total + jax.nn.log_sigmoid(t) + jax.nn.log_sigmoid(-t)
        return total

    def folded(self, x: Any) -> Any:
        """Draws (..., L + V) with widths on one side of 0."""
        for k, name in enumerate(self.emulator.free):
            place, prior = self.emulator.n_labels + k, getattr(self.emulator.nuisances, name)
            if name in WIDTHS and isinstance(prior, Gaussian):
                about = prior.mean / prior.sd
                x = x.at[..., place].set(jnp.abs(x[..., place] + about) - about)
            elif name in WIDTHS and prior.low == 0:
                x = x.at[..., place].set(jnp.abs(x[..., place]))
        return x


def parameters(forward: ForwardEmulator, x: Any) -> Array:
    """Parameters of the forward emulator at x (..., L + V)."""
    parts = [x[..., : forward.n_labels]]
    for k, name in enumerate(forward.free):
        t = x[..., forward.n_labels + k]
        parts.append(forward.coordinate(name, _velocity(forward, name, t, jax.nn.sigmoid))[..., None])
    return jnp.concatenate(parts, axis=-1)


def velocities(forward: ForwardEmulator, x: np.ndarray) -> np.ndarray:
    """Velocities (..., V), km/s, of draws x (..., L + V), on the host; widths are positive."""
    found = []
    for k, name in enumerate(forward.free):
        value = _velocity(forward, name, np.asarray(x[..., forward.n_labels + k], float), expit)
        found.append(np.abs(value) if name in WIDTHS else value)
    return np.stack(found, axis=-1)


def _velocity(forward: ForwardEmulator, name: str, t: Any, sigmoid: Any) -> Any:
    prior = getattr(forward.nuisances, name)
    if isinstance(prior, Gaussian):
        return prior.mean + prior.sd * t
    low = -prior.high if name in WIDTHS and prior.low == 0 else prior.low
    return low + (prior.high - low) * sigmoid(t)


def starts(forward: ForwardEmulator, table: QTable) -> np.ndarray:
    """Coordinates (N, V) of the velocities that a fit found."""
    found = []
    for name in forward.free:
        prior, value = getattr(forward.nuisances, name), np.nan_to_num(np.asarray(table[name].value, float))
        if isinstance(prior, Gaussian):
            found.append((value - prior.mean) / prior.sd)
            continue
        low = -prior.high if name in WIDTHS and prior.low == 0 else prior.low
        part = np.clip((value - low) / (prior.high - low), _INSIDE, 1 - _INSIDE)
        found.append(np.log(part) - np.log1p(-part))
    return np.stack(found, axis=-1) if found else np.zeros((len(table), 0))
