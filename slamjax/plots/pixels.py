"""Single pixels against one label, the other labels held fixed: training stars, and both emulators through them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from astropy import units as u

from slamjax.errors import SlamError, SlamWarning
from slamjax.model.description import flux_name
from slamjax.model.model import Model
from slamjax.model.named_labels import in_unit
from slamjax.plots.canvas import new_figure, title_of
from slamjax.plots.comparison import COLOURS, title_of_emulator
from slamjax.preprocessing import Recipe
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.wavelengths import to_air
from slamjax.training.data import label_names
from slamjax.validation.emulator_comparison import EmulatorComparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Labels that are held fixed, each to a value or to (value, half-width).
Fixed: TypeAlias = Mapping[str, float | tuple[float, ...]]

_STARS = "0.35"
#: Lines that are drawn where the model covers them, vacuum Å: the middle line of Mg b, and Hα.
LINES = {"Mg b": 5174.13, "Hα": 6564.61}
#: Half-width of the slice of a fixed label, in its unit; for other labels in standard deviations of the stars.
_HALF_WIDTH = {"fe_h": 0.15, "logg": 0.3}
_HALF_WIDTH_SIGMAS = 0.3
#: Stars that a slice should have; bins of the abscissa, and the stars that fill one.
_ENOUGH, _BINS, _FULL = 12, 15, 3
_NO_STARS = "hardly any training star has such labels; hold them fixed at other values, or within wider ranges"


@dataclass(frozen=True)
class Slice:
    """Labels held fixed, each to (middle, half-width), and the (N,) mask of the training stars within."""

    fixed: dict[str, tuple[float, float]]
    members: np.ndarray

    def title(self) -> str:
        held = [f"{title_of(name)} = {middle:.2f} ± {half:.2f}" for name, (middle, half) in self.fixed.items()]
        lines = [", ".join(held[start : start + 2]) for start in range(0, len(held), 2)]
        return "\n".join([*lines, f"{int(self.members.sum())} stars"])


def plot_pixels(
    comparison: EmulatorComparison,
    *,
    pixels: Sequence[float] | None = None,
    along: str | None = None,
    fixed: Fixed | None = None,
) -> Figure:
    """Flux of single pixels against one label, the other labels held fixed.

    Parameters
    ----------
    comparison : EmulatorComparison
        As returned by `slamjax.compare`.
    pixels : sequence of float, optional
        Wavelengths in the model's unit; default: Mg b and Hα where they are covered, else the three best-predicted
        pixels of the thirds of the spectrum.
    along : str, optional
        Label of the abscissa; default: teff, or the first.
    fixed : mapping of label to value or to (value, half-width), optional
        Where the other labels are held, in their units or as Quantities; stars within the half-width are drawn.
        Default: for [Fe/H] up to three values from poor to rich, one column each; for other labels the value at which
        the stars cover most of the range of ``along``.

    Returns
    -------
    matplotlib Figure
        One row per pixel, one column per slice.

    Raises
    ------
    SlamError
        For an untrained pixel, an unknown label, or fixed labels that hardly any training star has.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(510, 516), wave_unit="nm")
    >>> options = slamjax.TrainingSpec(recipe=recipe, noise="diagonal")
    >>> comparison = slamjax.compare(stars[:40], ["teff"], training=options, test=2, n_starts=1)
    >>> figure = slamjax.plots.plot_pixels(comparison, pixels=[512])
    >>> figure.axes[0].get_title()
    '40 stars'
    """
    model = comparison.models["SLAM"]
    names = model.label_names
    along = _along(names, along)
    chosen = line_pixels(model, pixels)
    slices = _slices(names, comparison.stars.values(names), along, _in_units_of(comparison.stars, fixed))
    prepared = model.prepare(comparison.stars)
    figure = new_figure(1.0 + 3.1 * len(slices), 0.9 + 2.5 * len(chosen))
    axes = figure.subplots(len(chosen), len(slices), squeeze=False, sharex="col", sharey="row")
    for column, one in zip(axes.T, slices, strict=True):
        _draw_slice(column, comparison, prepared, one, along, [pixel for pixel, _ in chosen])
    for axis, (_, text) in zip(axes[:, 0], chosen, strict=True):
        axis.set_ylabel(f"{flux_name(model)}\n{text}", fontsize=8)
    handles, texts = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, texts, frameon=False, fontsize=8, ncols=4, loc="outside upper center")
    return figure


def _draw_slice(
    axes: Sequence[Axes],
    comparison: EmulatorComparison,
    prepared: Spectra,
    one: Slice,
    along: str,
    pixels: Sequence[int],
) -> None:
    """A column of axes, one per pixel."""
    model = comparison.models["SLAM"]
    names = model.label_names
    k = names.index(along)
    x = comparison.stars.values(along)
    low, high = x[one.members].min(), x[one.members].max()
    grid = np.tile([one.fixed[name][0] if name in one.fixed else 0.0 for name in names], (200, 1))
    grid[:, k] = np.linspace(low, high, len(grid))
    curves = {name: np.asarray(comparison.models[name].emulator(grid), float) for name in COLOURS}
    for axis, pixel in zip(axes, pixels, strict=True):
        shown = prepared.good[:, pixel] & one.members
        axis.plot(
            x[shown], prepared.flux[shown, pixel], ".", ms=5, color=_STARS, alpha=0.75, mew=0, label="training stars",
            zorder=1,
        )  # fmt: skip
        for name, curve in curves.items():
            text = title_of_emulator(comparison, name)
            axis.plot(grid[:, k], curve[:, pixel], color=COLOURS[name], lw=1.6, label=text)
        axis.tick_params(labelsize=7)
    margin = 0.04 * (high - low)
    axes[-1].set_xlim(low - margin, high + margin)
    axes[-1].set_xlabel(title_of(along, model.info.label_units[k]))
    axes[0].set_title(one.title(), fontsize=8)


def check_pixels(
    spectra: Spectra,
    names: Sequence[str],
    recipe: Recipe,
    *,
    pixels: Sequence[float] | None = None,
    along: str | None = None,
    fixed: Fixed | None = None,
) -> None:
    """Raise where `plot_pixels` could not draw these stars; ask before anything is trained on them.

    Parameters
    ----------
    spectra : Spectra
        The training stars.
    names : sequence of str
        Labels.
    recipe : Recipe
        How the spectra will be prepared.
    pixels, along, fixed
        As for `plot_pixels`.

    Raises
    ------
    SlamError

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(400, 700), wave_unit="nm")
    >>> slamjax.plots.check_pixels(stars, ["teff"], recipe, pixels=[800])
    Traceback (most recent call last):
    slamjax.errors.SlamError: prepared spectra have no pixel at 800 nm; they go from 400 to 700
    """
    names = label_names(names)
    values = spectra.values(names)
    values = values[np.isfinite(values).all(axis=1)]
    _slices(names, values, _along(names, along), _in_units_of(spectra, fixed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SlamWarning)  # training will warn
        placed = recipe.regridding(spectra[:1])
    wave, unit = placed.wave, placed.wave_unit
    masked = recipe.masked(wave, unit)
    asked = {float(wavelength): _pixel_at(wave, float(wavelength)) for wavelength in pixels or []}
    absent = [f"{wavelength:g}" for wavelength, pixel in asked.items() if pixel is None or masked[pixel]]
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


def _pixel_at(wave: np.ndarray, wavelength: float) -> int | None:
    """The pixel that contains a wavelength."""
    half = np.gradient(wave) / 2 if wave.size > 1 else np.ones(1)
    nearest = int(np.argmin(np.abs(wave - wavelength)))
    return nearest if abs(wave[nearest] - wavelength) <= 1.01 * half[nearest] else None


def line_pixels(model: Model, wanted: Sequence[float] | None) -> list[tuple[int, str]]:
    """Indices of the pixels to draw, each with the text of its axis."""
    wave, unit = model.wave, model.info.wave_unit

    def trained_at(wavelength: float) -> int | None:
        pixel = _pixel_at(wave, wavelength)
        return pixel if pixel is not None and model.trained[pixel] else None

    if wanted is not None:
        pixels = {float(wavelength): trained_at(float(wavelength)) for wavelength in wanted}
        absent = [f"{wavelength:g}" for wavelength, pixel in pixels.items() if pixel is None]
        if absent:
            raise SlamError(f"the model has no trained pixel at {', '.join(absent)} {unit}; choose others")
        return [(pixel, f"at {wave[pixel]:g} {unit}") for pixel in pixels.values() if pixel is not None]
    lines = []
    for name, vacuum in LINES.items():
        angstrom = float(to_air(np.array([vacuum]))[0]) if model.info.medium == "air" else vacuum
        pixel = trained_at(angstrom * u.AA.to(unit))
        if pixel is not None:
            lines.append((pixel, f"{name}, {wave[pixel]:g} {unit}"))
    if lines:
        return lines
    error = np.where(model.trained, np.asarray(model.info.pixels["cv_mse"], float), np.inf)
    best = [part[np.argmin(error[part])] for part in np.array_split(np.arange(wave.size), min(3, wave.size))]
    return [(int(pixel), f"at {wave[pixel]:g} {unit}") for pixel in best if np.isfinite(error[pixel])]


def _in_units_of(stars: Spectra, fixed: Fixed | None) -> dict[str, tuple[float, ...]]:
    """Values, and perhaps half-widths, in the units of the stars' table."""
    found = {}
    for name, given in (fixed or {}).items():
        unit = stars.table[name].unit if name in stars.table.colnames else None
        parts: Any = given if isinstance(given, tuple | list) or np.ndim(given) else [given]
        found[name] = tuple(float(in_unit(part, str(unit or ""), name)) for part in parts)
    return found


