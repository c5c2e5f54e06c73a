"""Quick noise models for steps of training that need them: a single rank, two factors of Σ, crossed.

A covariance of hundreds of stars knows the residuals of each of them: directions in which a star is off count less in
its own fit, which then ends too near the label that it was given, and seems too certain. So the stars are in three
parts, and each is looked at with the noise of the other two.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

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
#: Parts of the stars; each finds the factors of the noise that the others made.
_PARTS = 3
#: Stated errors are too large if χ² is less than this fraction of what they alone make expected.
_OVERSTATED = 0.8


class RoughNoise(NamedTuple):
    """Noise models, each learnt without one part of the stars.

    Attributes
    ----------
    noises, part : one per part, and (N,) the part of each star
    scores : (N,) ln p of the known labels, NaN for stars that did not take part
    """

    noises: tuple[LowRankNoise, ...]
    part: Int[np.ndarray, " star"]
    scores: Float[np.ndarray, " star"]


def rough_noise(
    spec: NoiseSpec,
    emulator: Emulator,
    training_labels: TrainingLabels,
    held_out: HeldOut,
    known: Bool[np.ndarray, " star"],
    seed: int,
) -> RoughNoise:
    """The noise of the ``known`` held-out stars, with factors that make the pulls of each part one wide.

    Low rank if the specification and the number of stars allow it, independent pixels otherwise.
    """
    part, scores = np.random.default_rng(seed).permutation(len(known)) % _PARTS, np.full(len(known), np.nan)
    noises = []
    for number in range(_PARTS):
        learning, judges = (held_out[np.flatnonzero(known & chosen)] for chosen in (part != number, part == number))
        noise, scores[known & (part == number)] = _noise_of(spec, emulator, training_labels, learning, judges)
        noises.append(noise)
    return RoughNoise(tuple(noises), part, scores)


def _noise_of(
    spec: NoiseSpec, emulator: Emulator, training_labels: TrainingLabels, learning: HeldOut, judges: HeldOut
) -> tuple[LowRankNoise, Float[np.ndarray, " star"]]:
    """The noise of the learning stars, and ln p of the judges' known labels under it."""
    n_trained = int(np.isfinite(np.asarray(emulator.intercept)).sum())
    rank = min(_RANK, len(learning.x) // _STARS_PER_COLUMN, n_trained - 1)

    def fits(noise: LowRankNoise) -> LabelErrors:
        return label_errors(noise, training_labels, quick(judges, noise, training_labels))

    def adjusted(
        noise: LowRankNoise, fits: LabelErrors, stated: bool
    ) -> tuple[LowRankNoise, Float[np.ndarray, " star"]]:
        try:
            factors = adjustment(fits[fits.valid], stated)[1]
        except HardlyFitted:
            return noise, np.full(len(judges.x), np.nan)
        photon = fits.shares.variance
        inflated = fits.inflated(factors.photon * photon + factors.model * (1 - photon))
        return noise.inflated(factors.model, factors.photon), inflated.scores()

    if spec.kind == "diagonal" or rank < min(spec.ranks):
        noise = _independent(emulator, learning)
        return adjusted(noise, fits(noise), stated=learning.covariance is not None)
    noise = StatedPhotons.estimate(learning.residual, learning.photon_variance, rank, learning.covariance).noise(
        rank, _FLOOR
    )
    found = fits(noise)
    seen = found.valid & (found.shares.photon > 0)
    if (
        learning.covariance is None
        and seen.any()
        and np.median(found.chi2[seen] / found.shares.photon[seen]) < _OVERSTATED
    ):
        rank = max(rank // 2, 1)
        noise = LearntPhotons.estimate(learning.residual, learning.photon_variance, rank).noise(rank, _FLOOR)
        return adjusted(noise, fits(noise), stated=False)
    return adjusted(noise, found, stated=True)


def _independent(emulator: Emulator, held_out: HeldOut) -> LowRankNoise:
    variance = np.asarray(diagonal(emulator, held_out).model_variance)
    n_pix = len(variance)
    return LowRankNoise(variance, np.zeros((n_pix, 1)), np.ones(n_pix), np.zeros((n_pix, 0)))
