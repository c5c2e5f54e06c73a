"""Figures of posteriors: label against label, draw after draw, and the spectra they predict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter

from slamjax.errors import SlamError
from slamjax.flags import flag_names
from slamjax.model.description import flux_name
from slamjax.model.model import Model
from slamjax.model.radial_velocity import measure_rv
from slamjax.plots.canvas import mark_beyond, new_figure, robust_limits, shade, title_of
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.star_names import star_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from slamjax.sampling import Posterior

_LINE, _FILL, _OBSERVED, _PREDICTED, _KNOWN = "#2e5e8c", "#9bb7d4", "0.25", "#d1495b", "#d1495b"
#: Labels of a corner plot whose title takes two lines.
_NARROW = 2
#: How far from the draws, in widths of theirs, a known label may be and still be within the axes.
_FAR = 2.0
#: Share of the draws within one and two standard deviations of a normal posterior in two dimensions.
_SHARES = (0.393, 0.865)
#: What the bands of predicted spectra are.
_BANDS = "bands: spectra at draws of the labels, with photon noise and model error drawn for each"
#: Draws of which predicted spectra are made.
_PREDICTIONS = 200


def plot_corner(posterior: Posterior, *, row: int | None = None) -> Figure:
    """Each label against each other for one star: draws, 39 and 86 % regions, medians with 68 % intervals.

    The star's known labels (``<label>_ref`` of the input's table) are marked, where it has them.

    Parameters
    ----------
    posterior : Posterior
    row : int, optional
        The star, by its row of the input; default: the first that was sampled.

    Returns
    -------
    matplotlib Figure
        L × L axes, of which those above the diagonal are hidden; fixed labels are left out.

    Raises
    ------
    SlamError
        If the star is not in the posterior, or was not sampled, or no label varies.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.plots import plot_corner
    >>> from slamjax.sampling import Diagnostics, Posterior
    >>> draws = np.random.default_rng(0).normal([4500, 2.0], [50, 0.1], size=(2, 500, 1, 2))
    >>> ess = np.full((1, 2), 1000.0)
    >>> posterior = Posterior(
    ...     ("teff", "logg"), ("K", "dex"), draws, np.zeros((2, 500, 1)), np.zeros((2, 500, 1), bool),
    ...     Diagnostics(np.ones((1, 2)), ess, ess), khat=np.full(1, 0.1), sampler=np.full(1, "importance"),
    ...     flags=np.zeros(1, int), stars={"row": np.arange(1)},
    ... )
    >>> figure = plot_corner(posterior)
    >>> len(figure.axes)
    4
    """
    star = _star(posterior, row)
    labels = _varying(posterior, star)
    draws = posterior.labels[:, :, star].reshape(-1, len(posterior.label_names)).astype(float)[:, labels]
    names = [title_of(posterior.label_names[k], posterior.label_units[k]) for k in labels]
    known = [_known(posterior, star, posterior.label_names[k]) for k in labels]
    n = len(labels)
    ranges = np.array([_range(draws[:, k], known[k]) for k in range(n)])
    figure = new_figure(max(1.2 + 1.9 * n, 4.2), 1.2 + 1.9 * max(n, 1.4))
    axes: Any = figure.subplots(n, n, squeeze=False, sharex="col")
    for i, j in np.ndindex(n, n):
        axis = axes[i, j]
        if j > i:
            axis.set_visible(False)
            continue
        axis.set_xlim(*ranges[j])
        axis.locator_params(nbins=4)
        axis.tick_params(labelsize=7)
        axis.tick_params(axis="x", rotation=35)
        if i == j:
            _draw_histogram(axis, draws[:, i], ranges[i], names[i])
        else:
            _draw_pair(axis, draws[:, j], draws[:, i], ranges[j], ranges[i])
            axis.tick_params(labelleft=j == 0)
            if np.isfinite(known[i]):
                axis.axhline(known[i], color=_KNOWN, lw=0.9, ls="--")
        if np.isfinite(known[j]):
            axis.axvline(known[j], color=_KNOWN, lw=0.9, ls="--")
        if i == n - 1:
            axis.set_xlabel(names[j], fontsize=8)
        if j == 0 and i > 0:
            axis.set_ylabel(names[i], fontsize=8)
    title = _title(posterior, star)
    figure.suptitle(title.replace(": ", "\n", 1) if n <= _NARROW else title, fontsize=9)
    _draw_corner_legend(figure, n, bool(np.isfinite(known).any()))
    figure.align_labels()
    return figure


def _draw_corner_legend(figure: Figure, n: int, has_known: bool) -> None:
    """What the lines are, in the empty corner."""
    from matplotlib.lines import Line2D

    lines = [
        (Line2D([], [], color=_LINE, lw=0.9), "median"),
        (Line2D([], [], color=_LINE, lw=0.9, ls=":"), "68 % interval"),
    ]
    if n > 1:
        ring = Line2D([], [], color=_LINE, ls="", marker="o", mfc="none", ms=9)
        lines.append((ring, "regions with 39 and 86 % of the draws"))
    if has_known:
        lines.append((Line2D([], [], color=_KNOWN, lw=0.9, ls="--"), "known label"))
    handles, texts = zip(*lines, strict=True)
    if n > 1:
        figure.legend(handles, texts, frameon=False, fontsize=8, loc="upper right", bbox_to_anchor=(0.99, 0.96))
    else:
        figure.legend(handles, texts, frameon=False, fontsize=7, loc="outside lower center", ncols=1)


def _known(posterior: Posterior, star: int, name: str) -> float:
    """The known value of a label; NaN if the input has none."""
    known = posterior.stars.get(f"{name}_ref")
    return float("nan") if known is None else float(known[star])


def _range(draws: np.ndarray, known: float) -> tuple[float, float]:
    """Limits of an axis: nearly all draws, and the known label unless it is very far from them."""
    low, high = np.percentile(draws, [0.3, 99.7])
    width = high - low
    if low - _FAR * width < known < high + _FAR * width:
        low, high = min(low, known), max(high, known)
    return float(low - 0.08 * width), float(high + 0.08 * width)


def _draw_histogram(axis: Axes, draws: np.ndarray, limits: np.ndarray, name: str) -> None:
    """One label, with its median and 68 % interval."""
    axis.hist(draws, bins=30, range=tuple(limits), color=_FILL)
    low, middle, high = np.percentile(draws, [16, 50, 84])
    for value, style in ((low, ":"), (middle, "-"), (high, ":")):
        axis.axvline(value, color=_LINE, lw=0.9, ls=style)
    digits = max(0, 1 - int(np.floor(np.log10(max((high - low) / 2, 1e-9)))))
    above, below = (f"{abs(value - middle):.{digits}f}" for value in (high, low))
    axis.set_title(f"{name}\n${middle:z.{digits}f}^{{+{above}}}_{{-{below}}}$", fontsize=8)
    axis.set_yticks([])


def _draw_pair(axis: Axes, x: np.ndarray, y: np.ndarray, x_range: np.ndarray, y_range: np.ndarray) -> None:
    """Draws of two labels, and contours of the densest regions that hold `_SHARES` of them."""
    axis.set_ylim(*y_range)
    axis.plot(x, y, ".", ms=1.2, color=_FILL, alpha=0.6, rasterized=True)
    counts, x_edges, y_edges = np.histogram2d(x, y, bins=40, range=(x_range, y_range))
    density = gaussian_filter(counts, 2.0)
    ordered = np.sort(density.ravel())[::-1]
    share = np.cumsum(ordered) / ordered.sum()
    levels = np.unique([ordered[np.searchsorted(share, wanted)] for wanted in _SHARES])
    x_middle, y_middle = ((edges[1:] + edges[:-1]) / 2 for edges in (x_edges, y_edges))
    axis.contour(x_middle, y_middle, density.T, levels=levels, colors=_LINE, linewidths=0.9)


def plot_trace(posterior: Posterior, *, row: int | None = None) -> Figure:
    """Draws of one star in order, one line per chain, and each chain's distribution; diverging draws are marked.

    Parameters
    ----------
    posterior : Posterior
    row : int, optional
        The star, by its row of the input; default: the first that was sampled.

    Returns
    -------
    matplotlib Figure
        Two axes per label; fixed labels are left out.

    Raises
    ------
    SlamError
        If the star is not in the posterior, or was not sampled.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.plots import plot_trace
    >>> from slamjax.sampling import Diagnostics, Posterior
    >>> draws = np.random.default_rng(0).normal([4500, 2.0], [50, 0.1], size=(2, 500, 1, 2))
    >>> ess = np.full((1, 2), 1000.0)
    >>> posterior = Posterior(
    ...     ("teff", "logg"), ("K", "dex"), draws, np.zeros((2, 500, 1)), np.zeros((2, 500, 1), bool),
    ...     Diagnostics(np.ones((1, 2)), ess, ess), khat=np.full(1, 0.1), sampler=np.full(1, "importance"),
    ...     flags=np.zeros(1, int), stars={"row": np.arange(1)},
    ... )
    >>> figure = plot_trace(posterior)
    >>> figure.axes[1].get_title()
    'bulk ESS 1000, R-hat 1.000'
    """
    star = _star(posterior, row)
    labels = _varying(posterior, star)
    figure = new_figure(9, 0.8 + 1.5 * len(labels))
    axes = figure.subplots(len(labels), 2, squeeze=False, width_ratios=[3, 1], sharey="row")
    for (left, right), k in zip(axes, labels, strict=True):
        for chain, values in enumerate(posterior.labels[:, :, star, k].astype(float)):
            left.plot(values, lw=0.5, color=f"C{chain}", alpha=0.9)
            right.hist(values, bins=30, orientation="horizontal", histtype="step", color=f"C{chain}")
            diverging = np.flatnonzero(posterior.diverging[chain, :, star])
            left.plot(diverging, values[diverging], "|", color="k", ms=6)
        left.set_ylabel(title_of(posterior.label_names[k], posterior.label_units[k]), fontsize=8)
        left.tick_params(labelsize=7)
        bulk, rhat = posterior.diagnostics.ess_bulk[star, k], posterior.diagnostics.rhat[star, k]
        right.set_title(f"bulk ESS {bulk:.0f}" + (f", R-hat {rhat:.3f}" if np.isfinite(rhat) else ""), fontsize=7)
        right.set_xticks([])
    axes[-1, 0].set_xlabel("draw")
    figure.suptitle(f"{_title(posterior, star)}; a colour for each chain", fontsize=9)
    figure.align_ylabels()
    return figure


def plot_predictive(model: Model, spectra: Spectra, posterior: Posterior, *, row: int | None = None) -> Figure:
    """One star's spectrum within the 68 and 95 % bands that its posterior predicts, noise included.

    Parameters
    ----------
    model : Model
        The model that was sampled with.
    spectra : Spectra
        The spectra that were sampled, as read.
    posterior : Posterior
    row : int, optional
        The star, by its row of the input; default: the first that was sampled.

    Returns
    -------
    matplotlib Figure
        Flux, and flux minus the median prediction, in the model's unit.

    Raises
    ------
    SlamError
        If the star is not in the posterior or the spectra, or was not sampled.

    Examples
    --------
    >>> import slamjax
    >>> model = slamjax.Model.read("giants.h5")  # doctest: +SKIP
    >>> spectra = slamjax.read_table("new.fits")  # doctest: +SKIP
    >>> posterior = slamjax.sample(model, spectra)  # doctest: +SKIP
    >>> figure = slamjax.plots.plot_predictive(model, spectra, posterior, row=7)  # doctest: +SKIP
    """
    star = _star(posterior, row)
    index = np.flatnonzero(spectra.rows == posterior.stars["row"][star])
    if not index.size:
        raise SlamError(
            f"{spectra.source} has no spectrum of row {posterior.stars['row'][star]}; give the sampled spectra"
        )
    spectrum = spectra[index[:1]]
    model = model.matched(spectra)
    velocity = (
        np.asarray(measure_rv(model, spectrum, on_progress=False)["rv"].value) if model.needs_rv(spectrum) else None
    )
    prepared = model.prepare(spectrum, velocity)
    one = posterior[star]
    clean = one.predictive(model, _PREDICTIONS, spectra=prepared)[:, 0]
    # bad pixels have no photon error: their band shows the model error alone
    ivar = np.where(prepared.good, prepared.ivar, np.inf)
    noisy = one.predictive(model, _PREDICTIONS, with_noise=True, ivar=ivar, spectra=prepared)[:, 0]
    observed = np.where(prepared.good[0] & model.trained, prepared.flux[0], np.nan)
    median = np.where(model.trained, np.median(clean, axis=0), np.nan)
    figure = new_figure(9, 4.6)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1.3])
    for axis, base in ((top, 0.0), (bottom, median)):
        for (low, high), alpha, text in (((2.5, 97.5), 0.35, "95 %"), ((16, 84), 0.7, "68 %")):
            band = np.percentile(noisy, [low, high], axis=0) - base
            axis.fill_between(model.wave, *band, color=_FILL, alpha=alpha, lw=0, label=f"{text} of predicted spectra")
        axis.plot(model.wave, observed - base, color=_OBSERVED, lw=0.9, label="observed")
    top.plot(model.wave, median, color=_PREDICTED, lw=0.8, label="median prediction")
    bottom.axhline(0, color=_PREDICTED, lw=0.8)
    spread = np.nanmedian(np.where(np.isfinite(observed), noisy.std(axis=0), np.nan))
    off = np.abs(observed - median)
    limit = max(6 * spread, 1.1 * np.nanpercentile(off, 98)) if np.isfinite(off).any() else 1.0
    bottom.set_ylim(-limit, limit)
    mark_beyond(bottom, model.wave, observed - median, _OBSERVED)
    top.set_ylim(*robust_limits(observed, *np.percentile(noisy, [2.5, 97.5], axis=0)))
    mark_beyond(top, model.wave, observed, _OBSERVED)
    for axis in (top, bottom):
        shade(axis, model.wave, ~np.isfinite(observed), "bad pixels")
    top.set_ylabel(flux_name(model))
    bottom.set_ylabel("minus median")
    bottom.set_xlabel(f"wavelength [{model.info.wave_unit}]")
    bottom.set_xlim(model.wave[0], model.wave[-1])
    figure.suptitle(f"{_title(posterior, star)}\n{_BANDS}", fontsize=9)
    handles, texts = top.get_legend_handles_labels()
    figure.legend(handles, texts, frameon=False, fontsize=8, ncols=5, loc="outside lower center")
    figure.align_ylabels()
    return figure


def _star(posterior: Posterior, row: int | None) -> int:
    """Index of the star of an input's row; by default the first that was sampled."""
    sampled = np.isfinite(posterior.labels[0, 0]).all(axis=-1)
    if row is None:
        if not sampled.any():
            raise SlamError("no star of this posterior was sampled; there is nothing to plot")
        return int(np.argmax(sampled))
    index = np.flatnonzero(posterior.stars["row"] == row)
    if not index.size:
        raise SlamError(f"the posterior has no star of row {row}; its rows start at {posterior.stars['row'].min()}")
    if not sampled[index[0]]:
        raise SlamError(f"the star of row {row} could not be sampled; choose another")
    return int(index[0])


def _varying(posterior: Posterior, star: int) -> list[int]:
    """Indices of the labels that were not fixed."""
    draws = posterior.labels[:, :, star].reshape(-1, len(posterior.label_names))
    varying = np.flatnonzero(np.ptp(draws, axis=0) > 0).tolist()
    if not varying:
        raise SlamError("all labels of this posterior are fixed; there is nothing to plot")
    return varying


def _title(posterior: Posterior, star: int) -> str:
    flags = flag_names(int(posterior.flags[star]))
    chains, draws = posterior.labels.shape[:2]
    name, row = star_name(posterior.stars, star), f"row {posterior.stars['row'][star]}"
    name = name if name == row else f"{name} ({row})"
    return f"{name}: {chains} x {draws} draws, {posterior.sampler[star]}; {flags or 'no flags'}"
