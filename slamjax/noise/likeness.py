"""How unlike the training set a spectrum is: a p-value from three measures, calibrated on held-out stars.

A residual r under Σ = D + U Uᵀ is taken apart into the most probable factors c = (I + UᵀD⁻¹U)⁻¹ UᵀD⁻¹ r and the rest:
rᵀΣ⁻¹r = (r − U c)ᵀD⁻¹(r − U c) + cᵀc. Three measures are read:

- outside the noise model's subspace, (r − U c)ᵀD⁻¹(r − U c): what χ² sees of a wrong pixel or of an unknown line;
- inside it, cᵀM⁻¹c with M the covariance that held-out stars' c have: an error that is large in no pixel, but of a
  shape that the training stars' errors do not have;
- where the labels lie: the distance to the tenth nearest training star.

Each becomes a p-value by its place among held-out stars of like photon noise. They are combined by their harmonic mean
(Wilson 2019, PNAS 116, 1195), which holds for dependent p-values, and the combination is ranked once more.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax.noise.dense import Errors
from slamjax.noise.models import Noise

#: The part of held-out stars from which the tail of a measure is extrapolated.
_TAIL = 0.1
#: A p-value is at least this.
_LEAST = 1e-300
#: Stars per block: limits memory.
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class ResidualParts:
    """Residuals of N fitted stars, taken apart by the noise model.

    Attributes
    ----------
    outside : (r − U c)ᵀD⁻¹(r − U c)
    loadings : c
    model, photon : Σ s²/D and Σ a σ²/D over the good pixels, with D the diagonal part of Σ
    n_pix : good pixels
    """

    outside: Float[np.ndarray, " star"]
    loadings: Float[np.ndarray, "star factor"]
    model: Float[np.ndarray, " star"]
    photon: Float[np.ndarray, " star"]
    n_pix: Float[np.ndarray, " star"]

    def __getitem__(self, rows: np.ndarray) -> ResidualParts:
        return ResidualParts(**{name: values[rows] for name, values in vars(self).items()})

    @classmethod
    def of(cls, noise: Noise, residual: np.ndarray, ivar: Errors, factorised: Any = None) -> ResidualParts:
        """From residuals and inverse variances (N, P), both and ``noise`` in the precision and unit of the device.

        ``factorised`` is what `slamjax.noise.Noise.factorised` gives of each star, where it is known.
        """
        found = map_padded(lambda *star: _apart(noise, *star), (residual, ivar, factorised), _BLOCK)
        return cls(*(np.asarray(each, float) for each in found))


@partial(compiled, one_thread=True)
def _apart(noise: Any, residual: Float[Array, "star pixel"], ivar: Errors, factorised: Any) -> tuple[Array, ...]:
    def one(residual: Array, ivar: Errors, factorised: Any) -> tuple[Array, ...]:
        inv_cov = noise.inverse_covariance(ivar, factorised)
        loadings, rest = inv_cov.apart(residual)
        model, photon = noise.variance_shares(ivar)
        return jnp.sum(jnp.square(rest)), loadings, model, photon, jnp.sum(inv_cov.weight > 0)

    return jax.vmap(one)(residual, ivar, factorised)


@dataclass(frozen=True, eq=False)
class Likeness:
    """What three measures of unlikeness are for M held-out stars.

    Attributes
    ----------
    whitener : (K, K) the root of M⁻¹, M the covariance of the factors c; (0, 0) for independent pixels
    photon_weight : expected part of photon noise in what lies outside, in units of the model's
    photon_range : (2,) the range of `photon_place` that held-out stars have; others are read as at its nearer end
    trend : (F, 3) coefficients of a parabola in the place within that range, of the logarithm of each measure
    spread : (F,) robust width of the logarithm about it
    n_pix : good pixels of a typical held-out star
    measures : (F, M) sorted, in units of ``spread``: outside, inside (if K > 0), distance
    combined : (M,) sorted combinations of the three

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.noise.likeness import survival
    >>> survival(np.arange(100.0), np.array([-1.0, 49.5, 200.0])).round(3)
    array([0.995, 0.5  , 0.   ])
    """

    whitener: np.ndarray
    photon_weight: float
    photon_range: np.ndarray
    trend: np.ndarray
    spread: np.ndarray
    n_pix: float
    measures: np.ndarray
    combined: np.ndarray

    def __eq__(self, other: object) -> bool:
        """Whether all numbers are the same."""
        if not isinstance(other, Likeness):
            return NotImplemented
        return all(np.array_equal(getattr(self, each.name), getattr(other, each.name)) for each in fields(self))

    __hash__ = None  # type: ignore[assignment]

    def p_value(self, parts: ResidualParts, distance: np.ndarray) -> Float[np.ndarray, " star"]:
        """(N,) fraction of stars like the training set that are at least as unlike it; NaN where nothing is known.

        Uniform from 0 to 1 for stars like the training set, small for others. Values below one in the number of
        held-out stars are extrapolated.
        """
        with np.errstate(invalid="ignore"):  # spectra without good pixels: NaN
            logs = log_measures(parts, distance, self.whitener, self.photon_weight)
            values = self.standardised(logs, parts)
            return survival(self.combined, combine(self.measures, values))

    def standardised(self, logs: np.ndarray, parts: ResidualParts) -> np.ndarray:
        """(F, N) from the measures' logarithms; few pixels scatter more."""
        place = parabola(photon_place(parts), self.photon_range)
        with np.errstate(divide="ignore"):
            few = np.maximum(2 / parts.n_pix - 2 / self.n_pix, 0)
        variance = np.square(self.spread)[:, None] + few * (np.arange(len(logs)) == 0)[:, None]
        return (logs - self.trend @ place.T) / np.sqrt(variance)


