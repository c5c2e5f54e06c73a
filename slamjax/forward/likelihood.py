"""χ² and log-likelihood of a spectrum given labels.

ln p(f | θ) = −½ (f − f_SLAM(θ))ᵀ Σ⁻¹ (f − f_SLAM(θ)) − ½ ln |2π Σ|   (Zhang, Liu & Deng 2020, ApJS 246, 9, eq. 7-8)
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from slamjax.emulators.base import Emulator
from slamjax.noise.models import Noise
from slamjax.typing import Flux, Ivar, Labels


def chi2(emulator: Emulator, noise: Noise, labels: Labels, flux: Flux, ivar: Ivar) -> Float[Array, "*batch"]:
    """χ² = rᵀ Σ⁻¹ r; bad and untrained pixels do not count.

    Parameters
    ----------
    emulator : Emulator
    noise : Noise
    labels : (..., L) array
        In physical units.
    flux, ivar : (..., P) arrays
        Prepared (`slamjax.Model.prepare`).

    Returns
    -------
    (...) array

    Examples
    --------
    >>> import slamjax
    >>> from slamjax.forward import chi2
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> prepared = model.prepare(stars[:3])
    >>> chi2(model.emulator, model.noise, stars[:3].values(["teff"]), prepared.flux, prepared.ivar).shape
    (3,)
    """
    residual = flux - emulator(labels)
    return jnp.sum(jnp.square(noise.inverse_covariance(ivar).whiten(residual)), axis=-1)


def log_likelihood(emulator: Emulator, noise: Noise, labels: Labels, flux: Flux, ivar: Ivar) -> Float[Array, "*batch"]:
    """ln p(flux | labels) over the good pixels, constants included.

    Parameters
    ----------
    emulator : Emulator
    noise : Noise
    labels : (..., L) array
        In physical units.
    flux, ivar : (..., P) arrays
        Prepared (`slamjax.Model.prepare`), of order 1: in float32 the squares of fluxes near 1e-20 vanish.

    Returns
    -------
    (...) array

    Examples
    --------
    >>> import jax, slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> star = model.prepare(stars[:1])
    >>> given = (model.emulator, model.noise)
    >>> gradient = jax.grad(lambda labels: slamjax.log_likelihood(*given, labels, star.flux[0], star.ivar[0]))
    >>> gradient(stars.values(["teff"])[0].astype("float32")).shape
    (1,)
    """
    n_pix = jnp.sum(noise.weights(ivar) > 0, axis=-1)
    inv_cov = noise.inverse_covariance(ivar)
    square = jnp.sum(jnp.square(inv_cov.whiten(flux - emulator(labels))), axis=-1)
    return -0.5 * (square + inv_cov.logdet() + n_pix * jnp.log(2 * jnp.pi))
