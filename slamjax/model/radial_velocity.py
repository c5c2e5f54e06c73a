"""Radial velocities by comparison with the model's spectra.

Correlation with predicted spectra proposes two velocities (`slamjax.model.velocity_candidates`). The spectrum is
brought to rest by each, from its own pixels, and labels and velocity are fitted (`slamjax.model.velocity_steps`) until
nothing is left. The likelihood ratio of the two is the contrast.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from astropy import units as u
from astropy.table import QTable

from slamjax._util.progress import reporter
from slamjax.errors import SlamError
from slamjax.model.model import Model
from slamjax.model.velocity_candidates import TemplateSet, candidates, template_set
from slamjax.model.velocity_meter import VelocityMeter
from slamjax.model.velocity_steps import SeenSpectra
from slamjax.spectra.spectra import Spectra
from slamjax.typing import Progress

#: Spectra per block: limits memory.
_BLOCK = 128
#: Steps of the labels from a template, and after a small change of velocity.
_FIRST_STEPS, _MORE_STEPS = 10, 3
#: Most times that a spectrum is brought to rest again, and a step that needs none, in errors of the velocity.
_ROUNDS, _SMALL = 4, 0.2
#: Spectra that are by this factor brighter or fainter than predicted are in another unit.
_OTHER_UNIT = 2.0


def measure_rv(
    model: Model,
    spectra: Spectra,
    *,
    limit: float = 1000.0,
    n_templates: int = 64,
    on_progress: Progress | bool | None = True,
) -> QTable:
    """Radial velocities by comparison with predicted spectra.

    Parameters
    ----------
    model : Model
        Trained in the rest frame.
    spectra : Spectra
        In the observed frame.
    limit : float
        Largest |velocity| that is searched, km/s.
    n_templates : int
        Number of predicted spectra, spread over the labels of the training stars.
    on_progress : callable or bool
        Called with (spectra done, spectra in all). By default a line in terminals and notebooks; False for none.

    Returns
    -------
    astropy QTable
        One row per spectrum: ``rv`` and ``rv_err`` (km/s; positive for receding stars, in the frame of the spectra;
        the error is marginalised over the labels), ``correlation`` with the best template, and ``contrast``, twice the
        logarithm of the likelihood ratio of this velocity and the best one elsewhere, with labels fitted to both. A
        spectrum without a good pixel, or whose velocity lies at the limit, has NaN and an infinite error.

    Raises
    ------
    SlamError
        If the spectra do not cover the model's wavelengths, or the model was trained in the observed frame.

    Examples
    --------
    >>> import dataclasses
    >>> import slamjax
    >>> stars, observed = slamjax.datasets.load_xp_giants()
    >>> at_rest = dataclasses.replace(stars[:100], frame="rest")
    >>> recipe = slamjax.Recipe.make(wave_range=(400, 900), wave_unit="nm")
    >>> model = slamjax.train(at_rest, ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> velocities = slamjax.measure_rv(model, observed[:3], limit=3000)
    >>> velocities.colnames
    ['rv', 'rv_err', 'correlation', 'contrast']
    """
    if model.info.frame == "observed":
        raise SlamError("the model was trained in the observed frame; velocities need a model in the rest frame")
    if not limit > 0 or n_templates < 1:
        raise SlamError(f"limit is {limit} km/s and n_templates {n_templates}; give numbers above 0")
    model = model.matched(spectra)
    meter, templates = VelocityMeter.of(model), template_set(model, n_templates)
    measured = np.empty((len(spectra), 4))
    with reporter(on_progress) as report:
        report.stage("measuring velocities")
        for start in range(0, len(spectra), _BLOCK):
            block = spectra[start : start + _BLOCK]
            measured[start : start + len(block)] = _measure(meter, block, templates, limit)
            report(start + len(block), len(spectra))
    table = QTable(measured, names=("rv", "rv_err", "correlation", "contrast"))
    for name in ("rv", "rv_err"):
        table[name] = table[name] * (u.km / u.s)
    return table


@dataclass(frozen=True, eq=False)
class _AtRest:
    """N spectra brought to rest by ``velocity``, their fitted labels ``x`` (scaled), and what is left.

    ``chi2`` is that of the fit, ``gain`` how much smaller it is than without any line.
    """

    velocity: np.ndarray
    x: np.ndarray
    left: np.ndarray
    error: np.ndarray
    chi2: np.ndarray
    gain: np.ndarray
    n_pix: np.ndarray

    def replaced(self, rows: np.ndarray, part: _AtRest) -> _AtRest:
        """The same with ``part`` at these rows."""
        fields = {name: values.copy() for name, values in vars(self).items()}
        for name, values in fields.items():
            values[rows] = getattr(part, name)
        return _AtRest(**fields)

    def __getitem__(self, rows: np.ndarray) -> _AtRest:
        return _AtRest(**{name: values[rows] for name, values in vars(self).items()})


def _measure(meter: VelocityMeter, spectra: Spectra, templates: TemplateSet, limit: float) -> np.ndarray:
    """(N, 4) velocity, error, correlation, contrast."""
    found = candidates(meter, spectra, templates, limit)
    best, other = (
        _bring_to_rest(meter, spectra, found.velocity[:, k], templates.x[found.template[:, k]], _FIRST_STEPS)
        for k in range(2)
    )
    swapped = np.flatnonzero(np.nan_to_num(other.gain, nan=-np.inf) > best.gain)
    best, other = best.replaced(swapped, other[swapped]), other.replaced(swapped, best[swapped])
    for _ in range(_ROUNDS):
        rows = np.flatnonzero(np.abs(best.left) > _SMALL * best.error)
        if not rows.size:
            break
        velocity = best.velocity[rows] + np.clip(best.left[rows], -meter.pixel, meter.pixel)
        best = best.replaced(rows, _bring_to_rest(meter, spectra[rows], velocity, best.x[rows], _MORE_STEPS))
    velocity = best.velocity + best.left
    sound = np.abs(velocity) <= limit
    # gains are compared, for resampling smooths the noise, and does so differently at each velocity
    with np.errstate(invalid="ignore", divide="ignore"):
        contrast = best.n_pix * np.log1p((best.gain - np.fmax(other.gain, 0)) / best.chi2)
    columns = (np.where(sound, velocity, np.nan), np.where(sound, best.error, np.inf), found.correlation)
    return np.stack([*columns, np.where(sound, np.nan_to_num(contrast), 0.0)], axis=1)


def _bring_to_rest(meter: VelocityMeter, spectra: Spectra, velocity: np.ndarray, x: np.ndarray, steps: int) -> _AtRest:
    """The spectra at rest after ``steps`` steps of the labels from ``x``."""
    model, scaled = meter.model, meter.scaled
    prepared = model.prepare(spectra, velocity if model.needs_rv(spectra) else None)
    good = prepared.good & model.trained
    flux, ivar = prepared.flux.astype(float), np.where(good, prepared.ivar, 0)
    level = _other_level(flux, good, np.asarray(meter.predicted(x), float) * scaled.unit)[:, None]
    given = SeenSpectra(scaled.flux(flux / level), scaled.ivar(ivar * np.square(level)))
    x = meter.settle(spectra, velocity, x, given, steps)
    step, n_pix = meter.step(spectra, velocity, x, given), good.sum(axis=1)
    error = step.error(model.info.velocity_scale, n_pix)
    gain = _without_lines(meter, given) - step.chi2
    return _AtRest(velocity, x, step.left, error, step.chi2, gain, n_pix)


def _without_lines(meter: VelocityMeter, given: SeenSpectra) -> np.ndarray:
    """(N,) χ² of the best constant."""
    weight = np.asarray(meter.scaled.noise.weights(jnp.asarray(given.ivar)), float)
    total = np.maximum(weight.sum(axis=1), 1e-30)
    flux = np.where(weight > 0, given.flux, 0).astype(float)
    mean = np.sum(weight * flux, axis=1) / total
    return np.sum(weight * np.square(flux - mean[:, None]), axis=1)


def _other_level(flux: np.ndarray, good: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(N,) how many times as bright as predicted a spectrum is, if it is in another unit; else 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a spectrum without a good pixel is NaN
        ours, theirs = (np.nanmedian(np.where(good, np.abs(one), np.nan), axis=1) for one in (predicted, flux))
        ratio = theirs / ours
    return np.where((ratio > 0) & np.isfinite(ratio) & (np.abs(np.log(ratio)) > np.log(_OTHER_UNIT)), ratio, 1.0)
