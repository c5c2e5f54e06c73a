"""Learn the noise from held-out stars, so that the errors of fitted labels are honest.

Each training star is fitted with the emulator of the cross-validation fold that had not seen it. Its labels are off by
as much as those of a new star would be: label errors can be checked without any other stars.

No covariance learnt from hundreds of stars knows exactly how pixels that carry little information about labels
correlate with those that carry much. Σ therefore keeps its shape and gets two factors (a magnitude adjustment of the
likelihood; Pauli, Racugno & Ventura 2011, Statistica Sinica 21, 149): one that makes the pulls of labels one wide, and
one that makes the reported χ² equal the number of pixels for half of the held-out stars.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import median_abs_deviation, norm

from slamjax.emulators.base import Emulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.errors import SlamError, SlamWarning
from slamjax.noise.calibration import GAUSSIAN_95, Calibration
from slamjax.noise.estimate import low_rank, model_variance
from slamjax.noise.models import DiagonalNoise, LowRankNoise, Noise
from slamjax.training.held_out import HeldOut, LabelErrors, label_errors
from slamjax.training.specs import NoiseSpec

#: The low-rank noise by which a joint search judges emulators.
_JOINT = NoiseSpec(ranks=(40,), floors=(0.2,))
#: Degrees of freedom of a star's own noise scale that are tried.
_TAILS = (10.0, 30.0, 100.0, 300.0, 1000.0, np.inf)
#: Exponents that are tried for the growth of label errors with the distance to the training stars.
_EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
#: Stars per column of a low-rank covariance, at least.
_STARS_PER_COLUMN = 8
#: One star in this many judges the candidates that the others made.
_JUDGES = 3
#: The model error of a pixel is never below this part of the pixel's spread: what an SVR resolves is finite.
_FLOOR = 1e-2
#: χ² is high beyond this many upper half-widths (50 to 84 %) of the logarithm of χ² / dof of held-out stars.
_CHI2_SIGMAS = 3.0
#: Central intervals that a label's errors shall get right, and the smallest robust width of pulls allowed for it.
_LEVELS = (0.5, 0.68, 0.9, 0.95)
_NARROWEST = 0.92


class HardlyFitted(SlamError):
    """Too few held-out stars could be fitted to judge a covariance."""


class LearntNoise(NamedTuple):
    """A noise model, how its χ² and label errors are read, and (P,) the variance of independent pixels."""

    noise: Noise
    calibration: Calibration
    model_variance: np.ndarray


def learn_noise(
    spec: NoiseSpec, emulator: Emulator, training_labels: TrainingLabels, held_out: HeldOut, *, seed: int = 0
) -> LearntNoise:
    """Learn the noise model, and the factors that make label errors honest.

    "auto" takes the model that gives the known labels of judging stars the largest probability; rank and floor of a
    low-rank noise are chosen in the same way.
    """
    independent = diagonal(emulator, held_out)
    variance = np.asarray(independent.model_variance)
    candidates: list[dict[str, Any]] = []
    if spec.kind != "diagonal":
        candidates = _judge_candidates(spec, emulator, training_labels, held_out, seed)
        if not candidates:
            _too_few_stars(spec, len(held_out.x))
    allowed = [row for row in candidates if row["rank"] > 0 or spec.kind != "lowrank"]
    best = max(allowed, key=lambda row: row["score"], default={"rank": 0})
    if best["rank"] == 0:
        limit = _independent_limit(independent, held_out)
        return LearntNoise(independent, Calibration(chi2_limit=limit, tried=candidates), variance)
    noise = _low_rank(held_out, best["rank"], best["floor"])
    noise, calibration = calibrate(noise, training_labels, held_out)
    return LearntNoise(noise, dataclasses.replace(calibration, tried=candidates), variance)


def joint_score(emulator: Emulator, training_labels: TrainingLabels, held_out: HeldOut, *, seed: int = 0) -> float:
    """Mean ln p of the known labels of judging stars under the better of a diagonal and one low-rank noise.

    Residuals of single pixels hardly tell hyper-parameters apart, because photon noise dominates them; labels combine
    all pixels.
    """
    candidates = _judge_candidates(_JOINT, emulator, training_labels, held_out, seed)
    if not candidates:  # too few stars for any covariance
        return label_errors(diagonal(emulator, held_out), training_labels, held_out).score()
    return max(row["score"] for row in candidates)


def calibrate(
    noise: LowRankNoise, training_labels: TrainingLabels, held_out: HeldOut
) -> tuple[LowRankNoise, Calibration]:
    """The noise times the factor that makes pulls one wide, and how χ² and a star's own scale are read."""
    fits = label_errors(noise, training_labels, held_out)
    fits = fits[fits.valid]
    calibration, factor = _adjustment(fits)
    chi2 = fits.chi2 * calibration.chi2_scale
    pulls = fits.inflated(factor * calibration.star_scale(chi2, fits.dof, fits.distance)).pulls()
    scale = _label_scale(pulls)
    return noise.inflated(factor), dataclasses.replace(
        calibration,
        chi2_limit=_limit(chi2 / fits.dof),
        chi2_scale=calibration.chi2_scale * factor,
        model_factor=1.0 if held_out.states_errors else factor,
        label_scale=scale.tolist(),
        interval95_factor=_interval95(pulls / scale).tolist(),
    )