def log_measures(
    parts: ResidualParts, distance: np.ndarray, whitener: np.ndarray, photon_weight: float
) -> Float[np.ndarray, "measure star"]:
    """Logarithms of what lies outside (over what is expected of it), inside (if there are factors), of the distance."""
    expected = parts.model + photon_weight * parts.photon
    rows = [parts.outside / np.where(expected > 0, expected, np.nan)]
    if whitener.size:
        rows.append(np.sum(np.square(parts.loadings @ whitener.T), axis=1))
    rows.append(np.asarray(distance, float))
    return np.log(np.maximum(rows, 1e-30))


def photon_place(parts: ResidualParts) -> Float[np.ndarray, " star"]:
    """(N,) ln of photon noise over model error: what tells faint stars from bright ones."""
    tiny = 1e-6 * np.maximum(parts.model + parts.photon, 1e-30)
    return np.log((parts.photon + tiny) / (parts.model + tiny))


def parabola(place: np.ndarray, ends: np.ndarray) -> Float[np.ndarray, "star 3"]:
    """1, t, t² with t from −1 to 1 between the ends, and constant beyond them."""
    low, high = ends
    t = np.clip((2 * place - low - high) / max(high - low, 1e-3), -1, 1)
    return np.stack([np.ones_like(t), t, np.square(t)], axis=-1)


def combine(measures: np.ndarray, values: np.ndarray) -> Float[np.ndarray, " star"]:
    """(N,) −ln of the harmonic mean of the p-values of ``values`` (F, N) among sorted ``measures`` (F, M)."""
    rows = [log_survival(known, value) for known, value in zip(measures, values, strict=True)]
    return np.logaddexp.reduce(-np.asarray(rows), axis=0) - np.log(len(rows))


def survival(known: np.ndarray, values: np.ndarray) -> Float[np.ndarray, " star"]:
    """(N,) fraction of the distribution, of which sorted ``known`` (M,) are draws, above each of ``values`` (N,)."""
    return np.maximum(np.exp(log_survival(known, values)), _LEAST)


def log_survival(known: np.ndarray, values: np.ndarray) -> Float[np.ndarray, " star"]:
    """Its logarithm; an exponential continues it from the largest tenth on."""
    n = len(known)
    n_tail = max(int(_TAIL * n), 1)
    edge = known[n - n_tail]
    slope = max(float(np.mean(known[n - n_tail :] - edge)), 1e-6)
    above = n - np.searchsorted(known, values, side="left")
    ranked = np.log((np.maximum(above, n_tail) + 0.5) / (n + 1))
    with np.errstate(invalid="ignore"):
        beyond = np.maximum(values - edge, 0) / slope
    return np.where(np.isnan(values), np.nan, ranked - beyond)
