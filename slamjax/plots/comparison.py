"""SLAM and The Cannon's polynomial beside each other: flux errors along the spectrum, and label scatter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Table

from slamjax.model.description import flux_name
from slamjax.plots.canvas import balanced, in_rows, new_figure, title_of
from slamjax.validation.emulator_comparison import EmulatorComparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The emulators' names in an `EmulatorComparison`, and their colours.
COLOURS = {"SLAM": "#d1495b", "polynomial": "#2e5e8c"}
#: Axes side by side.
_COLUMNS = 5
#: Efficiency of the median absolute deviation for normal values (Rousseeuw & Croux 1993, JASA 88, 1273).
_MAD_EFFICIENCY = 0.37


def plot_flux_errors(comparison: EmulatorComparison) -> Figure:
    """Scatter of held-out flux about both emulators' predictions in every pixel, and the ratio of the two.

    Parameters
    ----------
    comparison : EmulatorComparison
        As returned by `slamjax.compare`.

    Returns
    -------
    matplotlib Figure
        Scatter (1.4826 MAD) in the unit of prepared flux, with the spread of the stars and the median flux error.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(510, 516), wave_unit="nm")
    >>> options = slamjax.TrainingSpec(recipe=recipe, noise="diagonal")
    >>> comparison = slamjax.compare(stars[:40], ["teff"], training=options, test=2, n_starts=1)
    >>> figure = slamjax.plots.plot_flux_errors(comparison)
    >>> figure.axes[1].get_xlabel()
    'wavelength [nm]'
    """
    table, model = comparison.flux, comparison.models["SLAM"]
    wave = np.asarray(table["wave"], float)
    figure = new_figure(9, 4.8)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    top.plot(wave, table["spread"], color="0.7", lw=0.8, label="spread of the stars")
    if np.any(np.isfinite(table["photon"])):
        top.plot(wave, table["photon"], color="0.5", lw=0.8, ls=":", label="flux error")
    for name in reversed(COLOURS):
        top.plot(wave, table[f"{name}_scatter"], color=COLOURS[name], lw=0.9, label=title_of_emulator(comparison, name))
    top.set_yscale("log")
    top.set_ylabel(f"scatter in {flux_name(model)}")
    top.legend(frameon=False, fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _draw_ratio(bottom, wave, np.asarray(table["polynomial_scatter"] / table["SLAM_scatter"], float))
    bottom.set_ylabel(f"{title_of_emulator(comparison, 'polynomial')}\n/ SLAM")
    bottom.set_xlabel(f"wavelength [{model.info.wave_unit}]")
    bottom.set_xlim(wave[0], wave[-1])
    figure.align_ylabels()
    return figure


def _draw_ratio(axis: Axes, wave: np.ndarray, ratio: np.ndarray) -> None:
    axis.axhline(1, color="k", lw=0.7)
    axis.plot(wave, ratio, color="0.25", lw=0.8)
    low, high = np.nanpercentile(ratio, [0.5, 99.5])
    margin = 0.1 * max(high - low, 0.05)
    axis.set_ylim(min(low, 1) - margin, max(high, 1) + margin)


def plot_label_scatter(comparison: EmulatorComparison) -> Figure:
    """Scatter of fitted minus known labels by both emulators in each bin, with its statistical error.

    Parameters
    ----------
    comparison : EmulatorComparison
        As returned by `slamjax.compare`; it states what the bins are of.

    Returns
    -------
    matplotlib Figure
        One axis per label; scatter (1.4826 MAD) in the label's unit.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(510, 516), wave_unit="nm")
    >>> options = slamjax.TrainingSpec(recipe=recipe, noise="diagonal")
    >>> comparison = slamjax.compare(stars[:40], ["teff"], training=options, test=2, n_starts=1)
    >>> figure = slamjax.plots.plot_label_scatter(comparison)
    >>> len(figure.axes)
    1
    """
    model = comparison.models["SLAM"]
    names = model.label_names
    rows, columns = balanced(len(names), _COLUMNS)
    figure = new_figure(2.9 * columns + 0.5, 2.9 * rows)
    axes = in_rows(figure, len(names), _COLUMNS)[:, 0]
    for axis, label, unit in zip(axes, names, model.info.label_units, strict=True):
        for shift, name in ((-0.08, "SLAM"), (0.08, "polynomial")):
            table = comparison.scatter[name]
            table = table[(table["label"] == label) & (table["n"] > 1)]
            _draw_scatter(axis, table, shift, COLOURS[name], title_of_emulator(comparison, name))
        axis.set_xlim(-0.6, len(table) - 0.4)
        axis.set_ylim(0, None)
        axis.set_title(title_of(label, unit), fontsize=9)
        axis.set_xlabel({"snr": "S/N per pixel"}.get(comparison.by, comparison.by) if len(table) > 1 else "")
    for axis in axes[::columns]:
        axis.set_ylabel("robust scatter, fit − known")
    handles, texts = axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, frameon=False, fontsize=8, ncols=2, loc="outside upper center")
    return figure


def _draw_scatter(axis: Axes, table: Table, shift: float, colour: str, text: str) -> None:
    """One emulator's scatter, bin by bin."""
    positions = np.arange(len(table))
    scatter = np.asarray(table["scatter"], float)
    error = scatter / np.sqrt(2 * _MAD_EFFICIENCY * np.asarray(table["n"], float))
    axis.errorbar(positions + shift, scatter, error, fmt="o", ms=4, color=colour, label=text)
    bins = ["all" if np.isnan(row["low"]) else f"{row['low']:.0f}-\n{row['high']:.0f}" for row in table]
    axis.set_xticks(positions, bins, fontsize=7)


def title_of_emulator(comparison: EmulatorComparison, name: str) -> str:
    """What legends call an emulator, such as "quadratic"."""
    return comparison.models[name].host_emulator.name
