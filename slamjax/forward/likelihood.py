"""χ² and ln p of a spectrum given labels.

ln p(f | θ) = −½ (f − f_SLAM(θ))ᵀ Σ⁻¹ (f − f_SLAM(θ)) − ½ ln |2π Σ|   (Zhang, Liu & Deng 2020, ApJS 246, 9, eq. 7-8)
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from slamjax.emulators.base import Emulator
from slamjax.forward.emulator import ForwardEmulator
from slamjax.noise.models import InverseCovariance, Noise
from slamjax.typing import Flux, Ivar, Labels, ScaledLabels


def chi2(emulator: Emulator, noise: Noise, labels: Labels, flux: Flux, ivar: Ivar) -> Float[Array, "*batch"]:
    """rᵀ Σ⁻¹ r of prepared flux (..., P) and ivar at labels (..., L); bad and untrained pixels do not count."""
    residual = flux - emulator(labels)
    return jnp.sum(jnp.square(noise.inverse_covariance(ivar).whiten(residual)), axis=-1)


def log_likelihood(emulator: Emulator, noise: Noise, labels: Labels, flux: Flux, ivar: Ivar) -> Float[Array, "*batch"]:
    """ln p(flux | labels), constants included, over the good pixels.

    ``flux`` and ``ivar`` are prepared ones (`Model.prepare`), of order 1: in float32 the squares of fluxes near
    1e-20 vanish.
    """
    n_pix = jnp.sum(noise.weights(ivar) > 0, axis=-1)
    inv_cov = noise.inverse_covariance(ivar)
    square = jnp.sum(jnp.square(inv_cov.whiten(flux - emulator(labels))), axis=-1)
    return -0.5 * (square + inv_cov.logdet() + n_pix * jnp.log(2 * jnp.pi))


def information(
    emulator: Emulator | ForwardEmulator, inv_cov: InverseCovariance, x: ScaledLabels, flux: Flux
) -> Float[Array, "*batch row row"]:
    """G = R Σ⁻¹ Rᵀ for the rows R = [r; J₁; …; J_L] at scaled labels x: all that a Gauss-Newton step needs.

    G[0, 0] is χ², G[0, 1:] = J Σ⁻¹ r is minus half its gradient, and G[1:, 1:] = J Σ⁻¹ Jᵀ is the Fisher information.
    Of an emulator with nuisances x holds these as well, and the polynomial is solved for.
    """
    if isinstance(emulator, ForwardEmulator):
        return emulator.information(inv_cov, x, flux)
    return inv_cov.gram(emulator.residual_and_jacobian(x, flux))
