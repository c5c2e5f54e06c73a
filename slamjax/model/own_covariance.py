"""Errors of prepared spectra as fits take them, with the covariances that spectra have of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from slamjax.errors import SlamError
from slamjax.forward.scaled import ScaledModel
from slamjax.model.model import Model
from slamjax.noise.dense import DenseErrors
from slamjax.noise.errors import errors_in_unit
from slamjax.noise.models import LowRankNoise, Noise
from slamjax.spectra.spectra import Spectra


def check_covariance(model: Model, spectra: Spectra, nuisances: Any) -> None:
    """Raise SlamError for spectra with covariances that the model's noise, or a fit with nuisances, cannot take."""
    if spectra.covariance is None:
        return
    if nuisances is not None:
        raise SlamError(
            f"{spectra.source} has covariances between pixels, with which no nuisances are fitted; leave the nuisances "
            "out, or give spectra.with_independent_pixels()"
        )
    if not _as_stated(model.noise):
        raise SlamError(
            f"{spectra.source} has covariances between pixels, but the model's noise has learnt how photon noise goes "
            "from pixel to pixel, which would count twice; train with noise=NoiseSpec(photons='stated')"
        )


def _as_stated(noise: Noise) -> bool:
    """Whether photon noise is what the stated errors say."""
    if not isinstance(noise, LowRankNoise):
        return True
    return not np.any(noise.photon_factors) and bool(np.all(np.asarray(noise.photon_scale) == 1))


def errors_of(
    model: Model, scaled: ScaledModel, prepared: Spectra, good: Bool[np.ndarray, "star pixel"], dense: bool
) -> Float[np.ndarray, "star pixel"] | DenseErrors:
    """Inverse variances (N, P) in the unit and the precision of the device; with covariances if they are ``dense``."""
    stated = np.where(good, prepared.ivar, 0)
    covariance = prepared.covariance if dense else None
    if dense and covariance is None:  # those of all stars are 0
        covariance = np.eye(stated.shape[1]) * (1 / np.where(stated > 0, stated, 1))[:, None, :]
    return errors_in_unit(model.noise, stated, covariance, scaled.unit, scaled.dtype)
