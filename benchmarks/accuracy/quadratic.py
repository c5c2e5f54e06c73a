"""The Cannon's own training and test steps, with SciPy's least squares: it runs wherever SciPy does.

f_λ(ℓ) = θ_λ · (1, x, x xᵀ),  x = (ℓ − median) / width   (Ness et al. 2015, ApJ 808, 16).

Training is weighted least squares pixel by pixel, in turn with the scatter s²_λ beside the photon noise; the test step
is ``scipy.optimize.curve_fit`` star by star with numerical derivatives, as in PyPI's thecannon.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import curve_fit

from slamjax.emulators.polynomial import exponents_of, monomials
from slamjax.noise.estimate import model_variance
from slamjax.training.ridge import solve


@dataclass(frozen=True)
class Quadratic:
    """Coefficients (P, 1 + L + L(L+1)/2), scatter variance (P,), and each label's centre and width."""

    theta: np.ndarray
    variance: np.ndarray
    centre: np.ndarray
    width: np.ndarray


def terms(x: np.ndarray) -> np.ndarray:
    """(..., 1 + L + L(L+1)/2): one, the labels, their products."""
    return np.concatenate([np.ones_like(x[..., :1]), monomials(x, exponents_of(x.shape[-1], 2))], axis=-1)


def train(labels: np.ndarray, flux: np.ndarray, ivar: np.ndarray, *, rounds: int = 4) -> Quadratic:
    """Labels (N, L), flux and ivar (N, P); ivar = 0 leaves a pixel of a star out."""
    low, centre, high = np.percentile(labels, [2.5, 50, 97.5], axis=0)
    width = (high - low) / 4
    design = terms((labels - centre) / width)
    with np.errstate(divide="ignore"):
        photon = np.where(ivar > 0, 1 / ivar, np.inf)
    variance = np.zeros(flux.shape[1])
    for _ in range(rounds):
        weight = 1 / (photon + variance)
        slopes, constant = solve(design[:, 1:], flux, weight, np.zeros(1))
        theta = np.concatenate([constant, slopes[0]]).T
        variance = model_variance(np.where(ivar > 0, flux - design @ theta.T, np.nan), photon)
    return Quadratic(theta, variance, centre, width)


def infer(model: Quadratic, flux: np.ndarray, ivar: np.ndarray) -> np.ndarray:
    """(N, L) labels, one ``curve_fit`` per star from the median training labels; NaN where it does not converge."""
    labels = np.full((len(flux), model.centre.size), np.nan)
    for n in range(len(flux)):
        good = ivar[n] > 0
        theta = model.theta[good]
        sigma = np.sqrt(1 / ivar[n, good] + model.variance[good])

        def spectrum(_: np.ndarray, *x: float, theta: np.ndarray = theta) -> np.ndarray:
            return theta @ terms(np.array(x))

        start = np.zeros(model.centre.size)
        try:
            x, _ = curve_fit(spectrum, np.arange(good.sum()), flux[n, good], p0=start, sigma=sigma, absolute_sigma=True)
        except RuntimeError:
            continue
        labels[n] = model.centre + model.width * x
    return labels
