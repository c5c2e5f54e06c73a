"""Radial velocities by cross-correlation with the model's spectra.

At every velocity of a grid, a spectrum f is compared with a t + b, where t is a shifted prediction. The weighted
correlation

    R = Σ w (f − f̄)(t − t̄) / √(Σ w (f − f̄)² Σ w (t − t̄)²)

is largest at the least χ² = (1 − R²) Σ w (f − f̄)², whose curvature gives the error (Zucker 2003, MNRAS 342, 1291,
for one template; here the best of many). All sums at one shift, for all spectra and templates, are matrix products.

`slamjax.fitting.rv_starts` has a second correlator, which serves as a compiled start of fits with a free velocity: on
their fine grid, by FFT over all shifts at once, and without errors. Here the shifts are whole pixels up to ``limit``,
gaps and edges are treated exactly, and the peak gives an error and a contrast. For 90 MILES stars this takes 0.43 s,
the other 0.06 s; their velocities agree to 2 km/s (median; pixels of 53 km/s).
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from astropy import units as u
from astropy.table import QTable
from jaxtyping import Float

from slamjax._util.constants import LIGHT
from slamjax.emulators.training_labels import far_apart
from slamjax.errors import SlamError
from slamjax.model.model import Model
from slamjax.spectra.resampling import resample
from slamjax.spectra.spectra import Spectra
from slamjax.typing import Progress

#: Spectra per block: limits memory.
_BLOCK = 128
#: A second peak is at least this many pixels away.
_APART = 6


def measure_rv(
    model: Model,
    spectra: Spectra,
    *,
    limit: float = 1000.0,
    n_templates: int = 64,
    on_progress: Progress | None = None,
) -> QTable:
    """Radial velocities by cross-correlation with predicted spectra.

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
    on_progress : callable, optional
        Called with (spectra done, spectra in all).

    Returns
    -------
    astropy QTable
        One row per spectrum: ``rv`` and ``rv_err`` (km/s; positive for receding stars, in the frame of the spectra),
        ``correlation`` with the best template at the peak, and ``contrast``, the difference in χ² (scaled to 1 per
        pixel) between the best velocity elsewhere and the peak. A spectrum without a good pixel, or whose peak lies at
        the limit, has NaN and an infinite error.

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
    >>> recipe = slamjax.Recipe.make(wave_range=(400, 900))
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
    templates = _templates(model, n_templates)
    peaks = np.empty((len(spectra), 4))
    for start in range(0, len(spectra), _BLOCK):
        block = spectra[start : start + _BLOCK]
        peaks[start : start + len(block)] = _compare(model, block, templates, limit)
        if on_progress is not None:
            on_progress(start + len(block), len(spectra))
    table = QTable(peaks, names=("rv", "rv_err", "correlation", "contrast"))
    for name in ("rv", "rv_err"):
        table[name] = table[name] * (u.km / u.s)
    return table


def log_grid(wave: Float[np.ndarray, " pixel"]) -> tuple[np.ndarray, float]:
    """Edges of pixels of one width in ln λ over the range of ``wave``, and that width."""
    step = float(np.median(np.diff(np.log(wave))))
    n = int((np.log(wave[-1]) - np.log(wave[0])) / step) + 1
    return np.exp(np.log(wave[0]) + step * (np.arange(n + 1) - 0.5)), step


def _templates(model: Model, n: int) -> np.ndarray:
    """(T, P) predicted spectra at training stars that are far apart in labels."""
    stars = np.asarray(model.training_labels.stars, float)
    flux = np.asarray(model.emulator.at(jnp.asarray(stars[far_apart(stars, n)])), float)
    edges, _ = log_grid(model.wave)
    known = np.broadcast_to(model.trained.astype(float), flux.shape)
    placed, ivar = resample(model.wave, flux / model.scaled().unit, known, edges)
    return np.where(ivar > 0, placed, np.nan)


def _compare(model: Model, spectra: Spectra, templates: np.ndarray, limit: float) -> np.ndarray:
    """(N, 4) velocity, error, correlation, contrast."""
    speeds = np.zeros(len(spectra)) if model.needs_rv(spectra) else None
    prepared = model.prepare(spectra, speeds)
    scaled = model.scaled()
    good = prepared.good & model.trained
    ivar = scaled.ivar(np.where(good, prepared.ivar, 0))
    weight = np.asarray(model.noise.in_unit(scaled.unit).weights(jnp.asarray(ivar)), float)
    edges, step = log_grid(model.wave)
    flux, weight = resample(model.wave, prepared.flux.astype(float) / scaled.unit, np.where(good, weight, 0), edges)
    n_pix = flux.shape[1]
    most = min(int(np.ceil(limit / (LIGHT * step))), n_pix // 4)
    lags = np.arange(-most, most + 1)
    seen = np.isfinite(templates)
    level = np.nanmean(templates) if seen.any() else 0.0
    # differences from a common level keep float's digits
    t = np.where(seen, templates - level, 0).T
    f = np.where(weight > 0, flux - level, 0)
    everywhere = seen.all(axis=0).astype(float)
    sums = [_sums(f, weight, t, everywhere, int(lag)) for lag in lags]
    square, spread = (np.stack([row[k] for row in sums], axis=-1) for k in (0, 1))  # (N, T, lag), (N, lag)
    best = np.argmax(square.max(axis=2), axis=1)
    peak = square[np.arange(len(f)), best]  # (N, lag)
    # Σ may be scaled up for reasons other than photon noise: smaller reduced χ² are possible then
    least = min(1.0, 1 / model.info.calibration.model_factor)
    counts = (weight > 0).sum(axis=1).tolist()
    return np.stack([_peak(*given, step, least) for given in zip(peak, spread, counts, strict=True)])


def _sums(f: np.ndarray, w: np.ndarray, t: np.ndarray, seen: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """R² (N, T), negative for anticorrelation, and Σ w (f − f̄)² (N,) at a shift of whole pixels."""
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
    return np.where(sound, cross * np.abs(cross) / np.where(sound, scale, 1), 0), spread


def _peak(square: np.ndarray, spread: np.ndarray, n_pix: int, step: float, floor: float) -> list[float]:
    """Velocity, error, correlation and contrast from R² (lag,) of a spectrum with its best template.

    ``floor`` is the smallest reduced χ² that is used for errors.
    """
    nothing = [np.nan, np.inf, np.nan, 0.0]
    at, middle = int(np.argmax(square)), len(square) // 2
    if n_pix < 10 or not square[at] > 0 or at in (0, len(square) - 1):
        return nothing
    low, top, high = square[at - 1 : at + 2]
    bend = low - 2 * top + high
    if not bend < 0:
        return nothing
    offset = (low - high) / (2 * bend)
    least = max(1 - top, 1e-12) * spread[at]
    reduced = max(least / n_pix, floor)
    # χ² = spread (1 − R²); its second derivative by the lag is −spread · bend
    error = np.sqrt(2 * reduced / (-spread[at] * bend))
    apart = np.abs(np.arange(len(square)) - at) >= _APART
    elsewhere = square[apart].max(initial=0.0)
    shift = (at - middle + offset) * step
    ratio = np.exp(2 * shift)  # λ'/λ squared is (1 + β) / (1 − β)
    return [
        LIGHT * (ratio - 1) / (ratio + 1),
        LIGHT * step * error,
        float(np.sqrt(top)),
        float((top - elsewhere) * spread[at] / reduced),
    ]
