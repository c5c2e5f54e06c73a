"""Observed and predicted spectra, with their residuals in units of the expected error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table

from slamjax._util.rounding import with_error
from slamjax.errors import SlamError
from slamjax.flags import flag_names
from slamjax.model.description import flux_name
from slamjax.model.model import Model
from slamjax.model.named_labels import labels_of
from slamjax.plots.canvas import mark_beyond, new_figure, robust_limits, shade, title_of
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.star_names import star_name
from slamjax.validation.bins import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OBSERVED, _PREDICTED, _ERROR, _FLAGGED = "0.25", "#d1495b", "#9bb7d4", "#b3541e"
#: Labels in a line of a title; spectra in a figure.
_PER_LINE, _MOST = 5, 40


@dataclass(frozen=True)
class FittedSpectrum:
    """One star on the model's pixels: flux (P,), NaN where bad, the prediction, and the 1 σ expected of their
    difference.
    """

    title: str
    flagged: bool
    observed: np.ndarray
    predicted: np.ndarray
    sigma: np.ndarray


def plot_spectra(model: Model, spectra: Spectra, labels: Table, *, count: int = 3) -> Figure:
    """Observed spectra, the prediction at their fitted labels, and residuals in units of the expected error.

    Titles state the labels, χ² and flags. Limits are robust: triangles at an edge stand for pixels beyond it, and bad
    pixels are grey.

    Parameters
    ----------
    model : Model
    spectra : Spectra
        N spectra, as read.
    labels : Table
        N rows of `slamjax.fit` for these spectra.
    count : int
        Spectra to draw, from well to badly fitted (by χ² per pixel); 1 to 40.

    Returns
    -------
    matplotlib Figure
        Flux in the model's unit against wavelength; two axes per spectrum.

    Raises
    ------
    SlamError
        If every fit failed, or for another count.

    Examples
    --------
    >>> import slamjax
    >>> train, test = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(510, 516), wave_unit="nm")
    >>> emulator = slamjax.Polynomial(ridge=0.1)
    >>> model = slamjax.train(train[:60], ["teff"], emulator=emulator, recipe=recipe, noise="diagonal")
    >>> figure = slamjax.plots.plot_spectra(model, test[:5], slamjax.fit(model, test[:5], n_starts=1), count=2)
    >>> len(figure.axes)
    4
    """
    if not 1 <= count <= _MOST:
        raise SlamError(f"count is {count}; a figure holds 1 to {_MOST} spectra")
    rows = _typical(_chi2_per_pixel(model, labels), count)
    if rows.size == 0:
        raise SlamError("there is no fitted spectrum to plot; all fits failed")
    stars = fitted_spectra(model, spectra, labels, rows)
    lines = sum(star.title.count("\n") for star in stars)
    figure = new_figure(9, 2.6 * len(rows) + 0.6 + 0.12 * lines)
    axes = figure.subplots(2 * len(rows), 1, sharex=True, squeeze=False, height_ratios=[3, 1.2] * len(rows))[:, 0]
    for star, top, bottom in zip(stars, axes[::2], axes[1::2], strict=True):
        _draw_flux(top, model, star)
        _draw_residual(bottom, model, star)
    _draw_legend(figure, axes)
    axes[-1].set_xlabel(f"wavelength [{model.info.wave_unit}]")
    axes[-1].set_xlim(model.wave[0], model.wave[-1])
    figure.align_ylabels()
    return figure


def _draw_legend(figure: Figure, axes: np.ndarray) -> None:
    """What is what in all axes, each name once."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, text in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(text, handle)
    figure.legend(
        list(found.values()), list(found), frameon=False, fontsize=8, ncols=len(found), loc="outside upper right"
    )  # fmt: skip


def _chi2_per_pixel(model: Model, labels: Table) -> np.ndarray:
    """(N,) NaN where the fit failed."""
    usable = np.all([np.isfinite(numbers(labels[name])) for name in model.label_names], axis=0)
    chi2 = np.asarray(labels["chi2"], float) / np.maximum(labels["n_pix"], 1)
    return np.where(usable, chi2, np.nan)


