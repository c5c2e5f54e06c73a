"""How far spectra lie from the emulator: photon noise and the emulator's own error.

A noise model is a small pytree with one seam: weighted products of rows of pixels with Σ⁻¹ of one star, and
ln |Σ|. The fitter and the likelihood know nothing else of it.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax.typing import AnyArray, Flux, Ivar, Scalar

Rows = Float[Array, "*batch row pixel"]


class Noise(Protocol):
    """What every noise model offers; ``ivar`` is one star's, or a batch's."""

    def weights(self, ivar: Ivar) -> Ivar:
        """Weights of pixels taken one by one, to compare templates by; 0 for a pixel that does not count."""
        ...

    def in_unit(self, unit: float) -> Any:
        """The same noise of flux measured in ``unit``."""
        ...

    def gram(self, rows: Rows, ivar: Ivar) -> Float[Array, "*batch row row"]:
        """R Σ⁻¹ Rᵀ."""
        ...

    def logdet(self, ivar: Ivar) -> Float[Array, "*batch"]:
        """ln |Σ| over the good pixels."""
        ...

    def standardise(self, residual: Flux, ivar: Ivar) -> Float[Array, "*batch pixel"]:
        """Residuals in units of their standard deviation; 0 at bad pixels."""
        ...


@partial(jax.tree_util.register_dataclass, data_fields=["model_variance"], meta_fields=[])
@dataclass(frozen=True, eq=False)
class DiagonalNoise:
    """Σ = diag(1/ivar_λ + s²_λ): pixels independent of each other (Zhang, Liu & Deng 2020, eq. 7).

    A pixel counts in full or not at all: ivar = 0 gives weight 0, ivar = inf (error not stated) gives 1/s². A pixel
    that the model does not know has s² = inf, hence weight 0 too.
    """

    model_variance: Float[AnyArray, " pixel"]

    def weights(self, ivar: Ivar) -> Ivar:
        """Diagonal of Σ⁻¹."""
        return 1 / (1 / ivar + self.model_variance)

    def gram(self, rows: Rows, ivar: Ivar) -> Float[Array, "*batch row row"]:
        """R Σ⁻¹ Rᵀ."""
        w = self.weights(ivar)
        sound = jnp.where(w[..., None, :] > 0, rows, 0)  # 0 · NaN is NaN: untrained pixels predict NaN
        return jnp.einsum("...ip,...p,...jp->...ij", sound, w, sound, precision=jax.lax.Precision.HIGHEST)

    def logdet(self, ivar: Ivar) -> Scalar:
        """ln |Σ| over the good pixels."""
        w = self.weights(ivar)
        return -jnp.sum(jnp.where(w > 0, jnp.log(jnp.where(w > 0, w, 1)), 0), axis=-1)

    def standardise(self, residual: Flux, ivar: Ivar) -> Float[Array, "*batch pixel"]:
        """Residuals in units of their standard deviation; 0 at bad pixels."""
        w = self.weights(ivar)
        return jnp.where(w > 0, residual, 0) * jnp.sqrt(w)

    def in_unit(self, unit: float) -> DiagonalNoise:
        """The same noise of flux measured in ``unit``."""
        return DiagonalNoise(np.asarray(self.model_variance) / unit**2)

    def on_device(self) -> DiagonalNoise:
        return jax.tree_util.tree_map(jnp.asarray, self)


#: Median of the square of a standard normal variable.
_MEDIAN_SQUARE = 0.45493642


def model_variance(residual: np.ndarray, variance: np.ndarray) -> Float[np.ndarray, " pixel"]:
    """s²_λ: the variance beside the photon noise, robustly, from out-of-fold residuals.

    The s² ≥ 0 for which the median of r_i² / (v_i + s²) is m = 0.455, that of a squared standard normal variable.
    Half of the stars have r_i² > m (v_i + s²), that is r_i² / m − v_i > s²: so s² is the median of r_i² / m − v_i,
    or 0. A mean, or a likelihood, would let a few odd stars set the errors of all. It is a variance:
    neither the training residuals' (too small) nor an MSE squared.

    Parameters
    ----------
    residual : (N, P) array
        Observed minus predicted flux of stars that the prediction had not seen; NaN where there is none.
    variance : (N, P) array
        Photon variance 1/ivar; 0 where errors are not stated, so that s² holds the photon noise as well.

    Returns
    -------
    (P,) array; 0 where the photon noise explains the residuals, NaN for a pixel without residuals.
    """
    excess = np.square(residual) / _MEDIAN_SQUARE - variance
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a pixel without residuals is NaN, as promised
        return np.maximum(np.nanmedian(np.where(np.isfinite(excess), excess, np.nan), axis=0), 0.0)
