"""Pixels as wide as lines: what the model's prediction looks like in the pixels of a star that moves.

Such pixels do not determine the spectrum between them, so a spectrum that is brought from its own pixels to the
model's differs from the prediction even at the right velocity, in a way that depends on how both grids lie. With lines
at random places behind a known line spread (`slamjax.forward.velocity`), the expectation of the spectrum between the
pixels is linear in the prediction; it is put on the star's pixels and brought back like the star itself. What the
pixels do not determine is added to the variance.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float
from scipy.ndimage import uniform_filter1d

from slamjax.forward.velocity import between, line_spread, log_edges, predictors, windows
from slamjax.model.model import Model
from slamjax.model.velocity_steps import SeenSpectra, pixel_velocity
from slamjax.preprocessing.regrid import onto_grid
from slamjax.spectra.spectra import Medium, Spectra

#: Parts of a pixel; pixels wider than this part of the line spread are coarse; pixels over which line strengths are
#: averaged; velocities, in pixels, between which slopes are taken; places of one grid between pixels of another.
_PARTS, _COARSE, _SMOOTH, _STEP, _PHASES = 8, 0.7, 101, 0.1, 17


@dataclass(frozen=True, eq=False)
class CoarsePixels:
    """The spectrum between a model's pixels.

    Attributes
    ----------
    wave : (P · 8,) centres of the parts of pixels, in the model's unit
    near, weights : (P, K) pixels, and (P, 8, K) weights with which their flux makes that of the parts
    lost : (17,) variance of a pixel that lies up to half a pixel beside the model's, ``curvature`` of the second
        difference of neighbours, both per unit of variance of the spectrum
    """

    wave: Float[np.ndarray, " part"]
    near: np.ndarray
    weights: np.ndarray
    lost: np.ndarray
    curvature: float

    @classmethod
    def of(cls, model: Model) -> CoarsePixels | None:
        """None where the model's pixels resolve its line spread, or the line spread is not known."""
        wave, fwhm = model.wave, model.info.fwhm
        places = np.flatnonzero(model.trained)
        if fwhm is None or places.size < 3 or np.median(np.diff(wave)) <= _COARSE * np.median(fwhm):
            return None
        edges, sigma = log_edges(wave), line_spread(np.log(wave), fwhm)
        near = windows(places)[np.clip(np.searchsorted(places, np.arange(wave.size)), 0, places.size - 1)]
        middle, sigma = np.log(wave)[:, None], sigma[:, None]
        low, high = (edges[near] - middle) / sigma, (edges[near + 1] - middle) / sigma
        cuts = edges[:-1, None] + np.diff(edges)[:, None] * np.linspace(0, 1, _PARTS + 1)
        parts = (cuts - middle) / sigma
        places_of_parts = (parts[:, :-1] + parts[:, 1:]) / 2
        straight = np.stack([np.ones_like(places_of_parts), places_of_parts], axis=2)
        weights = predictors(low, high, between(parts[:, :-1], parts[:, 1:], low, high), straight)
        lost, curvature = _lost(float(np.median(np.diff(edges) / sigma[:, 0])))
        centres = np.exp((cuts[:, 1:] + cuts[:, :-1]) / 2).ravel()
        return cls(centres, near, weights, lost, curvature)

    def seen(
        self, model: Model, spectra: Spectra, velocity: np.ndarray, predicted: np.ndarray, given: SeenSpectra
    ) -> SeenSpectra:
        """``given`` spectra, which are ``spectra`` at rest by ``velocity``, less what pixels do to the prediction.

        ``predicted`` (N, P) is their prediction, in the device's unit.
        """
        width = np.median(np.diff(np.log(spectra.wave))) / np.median(np.diff(np.log(model.wave)))
        if width < _COARSE:
            return given
        flux = np.where(model.trained, np.nan_to_num(predicted.astype(float)), 0)
        known = np.isfinite(velocity)
        at = np.where(known, velocity, 0)
        pixel = _STEP * pixel_velocity(model.wave)
        fine = np.einsum("pmk,npk->npm", self.weights, flux[:, self.near]).reshape(len(flux), -1)
        there, before, after = (self._moved(model, spectra, fine, at + shift, at) for shift in (0.0, -pixel, pixel))
        sound = known[:, None] & np.isfinite(there) & np.isfinite(before) & np.isfinite(after) & model.trained
        variance = np.where(sound, self._variance(model, spectra, flux, at), 0)
        with np.errstate(divide="ignore"):
            ivar = np.where(given.ivar > 0, 1 / (1 / given.ivar + variance), 0)
        return SeenSpectra(
            (given.flux - np.where(sound, there - flux, 0)).astype(given.flux.dtype),
            ivar.astype(given.ivar.dtype),
            np.where(sound, (after - before) / (2 * pixel), 0).astype(given.flux.dtype),
        )

    def _moved(
        self, model: Model, spectra: Spectra, fine: np.ndarray, velocity: np.ndarray, rest_by: np.ndarray
    ) -> np.ndarray:
        """(N, P) the fine spectra moved by ``velocity``, seen in the star's pixels, at rest by ``rest_by``."""
        unit, medium = model.info.wave_unit, cast(Medium, model.info.medium)
        at_rest = Spectra(self.wave, fine, wave_unit=unit, medium=medium, frame="rest")
        seen = onto_grid(at_rest, spectra.wave, spectra.wave_unit, spectra.medium, -velocity)
        back = onto_grid(dataclasses.replace(seen, frame="observed"), model.wave, unit, medium, rest_by)
        return np.where(back.good, back.flux, np.nan)

    def _variance(self, model: Model, spectra: Spectra, flux: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """(N, P) what the prediction does not know of the flux in the star's pixels."""
        bend = np.zeros_like(flux)
        bend[:, 1:-1] = flux[:, :-2] - 2 * flux[:, 1:-1] + flux[:, 2:]
        power = uniform_filter1d(np.square(bend), _SMOOTH, axis=1, mode="nearest") / self.curvature
        beside = _phase(model, spectra, velocity)
        return power * np.interp(np.abs(beside), np.linspace(0, 0.5, _PHASES), self.lost)


def _phase(model: Model, spectra: Spectra, velocity: np.ndarray) -> np.ndarray:
    """(N, P) how far the nearest of the star's pixels is from each of the model's, in pixels, −½ to ½."""
    number = np.tile(np.arange(spectra.n_pix, dtype=float), (len(velocity), 1))
    index = spectra.with_arrays(number, np.ones_like(number))
    placed = onto_grid(index, model.wave, model.info.wave_unit, cast(Medium, model.info.medium), velocity).flux
    return placed - np.round(placed)


def _lost(width: float) -> tuple[np.ndarray, float]:
    """Unknown variance at each phase and variance of the second difference, for pixels ``width`` times σ wide."""
    low = (np.arange(-5.0, 6.0) - 0.5) * width
    high = low + width
    matrix = between(low, high, low, high)
    phases = np.linspace(0, 0.5, _PHASES)
    parts_low = (phases - 0.5) * width
    parts_high = parts_low + width
    cross = between(parts_low, parts_high, low, high)
    straight = np.stack([np.ones_like(phases), phases * width], axis=1)
    weights = predictors(low[None], high[None], cross[None], straight[None])[0]
    own = between(np.zeros(1), np.full(1, width), np.zeros(1), np.full(1, width))[0, 0]
    left = own - 2 * np.sum(weights * cross, axis=1) + np.einsum("pk,kl,pl->p", weights, matrix, weights)
    bend = np.zeros(len(low))
    bend[4:7] = 1, -2, 1
    return np.maximum(left, 0), float(bend @ matrix @ bend)
