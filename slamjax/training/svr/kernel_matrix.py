"""Kernel matrices between scaled labels, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.metrics.pairwise import pairwise_kernels

from slamjax.training.svr.pixel import SvrSettings


def kernel_between(
    a: Float[np.ndarray, "n label"], b: Float[np.ndarray, "m label"], gamma: float, settings: SvrSettings
) -> Float[np.ndarray, "n m"]:
    """k(a_i, b_j), by scikit-learn."""
    return np.asarray(pairwise_kernels(a, b, metric=settings.kernel, **_parameters(gamma, settings)))


def kernel_diagonal(a: Float[np.ndarray, "n label"], gamma: float, settings: SvrSettings) -> Float[np.ndarray, " n"]:
    """k(a_i, a_i)."""
    if settings.kernel == "rbf":
        return np.ones(len(a))
    square = np.square(a).sum(axis=1)
    return square if settings.kernel == "linear" else (gamma * square + settings.coef0) ** settings.degree


def _parameters(gamma: float, settings: SvrSettings) -> dict[str, Any]:
    parameters: dict[str, Any] = {} if settings.kernel == "linear" else {"gamma": gamma}
    if settings.kernel == "poly":
        parameters |= {"degree": settings.degree, "coef0": settings.coef0}
    return parameters
