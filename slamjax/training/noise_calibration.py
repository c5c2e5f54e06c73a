"""Calibration of label errors and χ² on held-out stars, whose labels are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from slamjax._util.progress import Steps
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.errors import SlamError
from slamjax.noise.calibration import Calibration
from slamjax.noise.models import LowRankNoise
from slamjax.noise.residuals import MEDIAN_SQUARE
from slamjax.training.held_out import HeldOut
from slamjax.training.interval_learning import learn_intervals
from slamjax.training.label_errors import LabelErrors, label_errors, quick, robust_width
from slamjax.training.learning_curve import improvement
from slamjax.training.likeness import held_out_factors, learn_likeness
from slamjax.training.mean_learning import HeldOutFits, learn_means

#: Degrees of freedom of a star's own noise scale that are tried.
_TAILS = (10.0, 30.0, 100.0, 300.0, 1000.0, np.inf)
#: Exponents that are tried for the growth of label errors with the distance to the training stars.
_EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
#: Ratios of the factor of learnt photon noise to the emulator's, and of their χ², that are tried; rounds of refitting.
_PHOTON_RATIOS = tuple(np.geomspace(0.25, 4, 9).tolist())
_CHI2_RATIOS = tuple(np.geomspace(0.03, 30, 61).tolist())
_ROUNDS = 3
#: The emulator's part of χ² is at least this fraction of what Σ says.
_LEAST_CHI2 = 1e-3
#: Prior width of the logarithm of the factor of the emulator's part, and the part of themselves by which stated errors
#: of known labels may be wrong.
_LOG_FACTOR, _DOUBT = 1.5, 0.1
#: Steps towards the s² that makes pulls one wide, and the misfit of ln variance at which they end.
_STEPS, _NEAR = 4, 0.08
#: Rounds of fits of all held-out stars that a calibration takes, about.
CALIBRATION_STEPS = _STEPS + 4
#: A step changes ln s² by at most this.
_LARGEST = 2.5
#: A step multiplies s² by this power of what label variances lack: s² is a part of them only.
_POWER = 1.5
#: Fits that start far from the known labels, how far (scaled labels), and by how much their χ² must be lower to count.
_FAR_STARTS, _FAR, _LOWER = 2, 1.5, 0.5
#: Standard deviations of noise that is added to stars without any, in units of a typical residual; bounds of the factor
#: that is found with them.
_FAINT, _UNSEEN = (1.0, 6.0), (0.5, 4.0)
#: Folds of stars that are fitted with a noise model of the others.
_FOLDS = 8
#: χ² is high beyond this many upper half-widths (50 to 84 %) of the logarithm of χ² / dof of held-out stars.
_CHI2_SIGMAS = 3.0
#: Central intervals that a label's errors shall get right, and the smallest robust width of pulls allowed for it.
_LEVELS = (0.5, 0.68)
_NARROWEST = 0.95


class HardlyFitted(SlamError):
    """Too few held-out stars could be fitted to judge a covariance."""


Learn = Callable[[HeldOut], LowRankNoise]


def calibrate_learnt(
    learn: Learn, training_labels: TrainingLabels, held_out: HeldOut, step: Steps | None = None
) -> tuple[LowRankNoise, Calibration]:
    """The noise that ``learn`` makes of all stars, times the factors that make pulls one wide, and how χ² is read."""
    crossed, noise = _Crossed(learn, training_labels, held_out, step), learn(held_out)
    crossed.step.expect(_ROUNDS + _FAR_STARTS)
    for number in range(_ROUNDS):
        ends = crossed.fits(held_out)
        fits = ends[ends.valid]
        calibration, factors = adjustment(fits, stated=False)
        if number < _ROUNDS - 1:  # what then remains is the labels' own
            noise, crossed.noises = (
                noise.inflated(factors.model, factors.photon),
                [each.inflated(factors.model, factors.photon) for each in crossed.noises],
            )
    calibration = crossed.with_ranks(noise, _with_label_errors(calibration, fits), held_out, ends)
    return _of_all_stars(noise, calibration, training_labels, held_out)


def calibrate_stated(
    learn: Learn, training_labels: TrainingLabels, held_out: HeldOut, step: Steps | None = None
) -> tuple[LowRankNoise, Calibration]:
    """The noise that ``learn`` makes of all stars, with s² for which pulls are one wide, and how χ² is read.

    Photon noise stays as stated, and V as it is learnt: it is s² that says how far directions can be trusted in which
    residuals hardly vary.
    """
    crossed, noise = _Crossed(learn, training_labels, held_out, step), learn(held_out)
    crossed.step.expect(CALIBRATION_STEPS)
    expanded = quick(held_out, crossed.noises[0], training_labels)
    for _ in range(_STEPS):
        fits = crossed.fits(expanded)
        lacking = float(np.log(adjustment(fits[fits.valid], stated=True)[1].model))
        if abs(lacking) < _NEAR:
            break
        factor = float(np.exp(np.clip(_POWER * lacking, -_LARGEST, _LARGEST)))
        noise, crossed.noises = (
            _with_independent(noise, factor),
            [_with_independent(each, factor) for each in crossed.noises],
        )
    ends = crossed.fits(held_out)
    fits = ends[ends.valid]
    calibration, _ = adjustment(fits, stated=True)
    if not held_out.states_errors and np.isfinite(calibration.tail):
        calibration = dataclasses.replace(calibration, unseen_scale=crossed.unseen_scale(expanded, calibration))
    calibration = crossed.with_ranks(noise, _with_label_errors(calibration, fits), held_out, ends)
    return _of_all_stars(noise, calibration, training_labels, held_out)


class _Crossed:
    """Fits of stars with noise models that were learnt without them.

    The directions in which the residuals of some hundred stars vary least are those that happen to be quiet in these
    stars: their own errors would be underestimated.
    """

    def __init__(
        self, learn: Learn, training_labels: TrainingLabels, held_out: HeldOut, step: Steps | None = None
    ) -> None:
        self.training_labels, self.step = training_labels, step or Steps()
        self.fold = np.random.default_rng(0).permutation(len(held_out.x)) % _FOLDS
        self.noises = [learn(held_out[self.fold != k]) for k in range(_FOLDS)]

    def fits(self, stars: HeldOut, **start: Any) -> LabelErrors:
        """Of all stars, which may not all be valid."""
        order = np.argsort(self.fold, kind="stable")
        parts = [
            label_errors(noise, self.training_labels, stars[self.fold == k], **start)
            for k, noise in enumerate(self.noises)
        ]
        self.step()
        return LabelErrors.joined(parts)[np.argsort(order)]

    def _lowest(self, stars: HeldOut, best: LabelErrors) -> LabelErrors:
        """Of ``best`` and of what starts far away find, the lowest χ², as a new star's fit takes it."""
        for seed in range(1, _FAR_STARTS + 1):
            other = self.fits(stars, offset=_FAR, seed=seed)
            lower = other.valid & ~(other.chi2 > best.chi2 - _LOWER)
            best = LabelErrors.joined([best, other])[np.arange(len(lower)) + len(lower) * lower]
        return best

    def unseen_scale(self, stars: HeldOut, calibration: Calibration) -> float:
        """What makes pulls one wide where photon noise, of which the stars state none, hides how noisy each star is."""
        residual = np.where(stars.known, stars.residual, np.nan)
        typical = float(np.sqrt(np.nanmedian(np.square(residual)) / MEDIAN_SQUARE))
        rng = np.random.default_rng(0)
        low, high = (float(np.log(end)) for end in _FAINT)
        sigma = typical * np.exp(rng.uniform(low, high, len(residual)))
        fits = self.fits(stars.fainter(sigma))
        fits = fits[fits.valid]
        if len(fits.chi2) < 10:
            return 1.0
        photon, own = fits.shares.variance, fits.star_noise(calibration).variance_factor
        return float(np.clip(_factor(fits, photon, own - photon), *_UNSEEN))

    def with_ranks(
        self, noise: LowRankNoise, calibration: Calibration, stars: HeldOut, ends: LabelErrors
    ) -> Calibration:
        """With what stars say of intervals and means of labels, and of how unlike they are; fits end at ``ends``."""
        fits = self._lowest(stars, ends)
        known = stars.x if stars.reference is None else stars.reference
        error = np.where(fits.valid[:, None], known + fits.error - stars.x, np.nan)
        crossed = [(each, self.fold == k) for k, each in enumerate(self.noises)]
        weight = calibration.photon_chi2 * calibration.chi2_scale
        likeness = learn_likeness(noise, crossed, self.training_labels, stars, error, weight)
        stars, known, x, fits = stars[fits.valid], known[fits.valid], (stars.x + error)[fits.valid], fits[fits.valid]
        shares = fits.photon_share(calibration.photons_as_stated)
        factor = calibration.stretched(fits.star_noise(calibration).variance_factor, shares, x.shape[1])
        own = np.sqrt(np.einsum("nll->nl", fits.covariance) * factor)
        factors = held_out_factors(noise, stars, x)
        return dataclasses.replace(
            calibration,
            likeness=likeness,
            intervals=learn_intervals(fits.pulls(factor), x, own),
            means=learn_means(HeldOutFits(x, own, factors, known, fits.known_variance)),
        )