def _slices(
    names: Sequence[str], values: np.ndarray, along: str, fixed: Mapping[str, tuple[float, ...]]
) -> list[Slice]:
    """Slices of the stars with all labels but ``along`` fixed: one, or a few in [Fe/H]."""
    unknown = [name for name in fixed if name not in names or name == along]
    if unknown:
        raise SlamError(f"{', '.join(unknown)} cannot be held fixed; the labels are {', '.join(names)}, along {along}")
    columns = dict(zip(names, values.T, strict=True))
    x = columns.pop(along)
    half = {name: _HALF_WIDTH.get(name, _HALF_WIDTH_SIGMAS * float(np.std(column))) for name, column in columns.items()}
    middle = {}
    for name, given in fixed.items():
        middle[name], half[name] = given if len(given) == 2 else (*given, half[name])

    def slice_at(where: Mapping[str, float]) -> Slice:
        inside = [np.abs(columns[name] - at) <= half[name] for name, at in where.items()]
        members = np.all(inside, axis=0) if inside else np.ones(len(x), bool)
        return Slice({name: (where[name], half[name]) for name in columns if name in where}, members)

    for name, column in columns.items():  # one after the other, where most of ``along`` is covered
        if name not in middle and name != "fe_h":
            tried = np.quantile(column, np.linspace(0.05, 0.95, 19))
            middle[name] = float(max(tried, key=lambda at: _covered(x, slice_at({**middle, name: float(at)}).members)))
    if "fe_h" not in columns or "fe_h" in middle:
        slices = [slice_at(middle)]
    else:
        metallicity = columns["fe_h"][slice_at(middle).members]
        slices = [slice_at({**middle, "fe_h": at}) for at in _metallicities(metallicity, half["fe_h"])]
        slices = [one for one in slices if one.members.sum() >= _ENOUGH] or [
            max(slices, key=lambda one: int(one.members.sum()))
        ]
    if max(one.members.sum() for one in slices) < 2:
        raise SlamError(_NO_STARS)
    return slices


def _metallicities(fe_h: np.ndarray, half_width: float) -> list[float]:
    """A poor, a middle and a rich [Fe/H], without those whose slices would overlap."""
    if not fe_h.size:
        raise SlamError(_NO_STARS)
    chosen: list[float] = []
    for at in np.round(np.quantile(fe_h, [0.1, 0.5, 0.9]), 2).tolist():
        if all(abs(at - other) >= 2 * half_width for other in chosen):
            chosen.append(at)
    return chosen


def _covered(x: np.ndarray, members: np.ndarray) -> int:
    """How well the stars of a slice cover the range of x: stars per bin, counted up to a few."""
    counts = np.histogram(x[members], bins=_BINS, range=tuple(np.percentile(x, [1, 99])))[0]
    return int(np.minimum(counts, _FULL).sum())
