"""Learn the noise from held-out stars, so that the errors of fitted labels are honest.

Each training star is fitted with the emulator of the cross-validation fold that had not seen it. Its labels are off by
as much as those of a new star would be: label errors can be checked without any other stars.

Photon noise is what the stated errors say, unless the known labels of judging stars are clearly more probable where it
is learnt: only stars of very different brightness can show that errors are wrong, and what is not photon noise must
hold for stars of any brightness.

No covariance learnt from hundreds of stars knows exactly how pixels that carry little information about labels
correlate with those that carry much. Σ therefore keeps its shape and gets two factors (a magnitude adjustment of the
likelihood; Pauli, Racugno & Ventura 2011, Statistica Sinica 21, 149): one that makes the pulls of labels one wide, and
one that makes the reported χ² equal the number of pixels for half of the held-out stars. Where photon noise is as
stated, both belong to the emulator's part only.
"""

from __future__ import annotations

import dataclasses
import warnings
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from slamjax._util.progress import Steps
from slamjax.emulators.base import Emulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.errors import SlamError, SlamWarning
from slamjax.noise.calibration import Calibration
from slamjax.noise.dense import dense_chi2
from slamjax.noise.estimate import model_variance
from slamjax.noise.learnt import LearntPhotons
from slamjax.noise.likeness import Likeness
from slamjax.noise.models import DiagonalNoise, LowRankNoise, Noise
from slamjax.noise.stated import StatedPhotons
from slamjax.training.held_out import HeldOut
from slamjax.training.label_errors import label_errors, quick
from slamjax.training.likeness import learn_likeness
from slamjax.training.noise_calibration import (
    CALIBRATION_STEPS,
    adjustment,
    calibrate_learnt,
    calibrate_stated,
    chi2_limit,
)
from slamjax.training.specs import NoiseSpec
from slamjax.typing import Progress

#: What photon noise is known from.
STATED, LEARNT = "stated", "learnt"
#: The low-rank noise by which a joint search judges emulators.
_JOINT = NoiseSpec(ranks=(40,), floors=(0.2,))
#: Stars per column of a low-rank covariance, at least.
_STARS_PER_COLUMN = 8
#: A covariance of few pixels is learnt from at least so many times as many stars, and its floor.
_FEWEST, _WHOLE = 4, 0.1
#: One star in this many judges the candidates that the others made.
_JUDGES = 3
#: Floors of stated photon noise that are tried, as multiples of the middle one.
_LADDER = (1.0, 4.0, 16.0)
#: Learnt photon noise must be better than stated by this many standard errors.
_CLEARLY = 2.0
#: Errors are overstated if χ² is less than this fraction of what they alone make expected.
_OVERSTATED = 0.8
#: The model error of a pixel is never below this part of the pixel's spread: what an SVR resolves is finite.
_FLOOR = 1e-2


class LearntNoise(NamedTuple):
    """A noise model, how its χ² and label errors are read, and (P,) the variance of independent pixels."""

    noise: Noise
    calibration: Calibration
    model_variance: np.ndarray


