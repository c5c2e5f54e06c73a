"""Held-out stars: residuals of emulators that had not seen them."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from slamjax.emulators.base import Emulator
from slamjax.noise.dense import DenseErrors
from slamjax.noise.errors import errors_in_unit
from slamjax.noise.models import Noise
from slamjax.training.expansion import expansion

#: Photon variances differ if their percentiles do by this factor.
_VARIED = 2.0
#: Of more stars than these many, a noise model is learnt from so many: what it costs grows faster than their number,
#: and folds of so many stars have emulators as good as the final one.
_MANY, _DRAWN = 5000, 2000


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
    label_error : errors of the known labels, scaled, 0 where they are not stated; None: none are stated
    reference : labels by which fits are judged where these are not ``x``; None: ``x``
    half : some of the stars, held out from emulators of half as many; see `slamjax.training.learning_curve`
    covariance : of the flux of each star, where stars have one of their own
    """

    x: Float[np.ndarray, "star label"]
    residual: Float[np.ndarray, "star pixel"]
    ivar: Float[np.ndarray, "star pixel"]
    fold: Int[np.ndarray, " star"]
    emulators: tuple[Emulator, ...]
    terms: Float[np.ndarray, "row term pixel"] | None = None
    place: Int[np.ndarray, " star"] | None = None
    label_error: Float[np.ndarray, "star label"] | None = None
    reference: Float[np.ndarray, "star label"] | None = None
    half: HalfOfStars | None = None
    covariance: Float[np.ndarray, "star pixel pixel"] | None = None

    def __getitem__(self, rows: np.ndarray) -> HeldOut:
        return dataclasses.replace(
            self,
            x=self.x[rows],
            residual=self.residual[rows],
            ivar=self.ivar[rows],
            fold=self.fold[rows],
            place=None if self.place is None else self.place[rows],  # the derivatives are many: they are not copied
            label_error=None if self.label_error is None else self.label_error[rows],
            reference=None if self.reference is None else self.reference[rows],
            half=None,
            covariance=None if self.covariance is None else self.covariance[rows],
        )

    def drawn(self, seed: int) -> HeldOut:
        """As many of the stars, by seed, as a noise model is learnt from; all if there are not very many."""
        n_stars = len(self.x)
        if n_stars <= _MANY:
            return self
        return self[np.sort(np.random.default_rng(seed).permutation(n_stars)[:_DRAWN])]

    def judged_by(self, reference: np.ndarray | None, label_error: np.ndarray | None) -> HeldOut:
        """The same stars, whose fits are compared with these labels as far as their errors allow."""
        return dataclasses.replace(self, reference=reference, label_error=label_error)

    @property
    def known_variance(self) -> np.ndarray:
        """(N, L) variances of the known labels, 0 where they are not stated."""
        return np.zeros(self.x.shape) if self.label_error is None else np.square(self.label_error)

    def expanded(self) -> HeldOut:
        """The same with emulators to second order about the known labels: several times quicker to fit."""
        if self.terms is not None:
            return self
        return dataclasses.replace(self, terms=self._terms, place=np.arange(len(self.x)))

    def exact(self) -> HeldOut:
        """The same with the emulators themselves."""
        return dataclasses.replace(self, terms=None, place=None)

    def fainter(self, sigma: Float[np.ndarray, " star"], seed: int = 0) -> HeldOut:
        """The same stars with white noise of these standard deviations, stated; they must state no errors so far."""
        noise = sigma[:, None] * np.random.default_rng(seed).normal(size=self.residual.shape)
        ivar = np.where(self.known, sigma[:, None] ** -2.0, 0)
        return dataclasses.replace(self, residual=self.residual + noise, ivar=ivar, half=None)

    @cached_property
    def _terms(self) -> np.ndarray | None:
        return expansion(self.x, self.fold, self.emulators, self.emulators[0].flux_unit())

    @property
    def photon_variance(self) -> np.ndarray:
        """(N, P) 1 / ivar, NaN where there is no residual."""
        with np.errstate(divide="ignore"):
            return np.where(self.known, 1.0 / self.ivar.astype(float), np.nan)

    @property
    def states_errors(self) -> bool:
        return bool(np.any(self.known & np.isfinite(self.ivar)))

    @property
    def unequal_photons(self) -> bool:
        """Whether the stars' photon variances differ by a factor of two (16th to 84th percentile)."""
        if not self.states_errors:
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a star without residuals is NaN
            variance = self.photon_variance
            variance = np.where(np.isfinite(variance) & (variance > 0), variance, np.nan)
            typical = np.nanmedian(variance, axis=1)
        low, high = np.nanpercentile(typical, [16, 84])
        return bool(high > _VARIED * low)

    def errors(
        self, noise: Noise, rows: np.ndarray, good: Bool[np.ndarray, "some pixel"], unit: float, dtype: Any
    ) -> Float[np.ndarray, "some pixel"] | DenseErrors:
        """Of some of the stars at their good pixels, see `slamjax.noise.errors.errors_in_unit`."""
        covariance = None if self.covariance is None else self.covariance[rows]
        return errors_in_unit(noise, np.where(good, self.ivar[rows], 0), covariance, unit, dtype)

    @property
    def known(self) -> np.ndarray:
        return np.isfinite(self.residual) & (self.ivar > 0)


@dataclass(frozen=True)
class HalfOfStars:
    """Stars held out from emulators of about half as many, and which of all stars they are."""

    rows: Int[np.ndarray, " star"]
    held_out: HeldOut
