"""Estimation of the variance of independent pixels from the residuals of held-out stars."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float

from slamjax.noise.residuals import MEDIAN_SQUARE


def model_variance(residual: np.ndarray, variance: np.ndarray) -> Float[np.ndarray, " pixel"]:
    """s²_λ: robust estimate, from residuals of held-out stars, of the variance beyond photon noise.

    The s² ≥ 0 for which the median of r_i² / (v_i + s²) is m = 0.455, that of a squared standard normal variable.
    Half of the stars have r_i² > m (v_i + s²), that is r_i² / m − v_i > s²: so s² is the median of r_i² / m − v_i,
    or 0. With a mean, or a likelihood, a few outliers would set the errors of all stars.

    Parameters
    ----------
    residual : (N, P) array
        Observed minus predicted flux of held-out stars; NaN where there is none.
    variance : (N, P) array
        Photon variance 1/ivar; 0 where errors are not stated, so that s² includes the photon noise.

    Returns
    -------
    (P,) array; 0 where the photon noise explains the residuals, NaN for a pixel without residuals.
    """
    excess = np.square(residual) / MEDIAN_SQUARE - variance
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a pixel without residuals is NaN, as promised
        return np.maximum(np.nanmedian(np.where(np.isfinite(excess), excess, np.nan), axis=0), 0.0)
