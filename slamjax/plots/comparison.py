"""Quadratic or not? Flux errors along the spectrum, label scatter, and single pixels against one label."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from astropy import units as u

from slamjax.errors import SlamError
from slamjax.model.description import emulator_name, flux_name
from slamjax.model.model import Model
from slamjax.plots.canvas import new_figure, title_of
from slamjax.preprocessing import Recipe
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.wavelengths import to_air
from slamjax.training.data import label_names
from slamjax.validation.comparison import EmulatorComparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"SLAM": "#d1495b", "polynomial": "#2e5e8c"}
_STARS = "0.35"
#: Lines that are shown where they are covered, vacuum Å: Mg b, its middle line, and Hα.
LINES = {"Mg b": 5174.13, "Hα": 6564.61}
#: Half-width of the slice of a label that is held fixed, in its own unit or in standard deviations of others.
_HALF_WIDTH = {"fe_h": 0.15, "logg": 0.3}
_HALF_WIDTH_SIGMAS = 0.3
#: Stars that a slice should have; bins of the abscissa, and the stars that fill one.
_ENOUGH, _BINS, _FULL = 12, 15, 3
_NO_STARS = "hardly any training star has such labels; hold them fixed elsewhere, or within more"


@dataclass(frozen=True)
class Slice:
    """Labels held fixed, each to (middle, half-width), and the training stars (N,) bool within."""

    fixed: dict[str, tuple[float, float]]
    members: np.ndarray


def plot_flux_errors(contest: EmulatorComparison) -> Figure:
    """Held-out flux error of each pixel by both emulators, and which is the smaller."""
    table, model = contest.flux, contest.models["SLAM"]
    wave = np.asarray(table["wave"], float)
    figure = new_figure(9, 4.8)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    top.plot(wave, table["spread"], color="0.7", lw=0.8, label="spread of the stars")
    if np.any(np.isfinite(table["photon"])):
        top.plot(wave, table["photon"], color="0.5", lw=0.8, ls=":", label="stated error")
    for name in reversed(_COLOURS):
        top.plot(wave, table[f"{name}_scatter"], color=_COLOURS[name], lw=0.9, label=_title(contest, name))
    top.set_yscale("log")
    top.set_ylabel(f"scatter in {flux_name(model)}")
    top.legend(frameon=False, fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    ratio = np.asarray(table["polynomial_scatter"] / table["SLAM_scatter"], float)
    bottom.axhline(1, color="k", lw=0.7)
    bottom.plot(wave, ratio, color="0.25", lw=0.8)
    low, high = np.nanpercentile(ratio, [0.5, 99.5])
    margin = 0.1 * max(high - low, 0.05)
    bottom.set_ylim(min(low, 1) - margin, max(high, 1) + margin)
    bottom.set_ylabel(f"{_title(contest, 'polynomial')}\n/ SLAM")
    bottom.set_xlabel(f"wavelength [{model.info.wave_unit}]")
    bottom.set_xlim(wave[0], wave[-1])
    figure.align_ylabels()
    return figure


def plot_label_scatter(contest: EmulatorComparison) -> Figure:
    """Robust scatter of each label by both emulators, bin by bin, with its statistical error."""
    names = contest.models["SLAM"].label_names
    figure = new_figure(2.9 * len(names) + 0.5, 2.9)
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for axis, label, unit in zip(axes, names, contest.models["SLAM"].info.label_units, strict=True):
        for shift, name in ((-0.08, "SLAM"), (0.08, "polynomial")):
            table = contest.scatter[name]
            table = table[(table["label"] == label) & (table["n"] > 1)]
            places = np.arange(len(table))
            scatter = np.asarray(table["scatter"], float)
            # of a normal distribution's median absolute deviation (Rousseeuw & Croux 1993: efficiency 37 %)
            error = scatter / np.sqrt(2 * 0.37 * np.asarray(table["n"], float))
            axis.errorbar(
                places + shift, scatter, error, fmt="o", ms=4, color=_COLOURS[name], label=_title(contest, name)
            )
            bins = ["all" if np.isnan(row["low"]) else f"{row['low']:.0f}-\n{row['high']:.0f}" for row in table]
            axis.set_xticks(places, bins, fontsize=7)
        axis.set_xlim(-0.6, len(table) - 0.4)
        axis.set_ylim(0, None)
        axis.set_title(title_of(label, unit), fontsize=9)
        axis.set_xlabel({"snr": "S/N a pixel"}.get(contest.by, contest.by) if len(table) > 1 else "")
    axes[0].set_ylabel("robust scatter, fit − known")
    handles, texts = axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, frameon=False, fontsize=8, ncols=2, loc="outside upper center")
    return figure


def plot_pixels(
    contest: EmulatorComparison,
    *,
    pixels: Sequence[float] | None = None,
    along: str | None = None,
    fixed: Mapping[str, float | tuple[float, ...]] | None = None,
) -> Figure:
    """Single pixels' flux against one label, the others held fixed: training stars, and both models through them.

    Parameters
    ----------
    contest : EmulatorComparison
    pixels : wavelengths in the model's unit; default: Mg b and Hα where covered, else three pixels that tell most
    along : label of the abscissa; default teff, or the first
    fixed : labels held fixed, to a value or to (value, half-width) of the stars that are shown
        Default: for [Fe/H] three values from poor to rich, a column each; for the others where the stars cover most of
        the range of ``along``.
    """
    model = contest.models["SLAM"]
    names = model.label_names
    along = _along(names, along)
    chosen = line_pixels(model, pixels)
    values = contest.stars.values(names)
    slices = _slices(names, values, along, fixed or {})
    prepared = model.prepare(contest.stars)
    k = names.index(along)
    figure = new_figure(1.0 + 3.1 * len(slices), 0.9 + 2.5 * len(chosen))
    axes = figure.subplots(len(chosen), len(slices), squeeze=False, sharex="col", sharey="row")
    for column, one in enumerate(slices):
        inside = values[one.members]
        low, high = inside[:, k].min(), inside[:, k].max()
        grid = np.tile([one.fixed[name][0] if name in one.fixed else 0.0 for name in names], (200, 1))
        grid[:, k] = np.linspace(low, high, len(grid))
        curves = {name: np.asarray(contest.models[name](grid), float) for name in _COLOURS}
        for row, (pixel, said) in enumerate(chosen):
            _panel(axes[row, column], prepared.flux[:, pixel], prepared.good[:, pixel], values[:, k], one.members)
            for name, curve in curves.items():
                axes[row, column].plot(
                    grid[:, k], curve[:, pixel], color=_COLOURS[name], lw=1.6, label=_title(contest, name)
                )
            if column == 0:
                axes[row, 0].set_ylabel(f"{flux_name(model)}\n{said}", fontsize=8)
        margin = 0.04 * (high - low)
        axes[-1, column].set_xlim(low - margin, high + margin)
        held = [f"{title_of(name)} = {middle:.2f} ± {half:.2f}" for name, (middle, half) in one.fixed.items()]
        lines = [", ".join(held[start : start + 2]) for start in range(0, len(held), 2)]
        axes[0, column].set_title("\n".join([*lines, f"{int(one.members.sum())} stars"]), fontsize=8)
        axes[-1, column].set_xlabel(title_of(along, model.info.label_units[k]))
    handles, texts = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, texts, frameon=False, fontsize=8, ncols=4, loc="outside upper center")
    return figure


def check_pixels(
    spectra: Spectra,
    names: Sequence[str],
    recipe: Recipe,
    *,
    pixels: Sequence[float] | None = None,
    along: str | None = None,
    fixed: Mapping[str, float | tuple[float, ...]] | None = None,
) -> None:
    """Raise SlamError for what `plot_pixels` could not draw of these stars, before anything is trained on them."""
    names = label_names(names)
    values = spectra.values(names)
    values = values[np.isfinite(values).all(axis=1)]
    _slices(names, values, _along(names, along), fixed or {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # training tells them
        placed = recipe.regridding(spectra[:1])
    wave, unit = placed.wave, placed.wave_unit
    masked = recipe.masked(wave, unit)
    places = [(float(at), _place(wave, float(at))) for at in pixels or []]
    absent = [f"{at:g}" for at, pixel in places if pixel is None or masked[pixel]]
    if absent:
        raise SlamError(
            f"prepared spectra have no pixel at {', '.join(absent)} {unit}; they go from {wave[0]:g} to {wave[-1]:g}"
        )


def _along(names: Sequence[str], along: str | None) -> str:
    """The label of the abscissa."""
    along = along or ("teff" if "teff" in names else names[0])
    if along not in names:
        raise SlamError(f"{along!r} is not among the labels {', '.join(names)}")
    return along


def _place(wave: np.ndarray, at: float) -> int | None:
    """The pixel that holds a wavelength."""
    half = np.gradient(wave) / 2 if wave.size > 1 else np.ones(1)
    nearest = int(np.argmin(np.abs(wave - at)))
    return nearest if abs(wave[nearest] - at) <= 1.01 * half[nearest] else None


def _panel(axis: Axes, flux: np.ndarray, good: np.ndarray, x: np.ndarray, members: np.ndarray) -> None:
    shown = good & members
    axis.plot(x[shown], flux[shown], ".", ms=5, color=_STARS, alpha=0.75, mew=0, label="training stars", zorder=1)
    axis.tick_params(labelsize=7)


def _title(contest: EmulatorComparison, name: str) -> str:
    return emulator_name(contest.models[name])


def line_pixels(model: Model, wanted: Sequence[float] | None) -> list[tuple[int, str]]:
    """Places of the pixels to show, and what they are called."""
    wave, unit = model.wave, model.info.wave_unit

    def place(at: float) -> int | None:
        pixel = _place(wave, at)
        return pixel if pixel is not None and model.trained[pixel] else None

    if wanted is not None:
        places = [(place(float(at)), float(at)) for at in wanted]
        absent = [f"{at:g}" for pixel, at in places if pixel is None]
        if absent:
            raise SlamError(f"the model has no trained pixel at {', '.join(absent)} {unit}; choose others")
        return [(pixel, f"at {wave[pixel]:g} {unit}") for pixel, _ in places if pixel is not None]
    found = []
    for name, vacuum in LINES.items():
        angstrom = float(to_air(np.array([vacuum]))[0]) if model.info.medium == "air" else vacuum
        pixel = place(angstrom * u.AA.to(unit))
        if pixel is not None:
            found.append((pixel, f"{name}, {wave[pixel]:g} {unit}"))
    if found:
        return found
    error = np.where(model.trained, np.asarray(model.info.pixels["cv_mse"], float), np.inf)
    best = [part[np.argmin(error[part])] for part in np.array_split(np.arange(wave.size), min(3, wave.size))]
    return [(int(pixel), f"at {wave[pixel]:g} {unit}") for pixel in best if np.isfinite(error[pixel])]


def _slices(
    names: Sequence[str], values: np.ndarray, along: str, asked: Mapping[str, float | tuple[float, ...]]
) -> list[Slice]:
    """Slices of the stars with all labels but ``along`` fixed: one, or a few in [Fe/H]."""
    unknown = [name for name in asked if name not in names or name == along]
    if unknown:
        raise SlamError(f"{', '.join(unknown)} cannot be held fixed; the labels are {', '.join(names)}, along {along}")
    others = [name for name in names if name != along]
    x = values[:, names.index(along)]
    half, middle = {}, {}
    for name in others:
        column = values[:, names.index(name)]
        half[name] = _HALF_WIDTH.get(name, _HALF_WIDTH_SIGMAS * float(np.std(column)))
        if name in asked:
            given = tuple(np.atleast_1d(np.asarray(asked[name], float)).tolist())
            middle[name], half[name] = given if len(given) == 2 else (*given, half[name])

    def within(where: Mapping[str, float]) -> np.ndarray:
        parts = [np.abs(values[:, names.index(name)] - at) <= half[name] for name, at in where.items()]
        return np.all(parts, axis=0) if parts else np.ones(len(values), bool)

    for name in others:  # one after the other, where most of ``along`` is covered
        if name in middle or name == "fe_h":
            continue
        column = values[:, names.index(name)]
        tried = np.quantile(column, np.linspace(0.05, 0.95, 19))
        middle[name] = float(max(tried, key=lambda at: _covered(x, within({**middle, name: float(at)}))))
    if "fe_h" not in others or "fe_h" in middle:
        found = [Slice({name: (middle[name], half[name]) for name in others}, within(middle))]
    else:
        found = []
        column = values[within(middle), names.index("fe_h")]
        if not column.size:
            raise SlamError(_NO_STARS)
        for at in np.quantile(column, [0.1, 0.5, 0.9]):
            point = {**middle, "fe_h": float(np.round(at, 2))}
            taken = [one.fixed["fe_h"][0] for one in found]
            if all(abs(point["fe_h"] - other) >= 2 * half["fe_h"] for other in taken):
                found.append(Slice({name: (point[name], half[name]) for name in others}, within(point)))
        enough = [one for one in found if one.members.sum() >= _ENOUGH]
        found = enough or [max(found, key=lambda one: int(one.members.sum()))]
    if max(one.members.sum() for one in found) < 2:
        raise SlamError(_NO_STARS)
    return found


def _covered(x: np.ndarray, members: np.ndarray) -> int:
    """How well the stars of a slice cover the range of x: filled bins, each for up to a few stars."""
    counts = np.histogram(x[members], bins=_BINS, range=tuple(np.percentile(x, [1, 99])))[0]
    return int(np.minimum(counts, _FULL).sum())
