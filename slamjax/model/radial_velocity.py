"""Radial velocities by comparison with the model's spectra.

Correlation with predicted spectra proposes two velocities (`slamjax.model.velocity_candidates`). The spectrum is
brought to rest by each, from its own pixels, and labels and velocity are fitted (`slamjax.model.velocity_steps`) until
nothing is left. The likelihood ratio of the two is the contrast.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import QTable

from slamjax._util.progress import reporter
from slamjax.errors import SlamError
from slamjax.model.model import Model
from slamjax.model.own_line_spread import half_width, line_spread_grid, own_sigma
from slamjax.model.velocity_candidates import Candidates, candidates, template_set
from slamjax.model.velocity_meter import VelocityMeter
from slamjax.model.velocity_steps import SeenSpectra
from slamjax.spectra.spectra import Spectra
from slamjax.typing import Progress

#: Spectra per block: limits memory.
_BLOCK = 128
#: Most times that a spectrum is brought to rest again.
_ROUNDS = 4
#: Labels are not fitted to the second velocity if even this many times the χ² that the best template explains there
#: would leave a contrast above the second.
_BEYOND, _CLEAR = 2.0, 100.0
#: Spectra that are by this factor brighter or fainter than predicted are in another unit.
_OTHER_UNIT = 2.0


@dataclass(frozen=True)
class Effort:
    """How far a measurement goes.

    Attributes
    ----------
    first_steps, more_steps : steps of the labels from a template, and after a small change of velocity
    small : a step of the velocity, in its errors, after which a spectrum is not brought to rest again
    """

    first_steps: int = 10
    more_steps: int = 3
    small: float = 0.2


#: As far as a velocity goes that is not refined, and one that a fit refines with its labels.
THOROUGH, REFINED_LATER = Effort(), Effort(first_steps=5, small=0.5)
#: Largest |velocity| that is searched, km/s, and number of predicted spectra.
LIMIT, N_TEMPLATES = 1000.0, 64


def measure_rv(
    model: Model,
    spectra: Spectra,
    *,
    limit: float = LIMIT,
    n_templates: int = N_TEMPLATES,
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
        logarithm of the likelihood ratio of this velocity and the best one elsewhere, with labels fitted to both, or
        with the best template elsewhere where that is far worse. A spectrum without a good pixel, or whose velocity
        lies at the limit, has NaN and an infinite error.

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
    matched = model.matched(spectra)
    near = half_width(matched.info, spectra)
    meter = VelocityMeter.of(matched, line_spread_grid(matched.info, matched.trained, near, matched.scaled().dtype))
    with reporter(on_progress) as report:
        report.stage("measuring velocities")
        measured = velocities(
            meter, spectra, limit=limit, n_templates=n_templates, report=lambda done: report(done, len(spectra))
        )
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

    def replace(self, rows: np.ndarray, part: _AtRest) -> None:
        """Put ``part`` at these rows."""
        for name, values in vars(self).items():
            values[rows] = getattr(part, name)

    def __getitem__(self, rows: np.ndarray) -> _AtRest:
        return _AtRest(**{name: values[rows] for name, values in vars(self).items()})

    def contrast(self, other_gain: np.ndarray) -> np.ndarray:
        """(N,) twice the logarithm of the likelihood ratio to a fit with ``other_gain`` (N,).

        Gains are compared, for resampling smooths the noise, and does so differently at each velocity.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.n_pix * np.log1p((self.gain - np.fmax(other_gain, 0)) / self.chi2)

    @classmethod
    def joined(cls, parts: Sequence[_AtRest]) -> _AtRest:
        """Of all spectra of several parts."""
        return cls(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})


