"""The labels of the training stars as one Gaussian, from a catalogue that has errors and gaps.

    c_n = x_n + δ_n,  x_n ~ N(m, S),  δ_n ~ N(0, Λ_n)

with Λ_n diagonal: squared stated errors, and infinite where a label is missing. m and S are found by expectation
maximisation (Dempster, Laird & Rubin 1977, J. R. Stat. Soc. B 39, 1), so S is narrower than the catalogue's scatter.
Given the catalogue, x_n is normal with mean m + S (S + Λ_n)⁻¹ (c_n − m) and covariance S − S (S + Λ_n)⁻¹ S.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

#: Variance that stands for infinity, and the least one, in scaled labels.
_UNKNOWN, _EXACT = 1e8, 1e-10
#: Stars that are enough for a density.
_MOST = 5000
#: Rounds of expectation maximisation, and the change of S at which they end.
_ROUNDS, _NEAR = 300, 1e-4


@dataclass(frozen=True, eq=False)
class CatalogueDensity:
    """N(m, S) of scaled labels.

    Attributes
    ----------
    mean : m
    covariance : S

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.training.catalogue_density import CatalogueDensity
    >>> density = CatalogueDensity(np.zeros(2), np.array([[1.0, 0.8], [0.8, 1.0]]))
    >>> mean, covariance = density.given(np.array([[1.0, np.nan]]), np.zeros((1, 2)))
    >>> mean.round(3).tolist(), covariance[0].round(3).tolist()
    ([[1.0, 0.8]], [[0.0, 0.0], [0.0, 0.36]])
    """

    mean: Float[np.ndarray, " label"]
    covariance: Float[np.ndarray, "label label"]

    @classmethod
    def estimate(
        cls, catalogue: Float[np.ndarray, "star label"], error: Float[np.ndarray, "star label"]
    ) -> CatalogueDensity:
        """From labels, NaN where missing, and their errors; of very many stars, from some."""
        step = -(-len(catalogue) // _MOST)
        catalogue, error = catalogue[::step], error[::step]
        known = np.isfinite(catalogue)
        mean = np.nanmean(catalogue, axis=0)
        spread = np.nanvar(catalogue, axis=0)
        blur = np.sum(np.square(error) * known, axis=0) / known.sum(axis=0)
        density = cls(mean, np.diag(np.maximum(spread - blur, 0.1 * spread)))
        for _ in range(_ROUNDS):
            each, remaining = density.given(catalogue, error)
            mean = each.mean(axis=0)
            covariance = np.cov(each.T, bias=True).reshape(remaining.shape[1:]) + remaining.mean(axis=0)
            change = np.abs(covariance - density.covariance).max()
            density = cls(mean, covariance)
            if change < _NEAR:
                break
        return density

    def given(
        self, catalogue: Float[np.ndarray, "star label"], error: Float[np.ndarray, "star label"]
    ) -> tuple[Float[np.ndarray, "star label"], Float[np.ndarray, "star label label"]]:
        """Means and covariances of the labels of stars, given what a catalogue says of them."""
        known = np.isfinite(catalogue)
        variance = np.where(known, np.maximum(np.square(error), _EXACT), _UNKNOWN)
        total = self.covariance + variance[:, :, None] * np.eye(len(self.mean))
        gain = np.swapaxes(np.linalg.solve(total, np.broadcast_to(self.covariance, total.shape)), 1, 2)
        apart = np.where(known, catalogue - self.mean, 0.0)
        mean = self.mean + np.einsum("nij,nj->ni", gain, apart)
        covariance = self.covariance - gain @ self.covariance
        return mean, (covariance + np.swapaxes(covariance, 1, 2)) / 2

    def blurred(self, error: Float[np.ndarray, "star label"]) -> float:
        """The largest part of the variance of any combination of catalogued labels that is due to typical errors."""
        blur = np.diag(np.median(np.square(error), axis=0))
        inverse = np.linalg.inv(np.linalg.cholesky(self.covariance + blur + _EXACT * np.eye(len(blur))))
        return float(np.linalg.eigvalsh(inverse @ blur @ inverse.T).max())
