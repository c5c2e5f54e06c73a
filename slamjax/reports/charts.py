"""Bokeh's part of a report: figures with their data; colours are named by role, and the page paints them.

A glyph's tags say which of its colours are which of the page's: "fill:accent" is the style sheet's ``--accent``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slamjax.explorer.figures import CLEAR, bokeh

#: Heights in pixels, and the room left of an axis.
_HEIGHT, _LEFT = 290, 66
#: Ticks of an abscissa, about: small charts have no room for more.
_TICKS = 5
#: Points that a chart draws; of more stars, some.
MOST = 4000
#: Colours of the style sheet for lines of the same kind.
SERIES = tuple(f"series{k}" for k in range(6))
#: Bins of a histogram: more for more values; stars that the pointer names at once.
_FEWEST_BINS, _MOST_BINS, _NAMED = 10, 40, 2


@dataclass(frozen=True)
class Points:
    """Points or a line of one colour, with texts that the pointer shows."""

    x: np.ndarray
    y: np.ndarray
    role: str
    legend: str = ""
    texts: Mapping[str, Sequence[Any]] | None = None


def as_document(figures: Mapping[str, Any]) -> dict[str, Any]:
    """All figures as one document in JSON, for figures share axes; and which of them go to which elements."""
    document = bokeh().document.Document()
    with document.models.freeze():  # else all models are counted again for each figure
        for figure in figures.values():
            document.add_root(figure)
    targets = {figure.id: target for target, figure in figures.items()}
    place = {"docid": "report", "roots": targets, "root_ids": list(targets)}
    return {"documents": {"report": document.to_json(deferred=False)}, "places": [place]}


def empty(x: str, y: str, *, height: int = _HEIGHT, like: Any = None, **options: Any) -> Any:
    """A figure without glyphs; one ``like`` another moves along the abscissa with it."""
    figure = bokeh().plotting.figure(
        height=height,
        tools=[],
        toolbar_location="above",
        sizing_mode="stretch_width",
        min_border_left=_LEFT,
        outline_line_color=None,
        **CLEAR,
        x_axis_label=x,
        y_axis_label=y,
        **({"x_range": like.x_range} if like is not None else {}),
        **options,
    )
    figure.xaxis.ticker.desired_num_ticks = _TICKS
    figure.toolbar.logo = None
    figure.toolbar.autohide = figure.toolbar_inner = True
    pan = bokeh().models.PanTool()
    figure.add_tools(pan, bokeh().models.BoxZoomTool(), bokeh().models.WheelZoomTool(), bokeh().models.ResetTool())
    figure.toolbar.active_drag, figure.toolbar.active_scroll = pan, None
    return figure


def add_points(figure: Any, points: Points, *, size: float = 5, alpha: float = 0.75) -> None:
    """Dots; the pointer names them."""
    kept = np.isfinite(points.x) & np.isfinite(points.y)
    data: dict[str, Any] = {"x": np.asarray(points.x, float)[kept], "y": np.asarray(points.y, float)[kept]}
    texts = points.texts or {}
    for number, values in enumerate(texts.values()):
        data[f"text{number}"] = [str(value) for value, shown in zip(values, kept, strict=True) if shown]
    source = bokeh().models.ColumnDataSource(data)
    glyph = figure.scatter("x", "y", source=source, size=size, fill_alpha=alpha, line_color=None, **_named(points))
    glyph.glyph.tags = [f"fill:{points.role}"]
    if texts:
        tips = [(title, f"@text{number}") for number, title in enumerate(texts)]
        _add_hover(figure, glyph, tips)


def add_line(figure: Any, points: Points, *, dash: str = "solid", marked: bool = False) -> None:
    """A line with gaps where it is not finite, with dots at its points if they are few."""
    source = bokeh().models.ColumnDataSource({"x": np.asarray(points.x, float), "y": np.asarray(points.y, float)})
    line = figure.line("x", "y", source=source, line_width=1.5, line_dash=dash, **_named(points))
    line.glyph.tags = [f"line:{points.role}"]
    if marked:
        dots = figure.scatter("x", "y", source=source, size=7, line_color=None)
        dots.glyph.tags = [f"fill:{points.role}"]
        tips = [(points.legend or "y", "@y{0.000}"), ("at", "@x{0.[00]}")]
        _add_hover(figure, dots, tips)


def add_band(figure: Any, x: np.ndarray, low: np.ndarray, high: np.ndarray, legend: str = "") -> None:
    """The region between two curves."""
    source = bokeh().models.ColumnDataSource({"x": x, "low": low, "high": high})
    named = {"legend_label": legend} if legend else {}
    area = figure.varea("x", "low", "high", source=source, fill_alpha=0.35, **named)
    area.glyph.tags = ["fill:sigma"]


def add_level(figure: Any, at: float, *, upright: bool = False, role: str = "muted") -> None:
    """A straight line across the figure."""
    span = bokeh().models.Span(
        location=at, dimension="height" if upright else "width", line_width=1, line_dash="dashed"
    )
    span.tags = [f"line:{role}"]
    figure.add_layout(span)


def histogram(values: np.ndarray, x: str, *, y: str = "stars", edges: np.ndarray | None = None) -> Any:
    """How many values lie where; the outermost bins count what lies beyond them, too."""
    finite = values[np.isfinite(values)]
    if edges is None:
        edges = np.linspace(*_ends(finite), _bins(finite.size) + 1)
    counts = np.histogram(np.clip(finite, edges[0], edges[-1]), edges)[0]
    figure = empty(x, y, height=230)
    source = bokeh().models.ColumnDataSource({"left": edges[:-1], "right": edges[1:], "top": counts})
    bars = figure.quad(left="left", right="right", top="top", bottom=0, source=source, line_color=None, fill_alpha=0.8)
    bars.glyph.tags = ["fill:accent"]
    tips = [("from", "@left{0.[0000]}"), ("to", "@right{0.[0000]}"), (y, "@top")]
    _add_hover(figure, bars, tips)
    figure.y_range.start = 0
    return figure


def bars(names: Sequence[str], values: np.ndarray, x: str, texts: Sequence[str]) -> Any:
    """Bars from left to right, the first on top."""
    figure = empty(x, "", height=70 + 34 * len(names), y_range=bokeh().models.FactorRange(*reversed(names)))
    source = bokeh().models.ColumnDataSource(
        {"name": list(names), "value": np.asarray(values, float), "text": list(texts)}
    )
    drawn = figure.hbar(y="name", right="value", height=0.6, source=source, line_color=None)
    drawn.glyph.tags = ["fill:accent"]
    _add_hover(figure, drawn, [("label", "@name"), (x, "@value{0.00}"), ("length", "@text")])
    figure.x_range.start = 0
    return figure


def flip(figure: Any, *, x: bool = False, y: bool = False) -> None:
    """Axes on which values grow to the left or downwards, as of Kiel diagrams."""
    if x:
        figure.x_range.flipped = True
    if y:
        figure.y_range.flipped = True


def set_limits(figure: Any, *, y: tuple[float, float] | None = None, x: tuple[float, float] | None = None) -> None:
    """Where axes begin and end before anyone zooms."""
    if y is not None:
        figure.y_range = bokeh().models.Range1d(*y)
    if x is not None:
        figure.x_range = bokeh().models.Range1d(*x)


def mark_values(figure: Any, values: np.ndarray) -> None:
    """Ticks of the ordinate at these values alone."""
    figure.yaxis.ticker = [float(value) for value in values]
    figure.yaxis.formatter = bokeh().models.PrintfTickFormatter(format="%g")
    figure.ygrid.ticker = figure.yaxis[0].ticker


def some_of(n: int, seed: int = 0) -> np.ndarray:
    """Rows that a chart draws: all of them, or so many by chance."""
    if n <= MOST:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, MOST, replace=False))


def finish(figure: Any) -> Any:
    """Legends stand above the data, where they hide none; a click hides a line."""
    for legend in figure.legend:
        legend.orientation, legend.location = "horizontal", "left"
        legend.click_policy = "hide"
        figure.add_layout(legend, "above")
    return figure


def _ends(finite: np.ndarray) -> tuple[float, float]:
    """Ends of a histogram: of the central 98 % and half as much on both sides, or of all values if they lie closer."""
    if finite.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, [1, 99])
    reach = 0.5 * (high - low)
    ends = float(max(finite.min(), low - reach)), float(min(finite.max(), high + reach))
    return ends if ends[1] > ends[0] else (ends[0] - 0.5, ends[0] + 0.5)


def _bins(n: int) -> int:
    return int(np.clip(1.5 * np.sqrt(n), _FEWEST_BINS, _MOST_BINS))


def _add_hover(figure: Any, drawn: Any, tips: list[tuple[str, str]]) -> None:
    """Texts at the pointer: of a few points, where Bokeh can be told how many."""
    hover = bokeh().models.HoverTool
    options = {"limit": _NAMED} if "limit" in hover.properties() else {}
    figure.add_tools(hover(renderers=[drawn], tooltips=tips, **options))


def _named(points: Points) -> dict[str, str]:
    return {"legend_label": points.legend} if points.legend else {}
