"""Means of the labels that training learnt from held-out stars, and when a fit can have them."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np

from slamjax.errors import SlamError
from slamjax.fitting.postprocess import FitResult
from slamjax.model.model import Model
from slamjax.noise.likeness import ResidualParts

#: No means, those of the posterior, or those that were learnt.
PosteriorMean = bool | Literal["learnt"]
LEARNT = "learnt"


def check_posterior_mean(model: Model, posterior_mean: Any, prior: Any) -> None:
    """Raise SlamError if the means cannot be had of this model with this prior."""
    if isinstance(posterior_mean, bool):
        return
    if posterior_mean != LEARNT:
        raise SlamError(f"posterior_mean is {posterior_mean!r}; give True, False or {LEARNT!r}")
    if prior is not None:
        raise SlamError("learnt means know the training stars' density already; leave out the prior, or the means")
    if model.info.calibration.means is None:
        raise SlamError(
            "this model has no learnt means; train it anew with noise='lowrank' and at least 200 stars, or take "
            "posterior_mean=True"
        )


def with_learnt_means(model: Model, result: FitResult, x: np.ndarray, parts: ResidualParts) -> FitResult:
    """The result with ``mean`` and ``std``, of fits that ended at parameters x (N, V)."""
    means = model.info.calibration.means
    assert means is not None
    scaling, x = model.host_emulator.scaling, x[:, : len(model.label_names)].astype(float)
    with np.errstate(invalid="ignore"):
        error = np.sqrt(np.einsum("nll->nl", result.covariance)) / np.asarray(scaling.slope(x))
    mean, std = means.mean_and_std(x, error, parts.loadings)
    std, mean = std * np.asarray(scaling.slope(mean)), np.asarray(scaling.inverse(mean))
    failed = ~np.isfinite(result.labels).all(axis=1)[:, None]
    return dataclasses.replace(result, mean=np.where(failed, np.nan, mean), std=np.where(failed, np.inf, std))
