"""Covariances of the pixels of single spectra, such as those of Gaia XP coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from slamjax.errors import SlamError

#: Elements on either side of the diagonal differ by at most this, in units of both standard errors.
_SYMMETRIC = 1e-3

Covariance = Float[np.ndarray, "star pixel pixel"]


def checked_covariance(given: Any, shape: tuple[int, int], good: Bool[np.ndarray, "star pixel"], source: str) -> Any:
    """Symmetric covariances (N, P, P), those of bad pixels 0, and where pixels are good (N, P).

    A pixel is bad, too, if its variance is not finite or not positive.

    Raises
    ------
    SlamError
        If the shape is another, or a matrix is not symmetric or not positive definite.
    """
    try:
        covariance = np.asarray(given, float)
    except (TypeError, ValueError) as reason:
        raise SlamError(f"covariance of {source} is not an array of numbers: {reason}") from reason
    if covariance.shape != (*shape, shape[1]):
        raise SlamError(
            f"covariance of {source} has shape {covariance.shape}; give one matrix per spectrum, {(*shape, shape[1])}"
        )
    variance = np.einsum("npp->np", covariance)
    with np.errstate(invalid="ignore"):
        good = good & np.isfinite(variance) & (variance > 0)
    if not good.all():
        covariance = np.where(good[:, :, None] & good[:, None, :], covariance, 0)
    error = np.sqrt(np.where(good, np.einsum("npp->np", covariance), 1))
    correlation = covariance / error[:, :, None]
    correlation /= error[:, None, :]
    skew = np.abs(correlation - np.swapaxes(correlation, 1, 2)).max(axis=(1, 2), initial=0)
    wrong = np.flatnonzero(~(skew < _SYMMETRIC))
    if wrong.size:
        raise SlamError(
            f"covariance of row {wrong[0]} of {source} is not symmetric or not finite; give the full matrix"
        )
    if skew.any():
        covariance = 0.5 * (covariance + np.swapaxes(covariance, 1, 2))
    wrong = np.flatnonzero(~are_positive_definite(correlation))
    if wrong.size:
        raise SlamError(
            f"covariance of row {wrong[0]} of {source} is not positive definite, so it is that of no noise; mask the "
            "pixels that are sums of others, or leave the row out"
        )
    return covariance, good


def are_positive_definite(correlation: Covariance) -> Bool[np.ndarray, " star"]:
    """(N,) whether correlation matrices have a Cholesky factor; a pixel with 0 on its diagonal does not count."""
    variance = np.einsum("npp->np", correlation)
    absent = variance == 0
    whole = correlation + absent[:, :, None] * np.eye(variance.shape[1]) if absent.any() else correlation
    try:
        np.linalg.cholesky(whole)
    except np.linalg.LinAlgError:
        return np.linalg.eigvalsh(whole).min(axis=1, initial=1) > 1e-14
    return np.ones(len(whole), bool)


def are_correlated(covariance: Covariance) -> bool:
    """Whether any element off the diagonals is not 0."""
    return bool(np.count_nonzero(covariance) > np.count_nonzero(np.einsum("npp->np", covariance)))


def inverse_variances(
    covariance: Covariance, good: Bool[np.ndarray, "star pixel"], dtype: Any
) -> Float[np.ndarray, "star pixel"]:
    """(N, P) 1 over the diagonals; 0 where pixels are bad."""
    variance = np.einsum("npp->np", covariance)
    return np.where(good, 1 / np.where(good, variance, 1), 0).astype(dtype)


def refuse_covariance(spectra: Any, who: str) -> None:
    """Raise SlamError for spectra whose pixels' covariances would be dropped by ``who``, which knows none."""
    if spectra.covariance is not None:
        raise SlamError(
            f"{spectra.source} has covariances between pixels, which {who} does not use; give "
            "spectra.with_independent_pixels(), with the errors of single pixels"
        )


def of_norm_one(
    flux: Float[np.ndarray, "star pixel"], covariance: Covariance
) -> tuple[Float[np.ndarray, "star pixel"], Covariance, Float[np.ndarray, " star"]]:
    """Flux f over its norm |f| = √Σf², its covariance, and |f| (N,).

    To first order f / |f| has the noise P δ / |f| with P = 1 − n nᵀ, n = f / |f|: what scales all pixels alike is not
    there any more, and with it go its correlations. The variance along n is kept, though nothing varies along it, so
    that the covariance P C P + n nᵀ (nᵀC n) has an inverse; residuals have no part along n.
    """
    norm = np.sqrt(np.sum(np.square(flux), axis=1))
    norm = np.where(norm > 0, norm, 1)
    n = flux / norm[:, None]
    along = np.einsum("npq,nq->np", covariance, n)
    cross = n[:, :, None] * along[:, None, :]
    variance = np.einsum("np,np->n", n, along)[:, None, None]
    projected = covariance - cross - np.swapaxes(cross, 1, 2) + 2 * variance * n[:, :, None] * n[:, None, :]
    return flux / norm[:, None], projected / np.square(norm)[:, None, None], norm
