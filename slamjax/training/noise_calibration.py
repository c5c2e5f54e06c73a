"""Noise that makes label errors honest: learnt from held-out residuals, judged by the labels that it leads to.

Each training star is fitted with the emulator of the cross-validation fold that had not seen it. Its labels differ from
the known ones by as much as a new star's would, so that errors can be held against them without any other stars.

No covariance of some hundred numbers a star says exactly how pixels that know little of labels go along with those
that know much. So Σ keeps its shape and gets two factors (a magnitude adjustment of the likelihood; Pauli, Racugno &
Ventura 2011, Statistica Sinica 21, 149): one that makes the pulls of labels as wide as they should be, and one that
makes the χ² that is reported as large as the number of pixels for half of the held-out stars.
"""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.stats import median_abs_deviation, norm

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax.emulators.base import Emulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.errors import SlamError, SlamWarning
from slamjax.forward.scaled import ScaledModel
from slamjax.noise.calibration import GAUSSIAN_95, Calibration
from slamjax.noise.estimate import low_rank, model_variance
from slamjax.noise.models import DiagonalNoise, LowRankNoise, Noise
from slamjax.training.specs import NoiseSpec

#: Rank and floor of the low-rank noise by which a joint search judges emulators.
_JOINT = NoiseSpec(ranks=(40,), floors=(0.2,))
#: Degrees of freedom of a star's own noise scale that are tried.
_TAILS = (10.0, 30.0, 100.0, 300.0, 1000.0, np.inf)
#: Exponents of how label errors grow with the distance to the training stars that are tried.
_EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
#: At most one column for so many stars.
_STARS_A_COLUMN = 8
#: One star in so many judges candidates that the others made.
_JUDGES = 3
#: Steps of a fit, stars fitted at once, and how far off the known labels fits start (scaled labels).
_STEPS, _BLOCK, _KICK = 12, 128, 0.3
#: The model error of a pixel is never taken below this part of the pixel's spread: what an SVR resolves is finite.
_FLOOR = 1e-2
#: A star's chi2 a pixel is high beyond this many upper half-widths (50 to 84 %) of its logarithm among held-out stars.
_CHI2_SIGMAS = 3.0
#: Central intervals that a label's errors are to get right, and the least robust width that its pulls may have for it.
_LEVELS = (0.5, 0.68, 0.9, 0.95)
_NARROWEST = 0.92


@dataclass(frozen=True)
class HeldOut:
    """Stars beside emulators that had not seen them: all that a noise model is learnt from.

    Attributes
    ----------
    x : (N, L) known labels, scaled
    residual : (N, P) observed minus predicted flux at these labels, NaN where there is none
    ivar : (N, P)
    fold : (N,) which of ``emulators`` made the prediction
    """

    x: np.ndarray
    residual: np.ndarray
    ivar: np.ndarray
    fold: np.ndarray
    emulators: tuple[Emulator, ...]

    def __getitem__(self, rows: np.ndarray) -> HeldOut:
        return HeldOut(self.x[rows], self.residual[rows], self.ivar[rows], self.fold[rows], self.emulators)

    @property
    def photon(self) -> np.ndarray:
        """(N, P) photon variances, NaN where there is no residual."""
        with np.errstate(divide="ignore"):
            return np.where(self.known, 1.0 / self.ivar.astype(float), np.nan)

    @property
    def states_errors(self) -> bool:
        return bool(np.any(self.known & np.isfinite(self.ivar)))

    @property
    def known(self) -> np.ndarray:
        return np.isfinite(self.residual) & (self.ivar > 0)


@dataclass(frozen=True)
class LabelErrors:
    """Fits of held-out stars.

    Errors (N, L) of scaled labels, covariances (N, L, L), χ², degrees of freedom, and the distance of the fitted labels
    to the tenth nearest training star.
    """

    error: np.ndarray
    covariance: np.ndarray
    chi2: np.ndarray
    dof: np.ndarray
    distance: np.ndarray

    @property
    def sound(self) -> np.ndarray:
        """Stars whose fit is a number; a covariance that is not positive is none."""
        variance = np.einsum("nll->nl", self.covariance)
        return np.isfinite(self.chi2) & np.all(np.isfinite(self.error), axis=1) & np.all(variance > 0, axis=1)

    def pulls(self) -> np.ndarray:
        return self.error / np.sqrt(np.einsum("nll->nl", self.covariance))

    def scaled(self, factor: np.ndarray) -> LabelErrors:
        """The same with covariances times ``factor`` (N,)."""
        return dataclasses.replace(self, covariance=self.covariance * np.asarray(factor)[:, None, None])

    def score(self) -> float:
        """Mean ln p of the known labels, heavy-tailed (Student-t, 4), so that no single star decides."""
        some = self.sound
        inv_cov = np.linalg.inv(self.covariance[some])
        square = np.einsum("ni,nij,nj->n", self.error[some], inv_cov, self.error[some])
        n_labels = self.error.shape[1]
        logdet = np.linalg.slogdet(self.covariance[some])[1]
        return float(np.mean(-0.5 * logdet - 0.5 * (4 + n_labels) * np.log1p(square / 4)))


