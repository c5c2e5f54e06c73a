"""Emulator and noise inside NumPyro models: a distribution of spectra, and a complete model function."""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from slamjax.model.model import Model
from slamjax.noise.models import Noise
from slamjax.sampling.likelihoods import log_likelihood_from_chi2
from slamjax.sampling.priors import training_range
from slamjax.typing import Flux, Ivar


class SpectrumDistribution(dist.Distribution):
    """A NumPyro distribution of spectra: flux ~ N(loc, Σ(ivar)) over the good pixels.

    Pixels with ivar = 0, or untrained ones, are left out of ``log_prob``, whatever their flux; ``sample`` gives ``loc``
    there.

    Parameters
    ----------
    loc : (..., P) array
        Predicted flux, such as ``model.emulator(labels)``.
    noise : Noise
        ``model.noise``.
    ivar : (..., P) array
        Inverse variances of the prepared flux, without the model error.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> from slamjax import DiagonalNoise
    >>> from slamjax.sampling import SpectrumDistribution
    >>> noise = DiagonalNoise(np.full(5, 1e-4))
    >>> spectrum = SpectrumDistribution(np.ones(5), noise, np.array([1e4, 1e4, 0.0, 1e4, np.inf]))
    >>> spectrum.sample(jax.random.key(0), (3,)).shape
    (3, 5)
    >>> bool(spectrum.log_prob(np.ones(5)) > spectrum.log_prob(np.zeros(5)))
    True
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    pytree_data_fields = ("loc", "noise", "ivar")

    def __init__(self, loc: Flux, noise: Noise, ivar: Ivar) -> None:
        self.loc, self.noise, self.ivar = jnp.asarray(loc), noise, jnp.asarray(ivar)
        shape = jnp.broadcast_shapes(self.loc.shape, self.ivar.shape)
        super().__init__(shape[:-1], shape[-1:], validate_args=False)

    def log_prob(self, value: Flux, intermediates: Any = None) -> Float[Array, "*batch"]:
        inv_cov = self.noise.inverse_covariance(self.ivar)
        chi2 = jnp.sum(jnp.square(inv_cov.whiten(value - self.loc)), axis=-1)
        n_pix = jnp.sum(self.noise.weights(self.ivar) > 0, axis=-1)
        return log_likelihood_from_chi2(self.noise, chi2, inv_cov.logdet(), n_pix)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Flux:
        shape = self.shape(sample_shape)
        return self.loc + self.noise.draw(key, jnp.broadcast_to(self.ivar, shape))

    @property
    def mean(self) -> Flux:
        return jnp.broadcast_to(self.loc, self.shape())


def spectrum_model(model: Model, flux: Flux | None, ivar: Ivar, prior: dist.Distribution | None = None) -> None:
    """A NumPyro model of prepared spectra: labels ~ prior, flux ~ N(emulator(labels), Σ).

    Run it with ``numpyro.infer.NUTS(spectrum_model)``, or copy its three lines into another model. Prepared flux should
    be of order 1: float32 does not hold squares of fluxes near 1e-20.

    Parameters
    ----------
    model : Model
    flux : (P,) or (N, P) array, optional
        Prepared flux, ``model.prepare(spectra).flux``; None draws spectra.
    ivar : (P,) or (N, P) array
        Its inverse variance.
    prior : NumPyro distribution, optional
        Of event shape (L,), in physical units; `training_range` by default.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> import numpyro
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> stars = stars[:100].on_pixels(slice(100, 105))
    >>> model = slamjax.train(stars, ["teff", "logg"], emulator=slamjax.Polynomial(), noise="diagonal")
    >>> from slamjax.sampling import spectrum_model
    >>> predictive = numpyro.infer.Predictive(spectrum_model, num_samples=3)
    >>> drawn = predictive(jax.random.key(0), model, None, np.full((2, 5), 1e4))
    >>> drawn["labels"].shape, drawn["flux"].shape
    ((3, 2, 2), (3, 2, 5))
    """
    prior = training_range(model) if prior is None else prior
    noise = jax.tree_util.tree_map(jnp.asarray, model.noise)
    if jnp.ndim(ivar) == 1:
        labels = numpyro.sample("labels", prior)
        numpyro.sample("flux", SpectrumDistribution(model.emulator(labels), noise, ivar), obs=flux)
        return
    with numpyro.plate("star", jnp.shape(ivar)[0]):
        labels = numpyro.sample("labels", prior)
        numpyro.sample("flux", SpectrumDistribution(model.emulator(labels), noise, ivar), obs=flux)
