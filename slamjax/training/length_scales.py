"""How far a label must change for the spectrum to bend: length scales by marginal likelihood.

    ln p(y | ℓ, a, v) = Σ_q ln N(y_q; 0, a_q K + v_q),   K_ij = exp(−½ Σ_k (x_ik − x_jk)² / ℓ_k²)

(Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, eq. 5.8-5.9.) The y_q are the leading principal
components of the training spectra in units of their noise; all share the length scales ℓ, each has its own amplitude a
and noise v. One eigendecomposition of K serves all components.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

#: Stars and components that are used, and steps of the search.
_MOST_STARS, _MOST_COMPONENTS, _STEPS = 500, 25, 60
#: Where the search begins, and the bounds: 1 / ℓ in scaled labels; amplitude and noise as parts of the variance. With
#: larger amplitudes a straight line would be a small piece of a very long wave, which an SVR with bounded coefficients
#: cannot follow.
_INVERSE, _AMPLITUDE, _NOISE = 0.3, 1.0, 0.03
_BOUNDS = {"inverse": (0.01, 7.0), "amplitude": (0.05, 3.0), "noise": (1e-6, 3.0)}
#: Eigenvalues of K are at least this.
_LEAST = 1e-10


def inverse_length_scales(
    x: Float[np.ndarray, "star label"], flux: Float[np.ndarray, "star pixel"], seed: int = 0
) -> Float[np.ndarray, " label"]:
    """1 / ℓ of each label, in units of the scaled labels.

    Parameters
    ----------
    x : scaled labels
    flux : flux, or its difference from a mean, of each star in units of the pixel's noise; 0 where unknown
    seed : of the draw of stars, where there are many
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(x))[:_MOST_STARS])
    components = _components(flux[rows])
    n_labels, n_components = x.shape[1], components.shape[1]
    sizes = {"inverse": n_labels, "amplitude": n_components, "noise": n_components}
    begin = {"inverse": _INVERSE, "amplitude": _AMPLITUDE, "noise": _NOISE}
    found = minimize(
        lambda p: _cost(p, x[rows], components),
        np.log(np.concatenate([np.full(size, begin[name]) for name, size in sizes.items()])),
        jac=True,
        method="L-BFGS-B",
        bounds=[tuple(np.log(_BOUNDS[name])) for name, size in sizes.items() for _ in range(size)],
        options={"maxiter": _STEPS},
    )
    return np.exp(found.x[:n_labels])


def _components(flux: np.ndarray) -> np.ndarray:
    """(N, Q) coordinates along the leading principal components, each of variance 1."""
    vectors, values, _ = np.linalg.svd(flux - flux.mean(axis=0), full_matrices=False)
    count = min(_MOST_COMPONENTS, int(np.count_nonzero(values > 1e-6 * values[0])))
    return vectors[:, :count] * np.sqrt(len(flux))


class _Likelihood(NamedTuple):
    """−ln p, and its derivatives with respect to ln a, ln v and, element by element, K."""

    cost: float
    amplitude: np.ndarray
    noise: np.ndarray
    kernel: np.ndarray


def _cost(p: np.ndarray, x: np.ndarray, components: np.ndarray) -> tuple[float, np.ndarray]:
    """−ln p a star and component, and its gradient, of p = ln (1 / ℓ, a, v)."""
    n_stars, n_components = components.shape
    n_labels = x.shape[1]
    weight = np.exp(2 * p[:n_labels])
    amplitude, noise = np.exp(p[n_labels:]).reshape(2, n_components)
    kernel = np.exp(-0.5 * _square_distances(x * np.sqrt(weight)))
    found = _likelihood(kernel, components, amplitude, noise)
    slope = found.kernel * kernel  # symmetric: Σ_ij s_ij (x_i − x_j)² = 2 Σ_ij s_ij (x_i² − x_i x_j)
    along = -2 * weight * (slope.sum(axis=1) @ np.square(x) - np.sum(x * (slope @ x), axis=0))
    gradient = np.concatenate([along, found.amplitude, found.noise])
    size = n_stars * n_components
    return found.cost / size, gradient / size


def _square_distances(x: np.ndarray) -> Float[np.ndarray, "star star"]:
    length = np.sum(np.square(x), axis=1)
    return np.maximum(length[:, None] + length - 2 * x @ x.T, 0)


def _likelihood(kernel: np.ndarray, components: np.ndarray, amplitude: np.ndarray, noise: np.ndarray) -> _Likelihood:
    values, vectors = np.linalg.eigh(kernel)
    values = np.maximum(values, _LEAST)[:, None]
    turned = vectors.T @ components
    variance = amplitude * values + noise
    solved = turned / variance
    cost = 0.5 * np.sum(np.log(variance) + turned * solved)
    slope = 0.5 * (1 / variance - np.square(solved))  # of the cost, along each eigenvector
    back = vectors @ solved
    by_kernel = 0.5 * ((vectors * np.sum(amplitude / variance, axis=1)) @ vectors.T - (back * amplitude) @ back.T)
    return _Likelihood(
        float(cost), amplitude * np.sum(slope * values, axis=0), noise * np.sum(slope, axis=0), by_kernel
    )