def choose_noise(
    spec: NoiseSpec, emulator: Emulator, training_labels: TrainingLabels, held_out: HeldOut, *, seed: int = 0
) -> tuple[Noise, Calibration]:
    """The noise model of the wanted kind, with the factors that make it honest.

    ``auto`` takes what gives the known labels of judging stars the largest probability; rank and floor of a low-rank
    noise are chosen so, too.
    """
    if spec.kind == "diagonal":
        return diagonal(emulator, held_out), Calibration(chi2_limit=_diagonal_limit(emulator, held_out))
    tried = _compare(spec, emulator, training_labels, held_out, seed)
    if not tried:
        least = 2 * min(spec.ranks) * _STARS_A_COLUMN * _JUDGES // (_JUDGES - 1)
        said = f"{len(held_out.x)} stars cannot make a low-rank noise model, which needs at least {least}"
        if spec.kind == "lowrank":
            raise SlamError(f"{said}; give more, or noise='diagonal'")
        warnings.warn(
            f"{said}: pixels are taken as independent (noise='diagonal'), and label errors may be several times too "
            "small",
            SlamWarning,
            stacklevel=3,
        )
    best = max(tried, key=lambda row: row["score"], default={"rank": 0})
    if spec.kind == "lowrank":
        best = max((row for row in tried if row["rank"] > 0), key=lambda row: row["score"])
    if best["rank"] == 0:
        limit = _diagonal_limit(emulator, held_out)
        return diagonal(emulator, held_out), Calibration(chi2_limit=limit, tried=tried)
    noise = _learn(held_out, best["rank"], best["floor"])
    noise, calibration = calibrate(noise, emulator, training_labels, held_out)
    return noise, dataclasses.replace(calibration, tried=tried)


def joint_score(emulator: Emulator, training_labels: TrainingLabels, held_out: HeldOut, *, seed: int = 0) -> float:
    """Mean ln p of the known labels of judging stars, given their spectra, under the best noise of middling size.

    Residuals of single pixels hardly tell settings apart, photon noise dominates them; labels are what all pixels give
    together.
    """
    tried = _compare(_JOINT, emulator, training_labels, held_out, seed)
    if not tried:  # too few stars for any covariance
        return label_errors(diagonal(emulator, held_out), training_labels, held_out).score()
    return max(row["score"] for row in tried)


def calibrate(
    noise: LowRankNoise, emulator: Emulator, training_labels: TrainingLabels, held_out: HeldOut
) -> tuple[LowRankNoise, Calibration]:
    """The noise times the factor that makes pulls one wide, and how χ² and a star's own scale are to be read."""
    found = label_errors(noise, training_labels, held_out)
    plain, factor = _adjustment(found)
    limit = _limit(found.chi2[found.sound] * plain.chi2_scale / found.dof[found.sound])
    own = plain.star_scale(found.chi2 * plain.chi2_scale, found.dof, found.distance)
    pulls = found.scaled(factor * own).pulls()[found.sound]
    scale = _label_scale(pulls)
    return noise.inflated(factor), dataclasses.replace(
        plain,
        chi2_limit=limit,
        chi2_scale=plain.chi2_scale * factor,
        model_factor=1.0 if held_out.states_errors else factor,
        label_scale=scale.tolist(),
        interval95_factor=_label_reach(pulls / scale).tolist(),
    )


def diagonal(emulator: Emulator, held_out: HeldOut) -> DiagonalNoise:
    """The published noise: each pixel's own variance beside the photons'."""
    trained = np.isfinite(np.asarray(emulator.intercept))
    least = np.square(_FLOOR * np.asarray(emulator.flux_scale))
    variance = np.maximum(model_variance(held_out.residual, held_out.photon), least)
    return DiagonalNoise(np.where(trained, variance, np.inf))


def _learn(held_out: HeldOut, rank: int, floor: float) -> LowRankNoise:
    return low_rank(held_out.residual, held_out.photon, rank=rank, photon_rank=rank, floor=floor)


