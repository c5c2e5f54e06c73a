"""Covariance of spectra about the emulator: photon noise and emulator error.

A noise model is a small pytree that makes an `InverseCovariance` of each star; the fitter, the likelihood and the
sampler use nothing else of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax.noise import dense
from slamjax.noise.dense import DenseErrors, DenseInverseCovariance, Errors
from slamjax.noise.inverse_covariance import DiagonalInverseCovariance, InverseCovariance, LowRankInverseCovariance
from slamjax.typing import AnyArray, Flux, Ivar

# a GPU's and TPU's default for float32 products loses the digits that the difference of two squares needs
_einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


def ivar_in_unit(ivar: np.ndarray, unit: float, dtype: Any) -> np.ndarray:
    """Inverse variance of flux in ``unit``, in the precision ``dtype``.

    A stated error stays stated: values beyond float32's range become its largest.
    """
    with np.errstate(over="ignore"):
        scaled = np.asarray(ivar, np.float64) * unit**2
    limit = float(jnp.finfo(dtype).max) / 4
    return np.where(np.isfinite(scaled), np.minimum(scaled, limit), scaled).astype(dtype)


class Noise(Protocol):
    """What every noise model offers; ``ivar`` is one star's (P,), a batch's (..., P), or `DenseErrors`.

    Attributes
    ----------
    kind : name of the noise model's kind in model files; its fields are arrays there
    rank : columns of the low-rank part of Σ
    description : for people
    """

    kind: ClassVar[str]

    @property
    def rank(self) -> int: ...
    @property
    def description(self) -> str: ...

    def emulator_part(self) -> tuple[AnyArray, AnyArray]:
        """s² (P,) and V (P, K): what is not photon noise."""
        ...

    def weights(self, ivar: Errors) -> Ivar:
        """Inverse variance of each pixel, correlations aside; 0 for a pixel that does not count."""
        ...

    def in_unit(self, unit: float) -> Any:
        """The same noise of flux measured in ``unit``."""
        ...

    def on_device(self) -> Any:
        """The same noise with JAX arrays of the default precision."""
        ...

    def factorised(self, ivar: Errors) -> Any:
        """What takes long of Σ⁻¹, to be kept with each star; None where nothing does."""
        ...

    def inverse_covariance(self, ivar: Errors, factorised: Any = None) -> InverseCovariance:
        """Σ⁻¹ of stars with these photon errors; `factorised` is computed unless it is given."""
        ...

    def variance_shares(self, ivar: Errors) -> Float[Array, "*batch 2"]:
        """Σ_λ s²/D and Σ_λ a σ²/D over the good pixels, with D the diagonal part of Σ: model error and photon noise."""
        ...

    def draw(self, key: Array, ivar: Errors) -> Flux:
        """Noise drawn from N(0, Σ); 0 at bad pixels."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class DiagonalNoise:
    """Σ = diag(1/ivar_λ + s²_λ): independent pixels (Zhang, Liu & Deng 2020, eq. 7).

    A bad pixel (ivar = 0) has weight 0, a pixel without a stated error (ivar = inf) 1/s². An untrained pixel has
    s² = inf, hence weight 0.

    Parameters
    ----------
    model_variance : (P,) array
        s², in squared units of flux.

    Examples
    --------
    >>> import numpy as np, slamjax
    >>> noise = slamjax.DiagonalNoise(np.array([0.01, 0.01, np.inf]))
    >>> noise.weights(np.array([100.0, np.inf, 100.0]))
    array([ 50., 100.,   0.])
    """

    kind: ClassVar[str] = "diagonal"
    rank: ClassVar[int] = 0
    description: ClassVar[str] = "diagonal: pixels independent of each other"
    model_variance: Float[AnyArray, " pixel"]

    def variance_shares(self, ivar: Errors) -> Float[Array, "*batch 2"]:
        """Σ_λ s²/D and Σ_λ a σ²/D over the good pixels."""
        if isinstance(ivar, DenseErrors):
            return _dense_shares(self, ivar)
        return _variance_shares(self.model_variance, 1.0, ivar)

    def emulator_part(self) -> tuple[AnyArray, AnyArray]:
        """s² and no V."""
        return self.model_variance, self.model_variance[:, None][:, :0]

    def weights(self, ivar: Errors) -> Ivar:
        """Diagonal of Σ⁻¹, correlations aside."""
        if isinstance(ivar, DenseErrors):
            return self.weights(ivar.ivar)
        return 1 / (1 / ivar + self.model_variance)

    def factorised(self, ivar: Errors) -> None:
        """Nothing takes long."""

    def inverse_covariance(
        self, ivar: Errors, factorised: None = None
    ) -> DiagonalInverseCovariance | DenseInverseCovariance:
        """Σ⁻¹ of stars with these photon errors."""
        if isinstance(ivar, DenseErrors):
            return _dense(self, ivar)
        return DiagonalInverseCovariance(self.weights(ivar))

    def draw(self, key: Array, ivar: Errors) -> Flux:
        """Noise drawn from N(0, Σ); 0 at bad pixels."""
        if isinstance(ivar, DenseErrors):
            return dense.draw(key, ivar)
        weight = self.weights(ivar)
        deviation = jnp.where(weight > 0, 1 / jnp.sqrt(jnp.where(weight > 0, weight, 1)), 0)
        return deviation * jax.random.normal(key, jnp.shape(weight), deviation.dtype)

    def in_unit(self, unit: float) -> DiagonalNoise:
        """The same noise of flux measured in ``unit``."""
        return DiagonalNoise(np.asarray(self.model_variance) / unit**2)

    def on_device(self) -> DiagonalNoise:
        return jax.tree_util.tree_map(jnp.asarray, self)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LowRankNoise:
    """Σ = diag(a σ² + s²) + V Vᵀ + S W Wᵀ S, with S = diag(σ) and σ² = 1/ivar the star's photon variances.

    V describes how the emulator's error, and all else that is the same for bright and faint stars, is correlated from
    pixel to pixel; W how photon noise is; a corrects stated errors. Bad and untrained (s² = inf) pixels are treated as
    absent; a pixel without a stated error has σ = 0.

    Parameters
    ----------
    model_variance : (P,) array
        s², in squared units of flux.
    factors : (P, K) array
        V, in units of flux.
    photon_scale : (P,) array
        a.
    photon_factors : (P, M) array
        W.

    Examples
    --------
    >>> import numpy as np, slamjax
    >>> noise = slamjax.LowRankNoise(np.full(3, 0.01), np.full((3, 1), 0.1), np.ones(3), np.zeros((3, 0)))
    >>> inverse = noise.inverse_covariance(np.full(3, np.inf))
    >>> np.asarray(inverse.gram(np.eye(3))).round(2)
    array([[ 75., -25., -25.],
           [-25.,  75., -25.],
           [-25., -25.,  75.]], dtype=float32)
    """

    kind: ClassVar[str] = "lowrank"
    model_variance: Float[AnyArray, " pixel"]
    factors: Float[AnyArray, "pixel model_factor"]
    photon_scale: Float[AnyArray, " pixel"]
    photon_factors: Float[AnyArray, "pixel photon_factor"]

    @property
    def rank(self) -> int:
        return self.factors.shape[-1] + self.photon_factors.shape[-1]

    @property
    def description(self) -> str:
        model, photon = self.factors.shape[-1], self.photon_factors.shape[-1]
        return f"low rank: {model} factors of the model, {photon} of the photon noise"

    def variance_shares(self, ivar: Errors) -> Float[Array, "*batch 2"]:
        """Σ_λ s²/D and Σ_λ a σ²/D over the good pixels."""
        if isinstance(ivar, DenseErrors):
            return _dense_shares(self, ivar)
        return _variance_shares(self.model_variance, self.photon_scale, ivar)

    def emulator_part(self) -> tuple[AnyArray, AnyArray]:
        """s² and V."""
        return self.model_variance, self.factors

    def weights(self, ivar: Errors) -> Ivar:
        """1 over the diagonal of Σ."""
        if isinstance(ivar, DenseErrors):
            return self.weights(ivar.ivar)
        photon = self.photon_scale + jnp.sum(jnp.square(self.photon_factors), axis=-1)
        return 1 / (_photon_variance(photon, ivar) + self.model_variance + jnp.sum(jnp.square(self.factors), axis=-1))

    def _diagonal(self, ivar: Ivar) -> tuple[AnyArray, Array]:
        """D⁻¹ and σ."""
        weight = 1 / (_photon_variance(self.photon_scale, ivar) + self.model_variance)
        stated = (ivar > 0) & jnp.isfinite(ivar)
        return weight, jnp.where(stated, 1 / jnp.sqrt(jnp.where(stated, ivar, 1)), 0)

    def factorised(self, ivar: Errors) -> Float[Array, "*batch factor factor"] | None:
        """L⁻¹, see `slamjax.noise.inverse_covariance.LowRankInverseCovariance`; None for `DenseErrors`."""
        if isinstance(ivar, DenseErrors):
            return None
        return self._factorised(ivar)

    def _factorised(self, ivar: Ivar) -> Float[Array, "*batch factor factor"]:
        weight, photon = self._diagonal(ivar)
        v, w = self.factors, self.photon_factors
        cross = _einsum("pi,...p,pj->...ij", v, weight * photon, w)
        top = jnp.concatenate([_einsum("pi,...p,pj->...ij", v, weight, v), cross], axis=-1)
        corner = _einsum("pi,...p,pj->...ij", w, weight * jnp.square(photon), w)
        bottom = jnp.concatenate([jnp.swapaxes(cross, -1, -2), corner], axis=-1)
        capacitance = jnp.concatenate([top, bottom], axis=-2) + jnp.eye(self.rank, dtype=weight.dtype)
        lower = jnp.linalg.cholesky(capacitance)
        eye = jnp.broadcast_to(jnp.eye(self.rank, dtype=lower.dtype), lower.shape)
        return jax.scipy.linalg.solve_triangular(lower, eye, lower=True)

    def inverse_covariance(
        self, ivar: Errors, factorised: Float[Array, "*batch factor factor"] | None = None
    ) -> LowRankInverseCovariance | DenseInverseCovariance:
        """Σ⁻¹ of stars with these photon errors."""
        if isinstance(ivar, DenseErrors):
            return _dense(self, ivar)
        weight, photon = self._diagonal(ivar)
        inverse = self._factorised(ivar) if factorised is None else factorised
        # (Lᵀ + I)⁻¹ L⁻¹ = (I + L⁻ᵀ)⁻¹ L⁻ᵀ L⁻¹; in compiled functions it is computed where it is used only
        upper = jnp.swapaxes(inverse, -1, -2)
        right = _einsum("...ij,...jk->...ik", upper, inverse)
        eye = jnp.eye(self.rank, dtype=inverse.dtype)
        whitener = jax.scipy.linalg.solve_triangular(upper + eye, right, lower=False)
        return LowRankInverseCovariance(weight, photon, inverse, whitener, self.factors, self.photon_factors)

    def draw(self, key: Array, ivar: Errors) -> Flux:
        """Noise drawn from N(0, Σ); 0 at bad pixels."""
        if isinstance(ivar, DenseErrors):
            return dense.draw(key, ivar)
        weight, photon = self._diagonal(ivar)
        keys = jax.random.split(key, 3)
        shape = jnp.shape(weight)
        deviation = jnp.where(weight > 0, 1 / jnp.sqrt(jnp.where(weight > 0, weight, 1)), 0)
        one = deviation * jax.random.normal(keys[0], shape, weight.dtype)
        along = jax.random.normal(keys[1], (*shape[:-1], self.factors.shape[-1]), weight.dtype)
        across = jax.random.normal(keys[2], (*shape[:-1], self.photon_factors.shape[-1]), weight.dtype)
        common = _einsum("...k,pk->...p", along, self.factors)
        correlated = _einsum("...k,pk->...p", across, self.photon_factors) * photon
        return one + jnp.where(weight > 0, common + correlated, 0)

    def in_unit(self, unit: float) -> LowRankNoise:
        """The same noise of flux measured in ``unit``."""
        return LowRankNoise(
            np.asarray(self.model_variance) / unit**2,
            np.asarray(self.factors) / unit,
            self.photon_scale,
            self.photon_factors,
        )

    def inflated(self, model: float, photon: float = 1.0) -> LowRankNoise:
        """Σ with the emulator's part times ``model`` and the photons' part times ``photon``."""
        return LowRankNoise(
            np.asarray(self.model_variance) * model,
            np.asarray(self.factors) * np.sqrt(model),
            np.asarray(self.photon_scale) * photon,
            np.asarray(self.photon_factors) * np.sqrt(photon),
        )

    def on_device(self) -> LowRankNoise:
        return jax.tree_util.tree_map(jnp.asarray, self)