def _with_independent(noise: LowRankNoise, factor: float) -> LowRankNoise:
    return dataclasses.replace(noise, model_variance=np.asarray(noise.model_variance) * factor)


def _with_label_errors(calibration: Calibration, fits: LabelErrors) -> Calibration:
    """With what valid fits of held-out stars say of single labels and of high χ²."""
    own, shares = fits.star_noise(calibration), fits.photon_share(calibration.photons_as_stated)
    scale = _label_scale(fits, own.variance_factor, shares)
    apart = bool(fits.known_variance.any())
    calibration = dataclasses.replace(calibration, label_scale=scale.tolist(), without_label_errors=apart)
    return dataclasses.replace(calibration, chi2_limit=chi2_limit(np.maximum(own.excess, _LEAST_CHI2)))


def _of_all_stars(
    noise: LowRankNoise, calibration: Calibration, training_labels: TrainingLabels, held_out: HeldOut
) -> tuple[LowRankNoise, Calibration]:
    """Noise and χ² as expected of the final emulator, which has seen more stars than those of the folds."""
    if held_out.half is None:
        return noise, calibration
    some, half = (
        label_errors(noise, training_labels, each) for each in (held_out[held_out.half.rows], held_out.half.held_out)
    )
    model = 1 / calibration.chi2_scale
    better = improvement(some, half, calibration.photon_chi2 or model, model, len(held_out.emulators))
    scale = calibration.chi2_scale * better.labels / better.chi2
    return noise.inflated(better.labels), dataclasses.replace(calibration, chi2_scale=scale)


