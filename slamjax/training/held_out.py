"""Held-out stars: residuals of emulators that had not seen them, and the labels that these emulators fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Real

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax.emulators.base import Emulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.forward.scaled import ScaledModel
from slamjax.noise.models import Noise
from slamjax.training.expansion import expansion, information_at

#: Steps of a fit, stars per batch, and the distance from the known labels at which fits start (scaled labels).
_STEPS, _BATCH, _OFFSET = 12, 32, 0.3
#: Stars by which an expansion is checked, and the largest median change of a label, in errors.
_SAMPLE, _ALIKE = 96, 0.3


@dataclass(frozen=True)
class HeldOut:
    """Stars and emulators that had not seen them: all that a noise model is learnt from.

    Attributes
    ----------
    x : known labels, scaled
    residual : observed minus predicted flux at these labels, NaN where there is none
    ivar : of the flux
    fold : index of the emulator that made the prediction
    emulators : one per fold
    terms, place : derivatives of the flux, see `slamjax.training.expansion`, and each star's row among them
        If there are any, fits use these only.
    """

    x: Float[np.ndarray, "star label"]
    residual: Float[np.ndarray, "star pixel"]
    ivar: Float[np.ndarray, "star pixel"]
    fold: Int[np.ndarray, " star"]
    emulators: tuple[Emulator, ...]
    terms: Float[np.ndarray, "row term pixel"] | None = None
    place: Int[np.ndarray, " star"] | None = None

    def __getitem__(self, rows: np.ndarray) -> HeldOut:
        return dataclasses.replace(
            self,
            x=self.x[rows],
            residual=self.residual[rows],
            ivar=self.ivar[rows],
            fold=self.fold[rows],
            place=None if self.place is None else self.place[rows],  # the derivatives are many: they are not copied
        )

    def expanded(self) -> HeldOut:
        """The same with emulators to second order about the known labels: several times quicker to fit."""
        unit = self.emulators[0].flux_unit()
        terms = expansion(self.x, self.fold, self.emulators, unit)
        return dataclasses.replace(self, terms=terms, place=np.arange(len(self.x)))

    def quick(self, noise: Noise, training_labels: TrainingLabels) -> HeldOut:
        """`expanded`, to try many noise models, if fits of a sample of the stars under this one hardly change."""
        sample = self[np.unique(np.linspace(0, len(self.x) - 1, _SAMPLE).astype(int))]
        exact, rough = (label_errors(noise, training_labels, each) for each in (sample, sample.expanded()))
        both = exact.valid & rough.valid
        change = np.abs(rough.error - exact.error)[both]
        sigma = np.sqrt(np.einsum("nll->nl", exact.covariance[both]))
        alike = both.any() and np.median(np.max(change / sigma, axis=1)) < _ALIKE
        return self.expanded() if alike else self

    @property
    def photon_variance(self) -> np.ndarray:
        """(N, P) 1 / ivar, NaN where there is no residual."""
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

    Attributes
    ----------
    error : fitted minus known labels, scaled
    covariance : that the fit states
    chi2, dof : χ² and degrees of freedom
    distance : from the fitted labels to the tenth nearest training star
    """

    error: Float[np.ndarray, "star label"]
    covariance: Float[np.ndarray, "star label label"]
    chi2: Float[np.ndarray, " star"]
    dof: Real[np.ndarray, " star"]
    distance: Float[np.ndarray, " star"]

    def __getitem__(self, rows: np.ndarray) -> LabelErrors:
        return LabelErrors(**{name: values[rows] for name, values in vars(self).items()})

    @property
    def valid(self) -> np.ndarray:
        """(N,) bool: stars with a finite fit and positive variances."""
        variance = np.einsum("nll->nl", self.covariance)
        return np.isfinite(self.chi2) & np.all(np.isfinite(self.error), axis=1) & np.all(variance > 0, axis=1)

    def pulls(self) -> np.ndarray:
        """(N, L) error / σ."""
        return self.error / np.sqrt(np.einsum("nll->nl", self.covariance))

    def inflated(self, factor: np.ndarray) -> LabelErrors:
        """The same with covariances times ``factor`` (N,)."""
        return dataclasses.replace(self, covariance=self.covariance * np.asarray(factor)[:, None, None])

    def score(self) -> float:
        """Mean ln p of the known labels under a Student-t with 4 degrees of freedom, so that no single star decides."""
        fits = self[self.valid]
        square = np.einsum("ni,nij,nj->n", fits.error, np.linalg.inv(fits.covariance), fits.error)
        n_labels = self.error.shape[1]
        logdet = np.linalg.slogdet(fits.covariance)[1]
        return float(np.mean(-0.5 * logdet - 0.5 * (4 + n_labels) * np.log1p(square / 4)))


