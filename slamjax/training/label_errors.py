"""Labels that emulators fit to stars which they had not seen, against the known ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.forward.gauss_newton import gauss_newton
from slamjax.forward.scaled import ScaledModel
from slamjax.noise.calibration import Calibration, PhotonShares, StarNoise
from slamjax.noise.dense import Errors
from slamjax.noise.models import Noise
from slamjax.noise.photon_part import photon_information, photon_shares
from slamjax.noise.residuals import MEDIAN_SQUARE
from slamjax.training.expansion import information_at
from slamjax.training.held_out import HeldOut

#: Steps of a fit, stars per batch (folds of a fold are small), and the distance from the known labels at which fits
#: start (scaled labels).
_STEPS, _BATCH, _OFFSET = 12, 16, 0.3
#: Stars by which an expansion is checked, and the largest median change of a label, in errors.
_SAMPLE, _ALIKE = 96, 0.3


def quick(held_out: HeldOut, noise: Noise, training_labels: TrainingLabels) -> HeldOut:
    """`HeldOut.expanded`, to try many noise models, if fits of a sample of the stars under this one hardly change."""
    held_out = held_out.expanded()
    sample = held_out[np.unique(np.linspace(0, len(held_out.x) - 1, _SAMPLE).astype(int))]
    exact, rough = (label_errors(noise, training_labels, each) for each in (sample.exact(), sample))
    both = exact.valid & rough.valid
    change = np.abs(rough.error - exact.error)[both]
    sigma = np.sqrt(np.einsum("nll->nl", exact.covariance[both]))
    alike = both.any() and np.median(np.max(change / sigma, axis=1)) < _ALIKE
    return held_out if alike else held_out.exact()


@dataclass(frozen=True)
class LabelErrors:
    """Fits of held-out stars.

    Attributes
    ----------
    error : fitted minus known labels, scaled
    covariance : that the fit states
    chi2, dof, n_pix : rᵀΣ⁻¹r, degrees of freedom, and pixels
    distance : from the fitted labels to the tenth nearest training star
    shares : of photon noise in the covariance and in χ²
    known_variance : of the known labels, as far as stated
        It is part of ``error``, and no part of what a fit of the star should state.
    """

    error: Float[np.ndarray, "star label"]
    covariance: Float[np.ndarray, "star label label"]
    chi2: Float[np.ndarray, " star"]
    dof: Real[np.ndarray, " star"]
    n_pix: Real[np.ndarray, " star"]
    distance: Float[np.ndarray, " star"]
    shares: PhotonShares
    known_variance: Float[np.ndarray, "star label"]

    def __getitem__(self, rows: np.ndarray) -> LabelErrors:
        return LabelErrors(**{name: values[rows] for name, values in vars(self).items()})

    @classmethod
    def joined(cls, parts: Sequence[LabelErrors]) -> LabelErrors:
        """Stars of several parts, one part after the other."""
        names = [field.name for field in dataclasses.fields(cls) if field.name != "shares"]
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(**arrays, shares=PhotonShares.joined([part.shares for part in parts]))

    @property
    def valid(self) -> np.ndarray:
        """(N,) bool: stars with a finite fit and positive variances."""
        variance = np.einsum("nll->nl", self.covariance)
        return np.isfinite(self.chi2) & np.all(np.isfinite(self.error), axis=1) & np.all(variance > 0, axis=1)

    def pulls(self, factor: np.ndarray | float = 1.0) -> np.ndarray:
        """(N, L) error / σ, with σ² the labels' variances times ``factor`` and those of the known labels."""
        return self.error / np.sqrt(np.einsum("nll->nl", self.covariance) * factor + self.known_variance)

    def inflated(self, factor: np.ndarray) -> LabelErrors:
        """The same with the labels' variances times ``factor`` (N, L)."""
        root = np.sqrt(factor)
        return dataclasses.replace(self, covariance=self.covariance * root[:, :, None] * root[:, None, :])

    def star_noise(self, calibration: Calibration) -> StarNoise:
        """How noisy the stars are."""
        return calibration.star_noise(self.chi2, self.n_pix, self.dof, self.distance, self.shares)

    def photon_share(self, stated: bool) -> np.ndarray:
        """(N, L) fraction of the labels' variances that is photon noise, if it is read apart."""
        return self.shares.variance if stated else np.zeros(self.error.shape)

    def score(self) -> float:
        """Mean of `scores` over the valid stars."""
        return float(np.nanmean(self.scores()))

    def scores(self) -> np.ndarray:
        """(N,) ln p of the known labels under a Student-t with 4 degrees of freedom, so that no single star decides.

        NaN for a star without a valid fit.
        """
        found, fits = np.full(len(self.chi2), np.nan), self[self.valid]
        n_labels = self.error.shape[1]
        covariance = fits.covariance + fits.known_variance[:, :, None] * np.eye(n_labels)
        square = np.einsum("ni,nij,nj->n", fits.error, np.linalg.inv(covariance), fits.error)
        logdet = np.linalg.slogdet(covariance)[1]
        found[self.valid] = -0.5 * logdet - 0.5 * (4 + n_labels) * np.log1p(square / 4)
        return found


