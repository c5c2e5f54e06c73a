"""Estimation of the emulator's error where photon noise is what the stated errors say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import isotonic_regression

from slamjax.noise.dense import dense_chi2
from slamjax.noise.models import LowRankNoise
from slamjax.noise.residuals import ROUNDS, TAIL, Residuals, in_units, whitened_chi2

#: Folds in which variances of principal components are found.
_FOLDS = 8
#: Emulator variance of a typical pixel, and the smallest that is resolved, in units of the squared spread.
_TYPICAL, _RESOLVED = 0.3, 1e-4
#: Floor with which stars are weighted.
_FLOOR = 0.2


@dataclass(frozen=True, eq=False)
class StatedPhotons:
    """The emulator's error from residuals of held-out stars, for Σ = diag(σ² + s²) + V Vᵀ of any rank (a = 1, W = 0).

    What is seen of a star's z zᵀ, less its photon variances, is the emulator's error whatever the star's brightness, so
    that V and s² hold for all. Directions are the leading principal components of the residuals. A component's variance
    is that of stars which took no part in finding such components, less their photon noise: the largest of many noisy
    components would otherwise pass for emulator error. Stars have the weights of a multivariate Student-t distribution,
    as in `slamjax.noise.learnt.LearntPhotons`.

    Where stars have covariances C_n of their own, components are those of the mean of z zᵀ − C_n, so that photon noise
    that is correlated alike in all stars does not pass for emulator error either.

    Attributes
    ----------
    given : residuals in units of each pixel's spread
    factors : (P, K) components times the roots of their variances, in these units
    model, uncertainty : (P,) variance that is not photon noise, and its error variance
    """

    given: Residuals
    factors: np.ndarray
    model: np.ndarray
    uncertainty: np.ndarray

    @classmethod
    def estimate(
        cls, residual: np.ndarray, variance: np.ndarray, rank: int, covariance: np.ndarray | None = None
    ) -> StatedPhotons:
        """From residuals (N, P), NaN where there is none, and photon variances (N, P), 0 where errors are not stated.

        ``covariance`` (N, P, P) is that of photon noise, where stars have one of their own; its diagonal is
        ``variance``.

        Raises
        ------
        SlamError
            If fewer than ten stars have residuals.
        """
        given = in_units(residual, variance)
        z, n_pix, photon = given.z, given.z.shape[1], given.photon / given.share[:, None]
        own = None if covariance is None else _in_units(given, residual, variance, covariance)
        gram = z @ z.T
        expected = _TYPICAL + given.tau2
        unlike = np.diagonal(gram) / expected
        weight = np.median(unlike) / np.maximum(unlike, 1e-30)
        for _ in range(ROUNDS):
            shares = weight / np.square(expected)
            shares = shares / shares.sum()
            if own is None:
                variances = _cross_fitted(z, photon, gram, shares, rank)
                components = z.T @ _directions(gram, shares, rank)
            else:
                variances, components = _beyond(own, z, given.share, shares, rank)
            seen = shares @ np.square(z)
            found = cls(
                given,
                components * np.sqrt(variances[: components.shape[1]]),
                np.maximum(seen - shares @ photon, 0.0),
                2 * np.square(seen) * np.sum(np.square(shares)),
            )
            noise = found._in_units(rank, _FLOOR)
            if own is None:
                chi2 = whitened_chi2(noise, z, given.ivar)
            else:
                chi2 = dense_chi2(z, own, np.asarray(noise.model_variance), np.asarray(noise.factors), given.known)
            weight = (TAIL + n_pix) / (TAIL + chi2 * n_pix / max(float(np.median(chi2)), 1e-30))
        return found

    def noise(self, rank: int, floor: float) -> LowRankNoise:
        """Σ with the first ``rank`` components.

        s² is at least ``floor`` times the variance of each pixel that is not photon noise; see
        `slamjax.noise.learnt.LearntPhotons.noise`. A pixel's own s² counts as far as pixels differ by more than the
        uncertainty of each; the rest is their mean.
        """
        return self.given.to_flux(self._in_units(rank, floor), rank, 0)

    def _in_units(self, rank: int, floor: float) -> LowRankNoise:
        factors = self.factors[:, :rank]
        rest = _shrunk(self.model - np.sum(np.square(factors), axis=1), self.uncertainty)
        least = floor * np.maximum(self.model, 0.1 * np.mean(self.model)) + _RESOLVED
        n_pix = len(rest)
        return LowRankNoise(np.maximum(rest, least), factors, np.ones(n_pix), np.zeros((n_pix, 0)))


def _cross_fitted(z: np.ndarray, photon: np.ndarray, gram: np.ndarray, shares: np.ndarray, rank: int) -> np.ndarray:
    """(rank,) falling variances beyond photon noise, of stars along components that other stars have."""
    fold = np.random.default_rng(0).permutation(len(z)) % _FOLDS
    variances = np.zeros((_FOLDS, rank))
    for k in range(_FOLDS):
        others, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        directions = _directions(gram[np.ix_(others, others)], shares[others], rank)
        along = gram[np.ix_(held, others)] @ directions
        noise = photon[held] @ np.square(z[others].T @ directions)
        mine = shares[held] / shares[held].sum()
        variances[k, : directions.shape[1]] = mine @ (np.square(along) - noise)
    return isotonic_regression(np.maximum(variances.mean(axis=0), 0.0), increasing=False).x


def _directions(gram: np.ndarray, shares: np.ndarray, rank: int) -> np.ndarray:
    """(N, ≤ rank) combinations of the N stars that are the leading orthonormal components of the weighted ones."""
    root, n = np.sqrt(shares), len(gram)
    value, vector = eigh(gram * root[:, None] * root, subset_by_index=[max(n - rank, 0), n - 1])
    sound = value > 1e-10 * value[-1]
    return (root[:, None] * vector[:, sound] / np.sqrt(value[sound]))[:, ::-1]


def _in_units(given: Residuals, residual: np.ndarray, variance: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The covariances of the stars and pixels that are given, in units of the pixels' spread; 0 where none is known."""
    known = np.isfinite(residual) & np.isfinite(variance)
    own = covariance[known.any(axis=1)][:, given.pixels][:, :, given.pixels] / given.spread / given.spread[:, None]
    return own if given.known.all() else own * (given.known[:, :, None] & given.known[:, None, :])


