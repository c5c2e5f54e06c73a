"""Observed and predicted spectra, with their residuals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Table

from slamjax.errors import SlamError
from slamjax.model.description import flux_name
from slamjax.model.model import Model
from slamjax.plots.canvas import new_figure, title_of
from slamjax.spectra.spectra import Spectra
from slamjax.validation.bins import numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OBSERVED, _PREDICTED, _ERROR = "0.25", "#d1495b", "#9bb7d4"


@dataclass(frozen=True)
class _Fitted:
    """One star on the model's pixels: flux (P,), NaN where bad, the prediction, and the 1 σ expected of their
    difference.
    """

    title: str
    observed: np.ndarray
    predicted: np.ndarray
    sigma: np.ndarray


def plot_spectra(model: Model, spectra: Spectra, labels: Table, *, count: int = 3) -> Figure:
    """Observed spectra, the prediction at their fitted labels, and residuals with the expected error.

    Parameters
    ----------
    model : Model
    spectra : Spectra
        N spectra, as read.
    labels : Table
        N rows of `slamjax.fit` for these spectra.
    count : int
        Spectra to draw, from well to badly fitted (by χ² per pixel).

    Returns
    -------
    matplotlib Figure
        Flux in the model's unit against wavelength; two axes per spectrum.

    Raises
    ------
    SlamError
        If every fit failed.

    Examples
    --------
    >>> import slamjax
    >>> train, test = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(510, 516))
    >>> emulator = slamjax.Polynomial(ridge=0.1)
    >>> model = slamjax.train(train[:60], ["teff"], emulator=emulator, recipe=recipe, noise="diagonal")
    >>> figure = slamjax.plots.plot_spectra(model, test[:5], slamjax.fit(model, test[:5], n_starts=1), count=2)
    >>> len(figure.axes)
    4
    """
    rows = _typical(_chi2_per_pixel(model, labels), count)
    if rows.size == 0:
        raise SlamError("there is no fitted spectrum to plot; all fits failed")
    figure = new_figure(9, 2.6 * len(rows) + 0.6)
    axes = figure.subplots(2 * len(rows), 1, sharex=True, squeeze=False, height_ratios=[3, 1.2] * len(rows))[:, 0]
    stars = _fitted(model, spectra, labels, rows)
    for star, top, bottom in zip(stars, axes[::2], axes[1::2], strict=True):
        _draw_flux(top, model, star)
        _draw_residual(bottom, model, star)
    axes[0].legend(frameon=False, fontsize=8, ncols=2)
    axes[1].legend(frameon=False, fontsize=7, loc="lower right")
    axes[-1].set_xlabel(f"wavelength [{model.info.wave_unit}]")
    axes[-1].set_xlim(model.wave[0], model.wave[-1])
    figure.align_ylabels()
    return figure


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


def _fitted(model: Model, spectra: Spectra, labels: Table, rows: np.ndarray) -> list[_Fitted]:
    model = model.matched(spectra)
    velocity = np.asarray(numbers(labels["rv"]))[rows] if model.needs_rv(spectra) else None
    prepared = model.prepare(spectra[rows], velocity)
    predicted = np.asarray(model(np.stack([numbers(labels[name])[rows] for name in model.label_names], axis=-1)), float)
    observed = np.where(prepared.good & model.trained, prepared.flux, np.nan)
    # the error of held-out stars: the noise model's Σ also holds the errors of the known labels
    model_error = np.asarray(model.info.pixels["model_error"], float)
    with np.errstate(divide="ignore"):
        sigma = np.sqrt(np.square(model_error) + 1 / prepared.ivar.astype(float))
    return [_Fitted(_star_title(model, labels, row), observed[k], predicted[k], sigma[k]) for k, row in enumerate(rows)]


def _draw_flux(axis: Axes, model: Model, star: _Fitted) -> None:
    axis.plot(model.wave, star.observed, color=_OBSERVED, lw=1.2, label="observed")
    axis.plot(
        model.wave, star.predicted, color=_PREDICTED, lw=1.0, label=f"{model.host_emulator.name} at the fitted labels"
    )
    axis.set_title(star.title, fontsize=8, loc="left")
    axis.set_ylabel(flux_name(model))


def _draw_residual(axis: Axes, model: Model, star: _Fitted) -> None:
    residual = star.observed - star.predicted
    axis.fill_between(
        model.wave, -star.sigma, star.sigma, color=_ERROR, lw=0, alpha=0.8, label="photon and model error, 1 σ"
    )
    axis.plot(model.wave, residual, color=_OBSERVED, lw=0.8)
    sigma = np.where(np.isfinite(star.observed), star.sigma, np.nan)
    limit = max(5 * np.nanmedian(sigma), 1.1 * np.nanpercentile(np.abs(residual), 98))
    axis.set_ylim(-limit, limit)
    axis.set_ylabel("residual")


def _star_title(model: Model, labels: Table, row: int) -> str:
    values = ", ".join(
        f"{title_of(name)} = {_with_error(numbers(labels[name])[row], numbers(labels[f'{name}_err'])[row])}"
        for name in model.label_names
    )
    return f"{_star_name(labels, row)}:  {values}"


def _star_name(labels: Table, row: int) -> str:
    """The first column of text, or the row."""
    for name in labels.colnames:
        if labels[name].dtype.kind in "SU":
            return str(labels[name][row])
    return f"row {labels['row'][row]}"


def _with_error(value: float, error: float) -> str:
    digits = 0 if abs(value) >= 100 else 2
    return f"{value:.{digits}f} ± {error:.{digits}f}"