def _typical(chi2: np.ndarray, count: int) -> np.ndarray:
    """Rows from well to badly fitted, evenly spaced by rank of χ² and never the extremes."""
    rows = np.argsort(np.where(np.isfinite(chi2), chi2, np.inf), kind="stable")[: int(np.isfinite(chi2).sum())]
    count = min(count, len(rows))
    return rows[[int(len(rows) * (k + 0.5) / count) for k in range(count)]] if count else rows


def fitted_spectra(model: Model, spectra: Spectra, labels: Table, rows: np.ndarray) -> list[FittedSpectrum]:
    """Some of the spectra and their fits, on the model's pixels."""
    model = model.matched(spectra)
    velocity = np.asarray(numbers(labels["rv"]))[rows] if model.needs_rv(spectra) else None
    prepared = model.prepare(spectra[rows], velocity)
    predicted = np.asarray(model.as_seen(prepared, model.emulator(labels_of(model, labels[rows]))), float)
    observed = np.where(prepared.good & model.trained, prepared.flux, np.nan)
    # the error of held-out stars: the noise model's Σ also holds the errors of the known labels
    model_error = np.asarray(model.info.pixels["model_error"], float)
    with np.errstate(divide="ignore"):
        sigma = np.sqrt(np.square(model_error) + 1 / prepared.ivar.astype(float))
    flags = np.asarray(labels["flags"]) if "flags" in labels.colnames else np.zeros(len(labels), int)
    return [
        FittedSpectrum(_star_title(model, labels, row), bool(flags[row]), observed[k], predicted[k], sigma[k])
        for k, row in enumerate(rows)
    ]


def _draw_flux(axis: Axes, model: Model, star: FittedSpectrum) -> None:
    shade(axis, model.wave, ~np.isfinite(star.observed), "bad pixels")
    axis.plot(model.wave, star.observed, color=_OBSERVED, lw=1.2, label="observed")
    axis.plot(
        model.wave, star.predicted, color=_PREDICTED, lw=1.0, label=f"{model.host_emulator.name} at the fitted labels"
    )
    axis.set_ylim(*robust_limits(star.observed, star.predicted))
    mark_beyond(axis, model.wave, star.observed, _OBSERVED)
    axis.set_title(star.title, fontsize=8, loc="left", color=_FLAGGED if star.flagged else "k")
    axis.set_ylabel(flux_name(model))


def _draw_residual(axis: Axes, model: Model, star: FittedSpectrum) -> None:
    shade(axis, model.wave, ~np.isfinite(star.observed))
    ratio = (star.observed - star.predicted) / star.sigma
    axis.axhspan(-1, 1, color=_ERROR, lw=0, alpha=0.6, label="1 σ of photon noise and model error")
    axis.plot(model.wave, ratio, color=_OBSERVED, lw=0.8)
    axis.axhline(0, color=_PREDICTED, lw=0.8, zorder=1)
    size = np.abs(ratio[np.isfinite(ratio)])
    limit = max(3.5, 1.15 * np.percentile(size, 98)) if size.size else 3.5
    axis.set_ylim(-limit, limit)
    mark_beyond(axis, model.wave, ratio, _OBSERVED)
    axis.set_ylabel("residual / σ", fontsize=8)


def _star_title(model: Model, labels: Table, row: int) -> str:
    """The star's name and labels, a few to a line; χ² and flags in the last line."""
    values = [
        f"{title_of(name)} = {with_error(numbers(labels[name])[row], numbers(labels[f'{name}_err'])[row])}"
        for name in model.label_names
    ]
    columns = {name: labels[name] for name in labels.colnames}
    lines = [", ".join(values[start : start + _PER_LINE]) for start in range(0, len(values), _PER_LINE)]
    quality = f"χ² {float(labels['chi2'][row]):.4g} of {int(labels['n_pix'][row])} pixels"
    flags = flag_names(int(labels["flags"][row])) if "flags" in labels.colnames else ""
    return "\n".join([f"{star_name(columns, row)}:  {lines[0]}", *lines[1:], f"{quality}; {flags or 'no flags'}"])
