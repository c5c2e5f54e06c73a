"""How large errors of velocities are, from held-out stars: their velocity is known, for they are at rest."""

from __future__ import annotations

import numpy as np

from slamjax.emulators.training_labels import TrainingLabels
from slamjax.forward.scaled import ScaledModel
from slamjax.forward.velocity import VelocityStencil
from slamjax.model.velocity_steps import SeenSpectra, pixel_velocity, settle, velocity_step
from slamjax.noise.models import DiagonalNoise
from slamjax.spectra.line_spread import common_fwhm
from slamjax.spectra.spectra import Spectra
from slamjax.training.held_out import HeldOut

#: Part of the velocities that shall be within their errors.
_WITHIN = 0.6827
#: Stars that decide, at most and at least; steps of their labels from the known ones.
_MOST, _LEAST, _STEPS = 1000, 20, 4
_SMALLEST, _LARGEST = 0.05, 1e4


def velocity_scale(
    model_variance: np.ndarray,
    training_labels: TrainingLabels,
    held_out: HeldOut,
    prepared: Spectra,
    *,
    seed: int = 0,
) -> float:
    """Factor of the variance of velocities that the model error makes; 1 if stars are not at rest, or few.

    The variance of a held-out star's velocity is v_photon + a v_model, both of independent pixels: a is such that 68 %
    of them are within their errors. It contains the correlation of model errors from pixel to pixel, and the errors of
    the velocities by which training stars were brought to rest.
    ``model_variance`` (P,) is that of independent pixels.
    """
    if prepared.frame != "rest" or prepared.n_pix < 2:
        return 1.0
    noise = DiagonalNoise(np.where(np.isfinite(model_variance), model_variance, np.inf))
    rows = np.sort(np.random.default_rng(seed).permutation(len(held_out.x))[:_MOST])
    stars = held_out[rows]
    parts = [_ratios(noise, training_labels, stars, fold, prepared) for fold in range(len(stars.emulators))]
    ratios = np.concatenate(parts)
    if ratios.size < _LEAST:
        return 1.0
    return float(np.clip(np.quantile(ratios, _WITHIN), _SMALLEST, _LARGEST))


def _ratios(
    noise: DiagonalNoise, training_labels: TrainingLabels, held_out: HeldOut, fold: int, prepared: Spectra
) -> np.ndarray:
    """(N,) the factor at which each star of a fold is off by its error."""
    emulator, stars = held_out.emulators[fold], held_out[np.flatnonzero(held_out.fold == fold)]
    trained = np.isfinite(np.asarray(emulator.intercept))
    known = stars.known & trained
    stars, known = stars[known.any(axis=1)], known[known.any(axis=1)]
    if not len(stars.x):
        return np.empty(0)
    scaled = ScaledModel.from_host(emulator, noise, training_labels)
    stencil = VelocityStencil.from_wavelengths(prepared.wave, trained, common_fwhm(prepared.fwhm, prepared.wave))
    predicted = np.asarray(emulator.on_device().at(stars.x), float)
    flux = scaled.flux(np.where(known, predicted + stars.residual, 0))
    seen = SeenSpectra(flux, scaled.ivar(np.where(known, stars.ivar, 0)))
    x = settle(scaled, stencil, stars.x, seen, _STEPS, pixel_velocity(prepared.wave))
    step = velocity_step(scaled, stencil, x, seen)
    sound = np.isfinite(step.left) & (step.model > 0)
    excess = np.maximum(step.chi2 / known.sum(axis=1), 1)
    return ((np.square(step.left) / excess - step.photon) / np.where(sound, step.model, 1))[sound]