def robust_width(values: np.ndarray) -> Any:
    """Median absolute deviation along the first axis, as a standard deviation; SciPy's takes ten times as long."""
    return np.median(np.abs(values - np.median(values, axis=0)), axis=0) / np.sqrt(MEDIAN_SQUARE)


def label_errors(
    noise: Noise, training_labels: TrainingLabels, held_out: HeldOut, *, offset: float = _OFFSET, seed: int = 0
) -> LabelErrors:
    """Fit the labels of each star with the emulator that had not seen it, and subtract the known ones.

    A fit starts about one fit's error away from the known labels, or another ``offset`` of scaled labels: starting at
    them, it would find minima that the fit of a new star cannot know of.
    """
    n, n_labels = held_out.x.shape
    unit = held_out.emulators[0].flux_unit()
    trained = np.stack([np.isfinite(np.asarray(emulator.intercept)) for emulator in held_out.emulators])
    known = held_out.known & trained[held_out.fold]
    away = offset * np.random.default_rng(seed).normal(size=held_out.x.shape)
    error, chi2, expected = np.zeros((n, n_labels)), np.full(n, np.nan), np.zeros((n, 2))
    fisher, photon = np.full((2, n, n_labels, n_labels), np.nan)
    stated = held_out.states_errors
    if not stated:  # nothing is the photons' part
        expected[:, 0], photon = known.sum(axis=1), np.zeros_like(photon)
    for number, emulator in enumerate(held_out.emulators):
        rows = np.flatnonzero(held_out.fold == number)
        if not rows.size:
            continue
        scaled = ScaledModel.from_host(emulator, noise, training_labels, unit)
        x, ivar = held_out.x[rows].astype(scaled.dtype), held_out.errors(noise, rows, known[rows], unit, scaled.dtype)
        residual = scaled.flux(np.where(known[rows], held_out.residual[rows], 0))
        stars, place = (x, away[rows].astype(scaled.dtype), residual, ivar), tuple[np.ndarray, ...]()
        if held_out.terms is None or held_out.place is None:
            fit, part = partial(_refit, scaled), partial(_photon_parts, scaled)
        else:
            fit, part = (partial(each, scaled, held_out.terms) for each in (_refit_block, _photon_block))
            place = (held_out.place[rows],)
        found = map_padded(fit, (*stars, *place), _BATCH)
        error[rows], fisher[rows], chi2[rows] = found
        if stated:
            end = found[0] if place else x + found[0]
            ends = (end.astype(scaled.dtype), ivar, *place)
            photon[rows], expected[rows] = map_padded(part, ends, _BATCH)
    valid = np.all(np.isfinite(fisher), axis=(1, 2)) & known.any(axis=1)
    fisher = np.where(valid[:, None, None], fisher, np.eye(n_labels))
    # a prior ten times as wide as the range of a label keeps the inverse of weak information finite
    prior = np.diag(np.square(0.1 / (np.asarray(training_labels.high) - np.asarray(training_labels.low))))
    covariance, n_pix = np.linalg.inv(fisher + prior), known.sum(axis=1)
    # a training star is its own neighbour, unlike a new one: a small difference in the distance
    distance = training_labels.neighbour_distance(held_out.x + error)
    if held_out.reference is not None:
        error = error + (held_out.x - held_out.reference)
    return LabelErrors(
        error=error,
        covariance=covariance,
        chi2=np.where(valid, chi2, np.nan),
        dof=np.maximum(n_pix - n_labels, 1),
        n_pix=n_pix,
        distance=distance,
        shares=photon_shares(covariance, photon, expected),
        known_variance=held_out.known_variance,
    )


