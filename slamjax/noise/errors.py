"""Errors of stars as noise models take them, from what spectra state on the host, in physical flux."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from slamjax.noise.dense import DenseErrors, whiteners
from slamjax.noise.models import Noise, ivar_in_unit


def errors_in_unit(
    noise: Noise,
    ivar: Float[np.ndarray, "star pixel"],
    covariance: Float[np.ndarray, "star pixel pixel"] | None,
    unit: float,
    dtype: Any,
) -> Float[np.ndarray, "star pixel"] | DenseErrors:
    """Of flux in ``unit``, in the precision ``dtype``: inverse variances, or `DenseErrors` of stars with covariances.

    Parameters
    ----------
    noise : on the host, in physical flux
    ivar : inverse variances, 0 at bad pixels
    covariance : of each star, if they have any
    unit, dtype
    """
    own = ivar_in_unit(ivar, unit, dtype)
    if covariance is None:
        return own
    s2, factors = (np.asarray(part, float) for part in noise.emulator_part())
    return DenseErrors(own, (whiteners(covariance, ivar, s2, factors) * unit).astype(dtype))
