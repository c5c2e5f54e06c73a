"""Polynomials of all pixels in closed form: weighted least squares with a ridge, for all penalties at once.

    min_a,b  Σ_n c_n (y_n − b − φ_nᵀ a)² + ρ |a|²

with c_n a star's weight in this pixel; the constant b is not penalised (Hoerl & Kennard 1970, Technometrics 12, 55).
ρ is alpha in scikit-learn's Ridge. With means subtracted, a = V (D + ρ)⁻¹ Vᵀ Φᵀ c y for the eigenvalues D and
eigenvectors V of Φᵀ c Φ: one decomposition serves every ρ.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from slamjax.training.svr.pixel import unusable

#: GiB for the matrices of a batch of pixels.
_MEMORY = 0.25
#: Pixels with the same weights from which a singular value decomposition is worthwhile.
_SHARED = 4
#: Unpenalised directions with less than this part of the largest eigenvalue are left out.
_CUT = 1e-13


@dataclass(frozen=True, eq=False)
class Polynomials:
    """Coefficients of all pixels, chosen by cross-validation.

    Attributes
    ----------
    status, n_train, best : (P,) "trained" or why not; good stars; index of the chosen penalty, -1 where not trained
    scores : (P, K) mean squared error of held-out stars for each penalty
    basis, intercept : (M, P), (P,) 0 and NaN where not trained
    held_out : (N, P) predictions by the fits that had not seen the star, NaN where the pixel does not use it
    fold_basis, fold_intercept : (F, M, P), (F, P) the fits that had not seen fold f
    """

    status: np.ndarray
    n_train: Int[np.ndarray, " pixel"]
    best: Int[np.ndarray, " pixel"]
    scores: Float[np.ndarray, "pixel ridge"]
    basis: Float[np.ndarray, "term pixel"]
    intercept: Float[np.ndarray, " pixel"]
    held_out: Float[np.ndarray, "star pixel"]
    fold_basis: Float[np.ndarray, "fold term pixel"]
    fold_intercept: Float[np.ndarray, "fold pixel"]


def fit_polynomials(
    terms: Float[np.ndarray, "star term"],
    y: Float[np.ndarray, "star pixel"],
    weight: Float[np.ndarray, "star pixel"],
    fold: Int[np.ndarray, " star"],
    ridges: Float[np.ndarray, " ridge"],
    min_stars: int,
) -> Polynomials:
    """Cross-validate every penalty and fit the best one to all good stars, for every pixel.

    Parameters
    ----------
    terms : (N, M) monomials of the stars' labels, without the constant
    y : (N, P) flux
    weight : (N, P) 0 leaves a star out of a pixel
    fold : (N,) number of the fold that holds a star out
    ridges : (K,) penalties ρ
    min_stars : a pixel with fewer good stars is not trained
    """
    (n, m), p, n_fold, k = terms.shape, y.shape[1], int(fold.max()) + 1, len(ridges)
    reasons = [unusable(y[:, pixel], weight[:, pixel], fold, min_stars) for pixel in range(p)]
    fits = Polynomials(
        status=np.array([reason or "trained" for reason in reasons]),
        n_train=np.count_nonzero(weight, axis=0),
        best=np.full(p, -1),
        scores=np.full((p, k), np.nan),
        basis=np.zeros((m, p)),
        intercept=np.full(p, np.nan),
        held_out=np.full((n, p), np.nan),
        fold_basis=np.zeros((n_fold, m, p)),
        fold_intercept=np.full((n_fold, p), np.nan),
    )
    trainable = np.flatnonzero([not reason for reason in reasons])
    step = max(1, int(_MEMORY * 2**30 / (8 * (k * (n_fold + 1) * m + n * (m + k)))))
    for start in range(0, len(trainable), step):
        _fit_chunk(fits, trainable[start : start + step], terms, y, weight, fold, ridges)
    return fits


def _fit_chunk(
    fits: Polynomials,
    pixels: np.ndarray,
    terms: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    fold: np.ndarray,
    ridges: np.ndarray,
) -> None:
    """Fit the given pixels, and fill in their fits."""
    y, weight = y[:, pixels], weight[:, pixels]
    each = np.arange(len(pixels))
    predicted = np.zeros((len(ridges), *y.shape))
    scores = np.zeros((len(pixels), len(ridges)))
    folds = []
    n_fold = int(fold.max()) + 1
    for number in range(n_fold):
        out = fold == number
        basis, intercept = solve(terms[~out], y[~out], weight[~out], ridges)
        predicted[:, out] = terms[out] @ basis + intercept[:, None]
        square = weight[out] * np.square(predicted[:, out] - y[out])
        scores += (square.sum(axis=1) / weight[out].sum(axis=0)).T / n_fold
        folds.append((basis, intercept))
    best = np.argmin(scores, axis=1)
    basis, intercept = solve(terms, y, weight, ridges)
    fits.best[pixels], fits.scores[pixels] = best, scores
    fits.basis[:, pixels], fits.intercept[pixels] = basis[best, :, each].T, intercept[best, each]
    fits.held_out[:, pixels] = np.where(weight > 0, predicted[best, :, each].T, np.nan)
    for number, (basis, intercept) in enumerate(folds):
        fits.fold_basis[number][:, pixels] = basis[best, :, each].T
        fits.fold_intercept[number, pixels] = intercept[best, each]


def solve(
    terms: Float[np.ndarray, "star term"],
    y: Float[np.ndarray, "star pixel"],
    weight: Float[np.ndarray, "star pixel"],
    ridges: Float[np.ndarray, " ridge"],
) -> tuple[Float[np.ndarray, "ridge term pixel"], Float[np.ndarray, "ridge pixel"]]:
    """a (K, M, P) and b (K, P) for every penalty.

    Pixels with equal weights share a decomposition of the terms; the others have their own normal equations. Where
    ρ = 0 leaves directions undetermined, the shortest a is taken.
    """
    ridges = np.asarray(ridges, float)
    basis = np.zeros((len(ridges), terms.shape[1], y.shape[1]))
    middle = terms.mean(axis=0)
    centred = terms - middle  # keeps the normal equations accurate
    alike: dict[bytes, list[int]] = defaultdict(list)
    for pixel, column in enumerate(np.ascontiguousarray(weight.T)):
        alike[column.tobytes()].append(pixel)
    alone = []
    for members in alike.values():
        if len(members) < _SHARED:
            alone += members
        else:
            basis[:, :, members] = _solve_shared(centred, y[:, members], weight[:, members[0]], ridges)
    step = max(1, int(_MEMORY * 2**30 / (8 * terms.size)))
    for start in range(0, len(alone), step):
        batch = alone[start : start + step]
        basis[:, :, batch] = _solve_alone(centred, y[:, batch], weight[:, batch], ridges)
    total = weight.sum(axis=0)
    mean = (weight.T @ terms) / total[:, None]
    intercept = (weight * y).sum(axis=0) / total - np.einsum("pm,kmp->kp", mean, basis)
    return basis, intercept


def _solve_shared(terms: np.ndarray, y: np.ndarray, weight: np.ndarray, ridges: np.ndarray) -> np.ndarray:
    """a (K, M, P) for pixels with the same weights (N,), by singular values."""
    root = np.sqrt(weight)[:, None]
    mean = weight @ terms / weight.sum()
    left, size, right = np.linalg.svd(root * (terms - mean), full_matrices=False)
    along = left.T @ (root * y) * size[:, None]
    return right.T @ (_inverse(np.square(size), ridges)[:, :, None] * along)


def _solve_alone(terms: np.ndarray, y: np.ndarray, weight: np.ndarray, ridges: np.ndarray) -> np.ndarray:
    """a (K, M, P) for pixels with their own weights (N, P), by normal equations."""
    total = weight.sum(axis=0)
    weighted = terms.T[None] * weight.T[:, None, :]  # (P, M, N)
    mean = weighted.sum(axis=2) / total[:, None]
    normal = weighted @ terms - total[:, None, None] * mean[:, :, None] * mean[:, None, :]
    flux = (weight * y).sum(axis=0) / total
    right = np.einsum("pmn,np->pm", weighted, y) - (total * flux)[:, None] * mean
    value, vector = np.linalg.eigh(normal)
    along = np.einsum("pmj,pm->pj", vector, right)
    shrunk = _inverse(value, ridges) * along  # (K, P, J)
    return np.einsum("pmj,kpj->kmp", vector, shrunk)


def _inverse(value: np.ndarray, ridges: np.ndarray) -> np.ndarray:
    """(K, ..., J) 1 / (D + ρ) for eigenvalues (..., J) and penalties (K,); 0 for undetermined directions."""
    value = np.maximum(value, 0)
    penalised = value + ridges.reshape(-1, *[1] * value.ndim)
    determined = penalised > _CUT * value.max(axis=-1, keepdims=True)
    return np.where(determined, 1 / np.where(determined, penalised, 1), 0)