class Factors(NamedTuple):
    """Factors of the emulator's and of the photons' part of Σ."""

    model: float
    photon: float


def adjustment(fits: LabelErrors, stated: bool) -> tuple[Calibration, Factors]:
    """How χ² is read, and the factors of Σ that make pulls one wide, from valid fits of held-out stars.

    The calibration's scales are for χ² without these factors. Where photon noise is as ``stated``, its factor is 1.
    """
    if len(fits.chi2) < 10:
        raise HardlyFitted("hardly any held-out star could be fitted; look at the spectra, or take noise='diagonal'")
    calibration = _chi2_reading(fits, stated)
    best: tuple[float, Calibration, Factors] | None = None
    photons = _PHOTON_RATIOS if fits.shares.photon.any() and not stated else (1.0,)
    for tail in _TAILS:
        for exponent in _EXPONENTS:
            tried = dataclasses.replace(calibration, tail=tail, sparse=exponent)
            own, photon = fits.star_noise(tried).variance_factor, fits.shares.variance
            for ratio in photons:
                fixed = photon if stated else np.zeros_like(photon)
                free = own - photon if stated else own * (1 + (ratio - 1) * photon)
                model = _factor(fits, fixed, free)
                score = fits.inflated(fixed + model * free).score()
                if best is None or score > best[0]:
                    best = (score, tried, Factors(model, 1.0 if stated else model * ratio))
    assert best is not None
    return best[1], best[2]