def diagonal(emulator: Emulator, held_out: HeldOut) -> DiagonalNoise:
    """The published noise: independent pixels, each with its own variance added to that of the photons."""
    trained = np.isfinite(np.asarray(emulator.intercept))
    least = np.square(_FLOOR * np.asarray(emulator.flux_scale))
    variance = np.maximum(model_variance(held_out.residual, held_out.photon_variance), least)
    return DiagonalNoise(np.where(trained, variance, np.inf))


def _low_rank(held_out: HeldOut, rank: int, floor: float) -> LowRankNoise:
    return low_rank(held_out.residual, held_out.photon_variance, rank=rank, photon_rank=rank, floor=floor)


def _too_few_stars(spec: NoiseSpec, n_stars: int) -> None:
    needed = 2 * min(spec.ranks) * _STARS_PER_COLUMN * _JUDGES // (_JUDGES - 1)
    problem = f"{n_stars} stars cannot make a low-rank noise model, which needs at least {needed}"
    if spec.kind == "lowrank":
        raise SlamError(f"{problem}; give more, or noise='diagonal'")
    warnings.warn(
        f"{problem}: pixels are taken as independent (noise='diagonal'), and label errors may be several times too "
        "small",
        SlamWarning,
        stacklevel=4,
    )


def _judge_candidates(
    spec: NoiseSpec, emulator: Emulator, training_labels: TrainingLabels, held_out: HeldOut, seed: int
) -> list[dict[str, Any]]:
    """Rank, floor and score of every candidate, learnt and adjusted on two thirds of the stars, judged by others."""
    judging = np.random.default_rng(seed).permutation(len(held_out.x)) % _JUDGES == 0
    learning, judges = held_out[~judging], held_out[judging]
    n_trained = int(np.isfinite(np.asarray(emulator.intercept)).sum())
    largest = min(len(learning.x) // (2 * _STARS_PER_COLUMN), n_trained)
    ranks = [rank for rank in spec.ranks if rank <= largest]
    if not ranks:
        return []
    held_out = held_out.quick(_padded(_low_rank(learning, ranks[0], spec.floors[0]), max(ranks)), training_labels)
    learning, judges = held_out[~judging], held_out[judging]
    published = label_errors(diagonal(emulator, learning), training_labels, judges)
    rows = [{"rank": 0, "floor": 1.0, "score": published.score()}]
    for rank in ranks:
        for floor in spec.floors:
            noise = _padded(_low_rank(learning, rank, floor), max(ranks))
            fits = label_errors(noise, training_labels, learning)
            calibration, factor = _adjustment(fits[fits.valid])
            judged = label_errors(noise, training_labels, judges)
            star_scale = calibration.star_scale(judged.chi2 * calibration.chi2_scale, judged.dof, judged.distance)
            rows.append({"rank": rank, "floor": floor, "score": judged.inflated(factor * star_scale).score()})
    return rows


def _adjustment(fits: LabelErrors) -> tuple[Calibration, float]:
    """How χ² is read, and the factor of Σ that makes pulls one wide, from valid fits of held-out stars.

    The calibration's scale is for χ² without that factor.
    """
    if len(fits.chi2) < 10:
        raise HardlyFitted("hardly any held-out star could be fitted; look at the spectra, or take noise='diagonal'")
    chi2_scale = 1 / float(np.median(fits.chi2 / fits.dof))
    typical_distance = float(np.median(fits.distance))
    best: tuple[float, Calibration, float] | None = None
    for tail in _TAILS:
        for exponent in _EXPONENTS:
            calibration = Calibration(np.inf, chi2_scale, tail, exponent, typical_distance)
            scaled = fits.inflated(calibration.star_scale(fits.chi2 * chi2_scale, fits.dof, fits.distance))
            width = median_abs_deviation(scaled.pulls(), axis=0, scale="normal")
            factor = float(np.exp(np.mean(np.log(np.maximum(width, 1e-3)))) ** 2)
            score = scaled.inflated(np.full(len(fits.chi2), factor)).score()
            if best is None or score > best[0]:
                best = (score, calibration, factor)
    assert best is not None
    return best[1], best[2]


def _label_scale(pulls: np.ndarray) -> np.ndarray:
    """(L,) factors of label errors, so that central intervals hold as many known labels as they claim.

    Pulls have heavier tails than a Gaussian, above all where a label has two populations and stars of one are mistaken
    for the other, so that no factor is right at every level. It is the mean over `_LEVELS`, in logarithm; but it never
    makes the robust width of the pulls less than `_NARROWEST`.
    """
    apart = np.abs(pulls - np.median(pulls, axis=0))
    ratio = np.quantile(apart, _LEVELS, axis=0) / norm.ppf(0.5 + 0.5 * np.asarray(_LEVELS))[:, None]
    width = median_abs_deviation(pulls, axis=0, scale="normal")
    return np.minimum(np.exp(np.log(np.maximum(ratio, 1e-3)).mean(axis=0)), width / _NARROWEST)


def _interval95(pulls: np.ndarray) -> np.ndarray:
    """(L,) how many errors hold 95 % of the held-out stars' known labels, at least those of a Gaussian.

    Conformal prediction (Vovk, Gammerman & Shafer 2005) with scores |pull|: what remains of heavy tails widens this
    interval, while the errors stay as they are for most stars.
    """
    return np.maximum(np.quantile(np.abs(pulls), 0.95, axis=0), GAUSSIAN_95)


def _limit(chi2: np.ndarray) -> float:
    """χ² per degree of freedom that few held-out stars exceed, by the median and upper half-width of its logarithm."""
    logs = np.log(np.maximum(chi2, 1e-30))
    middle, upper = np.percentile(logs, [50, 84])
    return float(np.exp(middle + _CHI2_SIGMAS * (upper - middle)))


def _independent_limit(noise: DiagonalNoise, held_out: HeldOut) -> float:
    """The limit of χ² per pixel at the known labels, under independent pixels."""
    with np.errstate(invalid="ignore"):
        variance = held_out.photon_variance + np.asarray(noise.model_variance)
        counted = np.isfinite(variance) & (variance > 0)
        square = np.where(counted, np.square(held_out.residual) / np.where(counted, variance, 1), 0).sum(axis=1)
    count = counted.sum(axis=1)
    return _limit(square[count > 0] / count[count > 0])


def _padded(noise: LowRankNoise, columns: int) -> LowRankNoise:
    """The same noise with columns of zeros, so that all candidates share one compilation."""

    def widened(factors: Any) -> np.ndarray:
        return np.pad(np.asarray(factors), ((0, 0), (0, columns - factors.shape[1])))

    return dataclasses.replace(noise, factors=widened(noise.factors), photon_factors=widened(noise.photon_factors))
