"""Which labels bend the spectrum: the kernel's length scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slamjax.emulators.svr import KernelEmulator
from slamjax.errors import SlamError
from slamjax.model.model import Model
from slamjax.plots.canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BAR, _ISOTROPIC = "#2e5e8c", "#d1495b"


@dataclass(frozen=True)
class KernelSpans:
    """How many lengths of the kernel the training stars span in each of L labels.

    Attributes
    ----------
    spans, isotropic : (L,) range of the training stars / length of the kernel, and of one with the same γ and no metric
    lengths : (L,) lengths of the kernel, in the labels' units (dex for those learnt in log10)
    """

    spans: np.ndarray
    isotropic: np.ndarray
    lengths: np.ndarray


def has_lengths(model: Model) -> bool:
    """Whether the model has a kernel with lengths: an rbf one."""
    emulator = model.host_emulator
    return isinstance(emulator, KernelEmulator) and emulator.blocks[0].kernel == "rbf"


def kernel_spans(model: Model) -> KernelSpans:
    """Spans of a model that `has_lengths`; with several γ, of their median."""
    emulator = model.host_emulator
    assert isinstance(emulator, KernelEmulator)
    gamma = float(np.median(np.asarray(model.info.pixels["gamma"], float)[model.trained]))
    stars, slope = np.asarray(model.training_labels.stars, float), np.sqrt(2 * gamma)
    isotropic = slope * np.ptp(stars, axis=0)
    width = np.asarray(emulator.scaling.width, float)
    return KernelSpans(isotropic * width / emulator.length_scales, isotropic, emulator.length_scales / slope)


def plot_metric(model: Model) -> Figure:
    """How many lengths of the kernel the training stars span in each label.

    A kernel exp(−γ Δ² / ℓ²) has the length ℓ / √(2γ). Over much less than one length the spectrum is a straight line
    in the label; over several it bends.

    Parameters
    ----------
    model : Model
        With an SVR of rbf kernel; with several γ, their median.

    Returns
    -------
    matplotlib Figure
        A bar for each label, with the length in units of the label; crosses are an isotropic kernel.

    Raises
    ------
    SlamError
        For a model without an rbf kernel.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(510, 516), wave_unit="nm")
    >>> svr = slamjax.SVR(gamma=0.1, metric=(500.0, 2.0))
    >>> model = slamjax.train(stars[:60], ["teff", "logg"], emulator=svr, recipe=recipe, noise="diagonal")
    >>> figure = slamjax.plots.plot_metric(model)
    >>> [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    ['teff', 'logg']
    """
    if not has_lengths(model):
        raise SlamError("only a model with an rbf kernel has length scales; train with emulator=slamjax.SVR(...)")
    kernel = kernel_spans(model)
    spans, largest = kernel.spans, max(kernel.spans.max(), kernel.isotropic.max())
    places = np.arange(len(spans))
    figure = new_figure(6.4, 1.4 + 0.34 * len(spans))
    axis = figure.subplots()
    axis.barh(places, spans, color=_BAR, height=0.62)
    axis.plot(kernel.isotropic, places, "x", color=_ISOTROPIC, ms=6, label="an isotropic kernel")
    units = zip(model.info.label_units, model.host_emulator.scaling.log, strict=True)
    for place, span, length, (unit, log) in zip(places, spans, kernel.lengths, units, strict=True):
        text = f"{length:.3g} {'dex' if log else unit}".rstrip()
        inside = span > 0.85 * largest
        axis.annotate(
            text, (span, place), (-5 if inside else 5, 0), textcoords="offset points", va="center",
            ha="right" if inside else "left", fontsize=8, color="white" if inside else "0.25",
        )  # fmt: skip
    axis.set_yticks(places, model.label_names)
    axis.invert_yaxis()
    axis.set_xlabel("range of the training stars / length of the kernel (beside the bars)")
    axis.set_title("which labels bend the spectrum", fontsize=10)
    axis.legend(frameon=False, fontsize=8, loc="lower right")
    return figure
