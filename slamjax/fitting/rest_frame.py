"""Fits of spectra as observed: the velocity is found first, then refined beside the labels.

With the residual r, the labels' derivatives J and g = ∂f/∂v = −(λ/c) ∂f/∂λ, a Gauss-Newton step from the fitted labels
gives the velocity that is left and its error, the labels' uncertainty included. Where it matters the spectrum is
brought to rest again, from what was read, and fitted again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import CubicSpline

from slamjax._util.constants import LIGHT
from slamjax._util.jit import compiled
from slamjax.fitting.postprocess import FitResult, replace_rows
from slamjax.fitting.problem import Problem
from slamjax.flags import Flag
from slamjax.model.model import Model
from slamjax.model.radial_velocity import measure_rv
from slamjax.spectra.spectra import Spectra

#: Rounds of refinement at most, and what is small enough: a part of the velocity's error.
_ROUNDS, _SMALL = 3, 0.2
#: A velocity whose peak is not better than all others by this much in χ² may be another.
_CONTRAST = 20.0
#: Stars refined at once: bounds memory.
_BLOCK = 64

#: Fits spectra at given velocities (N,): the outcome, the S/N, and prepared flux and ivar as the device has them.
FitAt = Callable[[Spectra, np.ndarray], tuple[FitResult, np.ndarray, np.ndarray, np.ndarray]]


def fit_observed_frame(
    model: Model, problem: Problem, spectra: Spectra, fit_at: FitAt, refined: bool
) -> tuple[FitResult, np.ndarray, np.ndarray]:
    """FitResult, S/N, and velocities with errors (N, 2) in km/s; as first found, or ``refined`` beside the labels."""
    found = measure_rv(model, spectra)
    velocity = np.asarray(found["rv"].value)
    error = np.asarray(found["rv_err"].value)
    outcome, snr, flux, ivar = fit_at(spectra, velocity)
    growth = np.ones((len(spectra), len(model.label_names)))
    for turn in range(_ROUNDS if refined else 0):
        left, error, growth = refine(model, problem, outcome, flux, ivar)
        moved = np.isfinite(left)
        velocity = velocity + np.where(moved, left, 0)
        rows = np.flatnonzero(moved & (np.abs(left) > _SMALL * error))
        if not rows.size or turn == _ROUNDS - 1:
            break
        again, snr[rows], flux[rows], ivar[rows] = fit_at(spectra[rows], velocity[rows])
        outcome = replace_rows(outcome, again, rows)
    unsure = spectra.good.any(axis=1) & ~(np.asarray(found["contrast"]) > _CONTRAST)
    flags = outcome.flags | np.where(unsure, np.int32(Flag.UNSURE_VELOCITY), np.int32(0))
    error = np.where(np.isfinite(velocity), error, np.inf)
    outcome = dataclasses.replace(
        outcome,
        flags=flags,
        covariance=outcome.covariance * growth[:, :, None] * growth[:, None, :],
        half95=outcome.half95 * growth,
    )
    return outcome, snr, np.stack([velocity, error], axis=1)


def refine(
    model: Model, problem: Problem, outcome: FitResult, flux: np.ndarray, ivar: np.ndarray
) -> tuple[Float[np.ndarray, " star"], Float[np.ndarray, " star"], Float[np.ndarray, "star label"]]:
    """Velocity that is left at the fitted labels and its error, km/s; NaN and infinite where the fit failed.

    Third, how many times a label's error is larger because the velocity is not known exactly.
    """
    usable = np.isfinite(outcome.labels).all(axis=1)
    x = np.nan_to_num(np.asarray(model.host_emulator.scaling(np.where(usable[:, None], outcome.labels, 1.0))))
    low, high = np.asarray(model.training_labels.low), np.asarray(model.training_labels.high)
    x = np.clip(np.where(usable[:, None], x, (low + high) / 2), low, high).astype(flux.dtype)
    grams = []
    for start in range(0, len(x), _BLOCK):
        rows = np.minimum(np.arange(start, start + _BLOCK), len(x) - 1)  # one shape, one compilation
        at = jnp.asarray(x[rows])
        slope = _by_velocity(model.wave, np.asarray(problem.emulator.at(at), float)).astype(flux.dtype)
        part = _grams(problem, at, jnp.asarray(flux[rows]), jnp.asarray(ivar[rows]), jnp.asarray(slope))
        grams.append(np.asarray(part, float)[: len(x) - start])
    gram = np.concatenate(grams)
    n = gram.shape[1] - 1
    # a label that the spectrum does not tell is known to its range
    weak = np.diag(np.concatenate([1 / np.square(high - low), [1e-12]]))
    sound = usable & np.isfinite(gram).all(axis=(1, 2)) & (gram[:, -1, -1] > 0)
    curvature = np.where(sound[:, None, None], gram[:, 1:, 1:] + weak, np.eye(n))
    covariance = np.linalg.inv(curvature)
    left = np.einsum("nj,nj->n", covariance[:, -1], np.where(sound[:, None], gram[:, 1:, 0], 0))
    dof = np.maximum(outcome.n_pix - n, 1)
    scale = np.nan_to_num(outcome.noise_scale, nan=1.0)
    if not np.isfinite(model.info.calibration.tail):  # chi2 has no say in the noise's scale yet
        scale = scale * np.fmax(outcome.chi2 / dof, 1)
    error = np.sqrt(np.maximum(covariance[:, -1, -1], 0) * scale)
    pixel = LIGHT * np.median(np.diff(np.log(model.wave)))
    left = np.clip(left, -2 * pixel, 2 * pixel)
    held = np.einsum("nll->nl", np.linalg.inv(curvature[:, :-1, :-1]))
    growth = np.sqrt(np.maximum(np.einsum("nll->nl", covariance)[:, :-1] / held, 1))
    return np.where(sound, left, np.nan), np.where(sound, error, np.inf), np.where(sound[:, None], growth, 1.0)


def _by_velocity(wave: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """∂f/∂v per km/s (N, P): a star that recedes faster shows at λ what it emits at a shorter one."""
    known = np.isfinite(flux[0])
    slope = np.zeros_like(flux)
    if known.sum() > 3:
        position = np.log(wave[known])
        slope[:, known] = CubicSpline(position, flux[:, known], axis=1)(position, 1)
    return -slope / LIGHT


@compiled
def _grams(
    problem: Problem,
    x: Float[Array, "star label"],
    flux: Float[Array, "star pixel"],
    ivar: Float[Array, "star pixel"],
    slope: Float[Array, "star pixel"],
) -> Float[Array, "star row row"]:
    def one(given: tuple[Array, Array, Array, Array]) -> Array:
        x, flux, ivar, slope = given
        rows = problem.emulator.residual_and_jacobian(x, flux)
        return problem.noise.inverse_covariance(ivar).gram(jnp.concatenate([rows, slope[None]]))

    return jax.lax.map(one, (x, flux, ivar, slope))