def learn_noise(
    spec: NoiseSpec,
    emulator: Emulator,
    training_labels: TrainingLabels,
    held_out: HeldOut,
    *,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> LearntNoise:
    """Learn the noise model, and the factors that make label errors honest.

    "auto" takes the model that gives the known labels of judging stars the largest probability; rank and floor of a
    low-rank noise, and whether photon noise is as stated, are chosen in the same way.
    """
    independent, step = diagonal(emulator, held_out), Steps(on_progress)
    variance = np.asarray(independent.model_variance)
    candidates: list[dict[str, Any]] = []
    n_pixels = int(np.isfinite(np.asarray(emulator.intercept)).sum())
    if spec.kind == "auto" and n_pixels < min(spec.ranks):
        return _of_few_pixels(independent, held_out, n_pixels)
    if spec.kind != "diagonal":
        candidates = _judge_candidates(spec, emulator, training_labels, held_out, seed, step)
        if not candidates:
            _too_few_stars(spec, len(held_out.x))
    allowed = [row for row in candidates if row["rank"] > 0 or spec.kind != "lowrank"]
    best: dict[str, Any] = max(allowed, key=lambda row: row["score"], default={"rank": 0})
    if best["rank"] == 0:
        limit = _independent_limit(independent, held_out)
        # the published noise, if that is what was asked for, is made without fits of held-out stars
        likeness = _likeness_of_independent(independent, training_labels, held_out) if candidates else None
        return LearntNoise(independent, Calibration(chi2_limit=limit, tried=candidates, likeness=likeness), variance)

    def learn(stars: HeldOut) -> LowRankNoise:
        return _Estimates(stars, best["rank"]).noise(best["rank"], best["floor"], best["photons"])

    calibrate = calibrate_stated if best["photons"] == STATED else calibrate_learnt
    noise, calibration = calibrate(learn, training_labels, held_out, step)
    return LearntNoise(noise, dataclasses.replace(calibration, tried=candidates), variance)


def _of_few_pixels(independent: DiagonalNoise, held_out: HeldOut, n_pixels: int) -> LearntNoise:
    """The whole covariance of pixels that are fewer than any rank, such as magnitudes and colours.

    They say too little of a star's labels for its known ones to judge noise models by. Stars that lack one of the
    pixels would dilute its correlations with the others.
    """
    variance = np.asarray(independent.model_variance)
    known = np.isfinite(held_out.residual) & np.isfinite(held_out.photon_variance)
    whole = held_out[known[:, np.isfinite(variance)].all(axis=1)]
    if n_pixels < 2 or len(whole.x) < _STARS_PER_COLUMN * max(n_pixels, _FEWEST):
        return LearntNoise(independent, Calibration(chi2_limit=_independent_limit(independent, held_out)), variance)
    noise = _Estimates(whole, n_pixels).noise(n_pixels, _WHOLE, STATED)
    return LearntNoise(noise, Calibration(chi2_limit=_dense_limit(noise, held_out)), variance)


def joint_score(emulator: Emulator, training_labels: TrainingLabels, held_out: HeldOut, *, seed: int = 0) -> float:
    """Mean ln p of the known labels of judging stars under the better of a diagonal and one low-rank noise.

    Residuals of single pixels hardly tell hyper-parameters apart, because photon noise dominates them; labels combine
    all pixels.
    """
    candidates = _judge_candidates(_JOINT, emulator, training_labels, held_out, seed)
    if not candidates:  # too few stars for any covariance
        return label_errors(diagonal(emulator, held_out), training_labels, held_out).score()
    return max(row["score"] for row in candidates)


def diagonal(emulator: Emulator, held_out: HeldOut) -> DiagonalNoise:
    """The published noise: independent pixels, each with its own variance added to that of the photons."""
    trained = np.isfinite(np.asarray(emulator.intercept))
    least = np.square(_FLOOR * np.asarray(emulator.flux_scale))
    variance = np.maximum(model_variance(held_out.residual, held_out.photon_variance), least)
    return DiagonalNoise(np.where(trained, variance, np.inf))


class _Estimates:
    """Low-rank noise models from the same stars, of any rank up to the largest, with stated and with learnt photons."""

    def __init__(self, held_out: HeldOut, largest: int) -> None:
        self.held_out, self.largest = held_out, largest

    @cached_property
    def _stated(self) -> StatedPhotons:
        stars = self.held_out
        return StatedPhotons.estimate(stars.residual, stars.photon_variance, self.largest, stars.covariance)

    @cached_property
    def _learnt(self) -> LearntPhotons:
        return LearntPhotons.estimate(self.held_out.residual, self.held_out.photon_variance, self.largest)

    def noise(self, rank: int, floor: float, photons: str) -> LowRankNoise:
        """With as many columns for learnt photon noise as for the emulator; with none if it is stated."""
        return (self._stated if photons == STATED else self._learnt).noise(rank, floor)


def fewest_stars(spec: NoiseSpec) -> int:
    """Stars from which a low-rank noise with stated photon noise can be learnt; twice as many if it is learnt, too."""
    return min(spec.ranks) * _STARS_PER_COLUMN * _JUDGES // (_JUDGES - 1)


def _too_few_stars(spec: NoiseSpec, n_stars: int) -> None:
    needed = fewest_stars(spec)
    problem = (
        f"{n_stars} stars cannot make a low-rank noise model, which needs at least {needed}"
        if n_stars < needed
        else f"{n_stars} stars cannot tell how wrong their stated errors are, which needs about {2 * needed}"
    )
    if spec.kind == "lowrank":
        raise SlamError(f"{problem}; give more, or noise='diagonal'")
    warnings.warn(
        f"{problem}: pixels are taken as independent (noise='diagonal'), and label errors may be several times too "
        "small",
        SlamWarning,
        stacklevel=4,
    )


def _warn_of_stated(spec: NoiseSpec, n_stars: int) -> None:
    warnings.warn(
        f"the flux errors that the training spectra state are too large, and {n_stars} stars cannot tell by how much, "
        f"which needs about {2 * fewest_stars(spec)}: photon noise is taken as stated, and label errors may be wrong",
        SlamWarning,
        stacklevel=5,
    )


def _judge_candidates(
    spec: NoiseSpec,
    emulator: Emulator,
    training_labels: TrainingLabels,
    held_out: HeldOut,
    seed: int,
    step: Steps | None = None,
) -> list[dict[str, Any]]:
    """Photon noise, rank, floor and score of every candidate, learnt on two thirds of the stars; the others judge.

    Photon noise is chosen first, with the largest rank that both ways of knowing it allow.
    """
    judging = np.random.default_rng(seed).permutation(len(held_out.x)) % _JUDGES == 0
    learning = held_out[~judging]
    n_trained = int(np.isfinite(np.asarray(emulator.intercept)).sum())
    ranks = {
        kind: [rank for rank in spec.ranks if rank <= min(len(learning.x) // needed, n_trained)]
        for kind, needed in ((STATED, _STARS_PER_COLUMN), (LEARNT, 2 * _STARS_PER_COLUMN))
    }
    if not ranks[STATED]:
        return []
    estimates = _Estimates(learning, max(ranks[STATED]))
    first_noise = _padded(estimates.noise(ranks[STATED][-1], spec.floors[0], STATED), estimates.largest)
    held_out = quick(held_out, first_noise, training_labels)
    learning = held_out[~judging]
    trial = _Trial(learning, held_out[judging], training_labels, estimates, spec)
    published = label_errors(diagonal(emulator, learning), training_labels, trial.judges)
    rows: list[dict[str, Any]] = [{"rank": 0, "floor": 1.0, "photons": STATED, "score": published.score()}]
    middle = spec.floors[len(spec.floors) // 2]
    floors = {STATED: [middle * step for step in _LADDER], LEARNT: list(spec.floors)}
    kinds = [kind for kind in trial.photons(ranks[STATED][-1], middle) if ranks[kind]]
    if not kinds:  # too few stars to learn photon noise
        if spec.photons == LEARNT:
            return []
        _warn_of_stated(spec, len(held_out.x))
        kinds = [STATED]
    largest = ranks[kinds[-1]][-1]
    first = {kind: trial.scores(largest, middle, kind) for kind in kinds} if len(kinds) > 1 else {}
    kind = _clearly_better(first[STATED], first[LEARNT]) if first else kinds[0]
    step = step or Steps()
    step.expect(len(ranks[kind]) * len(floors[kind]) + CALIBRATION_STEPS)
    for rank in ranks[kind]:
        for floor in floors[kind]:
            known = first.get(kind) if (rank, floor) == (largest, middle) else None
            score = float(np.nanmean(trial.scores(rank, floor, kind) if known is None else known))
            rows.append({"rank": rank, "floor": floor, "photons": kind, "score": score})
            step()
    return rows


@dataclasses.dataclass(frozen=True)
class _Trial:
    """Stars from which noise models are learnt, and stars that judge them."""

    learning: HeldOut
    judges: HeldOut
    training_labels: TrainingLabels
    estimates: _Estimates
    spec: NoiseSpec

    def photons(self, rank: int, floor: float) -> tuple[str, ...]:
        """How photon noise may be known: as stated unless χ² is smaller than that, learnt if residuals can tell."""
        if not self.learning.states_errors or self.learning.covariance is not None:
            return (STATED,)
        if self.spec.photons != "auto":
            return (self.spec.photons,)
        noise = _padded(self.estimates.noise(rank, floor, STATED), self.estimates.largest)
        fits = label_errors(noise, self.training_labels, self.judges)
        seen = fits.valid & (fits.shares.photon > 0)
        if seen.any() and np.median(fits.chi2[seen] / fits.shares.photon[seen]) < _OVERSTATED:
            return (LEARNT,)
        return (STATED, LEARNT) if self.learning.unequal_photons else (STATED,)

    def scores(self, rank: int, floor: float, photons: str) -> np.ndarray:
        """(N,) ln p of the judges' known labels, with errors adjusted to the known labels of the learning stars."""
        stated = photons == STATED
        noise = _padded(self.estimates.noise(rank, floor, photons), self.estimates.largest)
        fits = label_errors(noise, self.training_labels, self.learning)
        calibration, factors = adjustment(fits[fits.valid], stated)
        judged = label_errors(noise, self.training_labels, self.judges)
        own, photon = judged.star_noise(calibration).variance_factor, judged.shares.variance
        if stated:
            return judged.inflated(photon + factors.model * (own - photon)).scores()
        return judged.inflated(own * (factors.photon * photon + factors.model * (1 - photon))).scores()


def _clearly_better(stated: np.ndarray, learnt: np.ndarray) -> str:
    """Photon noise as stated, unless learnt it is better by more than chance; (N,) scores of the judges."""
    gain = learnt - stated
    gain = gain[np.isfinite(gain)]
    return LEARNT if gain.mean() > _CLEARLY * gain.std() / np.sqrt(max(len(gain), 1)) else STATED


def _independent_limit(noise: DiagonalNoise, held_out: HeldOut) -> float:
    """The limit of χ² per pixel at the known labels, where the emulator's errors are independent."""
    if held_out.covariance is not None:
        return _dense_limit(noise, held_out)
    with np.errstate(invalid="ignore"):
        variance = held_out.photon_variance + np.asarray(noise.model_variance)
        counted = np.isfinite(variance) & (variance > 0)
        square = np.where(counted, np.square(held_out.residual) / np.where(counted, variance, 1), 0).sum(axis=1)
    count = counted.sum(axis=1)
    return chi2_limit(square[count > 0] / count[count > 0])


def _dense_limit(noise: Noise, held_out: HeldOut) -> float:
    """The same under all correlations, of few pixels or of stars that have covariances of their own."""
    s2, factors = (np.asarray(part) for part in noise.emulator_part())
    photon, own = held_out.photon_variance, held_out.covariance
    known = np.isfinite(held_out.residual) & np.isfinite(photon) & np.isfinite(s2)
    if own is None:
        own = np.where(known, photon, 0)[:, :, None] * np.eye(known.shape[1])
    chi2, count = dense_chi2(held_out.residual, own, s2, factors, known), known.sum(axis=1)
    return chi2_limit(chi2[count > 0] / count[count > 0])


def _likeness_of_independent(
    noise: DiagonalNoise, training_labels: TrainingLabels, held_out: HeldOut
) -> Likeness | None:
    """How unlike each other held-out stars are under independent pixels, all of whose variances many stars tell."""
    fits = label_errors(noise, training_labels, held_out)
    error = np.where(fits.valid[:, None], fits.error, np.nan)
    crossed = [(noise, np.ones(len(error), bool))]
    return learn_likeness(noise, crossed, training_labels, held_out, error, 1.0)


def _padded(noise: LowRankNoise, columns: int) -> LowRankNoise:
    """The same noise with columns of zeros, so that all candidates share one compilation."""

    def widened(factors: Any) -> Any:
        return (
            factors if not factors.shape[1] else np.pad(np.asarray(factors), ((0, 0), (0, columns - factors.shape[1])))
        )

    return dataclasses.replace(noise, factors=widened(noise.factors), photon_factors=widened(noise.photon_factors))
