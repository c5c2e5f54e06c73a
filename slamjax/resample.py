"""From one wavelength grid to another, flux conserved, variances and bad pixels carried along.

A pixel holds the mean flux density between its edges. A new pixel's is the mean over the old ones below it, by the part
w of it that each covers: f' = Σ w f / Σ w, var' = Σ w² var / (Σ w)², over good pixels. Neighbouring new pixels that
share an old one are correlated, which var' does not tell; a noise model learnt at the new grid does.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array

#: A new pixel of which good old ones cover less than this part is bad.
LEAST_COVERED = 0.5


def pixel_edges(wave: Float[np.ndarray, " pixel"]) -> Float[np.ndarray, " edge"]:
    """(P + 1,) midway between pixel centres, the outermost as far out as their neighbours are in."""
    middle = (wave[1:] + wave[:-1]) / 2
    return np.concatenate([[2 * wave[0] - middle[0]], middle, [2 * wave[-1] - middle[-1]]])


def overlaps(old: Float[np.ndarray, " pixel"], new: Float[np.ndarray, " new_pixel"]) -> csr_array:
    """(P', P): the part of each new pixel that each old one covers; both grids rise."""
    a, b = pixel_edges(np.asarray(old, float)), pixel_edges(np.asarray(new, float))
    # all edges together cut the axis into pieces that lie in one old and one new pixel each
    cuts = np.unique(np.concatenate([a, b]))
    cuts = cuts[(cuts >= max(a[0], b[0])) & (cuts <= min(a[-1], b[-1]))]
    middle, length = (cuts[1:] + cuts[:-1]) / 2, np.diff(cuts)
    into, of = np.searchsorted(b, middle) - 1, np.searchsorted(a, middle) - 1
    return csr_array((length / np.diff(b)[into], (into, of)), shape=(len(b) - 1, len(a) - 1))


def resample(
    weights: csr_array, flux: Float[np.ndarray, "*star pixel"], ivar: Float[np.ndarray, "*star pixel"]
) -> tuple[Float[np.ndarray, "*star new_pixel"], Float[np.ndarray, "*star new_pixel"]]:
    """Flux and ivar (..., P) on the new grid of `overlaps`; where ``ivar`` is 0 a pixel has no part in it."""
    good = ivar > 0
    with np.errstate(divide="ignore"):
        variance = np.where(good, 1 / np.where(good, ivar, 1), 0)
    covered = (weights @ good.T.astype(float)).T
    some = np.where(covered > 0, covered, 1)
    new_flux = (weights @ np.where(good, flux, 0).T).T / some
    new_variance = (weights.power(2) @ variance.T).T / some**2
    sound = covered >= LEAST_COVERED
    with np.errstate(divide="ignore"):
        stated = np.where(new_variance > 0, 1 / np.where(new_variance > 0, new_variance, 1), np.inf)
    return np.where(sound, new_flux, 0), np.where(sound, stated, 0)
