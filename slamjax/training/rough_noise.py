"""A quick noise model for steps of training that need one: a single rank, two factors of Σ."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from slamjax.emulators.base import Emulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.noise.learnt import LearntPhotons
from slamjax.noise.models import LowRankNoise
from slamjax.noise.stated import StatedPhotons
from slamjax.training.held_out import HeldOut
from slamjax.training.label_errors import LabelErrors, label_errors, quick
from slamjax.training.noise_calibration import HardlyFitted, adjustment
from slamjax.training.noise_learning import diagonal
from slamjax.training.specs import NoiseSpec

#: The largest rank, stars per column, and the fraction of each pixel's variance that stays independent.
_RANK, _STARS_PER_COLUMN, _FLOOR = 40, 8, 0.2
#: One star in this many finds the factors of the noise that the others made.
_JUDGES = 3
#: Stated errors are too large if χ² is less than this fraction of what they alone make expected.
_OVERSTATED = 0.8


class RoughNoise(NamedTuple):
    """A noise model, and (N,) ln p of the known labels of judging stars under it, NaN for others."""

    noise: LowRankNoise
    scores: np.ndarray


def rough_noise(
    spec: NoiseSpec,
    emulator: Emulator,
    training_labels: TrainingLabels,
    held_out: HeldOut,
    known: Bool[np.ndarray, " star"],
    seed: int,
) -> RoughNoise:
    """The noise of the ``known`` held-out stars, with factors that make the pulls of judging stars one wide.

    Low rank if the specification and the number of stars allow it, independent pixels otherwise.
    """
    judging = np.random.default_rng(seed).permutation(len(known)) % _JUDGES == 0
    learning, judges = held_out[np.flatnonzero(known & ~judging)], np.flatnonzero(known & judging)
    n_trained = int(np.isfinite(np.asarray(emulator.intercept)).sum())
    rank = min(_RANK, len(learning.x) // _STARS_PER_COLUMN, n_trained - 1)

    def fits(noise: LowRankNoise) -> LabelErrors:
        return label_errors(noise, training_labels, quick(held_out[judges], noise, training_labels))

    def adjusted(noise: LowRankNoise, fits: LabelErrors, stated: bool) -> RoughNoise:
        scores = np.full(len(known), np.nan)
        try:
            factors = adjustment(fits[fits.valid], stated)[1]
        except HardlyFitted:
            return RoughNoise(noise, scores)
        photon = fits.shares.variance
        scores[judges] = fits.inflated(factors.photon * photon + factors.model * (1 - photon)).scores()
        return RoughNoise(noise.inflated(factors.model, factors.photon), scores)

    if spec.kind == "diagonal" or rank < min(spec.ranks):
        noise = _independent(emulator, learning)
        return adjusted(noise, fits(noise), stated=False)
    noise = StatedPhotons.estimate(learning.residual, learning.photon_variance, rank).noise(rank, _FLOOR)
    found = fits(noise)
    seen = found.valid & (found.shares.photon > 0)
    if seen.any() and np.median(found.chi2[seen] / found.shares.photon[seen]) < _OVERSTATED:
        rank = max(rank // 2, 1)
        noise = LearntPhotons.estimate(learning.residual, learning.photon_variance, rank).noise(rank, _FLOOR)
        return adjusted(noise, fits(noise), stated=False)
    return adjusted(noise, found, stated=True)


def _independent(emulator: Emulator, held_out: HeldOut) -> LowRankNoise:
    variance = np.asarray(diagonal(emulator, held_out).model_variance)
    n_pix = len(variance)
    return LowRankNoise(variance, np.zeros((n_pix, 1)), np.ones(n_pix), np.zeros((n_pix, 0)))