def _beyond(
    own: np.ndarray, z: np.ndarray, share: np.ndarray, shares: np.ndarray, rank: int
) -> tuple[np.ndarray, np.ndarray]:
    """(rank,) falling variances, and (P, ≤ rank) components, of what z zᵀ has beyond each star's own covariance."""
    fold = np.random.default_rng(0).permutation(len(z)) % _FOLDS
    moments = np.stack([
        (z[some] * shares[some, None]).T @ z[some] - np.tensordot(shares[some] / share[some], own[some], 1)
        for some in (np.flatnonzero(fold == k) for k in range(_FOLDS))
    ])  # fmt: skip
    total, variances = moments.sum(axis=0), np.zeros((_FOLDS, rank))
    for k in range(_FOLDS):
        directions = _leading(total - moments[k], rank)
        along = np.einsum("pk,pq,qk->k", directions, moments[k], directions)
        variances[k, : directions.shape[1]] = along / shares[fold == k].sum()
    falling = isotonic_regression(np.maximum(variances.mean(axis=0), 0.0), increasing=False).x
    return falling, _leading(total, rank)


def _leading(moment: np.ndarray, rank: int) -> np.ndarray:
    """(P, ≤ rank) orthonormal directions in which a symmetric matrix is largest."""
    n = len(moment)
    return eigh(moment, subset_by_index=[max(n - rank, 0), n - 1])[1][:, ::-1]


def _shrunk(values: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Values with these error variances, drawn towards their mean as far as these explain how they differ."""
    mean = np.sum(values / variance) / np.sum(1 / variance)
    real = max(float(np.mean(np.square(values - mean) / variance)) - 1, 0.0) * float(np.mean(variance))
    return mean + (values - mean) * real / (real + variance)
