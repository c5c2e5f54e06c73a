"""Fits of spectra in the observed frame: the velocity is measured first, then refined together with the labels.

With the residual r, the labels' derivatives J and g = ∂f/∂v = −(λ/c) ∂f/∂λ, a Gauss-Newton step from the fitted labels
gives the residual velocity and its error, marginalised over the labels. If the correction is significant, the spectrum
is shifted to the rest frame again, from the original pixels, and fitted again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import CubicSpline

from slamjax._util.batching import map_padded
from slamjax._util.constants import LIGHT
from slamjax._util.jit import compiled
from slamjax.fitting.postprocess import FitResult, replace_rows
from slamjax.fitting.problem import Problem
from slamjax.flags import Flag
from slamjax.model.model import Model
from slamjax.model.radial_velocity import measure_rv
from slamjax.spectra.spectra import Spectra

#: Maximum number of refinements, and a negligible correction in units of the velocity's error.
_ROUNDS, _SMALL = 3, 0.2
#: A velocity is ambiguous if its peak is not better than all others by this much in χ².
_CONTRAST = 20.0
#: Stars per block: limits memory.
_BLOCK = 64


@dataclass(frozen=True, eq=False)
class FittedSpectra:
    """The result of spectra, and their prepared flux and ivar as the device has them."""

    result: FitResult
    flux: np.ndarray
    ivar: np.ndarray


#: Fits spectra at given velocities (N,).
FitAt = Callable[[Spectra, np.ndarray], FittedSpectra]


def fit_observed_frame(model: Model, problem: Problem, spectra: Spectra, fit_at: FitAt, refined: bool) -> FitResult:
    """The result with velocities in km/s: as measured, or ``refined`` beside the labels."""
    measured = measure_rv(model, spectra)
    velocity = np.asarray(measured["rv"].value)
    error = np.asarray(measured["rv_err"].value)
    fitted = fit_at(spectra, velocity)
    result, flux, ivar = fitted.result, fitted.flux, fitted.ivar
    growth = np.ones((len(spectra), len(model.label_names)))
    for turn in range(_ROUNDS if refined else 0):
        left, error, growth = refine(model, problem, result, flux, ivar)
        moved = np.isfinite(left)
        velocity = velocity + np.where(moved, left, 0)
        rows = np.flatnonzero(moved & (np.abs(left) > _SMALL * error))
        if not rows.size or turn == _ROUNDS - 1:
            break
        again = fit_at(spectra[rows], velocity[rows])
        flux[rows], ivar[rows] = again.flux, again.ivar
        result = replace_rows(result, again.result, rows)
    unsure = spectra.good.any(axis=1) & ~(np.asarray(measured["contrast"]) > _CONTRAST)
    error = np.where(np.isfinite(velocity), error, np.inf)
    return dataclasses.replace(
        result,
        flags=result.flags | np.where(unsure, np.int32(Flag.UNSURE_VELOCITY), np.int32(0)),
        covariance=result.covariance * growth[:, :, None] * growth[:, None, :],
        half95=result.half95 * growth,
        velocity=np.stack([velocity, error], axis=1),
    )


def refine(
    model: Model, problem: Problem, result: FitResult, flux: np.ndarray, ivar: np.ndarray
) -> tuple[Float[np.ndarray, " star"], Float[np.ndarray, " star"], Float[np.ndarray, "star label"]]:
    """Residual velocity at the fitted labels and its error, km/s; NaN and infinite where the fit failed.

    Third, the factor by which each label's error grows when marginalised over the velocity.
    """
    usable = np.isfinite(result.labels).all(axis=1)
    x = np.nan_to_num(np.asarray(model.host_emulator.scaling(np.where(usable[:, None], result.labels, 1.0))))
    low, high = np.asarray(model.training_labels.low), np.asarray(model.training_labels.high)
    x = np.clip(np.where(usable[:, None], x, (low + high) / 2), low, high).astype(flux.dtype)

    def grams(at: Array, flux: Array, ivar: Array) -> Array:
        slope = _by_velocity(model.wave, np.asarray(problem.emulator.at(at), float)).astype(flux.dtype)
        return _grams(problem, at, flux, ivar, jnp.asarray(slope))

    gram = map_padded(grams, (x, flux, ivar), _BLOCK).astype(float)
    n = gram.shape[1] - 1
    # an unconstrained label is known to its range
    weak = np.diag(np.concatenate([1 / np.square(high - low), [1e-12]]))
    sound = usable & np.isfinite(gram).all(axis=(1, 2)) & (gram[:, -1, -1] > 0)
    curvature = np.where(sound[:, None, None], gram[:, 1:, 1:] + weak, np.eye(n))
    covariance = np.linalg.inv(curvature)
    left = np.einsum("nj,nj->n", covariance[:, -1], np.where(sound[:, None], gram[:, 1:, 0], 0))
    dof = np.maximum(result.n_pix - n, 1)
    scale = np.nan_to_num(result.noise_scale, nan=1.0)
    if not np.isfinite(model.info.calibration.tail):  # χ² has not been used for the noise's scale
        scale = scale * np.fmax(result.chi2 / dof, 1)
    error = np.sqrt(np.maximum(covariance[:, -1, -1], 0) * scale)
    pixel = LIGHT * np.median(np.diff(np.log(model.wave)))
    left = np.clip(left, -2 * pixel, 2 * pixel)
    held = np.einsum("nll->nl", np.linalg.inv(curvature[:, :-1, :-1]))
    growth = np.sqrt(np.maximum(np.einsum("nll->nl", covariance)[:, :-1] / held, 1))
    return np.where(sound, left, np.nan), np.where(sound, error, np.inf), np.where(sound[:, None], growth, 1.0)


def _by_velocity(wave: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """∂f/∂v per km/s (N, P), at fixed observed wavelengths."""
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
