"""The emulator and its noise inside NumPyro models: a distribution of spectra, and a ready model function."""

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
from slamjax.sampling.density import log_likelihood_from_chi2
from slamjax.sampling.priors import training_range
from slamjax.typing import Flux, Ivar


class SpectrumDistribution(dist.Distribution):
    """A spectrum as the noise model sees it: flux ~ N(loc, Σ(ivar)) over the good pixels.

    A pixel with ivar = 0, or one that was not trained, has no part in `log_prob`, whatever the flux there; `sample`
    gives ``loc`` at such a pixel.

    Parameters
    ----------
    loc : (..., P) predicted flux, such as ``model.emulator(labels)``
    noise : the model's noise, ``model.noise``
    ivar : (..., P) inverse variances of the spectrum's own errors
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
    """A NumPyro model of prepared spectra (P,) or (N, P): labels ~ prior, flux ~ N(emulator(labels), Σ).

    Run it with ``NUTS(spectrum_model)``, or copy its three lines into a model of your own. ``flux=None`` draws spectra.
    Prepared flux should be of order 1: float32 does not hold squares of fluxes near 1e-20.
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