def _chi2_reading(fits: LabelErrors, stated: bool) -> Calibration:
    """What χ² is expected of both parts of Σ; of the photons' part as much as Σ says if it is as stated."""
    chi2, shares = fits.chi2 * fits.n_pix / fits.dof, fits.shares
    if stated:
        model = np.where(shares.model > 0, shares.model, np.nan)
        typical, photon = float(np.nanmedian((chi2 - shares.photon) / model)), 1.0
    else:

        def spread(ratio: float) -> float:
            return float(robust_width(np.log(chi2 / (shares.model + ratio * shares.photon))))

        ratio = min(_CHI2_RATIOS, key=spread)
        typical = float(np.median(chi2 / (shares.model + ratio * shares.photon)))
        photon = ratio * typical
    return Calibration(
        np.inf,
        chi2_scale=1 / max(typical, _LEAST_CHI2),
        neighbour_distance=float(np.median(fits.distance)),
        photons_as_stated=stated,
        photon_chi2=photon,
    )


def _factor(fits: LabelErrors, fixed: np.ndarray, free: np.ndarray) -> float:
    """The factor of the ``free`` part of label variances for which pulls are one wide, in the geometric mean.

    Where the ``fixed`` part, or errors of the known labels, hide it, pulls hardly tell the factor, which then stays
    near 1.
    """

    def log_width(log_factor: float) -> float:
        width = robust_width(fits.pulls(fixed + np.exp(log_factor) * free))
        return float(np.mean(np.log(np.maximum(width, 1e-3))))

    if not fixed.any() and not fits.known_variance.any():  # widths fall as the root of the factor
        return float(np.exp(2 * log_width(0.0)))

    def misfit(log_factor: float) -> float:
        return log_width(log_factor) ** 2 * len(free) + (log_factor / _LOG_FACTOR) ** 2

    return float(np.exp(minimize_scalar(misfit, bounds=(-6, 8), method="bounded", options={"xatol": 3e-3}).x))


def _label_scale(fits: LabelErrors, own: np.ndarray, photon: np.ndarray) -> np.ndarray:
    """(L,) factors of label errors, so that central intervals hold as many known labels as they claim.

    Pulls have heavier tails than a Gaussian, above all where a label has two populations and stars of one are mistaken
    for the other, so that no factor is right at every level. It is the mean over `_LEVELS`, in logarithm; but it never
    makes the robust width of the pulls less than `_NARROWEST`. Only the emulator's part is scaled; where photon noise
    hides it, or errors of the known labels, which are stated no better than to `_DOUBT`, the factor stays near 1.
    """

    def wanted(log_scale: float) -> np.ndarray:
        pulls = fits.pulls(photon + np.exp(2 * log_scale) * (own - photon))
        apart = np.abs(pulls - np.median(pulls, axis=0))
        ratio = np.quantile(apart, _LEVELS, axis=0) / norm.ppf(0.5 + 0.5 * np.asarray(_LEVELS))[:, None]
        width = robust_width(pulls)
        return np.minimum(np.exp(np.log(np.maximum(ratio, 1e-3)).mean(axis=0)), width / _NARROWEST)

    if not photon.any() and not fits.known_variance.any():
        return wanted(0.0)
    variance = own * np.einsum("nll->nl", fits.covariance)
    hidden = np.median(fits.known_variance / (variance + fits.known_variance), axis=0)
    weight = 1 / (1 / len(fits.chi2) + np.square(_DOUBT * hidden))
    scales = [
        minimize_scalar(
            lambda t, label=label: np.log(wanted(t)[label]) ** 2 * weight[label] + (2 * t / _LOG_FACTOR) ** 2,
            bounds=(-2, 3),
            method="bounded",
        ).x
        for label in range(fits.error.shape[1])
    ]
    return np.exp(np.asarray(scales))


def chi2_limit(chi2: np.ndarray) -> float:
    """χ² per degree of freedom that few held-out stars exceed, by the median and upper half-width of its logarithm."""
    logs = np.log(np.maximum(chi2, 1e-30))
    middle, upper = np.percentile(logs, [50, 84])
    return float(np.exp(middle + _CHI2_SIGMAS * (upper - middle)))