def label_errors(noise: Noise, training_labels: TrainingLabels, held_out: HeldOut) -> LabelErrors:
    """Fit the labels of each star with the emulator that had not seen it, and subtract the known ones.

    A fit starts about one fit's error away from the known labels: starting at them, it would find minima that the fit
    of a new star cannot know of.
    """
    n, n_labels = held_out.x.shape
    unit = held_out.emulators[0].flux_unit()
    trained = np.stack([np.isfinite(np.asarray(emulator.intercept)) for emulator in held_out.emulators])
    known = held_out.known & trained[held_out.fold]
    offset = _OFFSET * np.random.default_rng(0).normal(size=held_out.x.shape)
    error, fisher, chi2 = np.zeros((n, n_labels)), np.full((n, n_labels, n_labels), np.nan), np.full(n, np.nan)
    for number, emulator in enumerate(held_out.emulators):
        rows = np.flatnonzero(held_out.fold == number)
        if not rows.size:
            continue
        scaled = ScaledModel.from_host(emulator, noise, training_labels, unit)
        stars = (
            held_out.x[rows].astype(scaled.dtype),
            offset[rows].astype(scaled.dtype),
            scaled.flux(np.where(known[rows], held_out.residual[rows], 0)),
            scaled.ivar(np.where(known[rows], held_out.ivar[rows], 0)),
        )
        if held_out.terms is None or held_out.place is None:
            fits = map_padded(partial(_refit, scaled), stars, _BATCH)
        else:
            of_block = partial(_refit_block, scaled, held_out.terms)
            fits = map_padded(of_block, (*stars, held_out.place[rows]), _BATCH)
        error[rows], fisher[rows], chi2[rows] = fits
    valid = np.all(np.isfinite(fisher), axis=(1, 2)) & known.any(axis=1)
    fisher = np.where(valid[:, None, None], fisher, np.eye(n_labels))
    # a prior ten times as wide as the range of a label keeps the inverse of weak information finite
    prior = np.diag(np.square(0.1 / (np.asarray(training_labels.high) - np.asarray(training_labels.low))))
    dof = np.maximum(known.sum(axis=1) - n_labels, 1)
    # a training star is its own neighbour, unlike a new one: a small difference in the distance
    distance = training_labels.neighbour_distance(held_out.x + error)
    return LabelErrors(error, np.linalg.inv(fisher + prior), np.where(valid, chi2, np.nan), dof, distance)


@compiled
def _refit(scaled: ScaledModel, x: Array, offset: Array, residual: Array, ivar: Array) -> Any:
    def one(x: Array, offset: Array, residual: Array, ivar: Array) -> Any:
        flux, inv_cov = scaled.emulator.at(x) + residual, scaled.noise.inverse_covariance(ivar)
        return _fit(lambda at: scaled.emulator.information(inv_cov, at, flux), scaled, x, offset, _STEPS)

    return jax.vmap(one)(x, offset, residual, ivar)


def _refit_block(
    scaled: ScaledModel, every: np.ndarray, x: Array, offset: Array, residual: Array, ivar: Array, place: Array
) -> Any:
    """`_refit_expanded` of stars whose terms have these places among those of ``every`` star."""
    return _refit_expanded(scaled, x, offset, residual, ivar, jnp.asarray(every[np.asarray(place)]))


@compiled
def _refit_expanded(scaled: ScaledModel, x: Array, offset: Array, residual: Array, ivar: Array, terms: Array) -> Any:
    def one(x: Array, offset: Array, residual: Array, ivar: Array, terms: Array) -> Any:
        gram = scaled.noise.inverse_covariance(ivar).gram(jnp.concatenate([residual[None], terms]))
        return _fit(lambda at: information_at(gram, at - x), scaled, x, offset, _STEPS)

    return jax.vmap(one)(x, offset, residual, ivar, terms)


def _fit(
    information: Callable[[Array], Array], scaled: ScaledModel, x: Array, offset: Array, n_steps: int
) -> tuple[Float[Array, " label"], Float[Array, "label label"], Float[Array, ""]]:
    """Error, Fisher information and χ² after damped Gauss-Newton steps inside the training range."""
    low, high = scaled.low, scaled.high

    def step(_: int, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        at, gram, damping = state
        curvature = gram[1:, 1:]
        damped = curvature + damping * jnp.diag(jnp.diagonal(curvature)) + 1e-6 * jnp.diag(1 / jnp.square(high - low))
        new = jnp.clip(at + jnp.linalg.solve(damped, gram[0, 1:]), low, high)
        new_gram = information(new)
        better = new_gram[0, 0] < gram[0, 0]
        damping = jnp.clip(jnp.where(better, damping / 4, damping * 6), 1e-5, 1e5)
        return jnp.where(better, new, at), jnp.where(better, new_gram, gram), damping

    start = jnp.clip(x + offset, low, high)
    begin = (start, information(start), jnp.full((), 1e-2, x.dtype))
    end, gram, _ = jax.lax.fori_loop(0, n_steps, step, begin)
    return end - x, gram[1:, 1:], gram[0, 0]
