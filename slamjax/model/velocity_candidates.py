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

from collections.abc import Sequence
from dataclasses import dataclass, fields

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
#: A product of two spreads that is smaller than this part of the squares that it is left of is rounding.
_FLAT = 1e-9


@dataclass(frozen=True, eq=False)
class Candidates:
    """Two velocities of each of N spectra: of the highest peak, and of the highest other one or end of the range.

    Attributes
    ----------
    velocity : (N, 2) km/s; NaN where there is none
    template : (N, 2) the template that correlates best there
    square : (N, 2) R² there
    """

    velocity: Float[np.ndarray, "star 2"]
    template: Int[np.ndarray, "star 2"]
    square: Float[np.ndarray, "star 2"]

    @property
    def correlation(self) -> Float[np.ndarray, " star"]:
        """(N,) R at the highest peak."""
        return np.sqrt(self.square[:, 0])

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        """Of all spectra of several parts."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


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
    weight = meter.weights(ivar).astype(float)
    edges, step = log_grid(model.wave)
    flux, weight = resample(model.wave, prepared.flux.astype(float) / scaled.unit, np.where(good, weight, 0), edges)
    most = min(int(np.ceil(limit / (LIGHT * step))), flux.shape[1] // 4)
    lags = np.arange(-most, most + 1)
    seen = np.isfinite(templates.flux)
    # differences from each one's mean keep float32's digits
    t = _about_mean(templates.flux, seen.astype(float)).T
    f, weight = _about_mean(flux, weight), _within_one(weight)
    everywhere = seen.all(axis=0).astype(np.float32)
    square = np.stack([_squares(f, weight, t, everywhere, int(lag)) for lag in lags], axis=-1)  # (N, T, lag)
    known = (weight > 0).sum(axis=1) >= _FEWEST
    places, top = _two_peaks(square.max(axis=1), known)
    nearest = np.clip(np.nan_to_num(np.round(places)), 0, 2 * most).astype(int)
    shift = (places - most) * step
    return Candidates(
        velocity=LIGHT * np.tanh(shift),  # λ'/λ squared is (1 + β) / (1 − β)
        template=np.stack([square[np.arange(len(f)), :, nearest[:, k]].argmax(axis=1) for k in range(2)], axis=1),
        square=top,
    )


def _about_mean(flux: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Flux (N, P) less each spectrum's mean, in float32; 0 without weight."""
    flux, total = np.where(weight > 0, flux, 0), weight.sum(axis=1, keepdims=True)
    mean = np.sum(weight * flux, axis=1, keepdims=True) / np.where(total > 0, total, 1)
    return np.asarray(np.where(weight > 0, flux - mean, 0), np.float32)


def _within_one(weight: np.ndarray) -> np.ndarray:
    """(N, P) weights in float32, relative to each spectrum's largest: R does not depend on their unit."""
    largest = weight.max(axis=1, initial=0, keepdims=True)
    return np.asarray(weight / np.where(largest > 0, largest, 1), np.float32)


def _squares(f: np.ndarray, w: np.ndarray, t: np.ndarray, seen: np.ndarray, lag: int) -> np.ndarray:
    """R² (N, T), negative for anticorrelation, at a shift of whole pixels."""
    n = f.shape[1]
    here, there = slice(max(lag, 0), n + min(lag, 0)), slice(max(-lag, 0), n + min(-lag, 0))
    w = w[:, here] * seen[there]
    f, t = f[:, here], t[there]
    wf = w * f
    wt, square, cross = (product.astype(float) for product in (w @ t, w @ np.square(t), wf @ t))
    total = w.sum(axis=1, keepdims=True, dtype=float)
    total = np.where(total > 0, total, 1)
    mean = wf.sum(axis=1, keepdims=True, dtype=float)
    spread = np.sum(wf * f, axis=1, dtype=float) - mean[:, 0] ** 2 / total[:, 0]
    cross -= mean * wt / total
    template_spread = square - wt**2 / total
    scale = np.maximum(template_spread * spread[:, None], 0)
    sound = scale > _FLAT * square * np.sum(wf * f, axis=1, dtype=float)[:, None]
    return np.where(sound, cross * np.abs(cross) / np.where(sound, scale, 1), 0)


def _two_peaks(top: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (N, 2) of the highest peak of R² (N, lag) and of the highest other peak or end, and R² (N, 2) there.

    NaN where there is none; a first peak at an end is none, nor is one of a spectrum that is not ``known``.
    """
    star, last = np.arange(len(top)), top.shape[1] - 1
    if last < 2:
        return np.full((len(top), 2), np.nan), np.full((len(top), 2), np.nan)
    at = top.argmax(axis=1)
    sound = known & (top[star, at] > 0) & (at > 0) & (at < last)
    at = np.clip(at, 1, last - 1)
    peak = np.ones(top.shape, bool)
    peak[:, 1:-1] = (top[:, 1:-1] >= top[:, :-2]) & (top[:, 1:-1] >= top[:, 2:])
    peak &= np.abs(np.arange(last + 1) - at[:, None]) > 1
    other = np.where(peak, top, -np.inf).argmax(axis=1)
    low, middle, high = (top[star, at + k] for k in (-1, 0, 1))
    bend = low - 2 * middle + high
    offset = np.where(bend < 0, (low - high) / (2 * np.where(bend < 0, bend, 1)), 0)
    both = sound & peak.any(axis=1)
    places = np.stack([np.where(sound, at + offset, np.nan), np.where(both, other, np.nan)], axis=1)
    return places, np.stack([np.where(sound, middle, np.nan), np.where(both, top[star, other], np.nan)], axis=1)
