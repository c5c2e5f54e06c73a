"""Predicted against observed spectra, label against label, what was learnt along the spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Table

from slamjax.errors import SlamError
from slamjax.model.description import emulator_name, flux_name, hyper_parameters
from slamjax.model.model import Model
from slamjax.plots.canvas import new_figure, title_of
from slamjax.spectra.spectra import Spectra
from slamjax.validation.bins import MAD_TO_SIGMA, numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OBSERVED, _PREDICTED, _ERROR = "0.25", "#d1495b", "#9bb7d4"


def plot_spectra(model: Model, spectra: Spectra, labels: Table, *, count: int = 3) -> Figure:
    """Observed spectra, the prediction at their fitted labels, and the residuals with the error expected of them."""
    usable = np.all([np.isfinite(numbers(labels[name])) for name in model.label_names], axis=0)
    chi2 = np.asarray(labels["chi2"], float) / np.maximum(labels["n_pix"], 1)
    rows = _typical(np.where(usable, chi2, np.nan), count)
    if rows.size == 0:
        raise SlamError("there is no fitted spectrum to plot; all fits failed")
    velocity = np.asarray(numbers(labels["rv"]))[rows] if model.needs_rv(spectra) else None
    prepared = model.prepare(spectra[rows], velocity)
    fitted = np.stack([numbers(labels[name])[rows] for name in model.label_names], axis=-1)
    flux = np.asarray(model(fitted), float)
    # of stars held out, not of Σ, which also holds what the known labels are off
    model_error = np.asarray(model.info.pixels["model_error"], float)
    figure = new_figure(9, 2.6 * len(rows) + 0.6)
    axes = figure.subplots(2 * len(rows), 1, sharex=True, squeeze=False, height_ratios=[3, 1.2] * len(rows))[:, 0]
    unit = model.info.wave_unit
    for k, row in enumerate(rows):
        top, bottom = axes[2 * k], axes[2 * k + 1]
        good = prepared.good[k] & model.trained
        observed = np.where(good, prepared.flux[k], np.nan)
        with np.errstate(divide="ignore"):
            sigma = np.sqrt(np.square(model_error) + 1 / prepared.ivar[k].astype(float))
        top.plot(model.wave, observed, color=_OBSERVED, lw=1.2, label="observed")
        top.plot(model.wave, flux[k], color=_PREDICTED, lw=1.0, label=f"{emulator_name(model)} at the fitted labels")
        text = ", ".join(
            f"{title_of(name)} = {_pretty(numbers(labels[name])[row], numbers(labels[f'{name}_err'])[row])}"
            for name in model.label_names
        )
        top.set_title(f"{_star_name(labels, row)}{text}", fontsize=8, loc="left")
        top.set_ylabel(flux_name(model))
        bottom.fill_between(
            model.wave, -sigma, sigma, color=_ERROR, lw=0, alpha=0.8, label="photon and model error, 1 σ"
        )
        bottom.plot(model.wave, observed - flux[k], color=_OBSERVED, lw=0.8)
        known = np.where(good, sigma, np.nan)
        limit = max(5 * np.nanmedian(known), 1.1 * np.nanpercentile(np.abs(observed - flux[k]), 98))
        bottom.set_ylim(-limit, limit)
        bottom.set_ylabel("residual")
        if k == 0:
            top.legend(frameon=False, fontsize=8, ncols=2)
            bottom.legend(frameon=False, fontsize=7, loc="lower right")
    axes[-1].set_xlabel(f"wavelength [{unit}]")
    figure.align_ylabels()
    axes[-1].set_xlim(model.wave[0], model.wave[-1])
    return figure


def plot_labels(labels: Table, names: Sequence[str]) -> Figure:
    """Fitted against known labels, flagged stars apart, with bias and robust scatter."""
    known = [
        name
        for name in names
        if f"{name}_ref" in labels.colnames
        and np.any(np.isfinite(numbers(labels[name]) - numbers(labels[f"{name}_ref"])))
    ]
    if not known:
        raise SlamError("no label of this table has both fitted and known values (columns <label>_ref) to compare")
    figure = new_figure(3.2 * len(known), 4.6)
    axes = figure.subplots(2, len(known), squeeze=False, sharex="col", height_ratios=[3, 1.2])
    flagged = np.asarray(labels["flags"]) != 0
    for k, name in enumerate(known):
        top, bottom = axes[:, k]
        unit = str(getattr(labels[name], "unit", None) or "")
        x, y = numbers(labels[f"{name}_ref"]), numbers(labels[name])
        finite = np.isfinite(x) & np.isfinite(y)
        low, high = np.percentile(np.concatenate([x[finite], y[finite]]), [0.2, 99.8])
        margin = 0.05 * (high - low)
        difference = (y - x)[finite]
        bias = np.median(difference)
        scatter = MAD_TO_SIGMA * np.median(np.abs(difference - bias))
        for chosen, colour, text in ((~flagged, "#2e5e8c", "good"), (flagged, "#e08e45", "flagged")):
            at = finite & chosen
            top.plot(x[at], y[at], ".", ms=2.5, color=colour, alpha=0.7, label=text, rasterized=True)
            bottom.plot(x[at], (y - x)[at], ".", ms=2.5, color=colour, alpha=0.7, rasterized=True)
        top.plot([low, high], [low, high], color="k", lw=0.8)
        top.set_xlim(low - margin, high + margin)
        top.set_ylim(low - margin, high + margin)
        top.set_title(f"bias {_short(bias)}, robust scatter {_short(scatter)}", fontsize=8)
        top.set_ylabel(f"fitted {title_of(name, unit)}")
        bottom.axhline(0, color="k", lw=0.8)
        bottom.set_ylim(-5 * scatter if scatter > 0 else -1, 5 * scatter if scatter > 0 else 1)
        bottom.set_xlabel(f"reference {title_of(name, unit)}")
        bottom.set_ylabel("difference")
        if k == 0:
            top.legend(frameon=False, fontsize=8, markerscale=3)
    return figure


def plot_training(model: Model) -> Figure:
    """Along the spectrum: cross-validated error, model error, what each pixel's sum runs over, and hyper-parameters."""
    pixels, wave = model.info.pixels, model.wave
    candidates = model.info.candidates
    searched = [name for name in hyper_parameters(model) if len(np.unique(np.asarray(candidates[name]))) > 1]
    figure = new_figure(9, 5.2 + 1.4 * len(searched))
    axes = figure.subplots(3 + len(searched), 1, sharex=True, squeeze=False)[:, 0]
    trained = model.trained
    axes[0].plot(wave, np.where(trained, pixels["cv_mse"], np.nan), color="#2e5e8c", lw=1)
    axes[0].set_ylabel("CV error / variance")
    axes[0].set_title(
        "mean squared error of held-out stars over the pixel's variance: 0 is perfect, 1 is no better than the mean",
        fontsize=8,
    )
    axes[0].set_ylim(0, None)
    axes[1].semilogy(wave, pixels["model_error"], color=_PREDICTED, lw=1, label="model error")
    axes[1].semilogy(
        wave,
        np.where(trained, model.host_emulator.flux_scale, np.nan),
        color="0.6",
        lw=1,
        label="spread of the stars",
    )
    axes[1].legend(frameon=False, fontsize=8, ncols=2)
    axes[1].set_ylabel(flux_name(model))
    if "n_support" in pixels.colnames:
        terms, said = pixels["n_support"] / np.maximum(pixels["n_train"], 1), "support\nvectors / stars"
    else:
        terms, said = pixels["n_terms"] / model.host_emulator.n_terms, "monomials\nused / all"
    axes[2].plot(wave, np.where(trained, terms, np.nan), color="k", lw=1)
    axes[2].set_ylabel(said)
    axes[2].set_ylim(0, 1.02)
    for axis, name in zip(axes[3:], searched, strict=True):
        axis.plot(wave, pixels[name], ".", ms=3, color="k")
        tried = np.asarray(candidates[name], float)
        if tried.min() > 0:
            axis.set_yscale("log")
        else:  # a ridge of 0: linear below the least other
            axis.set_yscale("symlog", linthresh=tried[tried > 0].min())
        axis.set_ylabel(name)
    for axis in axes:
        for start, stop in _runs(~trained):
            axis.axvspan(wave[start], wave[stop], color="0.9", lw=0)
    axes[-1].set_xlabel(f"wavelength [{model.info.wave_unit}]")
    figure.align_ylabels()
    axes[-1].set_xlim(wave[0], wave[-1])
    return figure


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _typical(chi2: np.ndarray, count: int) -> np.ndarray:
    """Rows from well to badly fitted, evenly by rank of chi2 and never the extremes."""
    rows = np.argsort(np.where(np.isfinite(chi2), chi2, np.inf), kind="stable")[: int(np.isfinite(chi2).sum())]
    count = min(count, len(rows))
    return rows[[int(len(rows) * (k + 0.5) / count) for k in range(count)]] if count else rows


def _star_name(labels: Table, row: int) -> str:
    for name in labels.colnames:
        if labels[name].dtype.kind in "SU":
            return f"{labels[name][row]}:  "
    return f"row {labels['row'][row]}:  "


def _pretty(value: float, error: float) -> str:
    digits = 0 if abs(value) >= 100 else 2
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.3f}"
