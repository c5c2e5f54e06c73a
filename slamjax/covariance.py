"""Learning a noise model from the residuals of stars that the emulator had not seen."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float

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
