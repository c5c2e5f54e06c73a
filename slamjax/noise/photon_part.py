"""The photons' part of a fit's covariance."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax.noise.calibration import PhotonShares
from slamjax.noise.dense import DenseErrors, Errors
from slamjax.noise.inverse_covariance import InverseCovariance
from slamjax.noise.models import Noise

#: Relative step of the numerical derivative with respect to the photon variances.
_STEP = 0.05


def photon_information(
    noise: Noise, ivar: Errors, information: Callable[[InverseCovariance], Float[Array, "row row"]]
) -> Float[Array, "row row"]:
    """R Σ⁻¹ N Σ⁻¹ Rᵀ with N the photons' part of Σ, from a star's ``information`` R Σ⁻¹ Rᵀ.

    It is the derivative of R Σ⁻¹ Rᵀ with respect to ln ivar: of Σ only N depends on ivar, as its inverse. The
    difference of two nearby values is exact enough for a share, and bad pixels (ivar = 0) need no special case.
    """
    # one batch, not two calls: concurrent LAPACK calls in a compiled function can deadlock (jaxlib 0.10)
    factors = jnp.asarray([1 + _STEP, 1 - _STEP], jnp.result_type(ivar.ivar if isinstance(ivar, DenseErrors) else ivar))

    def at(factor: Array) -> Float[Array, "row row"]:
        fainter = ivar.with_photons(*noise.emulator_part(), factor) if isinstance(ivar, DenseErrors) else ivar * factor
        return information(noise.inverse_covariance(fainter))

    high, low = jax.vmap(at)(factors)
    return (high - low) / (2 * _STEP)


def photon_shares(
    covariance: Float[np.ndarray, "star parameter parameter"],
    photon: Float[np.ndarray, "star parameter parameter"],
    expected: Float[np.ndarray, "star 2"],
) -> PhotonShares:
    """Shares of N stars from covariances C, `photon_information` F of the Jacobian's rows, and `Noise.variance_shares`.

    The photons' part of C is C F C. Directions that the data do not constrain have no share.
    """
    sound = np.isfinite(covariance) & np.isfinite(photon)
    c, f = np.where(sound, covariance, 0.0), np.where(sound, photon, 0.0)
    part, whole = np.einsum("nij,njk,nki->ni", c, f, c), np.einsum("nii->ni", c)
    share = np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0)
    model, photons = np.nan_to_num(expected.astype(float)).T
    return PhotonShares(np.clip(share, 0, 1), model, photons)