def _compare(
    spec: NoiseSpec, emulator: Emulator, training_labels: TrainingLabels, held_out: HeldOut, seed: int
) -> list[dict[str, Any]]:
    """Every candidate learnt and adjusted on two thirds of the stars, and its score on the others."""
    n = len(held_out.x)
    judges = np.random.default_rng(seed).permutation(n) % _JUDGES == 0
    teachers, jury = held_out[~judges], held_out[judges]
    largest = int((~judges).sum()) // (2 * _STARS_A_COLUMN)
    most = min(largest, int(np.isfinite(np.asarray(emulator.intercept)).sum()))
    ranks = [rank for rank in spec.ranks if rank <= most]
    if not ranks:
        return []
    published = label_errors(diagonal(emulator, teachers), training_labels, jury)
    rows = [{"rank": 0, "floor": 1.0, "score": published.score()}]
    for rank in ranks:
        for floor in spec.floors:
            noise = _padded(_learn(teachers, rank, floor), max(ranks))
            learnt, factor = _adjustment(label_errors(noise, training_labels, teachers))
            judged = label_errors(noise, training_labels, jury)
            own = learnt.star_scale(judged.chi2 * learnt.chi2_scale, judged.dof, judged.distance)
            rows.append({"rank": rank, "floor": floor, "score": judged.scaled(factor * own).score()})
    return rows


def _adjustment(found: LabelErrors) -> tuple[Calibration, float]:
    """How χ² is to be read, and the factor of Σ that makes pulls one wide, from fits of held-out stars.

    The calibration's scale is for χ² without that factor.
    """
    some = found.sound
    if some.sum() < 10:
        raise SlamError("hardly any held-out star could be fitted; look at the spectra, or take noise='diagonal'")
    kept = LabelErrors(**{name: values[some] for name, values in vars(found).items()})
    chi2_scale = 1 / float(np.median(kept.chi2 / kept.dof))
    spacing = float(np.median(kept.distance))
    best: tuple[float, Calibration, float] | None = None
    for tail in _TAILS:
        for exponent in _EXPONENTS:
            plain = Calibration(np.inf, chi2_scale, tail, exponent, spacing)
            own = kept.scaled(plain.star_scale(kept.chi2 * chi2_scale, kept.dof, kept.distance))
            pulls = own.pulls()
            width = median_abs_deviation(pulls, axis=0, scale="normal")
            factor = float(np.exp(np.mean(np.log(np.maximum(width, 1e-3)))) ** 2)
            score = own.scaled(np.full(len(own.chi2), factor)).score()
            if best is None or score > best[0]:
                best = (score, plain, factor)
    assert best is not None
    return best[1], best[2]


def _label_scale(pulls: np.ndarray) -> np.ndarray:
    """What errors must be multiplied with, a label, so that central intervals hold as many known labels as they say.

    Pulls have heavier tails than a Gaussian, above all where a label has two populations and a star of one is taken
    for the other: one factor cannot be right at every level. It is the mean, in logarithm, over `_LEVELS`; but never
    does it make the robust width of the pulls less than `_NARROWEST`.
    """
    apart = np.abs(pulls - np.median(pulls, axis=0))
    ratio = np.quantile(apart, _LEVELS, axis=0) / norm.ppf(0.5 + 0.5 * np.asarray(_LEVELS))[:, None]
    width = median_abs_deviation(pulls, axis=0, scale="normal")
    return np.minimum(np.exp(np.log(np.maximum(ratio, 1e-3)).mean(axis=0)), width / _NARROWEST)


def _label_reach(pulls: np.ndarray) -> np.ndarray:
    """How many errors hold 95 % of the held-out stars' known labels, never fewer than of a Gaussian.

    Conformal prediction (Vovk, Gammerman & Shafer 2005) with scores |pull|: what remains of heavy tails goes into an
    interval of its own, and the errors stay what they are for most stars.
    """
    return np.maximum(np.quantile(np.abs(pulls), 0.95, axis=0), GAUSSIAN_95)


def _limit(chi2: np.ndarray) -> float:
    """χ² a degree of freedom that few held-out stars exceed: its logarithm's median and upper half-width tell."""
    logs = np.log(np.maximum(chi2, 1e-30))
    middle, upper = np.percentile(logs, [50, 84])
    return float(np.exp(middle + _CHI2_SIGMAS * (upper - middle)))