def velocities(
    meter: VelocityMeter,
    spectra: Spectra,
    effort: Effort = THOROUGH,
    *,
    limit: float = LIMIT,
    n_templates: int = N_TEMPLATES,
    report: Callable[[int], None] | None = None,
) -> np.ndarray:
    """(N, 4) velocity, error, correlation, contrast of spectra in the observed frame.

    ``report`` is called with the number of spectra done.
    """
    templates, parts = template_set(meter.model, n_templates), []
    for rows in _blocks(len(spectra)):
        some = spectra[rows]
        found = candidates(meter, some, templates, limit)
        x = templates.x[found.template[:, 0]]
        parts.append((found, _bring_to_rest(meter, some, found.velocity[:, 0], x, effort.first_steps)))
        if report is not None:
            report(int(rows[-1]) + 1)
    found, best = Candidates.joined([part[0] for part in parts]), _AtRest.joined([part[1] for part in parts])

    def at_rest(rows: np.ndarray, velocity: np.ndarray, x: np.ndarray, steps: int) -> _AtRest:
        each = (rows[block] for block in _blocks(len(rows)))
        return _AtRest.joined([_bring_to_rest(meter, spectra[some], velocity[some], x[some], steps) for some in each])

    other_gain = found.square[:, 1] * (best.gain + best.chi2)
    rows = np.flatnonzero(~(best.contrast(_BEYOND * other_gain) > _CLEAR) & np.isfinite(found.velocity[:, 1]))
    if rows.size:
        x = templates.x[found.template[:, 1]]
        other = at_rest(rows, found.velocity[:, 1], x, effort.first_steps)
        swapped = np.nan_to_num(other.gain, nan=-np.inf) > best.gain[rows]
        other_gain[rows] = np.where(swapped, best.gain[rows], other.gain)
        best.replace(rows[swapped], other[swapped])
    for _ in range(_ROUNDS):
        rows = np.flatnonzero(np.abs(best.left) > effort.small * best.error)
        if not rows.size:
            break
        velocity = best.velocity + np.clip(best.left, -meter.pixel, meter.pixel)
        best.replace(rows, at_rest(rows, velocity, best.x, effort.more_steps))
    velocity = best.velocity + best.left
    sound = np.abs(velocity) <= limit
    contrast = np.where(sound, np.nan_to_num(best.contrast(other_gain)), 0.0)
    columns = (np.where(sound, velocity, np.nan), np.where(sound, best.error, np.inf), found.correlation)
    return np.stack([*columns, contrast], axis=1)


def _blocks(n: int) -> Iterator[np.ndarray]:
    """Row numbers, as many as are measured at once."""
    return (np.arange(start, min(n, start + _BLOCK)) for start in range(0, n, _BLOCK))


def _bring_to_rest(meter: VelocityMeter, spectra: Spectra, velocity: np.ndarray, x: np.ndarray, steps: int) -> _AtRest:
    """The spectra at rest after ``steps`` steps of the labels from ``x``."""
    model, scaled = meter.model, meter.scaled
    prepared = model.prepare(spectra, velocity if model.needs_rv(spectra) else None)
    good = prepared.good & model.trained
    flux, ivar = prepared.flux.astype(float), np.where(good, prepared.ivar, 0)
    level = _other_level(flux, good, np.asarray(meter.predicted(x), float) * scaled.unit)[:, None]
    own = None if scaled.line_spread is None else own_sigma(model.info, prepared).astype(scaled.dtype)
    given = SeenSpectra(scaled.flux(flux / level), scaled.ivar(ivar * np.square(level)), line_spread=own)
    x = meter.settle(spectra, velocity, x, given, steps)
    step, n_pix = meter.step(spectra, velocity, x, given), good.sum(axis=1)
    error = step.error(model.info.velocity_scale, n_pix)
    gain = _without_lines(meter, given) - step.chi2
    return _AtRest(velocity, x, step.left, error, step.chi2, gain, n_pix)


def _without_lines(meter: VelocityMeter, given: SeenSpectra) -> np.ndarray:
    """(N,) χ² of the best constant."""
    weight = meter.weights(given.ivar).astype(float)
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
