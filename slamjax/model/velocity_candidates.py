"""Where a spectrum may be: velocities at which it correlates with predicted spectra.

At every velocity of a grid, a spectrum f is compared with a t + b, where t is a shifted prediction. The weighted
correlation

    R = Σ w (f − f̄)(t − t̄) / √(Σ w (f − f̄)² Σ w (t − t̄)²)

is largest at the least χ² = (1 − R²) Σ w (f − f̄)² of independent pixels (Zucker 2003, MNRAS 342, 1291, for one
template; here the best of many). All sums at one shift, for all spectra and templates, are matrix products.

`slamjax.fitting.rv_starts` has a second correlator, which serves as a compiled start of fits with a free velocity: on
their fine grid, by FFT over all shifts at once. Here the shifts are whole pixels up to ``limit``, and gaps and edges
are treated exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from slamjax._util.constants import LIGHT
from slamjax.emulators.training_labels import far_apart
from slamjax.model.model import Model
from slamjax.model.velocity_meter import VelocityMeter
from slamjax.spectra.resampling import resample
from slamjax.spectra.spectra import Spectra

#: Fewer pixels have no velocity.
_FEWEST = 10


@dataclass(frozen=True, eq=False)
class Candidates:
    """Two velocities of each of N spectra: of the highest peak, and of the highest other one or end of the range.

    Attributes
    ----------
    velocity : (N, 2) km/s; NaN where there is none
    template : (N, 2) the template that correlates best there
    correlation : (N,) at the highest peak
    """

    velocity: Float[np.ndarray, "star 2"]
    template: Int[np.ndarray, "star 2"]
    correlation: Float[np.ndarray, " star"]


@dataclass(frozen=True, eq=False)
class TemplateSet:
    """Predicted spectra (T, P') on a grid that is uniform in ln λ, and their scaled labels (T, L)."""

    x: Float[np.ndarray, "template label"]
    flux: Float[np.ndarray, "template pixel"]


def log_grid(wave: Float[np.ndarray, " pixel"]) -> tuple[np.ndarray, float]:
    """Edges of pixels of one width in ln λ over the range of ``wave``, and that width."""
    step = float(np.median(np.diff(np.log(wave))))
    n = int((np.log(wave[-1]) - np.log(wave[0])) / step) + 1
    return np.exp(np.log(wave[0]) + step * (np.arange(n + 1) - 0.5)), step


def template_set(model: Model, n: int) -> TemplateSet:
    """Predicted spectra at training stars that are far apart in labels."""
    stars = np.asarray(model.training_labels.stars, float)
    x = stars[far_apart(stars, n)]
    flux = np.asarray(model.emulator.at(jnp.asarray(x)), float)
    edges, _ = log_grid(model.wave)
    known = np.broadcast_to(model.trained.astype(float), flux.shape)
    placed, ivar = resample(model.wave, flux / model.scaled().unit, known, edges)
    return TemplateSet(x, np.where(ivar > 0, placed, np.nan))


def candidates(meter: VelocityMeter, spectra: Spectra, templates: TemplateSet, limit: float) -> Candidates:
    """The velocities within ±``limit`` km/s at which spectra correlate best."""
    model, scaled = meter.model, meter.scaled
    speeds = np.zeros(len(spectra)) if model.needs_rv(spectra) else None
    prepared = model.prepare(spectra, speeds)
    good = prepared.good & model.trained
    ivar = scaled.ivar(np.where(good, prepared.ivar, 0))
    weight = np.asarray(scaled.noise.weights(jnp.asarray(ivar)), float)
    edges, step = log_grid(model.wave)
    flux, weight = resample(model.wave, prepared.flux.astype(float) / scaled.unit, np.where(good, weight, 0), edges)
    most = min(int(np.ceil(limit / (LIGHT * step))), flux.shape[1] // 4)
    lags = np.arange(-most, most + 1)
    seen = np.isfinite(templates.flux)
    level = np.nanmean(templates.flux) if seen.any() else 0.0
    # differences from a common level keep float's digits
    t = np.where(seen, templates.flux - level, 0).T
    f = np.where(weight > 0, flux - level, 0)
    everywhere = seen.all(axis=0).astype(float)
    square = np.stack([_squares(f, weight, t, everywhere, int(lag)) for lag in lags], axis=-1)  # (N, T, lag)
    known = (weight > 0).sum(axis=1) >= _FEWEST
    found = [_two_peaks(one) if sound else (np.full(2, np.nan), 0.0) for one, sound in zip(square, known, strict=True)]
    lag = np.stack([one[0] for one in found])
    nearest = np.clip(np.nan_to_num(np.round(lag)), 0, 2 * most).astype(int)
    shift = (lag - most) * step
    return Candidates(
        velocity=LIGHT * np.tanh(shift),  # λ'/λ squared is (1 + β) / (1 − β)
        template=np.stack([square[np.arange(len(f)), :, nearest[:, k]].argmax(axis=1) for k in range(2)], axis=1),
        correlation=np.array([one[1] if sound else np.nan for one, sound in zip(found, known, strict=True)]),
    )


def _squares(f: np.ndarray, w: np.ndarray, t: np.ndarray, seen: np.ndarray, lag: int) -> np.ndarray:
    """R² (N, T), negative for anticorrelation, at a shift of whole pixels."""
    n = f.shape[1]
    here, there = slice(max(lag, 0), n + min(lag, 0)), slice(max(-lag, 0), n + min(-lag, 0))
    w = w[:, here] * seen[there]
    f, t = f[:, here], t[there]
    total = w.sum(axis=1, keepdims=True)
    total = np.where(total > 0, total, 1)
    wf = w * f
    mean = wf.sum(axis=1, keepdims=True)
    spread = (wf * f).sum(axis=1) - mean[:, 0] ** 2 / total[:, 0]
    wt = w @ t
    cross = wf @ t - mean * wt / total
    template_spread = w @ t**2 - wt**2 / total
    scale = np.maximum(template_spread * spread[:, None], 0)
    sound = scale > 1e-12
    return np.where(sound, cross * np.abs(cross) / np.where(sound, scale, 1), 0)


def _two_peaks(square: np.ndarray) -> tuple[np.ndarray, float]:
    """Places (2,) of the highest peak of R² (T, lag) and of the highest other peak or end, and R of the first.

    NaN where there is none; a first peak at an end is none.
    """
    top = square.max(axis=0)
    at = int(np.argmax(top))
    if not top[at] > 0 or at in (0, len(top) - 1):
        return np.full(2, np.nan), float("nan")
    peak = np.zeros(len(top), bool)
    peak[1:-1] = (top[1:-1] >= top[:-2]) & (top[1:-1] >= top[2:])
    peak[[0, -1]] = True
    peak[at - 1 : at + 2] = False
    others = np.flatnonzero(peak)
    rival = others[np.argmax(top[others])] if others.size else at
    low, high = top[at - 1], top[at + 1]
    bend = low - 2 * top[at] + high
    offset = (low - high) / (2 * bend) if bend < 0 else 0.0
    return np.array([at + offset, float(rival) if rival != at else np.nan]), float(np.sqrt(top[at]))