def _dense(noise: Noise, errors: DenseErrors) -> DenseInverseCovariance:
    return DenseInverseCovariance(noise.weights(errors), errors.whitener, noise.emulator_part()[1])


def _dense_shares(noise: Noise, errors: DenseErrors) -> Float[Array, "*batch 2"]:
    """The parts of s² and of C in tr(M⁻¹M), M = C + diag(s²)."""
    inv_cov = _dense(noise, errors)
    model = inv_cov.independent_share(noise.emulator_part()[0])
    return jnp.stack([model, jnp.sum(inv_cov.weight > 0, axis=-1) - model], axis=-1)


def _photon_variance(scale: AnyArray, ivar: Ivar) -> Array:
    """a σ², infinite at bad pixels even where a is 0."""
    return jnp.where(ivar > 0, scale / jnp.where(ivar > 0, ivar, 1), jnp.inf)


def _variance_shares(model_variance: Any, photon_scale: Any, ivar: Any) -> Array:
    counts = (ivar > 0) & jnp.isfinite(model_variance)
    photon = photon_scale / jnp.where(counts, ivar, 1)
    model = jnp.where(counts, model_variance, 0)
    weight = jnp.where(counts, 1 / (photon + jnp.where(counts, model, 1)), 0)
    return jnp.stack([jnp.sum(weight * model, axis=-1), jnp.sum(weight * photon, axis=-1)], axis=-1)
