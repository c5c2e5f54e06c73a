"""How much better the final emulator is than those of the folds, which have seen fewer stars.

With K folds, held-out stars are predicted by emulators of (K - 1)/K of the stars. A second cross-validation, of a
random half of the stars, gives the same stars' errors under emulators of half as many. Between the two, and on to all
stars, the variance of an emulator's error is taken as a power of the number of stars.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from slamjax.training.data import ScaledStars
from slamjax.training.held_out import HalfOfStars, HeldOut
from slamjax.training.label_errors import LabelErrors, robust_width

#: Bounds of the ratio of the variances with half and with all stars, and the least share of it that is the emulator's.
_LARGEST, _LEAST_SHARE = 4.0, 0.1


def half_of_stars(
    cross_validate: Callable[[ScaledStars], HeldOut | None], scaled: ScaledStars, seed: int
) -> HalfOfStars | None:
    """A random half of the stars, held out from emulators of that half; None if these cannot be trained."""
    n_stars = len(scaled.x)
    rows = np.sort(np.random.default_rng(seed).permutation(n_stars)[: n_stars // 2])
    some = scaled.some(rows)
    held_out = None if some is None else cross_validate(some)
    if some is None or held_out is None:
        return None
    return HalfOfStars(rows, held_out.judged_by(some.reference, some.label_error))


class Improvement(NamedTuple):
    """Variance of the final emulator's error over that of the folds' emulators: of labels, and in χ²."""

    labels: float
    chi2: float


def improvement(
    some: LabelErrors, half: LabelErrors, chi2_of_photons: float, chi2_of_model: float, n_folds: int
) -> Improvement:
    """From fits of the same stars with the folds' emulators and with emulators of half the stars.

    ``chi2_of_photons`` and ``chi2_of_model`` are the expectations of χ² over Σ a σ²/D and Σ s²/D.
    """
    both = some.valid & half.valid
    if both.sum() < 10:
        return Improvement(1.0, 1.0)
    some, half = some[both], half[both]
    share = np.maximum(1 - np.median(some.shares.variance, axis=0), _LEAST_SHARE)
    before, after = (_variance(each) for each in (some, half))
    ratio = np.where(before > 0, after / np.where(before > 0, before, 1), 1)
    grown = np.clip((ratio - (1 - share)) / share, 1, _LARGEST)
    excess = [
        float(np.median((each.chi2 * each.n_pix / each.dof - chi2_of_photons * each.shares.photon) / expected))
        for each in (some, half)
        for expected in [np.maximum(chi2_of_model * each.shares.model, 1e-30)]
    ]
    grown_chi2 = np.clip(excess[1] / excess[0], 1, _LARGEST) if min(excess) > 0 else 1.0
    power = -np.log2(n_folds / (n_folds - 1))
    return Improvement(float(np.exp(np.mean(np.log(grown))) ** power), float(grown_chi2**power))


def _variance(fits: LabelErrors) -> np.ndarray:
    """(L,) robust variances of label errors, less those of the known labels."""
    return np.square(robust_width(fits.error)) - np.mean(fits.known_variance, axis=0)