def _diagonal_limit(emulator: Emulator, held_out: HeldOut) -> float:
    """The same at the known labels, for pixels taken one by one."""
    noise = diagonal(emulator, held_out)
    with np.errstate(invalid="ignore"):
        variance = held_out.photon + np.asarray(noise.model_variance)
        counted = np.isfinite(variance) & (variance > 0)
        square = np.where(counted, np.square(held_out.residual) / np.where(counted, variance, 1), 0).sum(axis=1)
    count = counted.sum(axis=1)
    return _limit(square[count > 0] / count[count > 0])


def label_errors(noise: Noise, training_labels: TrainingLabels, held_out: HeldOut) -> LabelErrors:
    """Labels fitted to stars by emulators that had not seen them, minus the known ones.

    A fit starts off the known labels by about a fit's error: from the very labels it would find a minimum that no
    new star's fit knows of.
    """
    n, n_labels = held_out.x.shape
    unit = held_out.emulators[0].flux_unit()
    trained = np.stack([np.isfinite(np.asarray(emulator.intercept)) for emulator in held_out.emulators])
    known = held_out.known & trained[held_out.fold]
    kick = _KICK * np.random.default_rng(0).normal(size=held_out.x.shape)

    error, fisher, chi2 = np.zeros((n, n_labels)), np.full((n, n_labels, n_labels), np.nan), np.full(n, np.nan)
    for number, emulator in enumerate(held_out.emulators):
        rows = np.flatnonzero(held_out.fold == number)
        if not rows.size:
            continue
        scaled = ScaledModel.from_host(emulator, noise, training_labels, unit)
        stars = (
            held_out.x[rows].astype(scaled.dtype),
            kick[rows].astype(scaled.dtype),
            scaled.flux(np.where(known[rows], held_out.residual[rows], 0)),
            scaled.ivar(np.where(known[rows], held_out.ivar[rows], 0)),
        )
        error[rows], fisher[rows], chi2[rows] = map_padded(partial(_refit, scaled), stars, _BLOCK)
    sound = np.all(np.isfinite(fisher), axis=(1, 2)) & known.any(axis=1)
    fisher = np.where(sound[:, None, None], fisher, np.eye(n_labels))
    # information too weak to place a label within ten times its range must not be inverted
    weakest = np.diag(np.square(0.1 / (np.asarray(training_labels.high) - np.asarray(training_labels.low))))
    dof = np.maximum(known.sum(axis=1) - n_labels, 1)
    # a training star is its own neighbour, a new one is not: it counts as one nearer than it should, which is little
    distance = training_labels.neighbour_distance(held_out.x + error)
    return LabelErrors(error, np.linalg.inv(fisher + weakest), np.where(sound, chi2, np.nan), dof, distance)


@compiled
def _refit(scaled: ScaledModel, x: Array, kick: Array, residual: Array, ivar: Array) -> Any:
    return jax.vmap(partial(_refit_one, scaled))(x, kick, residual, ivar)


def _refit_one(
    scaled: ScaledModel, x: Array, kick: Array, residual: Array, ivar: Array
) -> tuple[Float[Array, " label"], Float[Array, "label label"], Float[Array, ""]]:
    """Damped Gauss-Newton steps from beside the known labels, inside the training range."""
    emulator, low, high = scaled.emulator, scaled.low, scaled.high
    flux, inv_cov = emulator.at(x) + residual, scaled.noise.inverse_covariance(ivar)

    def step(_: int, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        at, gram, damping = state
        curvature = gram[1:, 1:]
        damped = curvature + damping * jnp.diag(jnp.diagonal(curvature)) + 1e-6 * jnp.diag(1 / jnp.square(high - low))
        new = jnp.clip(at + jnp.linalg.solve(damped, gram[0, 1:]), low, high)
        new_gram = emulator.information(inv_cov, new, flux)
        better = new_gram[0, 0] < gram[0, 0]
        damping = jnp.clip(jnp.where(better, damping / 4, damping * 6), 1e-5, 1e5)
        return jnp.where(better, new, at), jnp.where(better, new_gram, gram), damping

    start = jnp.clip(x + kick, low, high)
    begin = (start, emulator.information(inv_cov, start, flux), jnp.full((), 1e-2, x.dtype))
    end, gram, _ = jax.lax.fori_loop(0, _STEPS, step, begin)
    return end - x, gram[1:, 1:], gram[0, 0]


def _padded(noise: LowRankNoise, columns: int) -> LowRankNoise:
    """The same noise with columns of zeros, so that all candidates share one compilation."""

    def wide(factors: Any) -> np.ndarray:
        return np.pad(np.asarray(factors), ((0, 0), (0, columns - factors.shape[1])))

    return dataclasses.replace(noise, factors=wide(noise.factors), photon_factors=wide(noise.photon_factors))
