"""What is known of the labels of training stars: from their table, from the density of labels, and from spectra.

Of a label that the table lacks, the posterior is that of a Gauss-Newton fit with the density of labels given the other
ones as a prior. Its means are then regressed to labels that were hidden from it.

Where labels have errors, an emulator of such labels is not taken at its word. Its fits z_n, by the density of labels
alone and without what the table says of the star, are calibrated against the table,

    x_n = b + B z_n + r_n,  r_n ~ N(0, R),  c_n = x_n + δ_n,  δ_n ~ N(0, Λ_n)

The errors δ_n are those of the response, so they do not flatten B (regression calibration; Carroll et al. 2006,
Measurement Error in Nonlinear Models). R is what scatters about it beyond Λ_n; where Λ_n hides that, it is what the
fits say of their errors. All this holds only as long as neither emulator nor noise have seen the star: c_n would be in
z_n, and R too small.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.forward.gauss_newton import gauss_newton
from slamjax.forward.scaled import ScaledModel
from slamjax.noise.dense import Errors
from slamjax.noise.errors import errors_in_unit
from slamjax.training.catalogue_density import CatalogueDensity
from slamjax.training.data import LatentLabels, ScaledStars
from slamjax.training.held_out import HeldOut
from slamjax.training.rough_noise import RoughNoise

#: Steps of a fit, stars per batch.
_STEPS, _BATCH = 15, 32
#: Standard deviation of a label that the table gives without an error, in scaled labels, while others are inferred.
_EXACT = 3e-3
#: Bounds of the slope of hidden labels against inferred ones, and the fewest stars that it is found from.
_SLOPES, _FEWEST = (0.5, 2.0), 10
#: Half-width of the density's bulk, in standard deviations.
_BULK = 3.0
#: A calibration of fits starts from none, which counts as much as this many stars.
_PRIOR_STARS = 10.0


class Posterior(NamedTuple):
    """Means (N, L) and covariances (N, L, L) of labels given table and spectrum."""

    mean: np.ndarray
    covariance: np.ndarray


class Fitted(NamedTuple):
    """Stars, emulators and noise models that had not seen them, and the box of their labels."""

    scaled: ScaledStars
    held_out: HeldOut
    rough: RoughNoise
    training_labels: TrainingLabels


@dataclasses.dataclass(frozen=True, eq=False)
class KnownLabels:
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
    def of(cls, scaled: ScaledStars, erroneous: bool) -> KnownLabels:
        table = scaled.x if scaled.catalogue is None else scaled.catalogue
        error = scaled.label_error if erroneous and scaled.label_error is not None else np.zeros_like(table)
        return cls.given(table, error, CatalogueDensity.estimate(table, error))

    @classmethod
    def given(cls, table: np.ndarray, error: np.ndarray, density: CatalogueDensity) -> KnownLabels:
        mean, covariance = density.given(table, np.maximum(error, _EXACT))
        return cls(table, error, density, np.where(np.isfinite(table) & (error == 0), table, mean), covariance)

    def hidden(self, rng: np.random.Generator) -> KnownLabels:
        """The same stars, of which each complete one lacks what some other star lacks."""
        gaps, complete = self.missing[self.missing.any(axis=1)], ~self.missing.any(axis=1)
        table = self.table.copy()
        table[complete] = np.where(gaps[rng.integers(len(gaps), size=complete.sum())], np.nan, table[complete])
        return KnownLabels.given(table, self.error, self.density)

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

    @property
    def unseen(self) -> KnownLabels:
        """The same stars, as if the table had none of their labels."""
        return KnownLabels.given(np.full_like(self.table, np.nan), self.error, self.density)

    def posterior(self, fitted: Fitted) -> Posterior:
        """Of each star's labels, by emulators and noise that had not seen it, taken at their word."""
        scaled, labels = fitted.scaled, fitted.training_labels
        covariance = scaled.covariance
        flux = scaled.flux_mean + scaled.flux_scale * scaled.y
        precision = np.linalg.inv(self.covariance)
        mean, information = self.mean.copy(), precision.copy()
        unit = fitted.held_out.emulators[0].flux_unit()
        for (number, emulator), (part, noise) in product(
            enumerate(fitted.held_out.emulators), enumerate(fitted.rough.noises)
        ):
            rows = np.flatnonzero((scaled.fold == number) & (fitted.rough.part == part))
            if not rows.size:
                continue
            model = ScaledModel.from_host(emulator, noise, labels, unit)
            ivar = np.where(np.isfinite(np.asarray(emulator.intercept)), scaled.ivar[rows], 0)
            stars = (
                self.mean[rows].astype(model.dtype),
                precision[rows].astype(model.dtype),
                model.flux(np.where(ivar > 0, flux[rows], 0)),
                errors_in_unit(noise, ivar, None if covariance is None else covariance[rows], unit, model.dtype),
            )
            mean[rows], information[rows] = map_padded(partial(_posterior, model), stars, _BATCH)
        lost = ~(np.isfinite(information).all(axis=(1, 2)) & np.isfinite(mean).all(axis=1))
        mean[lost], information[lost] = self.mean[lost], precision[lost]
        return Posterior(mean, np.linalg.inv(information))

    def calibrated(self, fitted: Fitted) -> Posterior:
        """Of each star's labels, by fits that are calibrated against the table."""
        fits = self.unseen.posterior(fitted)
        predicted = self._regressed(fits.mean)
        rest = self.table - predicted
        scatter = CatalogueDensity.estimate(rest, self.error)
        scatter = CatalogueDensity(scatter.mean, _at_least(scatter.covariance, fits.covariance.mean(axis=0)))
        mean, covariance = scatter.given(rest, np.maximum(self.error, _EXACT))
        return Posterior(predicted + mean, covariance)

    def _regressed(self, z: Float[np.ndarray, "star label"]) -> Float[np.ndarray, "star label"]:
        """b + B z: the table's labels, regressed on fits that know nothing of its errors."""
        found = z.copy()
        for label, spread in enumerate(np.diagonal(self.density.covariance)):
            known = np.isfinite(self.table[:, label])
            weight = spread / (spread + np.square(self.error[known, label]))
            centre, middle = (np.average(of[known], axis=0, weights=weight) for of in (z, self.table[:, label]))
            apart, wanted = z[known] - centre, self.table[known, label] - middle
            gram = (weight[:, None] * apart).T @ apart + _PRIOR_STARS * self.density.covariance
            change = np.linalg.solve(gram, (weight[:, None] * apart).T @ (wanted - apart[:, label]))
            found[:, label] = middle + (z - centre)[:, label] + (z - centre) @ change
        return found

    def drawn(
        self, posterior: Posterior, training_labels: TrainingLabels, rng: np.random.Generator
    ) -> Float[np.ndarray, "star label"]:
        """One draw of the labels of each star, inside the box of the training labels."""
        value, vector = np.linalg.eigh(posterior.covariance)
        root = vector * np.sqrt(np.maximum(value, 0))[:, None, :]
        x = posterior.mean + np.einsum("nij,nj->ni", root, rng.normal(size=posterior.mean.shape))
        x = np.clip(x, np.asarray(training_labels.low), np.asarray(training_labels.high))
        return np.where(self.fixed, self.table, x)

    def corrected(self, hidden: KnownLabels, posterior: Posterior) -> Posterior:
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


def _at_least(covariance: np.ndarray, least: np.ndarray) -> np.ndarray:
    """The covariance (L, L), in no direction below another one."""
    root = np.linalg.cholesky(least)
    value, vector = np.linalg.eigh(np.linalg.solve(root, np.linalg.solve(root, covariance).T))
    half = root @ vector
    return (half * np.maximum(value, 1)) @ half.T


@compiled
def _posterior(
    scaled: ScaledModel, prior: Array, precision: Array, flux: Array, ivar: Errors
) -> tuple[Float[Array, "star label"], Float[Array, "star label label"]]:
    """Labels of largest posterior density, and the information there."""

    def one(prior: Array, precision: Array, flux: Array, ivar: Errors) -> tuple[Array, Array]:
        inv_cov = scaled.noise.inverse_covariance(ivar)

        def information(at: Array) -> Array:
            apart = prior - at
            pull = precision @ apart
            of_prior = jnp.block([[apart @ pull, pull[None]], [pull[:, None], precision]])
            return scaled.emulator.information(inv_cov, at, flux) + of_prior

        end, gram = gauss_newton(information, prior, scaled.low, scaled.high, _STEPS)
        return end, gram[1:, 1:]

    return jax.vmap(one)(prior, precision, flux, ivar)
