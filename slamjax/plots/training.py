"""What training gave along the spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from slamjax.model.description import flux_name, hyper_parameters
from slamjax.model.model import Model
from slamjax.plots.canvas import new_figure, shade

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SCORE, _ERROR = "#2e5e8c", "#d1495b"
#: Ticks of a searched hyper-parameter: at values that were tried.
_TICKS = 8


def plot_training(model: Model) -> Figure:
    """Cross-validated error, model error, complexity and hyper-parameters of every pixel.

    Parameters
    ----------
    model : Model

    Returns
    -------
    matplotlib Figure
        Three axes, and one for each hyper-parameter that was searched; untrained pixels are grey.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(510, 516), wave_unit="nm")
    >>> emulator = slamjax.Polynomial(ridge=(0.1, 1))
    >>> model = slamjax.train(stars[:60], ["teff"], emulator=emulator, recipe=recipe, noise="diagonal")
    >>> figure = slamjax.plots.plot_training(model)
    >>> figure.axes[-1].get_ylabel()
    'ridge'
    """
    searched = searched_hyper_parameters(model)
    figure = new_figure(9, 5.2 + 1.4 * len(searched))
    axes = figure.subplots(3 + len(searched), 1, sharex=True, squeeze=False)[:, 0]
    _draw_score(axes[0], model)
    _draw_error(axes[1], model)
    _draw_complexity(axes[2], model)
    for axis, name in zip(axes[3:], searched, strict=True):
        _draw_hyper_parameter(axis, model, name)
    wave = model.wave
    for axis in axes:
        shade(axis, wave, ~model.trained)
    axes[-1].set_xlabel(f"wavelength [{model.info.wave_unit}]")
    axes[-1].set_xlim(wave[0], wave[-1])
    figure.align_ylabels()
    return figure


def searched_hyper_parameters(model: Model) -> list[str]:
    """Names of the hyper-parameters of which several values were tried."""
    tried = model.info.candidates
    return [name for name in hyper_parameters(model) if len(np.unique(np.asarray(tried[name]))) > 1]


def complexity(model: Model) -> tuple[np.ndarray, str]:
    """Support vectors of an SVR, or monomials of a polynomial: the share that each pixel uses, and what it is of."""
    pixels = model.info.pixels
    if "n_support" in pixels.colnames:
        share, name = pixels["n_support"] / np.maximum(pixels["n_train"], 1), "support vectors\n/ stars"
    else:
        share, name = pixels["n_terms"] / model.host_emulator.n_terms, "monomials\nused / all"
    return np.where(model.trained, np.asarray(share, float), np.nan), name


def _draw_score(axis: Axes, model: Model) -> None:
    axis.plot(model.wave, np.where(model.trained, model.info.pixels["cv_mse"], np.nan), color=_SCORE, lw=1)
    axis.set_ylabel("CV error / variance")
    axis.set_title(
        "mean squared error of held-out stars over the pixel's variance: 0 is perfect, 1 is no better than the mean",
        fontsize=8,
    )
    axis.set_ylim(0, None)


def _draw_error(axis: Axes, model: Model) -> None:
    spread = np.where(model.trained, model.host_emulator.flux_scale, np.nan)
    axis.semilogy(model.wave, model.info.pixels["model_error"], color=_ERROR, lw=1, label="model error")
    axis.semilogy(model.wave, spread, color="0.6", lw=1, label="spread of the stars")
    axis.legend(frameon=False, fontsize=8, ncols=2)
    axis.set_ylabel(flux_name(model))


def _draw_complexity(axis: Axes, model: Model) -> None:
    share, name = complexity(model)
    axis.plot(model.wave, share, color="k", lw=1)
    axis.set_ylabel(name)
    axis.set_ylim(0, 1.02)


def _draw_hyper_parameter(axis: Axes, model: Model, name: str) -> None:
    axis.plot(model.wave, model.info.pixels[name], ".", ms=3, color="k")
    tried = np.asarray(model.info.candidates[name], float)
    if tried.min() > 0:
        axis.set_yscale("log")
    else:  # a ridge of 0: linear below the smallest other value
        axis.set_yscale("symlog", linthresh=tried[tried > 0].min())
    shown = np.unique(tried)
    shown = shown[:: -(-shown.size // _TICKS)]
    axis.set_yticks(shown, [f"{value:g}" for value in shown])
    axis.minorticks_off()
    axis.set_ylabel(name)
