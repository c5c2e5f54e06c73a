"""Fits of spectra in the observed frame: the velocity is measured first, then refined together with the labels.

A Gauss-Newton step from the fitted labels gives the velocity that is left and its error
(`slamjax.model.velocity_steps`). If it is significant, the spectrum is shifted to the rest frame again, from the
original pixels, and fitted again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from slamjax.fitting.postprocess import FitResult, replace_rows
from slamjax.fitting.problem import Problem
from slamjax.flags import Flag
from slamjax.model.model import Model
from slamjax.model.radial_velocity import REFINED_LATER, THOROUGH, velocities
from slamjax.model.velocity_meter import VelocityMeter
from slamjax.model.velocity_steps import SeenSpectra, velocity_step
from slamjax.spectra.spectra import Spectra

#: Maximum number of refinements, and a negligible correction in units of the velocity's error.
ROUNDS, SMALL = 3, 0.2
#: A velocity is ambiguous if twice the logarithm of its likelihood ratio to all others is not above this.
CONTRAST = 20.0


@dataclass(frozen=True, eq=False)
class FittedSpectra:
    """The result of spectra, and their prepared flux, ivar and own line spreads (`Starts`) as the device has them."""

    result: FitResult
    flux: np.ndarray
    ivar: np.ndarray
    line_spread: np.ndarray | None = None


#: Fits spectra at given velocities (N,).
FitAt = Callable[[Spectra, np.ndarray], FittedSpectra]


def fit_observed_frame(model: Model, problem: Problem, spectra: Spectra, fit_at: FitAt, refined: bool) -> FitResult:
    """The result with velocities in km/s: as measured, or ``refined`` beside the labels."""
    meter = VelocityMeter.of(model, problem.line_spread)
    velocity, error, _, contrast = velocities(meter, spectra, REFINED_LATER if refined else THOROUGH).T
    fitted = fit_at(spectra, velocity)
    result = fitted.result
    if refined:
        left, error, growth = refine(meter, problem, fitted, spectra, velocity)
        for _ in range(ROUNDS):
            rows = np.flatnonzero(np.abs(left) > SMALL * error)
            if not rows.size:
                break
            velocity[rows] += left[rows]
            again = fit_at(spectra[rows], velocity[rows])
            result = replace_rows(result, again.result, rows)
            left[rows], error[rows], growth[rows] = refine(meter, problem, again, spectra[rows], velocity[rows])
        velocity = velocity + np.nan_to_num(left)
        result = dataclasses.replace(
            result,
            covariance=result.covariance * growth[:, :, None] * growth[:, None, :],
            half_widths=result.half_widths * growth[:, None],
        )
    unsure = spectra.good.any(axis=1) & ~(contrast > CONTRAST)
    error = np.where(np.isfinite(velocity), error, np.inf)
    return dataclasses.replace(
        result,
        flags=result.flags | np.where(unsure, np.int32(Flag.UNSURE_VELOCITY), np.int32(0)),
        velocity=np.stack([velocity, error], axis=1),
    )


def refine(
    meter: VelocityMeter,
    problem: Problem,
    fitted: FittedSpectra,
    spectra: Spectra,
    velocity: Float[np.ndarray, " star"],
) -> tuple[Float[np.ndarray, " star"], Float[np.ndarray, " star"], Float[np.ndarray, "star label"]]:
    """Velocity that is left in ``spectra`` at rest by ``velocity``, and its error, km/s.

    NaN and infinite where the fit failed. Third, the factor by which each label's error grows when marginalised over
    the velocity.
    """
    model, labels = meter.model, fitted.result.labels
    usable = np.isfinite(labels).all(axis=1)
    x = np.asarray(model.host_emulator.scaling(np.where(usable[:, None], labels, 1.0)), float)
    x = np.where(usable[:, None], x, np.nan)
    given = SeenSpectra(fitted.flux, fitted.ivar, line_spread=fitted.line_spread)
    step = meter.step(spectra, velocity, x, given)
    growth = velocity_step(problem, meter.stencil, x, given).growth
    left = np.clip(step.left, -2 * meter.pixel, 2 * meter.pixel)
    return left, step.error(model.info.velocity_scale, fitted.result.n_pix), growth
