"""Figures of posteriors: label against label, draw after draw, and the spectra they predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slamjax.errors import SlamError
from slamjax.model.description import flux_name
from slamjax.model.model import Model
from slamjax.model.radial_velocity import measure_rv
from slamjax.plots.canvas import new_figure, title_of
from slamjax.spectra.spectra import Spectra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from slamjax.sampling import Posterior

_LINE, _FILL, _OBSERVED, _PREDICTED = "#2e5e8c", "#9bb7d4", "0.25", "#d1495b"
#: Shares of the draws that a normal posterior has within one and two standard deviations in two dimensions.
_SHARES = (0.393, 0.865)


def _star(posterior: Posterior, row: int | None) -> int:
    """Place of the star of an input's row; by default the first that was sampled."""
    sampled = np.isfinite(posterior.labels[0, 0]).all(axis=-1)
    if row is None:
        if not sampled.any():
            raise SlamError("no star of this posterior was sampled; there is nothing to plot")
        return int(np.argmax(sampled))
    places = np.flatnonzero(posterior.stars["row"] == row)
    if not places.size:
        raise SlamError(f"the posterior has no star of row {row}; its rows go from {posterior.stars['row'].min()} on")
    if not sampled[places[0]]:
        raise SlamError(f"the star of row {row} could not be sampled; choose another")
    return int(places[0])


def _varying(posterior: Posterior, star: int) -> list[int]:
    """Labels that were not fixed."""
    flat = posterior.labels[:, :, star].reshape(-1, len(posterior.label_names))
    return [k for k in range(flat.shape[1]) if np.ptp(flat[:, k]) > 0]


def plot_corner(posterior: Posterior, *, row: int | None = None) -> Figure:
    """Every label against every other for one star: draws, regions of 39 and 86 %, medians with 68 % intervals."""
    star = _star(posterior, row)
    labels = _varying(posterior, star)
    draws = posterior.labels[:, :, star].reshape(-1, len(posterior.label_names)).astype(float)[:, labels]
    names = [title_of(posterior.label_names[k], posterior.label_units[k]) for k in labels]
    n = len(labels)
    figure = new_figure(1.2 + 1.9 * n, 1.2 + 1.9 * n)
    axes = figure.subplots(n, n, squeeze=False, sharex="col")
    low, high = np.percentile(draws, [0.3, 99.7], axis=0)
    for i in range(n):
        for j in range(n):
            ax = axes[i, j]
            if j > i:
                ax.set_visible(False)
                continue
            ax.set_xlim(low[j], high[j])
            ax.locator_params(nbins=4)
            ax.tick_params(labelsize=7)
            ax.tick_params(axis="x", rotation=35)
            if i == j:
                ax.hist(draws[:, i], bins=30, range=(low[i], high[i]), color=_FILL)
                below, middle, above = np.percentile(draws[:, i], [16, 50, 84])
                for value, style in ((below, ":"), (middle, "-"), (above, ":")):
                    ax.axvline(value, color=_LINE, lw=0.9, ls=style)
                digits = max(0, 1 - int(np.floor(np.log10(max((above - below) / 2, 1e-9)))))
                above, below = (f"{abs(value - middle):.{digits}f}" for value in (above, below))
                ax.set_title(f"{names[i]}\n${middle:.{digits}f}^{{+{above}}}_{{-{below}}}$", fontsize=8)
                ax.set_yticks([])
            else:
                ax.set_ylim(low[i], high[i])
                ax.plot(draws[:, j], draws[:, i], ".", ms=1.2, color=_FILL, alpha=0.6, rasterized=True)
                _regions(ax, draws[:, j], draws[:, i], (low[j], high[j]), (low[i], high[i]))
                if j:
                    ax.tick_params(labelleft=False)
            if i == n - 1:
                ax.set_xlabel(names[j], fontsize=8)
            if j == 0 and i > 0:
                ax.set_ylabel(names[i], fontsize=8)
    figure.suptitle(_title(posterior, star), fontsize=9)
    return figure


def _regions(
    ax: object, x: np.ndarray, y: np.ndarray, x_range: tuple[float, float], y_range: tuple[float, float]
) -> None:
    """Contours of the densest regions that hold `_SHARES` of the draws, from a smoothed histogram."""
    from scipy.ndimage import gaussian_filter

    counts, x_edges, y_edges = np.histogram2d(x, y, bins=40, range=(x_range, y_range))
    density = gaussian_filter(counts, 2.0)
    ordered = np.sort(density.ravel())[::-1]
    share = np.cumsum(ordered) / ordered.sum()
    levels = np.unique([ordered[np.searchsorted(share, wanted)] for wanted in _SHARES])
    middle = [(edges[1:] + edges[:-1]) / 2 for edges in (x_edges, y_edges)]
    ax.contour(*middle, density.T, levels=levels, colors=_LINE, linewidths=0.9)  # type: ignore[attr-defined]


