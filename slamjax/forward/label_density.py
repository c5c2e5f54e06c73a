"""The density of the training stars' labels, a prior of every fit and sampler that wants one."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax.emulators.kernels import similarity
from slamjax.emulators.scaling import LabelScaling
from slamjax.typing import AnyArray, Labels, ScaledLabels

#: The density is thinned to this many training stars: a smooth density needs no more.
MAX_STARS = 2048

Density = Float[Array, "*batch"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LabelDensity:
    """p(x) = mean_i N(x; x_i, h² C), where C is the covariance of the training stars' scaled labels x_i.

    h = N^(−1/(L+4)) (Scott 1992, Multivariate Density Estimation): smooth, nowhere zero, a Gaussian far away.

    Attributes
    ----------
    scaling : from physical to scaled labels
    stars : (N, L) training stars, in units of the bandwidth
    inverse : (L, L) inverse of the Cholesky factor of h² C
    log_norm : ln of the normalisation

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax import LabelScaling
    >>> from slamjax.forward import LabelDensity
    >>> scaling = LabelScaling(np.array([4500.0]), np.array([250.0]), (False,))
    >>> density = LabelDensity.from_stars(scaling, np.array([[-1.0], [0.0], [0.5], [1.0]]))
    >>> inside, outside = density(np.array([[4500.0], [6500.0]]))
    >>> bool(inside > outside)
    True
    """

    scaling: LabelScaling
    stars: Float[AnyArray, "support label"]
    inverse: Float[AnyArray, "label label"]
    log_norm: Float[AnyArray, ""]

    @classmethod
    def from_stars(
        cls, scaling: LabelScaling, stars: Float[AnyArray, "support label"], width: float = 1.0
    ) -> LabelDensity:
        """From scaled labels of the training stars (N, L); ``width`` is a factor of the bandwidth."""
        x = np.asarray(stars, float)
        n, n_labels = x.shape
        lower = width * n ** (-1 / (n_labels + 4)) * np.linalg.cholesky(_covariance(x))
        rows = np.sort(np.random.default_rng(0).permutation(n)[:MAX_STARS])
        inverse = np.linalg.inv(lower)
        log_norm = np.log(len(rows)) + np.log(np.diag(lower)).sum() + 0.5 * n_labels * np.log(2 * np.pi)
        return cls(scaling, *map(jnp.asarray, (x[rows] @ inverse.T, inverse, log_norm)))

    def __call__(self, labels: Labels) -> Density:
        """ln p of physical labels (..., L)."""
        x = self.scaling(jnp.asarray(labels))
        return self.at(x) - log_volume(self.scaling, x)

    def at(self, x: ScaledLabels) -> Density:
        """ln p of scaled labels (..., L)."""
        y = jnp.einsum("kl,...l->...k", self.inverse, x, precision=jax.lax.Precision.HIGHEST)
        return jax.nn.logsumexp(-0.5 * similarity("rbf", y, self.stars), axis=-1) - self.log_norm


def _covariance(x: np.ndarray) -> np.ndarray:
    return np.atleast_2d(np.cov(x.T)) + 1e-8 * np.eye(x.shape[1])


def log_volume(scaling: LabelScaling, x: ScaledLabels) -> Density:
    """ln |∂ labels / ∂ x|."""
    return jnp.sum(jnp.log(jnp.abs(scaling.slope(x))), axis=-1)