@compiled
def _refit(scaled: ScaledModel, x: Array, offset: Array, residual: Array, ivar: Errors) -> Any:
    def one(x: Array, offset: Array, residual: Array, ivar: Errors) -> Any:
        flux, inv_cov = scaled.emulator.at(x) + residual, scaled.noise.inverse_covariance(ivar)
        return _fit(lambda at: scaled.emulator.information(inv_cov, at, flux), scaled, x, offset)

    return jax.vmap(one)(x, offset, residual, ivar)


def _refit_block(
    scaled: ScaledModel, every: np.ndarray, x: Array, offset: Array, residual: Array, ivar: Errors, place: Array
) -> Any:
    """`_refit_expanded` of stars whose terms have these places among those of ``every`` star."""
    return _refit_expanded(scaled, x, offset, residual, ivar, jnp.asarray(every[np.asarray(place)]))


@compiled
def _refit_expanded(scaled: ScaledModel, x: Array, offset: Array, residual: Array, ivar: Errors, terms: Array) -> Any:
    def one(x: Array, offset: Array, residual: Array, ivar: Errors, terms: Array) -> Any:
        gram = scaled.noise.inverse_covariance(ivar).gram(jnp.concatenate([residual[None], terms]))
        return _fit(lambda at: information_at(gram, at - x), scaled, x, offset)

    return jax.vmap(one)(x, offset, residual, ivar, terms)


def _fit(
    information: Callable[[Array], Array], scaled: ScaledModel, x: Array, offset: Array
) -> tuple[Float[Array, " label"], Float[Array, "label label"], Float[Array, ""]]:
    """Error, Fisher information and χ²."""
    end, gram = gauss_newton(information, x + offset, scaled.low, scaled.high, _STEPS)
    return end - x, gram[1:, 1:], gram[0, 0]


# a program of its own: concurrent LAPACK calls in one compiled function can deadlock (jaxlib 0.10)
@compiled
def _photon_parts(scaled: ScaledModel, x: Array, ivar: Errors) -> tuple[Array, Array]:
    """The photons' part of the Fisher information, and of χ²."""
    zero = jnp.zeros((), x.dtype)

    def one(at: Array, of: Errors) -> Array:
        return photon_information(scaled.noise, of, lambda each: scaled.emulator.information(each, at, zero))[1:, 1:]

    return jax.vmap(one)(x, ivar), scaled.noise.variance_shares(ivar)


def _photon_block(scaled: ScaledModel, every: np.ndarray, error: Array, ivar: Errors, place: Array) -> Any:
    """`_photon_parts` of stars whose terms have these places among those of ``every`` star."""
    return _photon_parts_expanded(scaled, error, ivar, jnp.asarray(every[np.asarray(place)]))


@compiled
def _photon_parts_expanded(scaled: ScaledModel, error: Array, ivar: Errors, terms: Array) -> tuple[Array, Array]:
    def one(error: Array, of: Errors, terms: Array) -> Array:
        rows = jnp.concatenate([jnp.zeros_like(terms[:1]), terms])
        gram = photon_information(scaled.noise, of, lambda each: each.gram(rows))
        return information_at(gram, error)[1:, 1:]

    return jax.vmap(one)(error, ivar, terms), scaled.noise.variance_shares(ivar)