def plot_trace(posterior: Posterior, *, row: int | None = None) -> Figure:
    """Draw after draw of one star, a line a chain, and each chain's distribution; diverging draws are marked."""
    star = _star(posterior, row)
    labels = _varying(posterior, star)
    n = len(labels)
    figure = new_figure(9, 0.8 + 1.5 * n)
    axes = figure.subplots(n, 2, squeeze=False, width_ratios=[3, 1], sharey="row")
    chains = posterior.labels.shape[0]
    for i, k in enumerate(labels):
        for chain in range(chains):
            values = posterior.labels[chain, :, star, k].astype(float)
            colour = f"C{chain}"
            axes[i, 0].plot(values, lw=0.5, color=colour, alpha=0.9)
            axes[i, 1].hist(values, bins=30, orientation="horizontal", histtype="step", color=colour)
            diverged = np.flatnonzero(posterior.diverging[chain, :, star])
            axes[i, 0].plot(diverged, values[diverged], "|", color="k", ms=6)
        axes[i, 0].set_ylabel(title_of(posterior.label_names[k], posterior.label_units[k]), fontsize=8)
        bulk, rhat = posterior.diagnostics.ess_bulk[star, k], posterior.diagnostics.rhat[star, k]
        text = f"bulk ESS {bulk:.0f}" + (f", R-hat {rhat:.3f}" if np.isfinite(rhat) else "")
        axes[i, 1].set_title(text, fontsize=7)
        axes[i, 1].set_xticks([])
        axes[i, 0].tick_params(labelsize=7)
    axes[-1, 0].set_xlabel("draw")
    figure.suptitle(_title(posterior, star), fontsize=9)
    figure.align_ylabels()
    return figure


def plot_predictive(model: Model, spectra: Spectra, posterior: Posterior, *, row: int | None = None) -> Figure:
    """One star's observed spectrum within the spectra that its posterior predicts, with noise (68 and 95 %)."""
    star = _star(posterior, row)
    places = np.flatnonzero(spectra.rows == posterior.stars["row"][star])
    if not places.size:
        raise SlamError(f"{spectra.source} has no spectrum of row {posterior.stars['row'][star]}; give those sampled")
    some = spectra[[int(places[0])]]
    velocity = np.asarray(measure_rv(model, some)["rv"].value) if model.needs_rv(some) else None
    prepared = model.prepare(some, velocity)
    one = posterior[star]
    clean = one.predictive(model, 200)[:, 0]
    # photon errors of a bad pixel say nothing: its band shows the model's own error
    ivar = np.where(prepared.good, prepared.ivar, np.inf)
    noisy = one.predictive(model, 200, with_noise=True, ivar=ivar)[:, 0]
    good = prepared.good[0] & model.trained
    observed = np.where(good, prepared.flux[0], np.nan)
    middle = np.where(model.trained, np.median(clean, axis=0), np.nan)
    figure = new_figure(9, 4.6)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1.3])
    for ax, base in ((top, 0.0), (bottom, middle)):
        for (low, high), alpha, text in (((2.5, 97.5), 0.35, "95 %"), ((16, 84), 0.7, "68 %")):
            band = np.percentile(noisy, [low, high], axis=0) - base
            ax.fill_between(model.wave, *band, color=_FILL, alpha=alpha, lw=0, label=f"predicted, {text}")
        ax.plot(model.wave, observed - base, color=_OBSERVED, lw=0.9, label="observed")
    top.plot(model.wave, middle, color=_PREDICTED, lw=0.8, label="median prediction")
    bottom.axhline(0, color=_PREDICTED, lw=0.8)
    spread = np.nanmedian(np.where(good, noisy.std(axis=0), np.nan))
    bottom.set_ylim(-6 * spread, 6 * spread)
    top.set_ylabel(flux_name(model))
    bottom.set_ylabel("minus median")
    bottom.set_xlabel(f"wavelength [{model.info.wave_unit}]")
    bottom.set_xlim(model.wave[0], model.wave[-1])
    top.legend(frameon=False, fontsize=8, ncols=2)
    figure.suptitle(_title(posterior, star), fontsize=9)
    figure.align_ylabels()
    return figure


def _title(posterior: Posterior, star: int) -> str:
    from slamjax.flags import flag_names

    flags = flag_names(int(posterior.flags[star]))
    chains, draws = posterior.labels.shape[:2]
    return f"row {posterior.stars['row'][star]}: {chains} x {draws} draws, {posterior.sampler[star]}" + (
        f"; {flags}" if flags else ""
    )
