"""Training labels that a table lacks or gives with errors: inferred from table and spectra together.

    y_n = f(x_n) + e_n,  c_n = x_n + δ_n,  e_n ~ N(0, Σ_n),  δ_n ~ N(0, Λ_n),  x_n ~ N(m, S)

The labels x_n are latent. The first emulator learns from stars without gaps, at E[x_n | c_n]: at c_n itself its slopes
would be too flat (regression calibration; Carroll et al. 2006, Measurement Error in Nonlinear Models). Given an
emulator that has not seen the star, the posterior of its labels is found by Gauss-Newton steps from there, and one draw
of it teaches the next emulator (stochastic EM; Celeux & Diebolt 1985, Comput. Stat. Q. 2, 73). If f and Σ are right,
spectra and draws are distributed like spectra and true labels. Means of posteriors are not: they are made of the star's
own noise, and would make f too steep. What is missing is drawn. What the table gives with errors is drawn only as long
as this gives the table's labels of other stars a larger probability, because an emulator that is itself uncertain
draws labels too close to each other.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax._util.progress import Reporter
from slamjax._util.threads import one_blas_thread
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.forward.gauss_newton import gauss_newton
from slamjax.forward.scaled import ScaledModel
from slamjax.noise.models import Noise
from slamjax.training.catalogue_density import CatalogueDensity
from slamjax.training.data import LatentLabels, ScaledStars, TrainingSet
from slamjax.training.held_out import HeldOut
from slamjax.training.learners import Learner, make_learner
from slamjax.training.rough_noise import rough_noise
from slamjax.training.screening import middle, outliers
from slamjax.training.specs import SVR, NoiseSpec, Polynomial, SearchSpec, TrainingSpec

#: Typical errors of labels count from this part of the variance of any combination of labels.
_BLURRED = 0.1
#: A label of whose variance errors are more than this part is mostly unknown: its expectation would teach noise.
_HIDDEN = 0.4
#: Emulators that are trained to infer labels: of stars with gaps, and of labels with errors.
_ROUNDS_GAPS, _ROUNDS_ERRORS = 2, 3
#: Steps of a fit, stars per batch.
_STEPS, _BATCH = 15, 32
#: Standard deviation of a label that the table gives without an error, in scaled labels, while others are inferred.
_EXACT = 3e-3
#: Bounds of the slope of hidden labels against inferred ones, and the fewest stars that it is found from.
_SLOPES, _FEWEST = (0.5, 2.0), 10
#: Half-width of the density's bulk, in standard deviations.
_BULK = 3.0
#: Draws of labels that the table gives must make other stars' labels more probable by this many standard errors.
_CLEARLY = 1.0


def is_latent(scaled: ScaledStars, options: TrainingSpec) -> bool:
    """Whether any labels of the training stars have to be inferred."""
    return not scaled.complete.all() or _erroneous(scaled, options)


def _erroneous(scaled: ScaledStars, options: TrainingSpec) -> bool:
    """Whether labels with stated errors are latent."""
    if scaled.label_error is None or options.data.label_errors == "fixed":
        return False
    if options.data.label_errors == "latent":
        return True
    table = scaled.x if scaled.catalogue is None else scaled.catalogue
    density = CatalogueDensity.estimate(table, scaled.label_error)
    typical = np.median(np.square(scaled.label_error), axis=0)
    hidden = np.max(typical / (np.diagonal(density.covariance) + typical))
    return bool(density.blurred(scaled.label_error) > _BLURRED and hidden < _HIDDEN)


def infer_labels(
    training: TrainingSet, emulator: SVR | Polynomial, search: SearchSpec, options: TrainingSpec, report: Reporter
) -> tuple[TrainingSet, Learner]:
    """The training stars with labels as inferred, and their learner; stars with gaps may turn out to be outliers."""
    spec, rng = NoiseSpec.from_option(options.noise), np.random.default_rng(options.seed)
    erroneous = _erroneous(training.scaled, options)
    known = _Known.of(training.scaled, erroneous)
    scaled = dataclasses.replace(training.scaled, x=known.mean, catalogue=known.table)
    drawn = given = known.mean
    best, reasons, judged = None, {}, training.scaled.complete
    for number in range(_ROUNDS_ERRORS if erroneous else _ROUNDS_GAPS):
        report.stage("inferring labels")
        learner = make_learner(emulator, scaled, search, options.data.min_stars, options.seed)
        if number == 0:
            taught = scaled.without_gaps(2 * learner.min_stars)
            judged = np.any(taught.weight > 0, axis=1)
        else:
            taught = scaled
        learnt = middle(learner).learn(taught, report)
        if learnt.emulator is None or learnt.held_out is None:
            break  # training says why
        held_out = learnt.held_out.judged_by(scaled.reference, scaled.label_error)
        training_labels = known.searched(scaled.x)
        with one_blas_thread():
            rough = rough_noise(spec, learnt.emulator, training_labels, held_out, judged, options.seed)
            if number and options.data.screen:
                reasons = outliers(learnt.held_out, ~scaled.complete)
            if best is not None and erroneous and not _clearly_better(rough.scores, best):
                break
            best, given = rough.scores, scaled.x
            posterior = _posterior_of(known, held_out, scaled, rough.noise, training_labels, rng)
        drawn = known.drawn(posterior, training_labels, rng)
        scaled = dataclasses.replace(scaled, x=drawn)
    scaled = dataclasses.replace(scaled, x=np.where(known.missing, drawn, given))
    training = dataclasses.replace(training, scaled=scaled, latent=known.summary(training.names))
    training = training.simply_without(reasons) if reasons else training
    return training, make_learner(emulator, training.scaled, search, options.data.min_stars, options.seed)


def _posterior_of(
    known: _Known,
    held_out: HeldOut,
    scaled: ScaledStars,
    noise: Noise,
    training_labels: TrainingLabels,
    rng: np.random.Generator,
) -> Posterior:
    """Of the labels that are missing, and of those with errors if there are any."""
    missing, posterior = np.asarray(known.missing), None
    if known.error.any() or not missing.any():
        posterior = known.posterior(held_out, scaled, noise, training_labels)
    if not missing.any():
        assert posterior is not None
        return posterior
    hidden = known.hidden(rng)
    of_gaps = known.corrected(hidden, hidden.posterior(held_out, scaled, noise, training_labels))
    if posterior is None:
        return of_gaps
    gappy = np.any(missing, axis=1)
    return Posterior(
        np.where(gappy[:, None], of_gaps.mean, posterior.mean),
        np.where(gappy[:, None, None], of_gaps.covariance, posterior.covariance),
    )


def _clearly_better(scores: np.ndarray, than: np.ndarray) -> bool:
    gain = scores - than
    gain = gain[np.isfinite(gain)]
    return bool(gain.size and gain.mean() > _CLEARLY * gain.std() / np.sqrt(gain.size))


@dataclasses.dataclass(frozen=True, eq=False)
class _Known:
    """What is known of labels without spectra.

    Attributes
    ----------
    table : labels, NaN where missing
    error : of the labels, 0 where they are taken as exact
    density : of labels
    mean, covariance : of the labels, given the table
    """

    table: Float[np.ndarray, "star label"]
    error: Float[np.ndarray, "star label"]
    density: CatalogueDensity
    mean: Float[np.ndarray, "star label"]
    covariance: Float[np.ndarray, "star label label"]

    @classmethod
    def of(cls, scaled: ScaledStars, erroneous: bool) -> _Known:
        table = scaled.x if scaled.catalogue is None else scaled.catalogue
        error = scaled.label_error if erroneous and scaled.label_error is not None else np.zeros_like(table)
        return cls.given(table, error, CatalogueDensity.estimate(table, error))

    @classmethod
    def given(cls, table: np.ndarray, error: np.ndarray, density: CatalogueDensity) -> _Known:
        mean, covariance = density.given(table, np.maximum(error, _EXACT))
        return cls(table, error, density, np.where(np.isfinite(table) & (error == 0), table, mean), covariance)

    def hidden(self, rng: np.random.Generator) -> _Known:
        """The same stars, of which each complete one lacks what some other star lacks."""
        gaps, complete = self.missing[self.missing.any(axis=1)], ~self.missing.any(axis=1)
        table = self.table.copy()
        table[complete] = np.where(gaps[rng.integers(len(gaps), size=complete.sum())], np.nan, table[complete])
        return _Known.given(table, self.error, self.density)

    @property
    def fixed(self) -> Bool[np.ndarray, "star label"]:
        """Labels that are not inferred."""
        return np.isfinite(self.table) & (self.error == 0)

    @property
    def missing(self) -> Bool[np.ndarray, "star label"]:
        return ~np.isfinite(self.table)

    def summary(self, names: tuple[str, ...]) -> LatentLabels:
        """Which labels are inferred."""
        gaps = {name: int(n) for name, n in zip(names, self.missing.sum(axis=0), strict=True) if n}
        erroneous = (~self.missing & ~self.fixed).any(axis=0)
        with_errors = tuple(name for name, found in zip(names, erroneous, strict=True) if found)
        return LatentLabels(int(self.missing.any(axis=1).sum()), gaps, with_errors)

    def searched(self, x: np.ndarray) -> TrainingLabels:
        """Training labels in the box of the table and of the bulk of the density: a few known labels span less."""
        wide = _BULK * np.sqrt(np.diagonal(self.density.covariance))
        low = np.minimum(np.nanmin(self.table, axis=0), self.density.mean - wide)
        high = np.maximum(np.nanmax(self.table, axis=0), self.density.mean + wide)
        return dataclasses.replace(TrainingLabels.from_scaled(x), low=low, high=high)

    def posterior(
        self, held_out: HeldOut, scaled: ScaledStars, noise: Noise, training_labels: TrainingLabels
    ) -> Posterior:
        """Of each star's labels, by the emulator of its fold."""
        flux = scaled.flux_mean + scaled.flux_scale * scaled.y
        precision = np.linalg.inv(self.covariance)
        mean, information = self.mean.copy(), precision.copy()
        unit = held_out.emulators[0].flux_unit()
        for number, emulator in enumerate(held_out.emulators):
            rows = np.flatnonzero(scaled.fold == number)
            if not rows.size:
                continue
            model = ScaledModel.from_host(emulator, noise, training_labels, unit)
            ivar = np.where(np.isfinite(np.asarray(emulator.intercept)), scaled.ivar[rows], 0)
            stars = (
                self.mean[rows].astype(model.dtype),
                precision[rows].astype(model.dtype),
                model.flux(np.where(ivar > 0, flux[rows], 0)),
                model.ivar(ivar),
            )
            mean[rows], information[rows] = map_padded(partial(_posterior, model), stars, _BATCH)
        lost = ~(np.isfinite(information).all(axis=(1, 2)) & np.isfinite(mean).all(axis=1))
        mean[lost], information[lost] = self.mean[lost], precision[lost]
        return Posterior(mean, np.linalg.inv(information))

    def drawn(
        self, posterior: Posterior, training_labels: TrainingLabels, rng: np.random.Generator
    ) -> Float[np.ndarray, "star label"]:
        """One draw of the labels of each star, inside the box of the training labels."""
        value, vector = np.linalg.eigh(posterior.covariance)
        root = vector * np.sqrt(np.maximum(value, 0))[:, None, :]
        x = posterior.mean + np.einsum("nij,nj->ni", root, rng.normal(size=posterior.mean.shape))
        x = np.clip(x, np.asarray(training_labels.low), np.asarray(training_labels.high))
        return np.where(self.fixed, self.table, x)

    def corrected(self, hidden: _Known, posterior: Posterior) -> Posterior:
        """The posterior of ``hidden`` stars, whose means are regressed to the labels that were hidden.

        An emulator that is itself uncertain moves labels too little from where they are without spectra.
        """
        start = hidden.mean
        mean, covariance = posterior.mean.copy(), posterior.covariance.copy()
        for label in np.flatnonzero(self.missing.any(axis=0)):
            rows = hidden.missing[:, label] & ~self.missing[:, label]
            moved, wanted = (values[rows, label] - start[rows, label] for values in (posterior.mean, self.table))
            weight = 1 / posterior.covariance[rows, label, label]
            if rows.sum() < _FEWEST or not np.sum(weight * moved**2) > 0:
                continue
            slope = np.clip(np.sum(weight * moved * wanted) / np.sum(weight * moved**2), *_SLOPES)
            mean[:, label] = start[:, label] + slope * (mean[:, label] - start[:, label])
            covariance[:, label] *= np.sqrt(slope)
            covariance[:, :, label] *= np.sqrt(slope)
        return Posterior(mean, covariance)


class Posterior(NamedTuple):
    """Means (N, L) and covariances (N, L, L) of labels given table and spectrum."""

    mean: np.ndarray
    covariance: np.ndarray


@compiled
def _posterior(
    scaled: ScaledModel, prior: Array, precision: Array, flux: Array, ivar: Array
) -> tuple[Float[Array, "star label"], Float[Array, "star label label"]]:
    """Labels of largest posterior density, and the information there."""

    def one(prior: Array, precision: Array, flux: Array, ivar: Array) -> tuple[Array, Array]:
        inv_cov = scaled.noise.inverse_covariance(ivar)

        def information(at: Array) -> Array:
            apart = prior - at
            pull = precision @ apart
            of_prior = jnp.block([[apart @ pull, pull[None]], [pull[:, None], precision]])
            return scaled.emulator.information(inv_cov, at, flux) + of_prior

        end, gram = gauss_newton(information, prior, scaled.low, scaled.high, _STEPS)
        return end, gram[1:, 1:]

    return jax.vmap(one)(prior, precision, flux, ivar)
