"""Bokeh's part of a page: empty figures, which the page's own script fills, and Bokeh's script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from slamjax.errors import SlamError

#: Heights in pixels.
_FLUX, _RESIDUAL, _STRIP, _AXIS, _PLANE, _PIXEL = 320, 130, 22, 52, 430, 330
#: Left of every axis, so that panels that share an abscissa stand below each other.
_LEFT, _RIGHT = 76, 14
#: The page's own ground is seen through figures.
CLEAR: dict[str, Any] = {"background_fill_color": None, "border_fill_color": None}
#: Columns of gradient strips, however many pixels there are.
STRIP_COLUMNS = 1500


@dataclass(frozen=True)
class Axis:
    """Title of an axis, in plain text."""

    title: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.title} [{self.unit}]" if self.unit else self.title


def bokeh() -> Any:
    """The package; raises SlamError where it is not installed."""
    try:
        import bokeh.document
        import bokeh.embed
        import bokeh.layouts
        import bokeh.models
        import bokeh.plotting
        import bokeh.resources
    except ImportError as error:
        raise SlamError(f"a page needs Bokeh ({error}); install it with: pip install 'slamjax[explore]'") from error
    return bokeh


def bokeh_script() -> str:
    """Bokeh's own JavaScript."""
    return "\n".join(bokeh().resources.Resources(mode="inline", components=["bokeh"]).js_raw)


def spectrum_item(wave: tuple[float, float], wavelength: Axis, flux: Axis, labels: list[str]) -> dict[str, Any]:
    """Flux, residuals and gradients against one wavelength axis, as JSON of Bokeh."""
    models = bokeh().models
    x_range = models.Range1d(*wave, bounds=wave, name="wave")
    prediction = models.ColumnDataSource({"wave": [], "flux": [], "observed": [], "line": []}, name="prediction")
    # apart from the prediction, for it stays while sliders move
    observation = models.ColumnDataSource({"wave": [], "flux": []}, name="observation")
    residual = models.ColumnDataSource({"wave": [], "ratio": []}, name="residual")

    top = _figure("flux", _FLUX, x_range, str(flux))
    top.y_range = models.Range1d(0, 1, name="flux range")
    observed = top.line(
        "wave",
        "flux",
        source=observation,
        line_width=1,
        line_join="bevel",
        name="observed line",
        legend_label="observed",
    )
    line = top.line(
        "wave",
        "flux",
        source=prediction,
        line_width=1.5,
        line_join="bevel",
        name="prediction line",
        legend_label="predicted",
    )
    top.add_tools(
        models.HoverTool(
            renderers=[line],
            mode="vline",
            tooltips=[
                ("wavelength", "@wave{0.000}"),
                ("predicted", "@flux{0.0000}"),
                ("observed", "@observed{0.0000}"),
                ("lines", "@line"),
            ],
        )
    )
    marker = models.Span(dimension="height", line_width=1, line_dash="dotted", visible=False, name="pixel marker")
    top.add_layout(marker)
    observed.visible = False
    top.legend.orientation = "horizontal"
    top.legend.location = "bottom_right"
    top.legend.name = "spectrum legend"

    middle = _figure("residuals", _RESIDUAL, x_range, "residual / σ")
    middle.y_range = models.Range1d(-4, 4, name="ratio range")
    middle.add_layout(models.BoxAnnotation(bottom=-1, top=1, fill_alpha=0.25, line_alpha=0, name="one sigma"))
    middle.line("wave", "ratio", source=residual, line_width=0.9, line_join="bevel", name="residual line")
    middle.visible = False

    strips = _strips(x_range, str(wavelength), labels)
    return _item([top, middle, strips], "spectrum-figure")


def plane_item() -> dict[str, Any]:
    """Two labels of training stars and of fitted ones, as JSON of Bokeh."""
    models = bokeh().models
    plane = bokeh().plotting.figure(
        name="plane",
        height=_PLANE,
        x_range=models.Range1d(0, 1, name="plane x"),
        y_range=models.Range1d(0, 1, name="plane y"),
        tools=[],
        **CLEAR,
        toolbar_location="above",
        sizing_mode="stretch_width",
        x_axis_label=" ",
        y_axis_label=" ",
    )
    plane.xaxis.name, plane.yaxis.name = "plane x axis", "plane y axis"
    plane.toolbar.logo = None
    columns = ("x", "y", "colour", "name", "chi2", "snr", "flags")
    sources = {
        "training points": ("x", "y"), "star points": columns, "shown star": ("x", "y"), "slider point": ("x", "y")
    }  # fmt: skip
    data = {
        name: models.ColumnDataSource({column: [] for column in names}, name=name) for name, names in sources.items()
    }
    plane.scatter(
        "x", "y", source=data["training points"], size=4, fill_alpha=0.7, line_color=None, name="training glyph"
    )
    stars = plane.scatter(
        "x", "y", source=data["star points"], size=8, fill_color="colour", line_color=None, fill_alpha=0.9,
        nonselection_fill_alpha=0.3, nonselection_line_alpha=0, name="star glyph",
    )  # fmt: skip
    plane.scatter("x", "y", source=data["shown star"], size=15, fill_color=None, line_width=2, name="ring")
    plane.scatter("x", "y", source=data["slider point"], size=14, marker="cross", line_width=2.5, name="cross")
    tap, lasso = models.TapTool(renderers=[stars]), models.LassoSelectTool(renderers=[stars], continuous=False)
    zoom = models.BoxZoomTool()
    hover = models.HoverTool(
        renderers=[stars],
        tooltips=[("star", "@name"), ("χ² per pixel", "@chi2{0.00}"), ("S/N", "@snr{0}"), ("flags", "@flags")],
    )
    plane.add_tools(tap, lasso, zoom, models.PanTool(), models.WheelZoomTool(), models.ResetTool(), hover)
    plane.toolbar.active_drag, plane.toolbar.active_scroll, plane.toolbar.active_tap = lasso, None, tap
    return _item([plane], "plane-figure")


def pixel_item(flux: Axis) -> dict[str, Any]:
    """The flux of one pixel against one label, as JSON of Bokeh."""
    models = bokeh().models
    view = bokeh().plotting.figure(
        name="pixel",
        height=_PIXEL,
        x_range=models.Range1d(0, 1, name="pixel x"),
        y_range=models.Range1d(0, 1, name="pixel y"),
        tools=[],
        **CLEAR,
        toolbar_location="above",
        sizing_mode="stretch_width",
        min_border_left=_LEFT,
        x_axis_label=" ",
        y_axis_label=str(flux),
    )
    view.xaxis.name = "pixel x axis"
    view.toolbar.logo = None
    names = ("far stars", "near stars", "slam curve", "quadratic curve", "here", "this star")
    data = {name: models.ColumnDataSource({"x": [], "y": []}, name=name) for name in names}
    dots: dict[str, Any] = {"x": "x", "y": "y", "line_color": None}
    view.scatter(**dots, source=data["far stars"], size=4, fill_alpha=0.55, name="far glyph")
    view.scatter(
        **dots, source=data["near stars"], size=5, name="near glyph", legend_label="training stars near the sliders"
    )
    view.line(
        "x", "y", source=data["quadratic curve"], line_width=2, line_dash="dashed", name="quadratic line",
        legend_label="quadratic",
    )  # fmt: skip
    view.line("x", "y", source=data["slam curve"], line_width=2, name="slam line", legend_label="this model")
    view.scatter("x", "y", source=data["here"], size=13, marker="cross", line_width=2.5, name="here glyph")
    view.scatter(
        "x", "y", source=data["this star"], size=12, fill_color=None, line_width=2, name="this star glyph",
        legend_label="the star, at its fit",
    )  # fmt: skip
    view.legend.name, view.legend.orientation = "pixel legend", "horizontal"
    view.add_layout(view.legend[0], "above")
    zoom = models.BoxZoomTool()
    view.add_tools(zoom, models.PanTool(), models.WheelZoomTool(), models.ResetTool())
    view.toolbar.active_drag, view.toolbar.active_scroll = zoom, None
    return _item([view], "pixel-figure")


def _strips(x_range: Any, wavelength: str, labels: list[str]) -> Any:
    """One strip per label: how much a pixel changes with it."""
    models = bokeh().models
    n = len(labels)
    strips = _figure("gradients", _STRIP * n + _AXIS, x_range, "")
    strips.y_range = models.Range1d(n, 0, name="strip range")
    # the page's script writes into this array
    blank = {"image": [np.zeros((n, STRIP_COLUMNS), np.float32)], "x": [0], "y": [0], "dw": [1], "dh": [n]}
    image = models.ColumnDataSource(blank, name="strips")
    colours = models.LinearColorMapper(
        palette=["#888888"], low=-1, high=1, nan_color="rgba(0,0,0,0)", name="strip colours"
    )
    strips.image("image", x="x", y="y", dw="dw", dh="dh", source=image, color_mapper=colours, origin="top_left")
    strips.yaxis.ticker = [k + 0.5 for k in range(n)]
    strips.yaxis.major_label_overrides = {k + 0.5: title for k, title in enumerate(labels)}
    strips.yaxis.major_tick_line_color = None
    strips.xaxis.axis_label = wavelength
    strips.xaxis.visible = True
    strips.grid.visible = False
    return strips


def _figure(name: str, height: int, x_range: Any, title: str) -> Any:
    """A figure without an abscissa of its own, with the tools of all panels."""
    models = bokeh().models
    figure = bokeh().plotting.figure(
        name=name,
        height=height,
        x_range=x_range,
        tools=[],
        **CLEAR,
        toolbar_location="above" if name == "flux" else None,
        sizing_mode="stretch_width",
        min_border_left=_LEFT,
        min_border_right=_RIGHT,
        y_axis_label=title or None,
    )
    figure.xaxis.visible = False
    figure.toolbar.logo = None
    figure.toolbar.autohide = False
    zoom = models.BoxZoomTool(dimensions="width")
    figure.add_tools(zoom, models.PanTool(), models.WheelZoomTool(dimensions="width"), models.ResetTool())
    figure.toolbar.active_drag = zoom
    figure.toolbar.active_scroll = None
    return figure


def _item(figures: list[Any], target: str) -> dict[str, Any]:
    layout = bokeh().layouts.column(*figures, sizing_mode="stretch_width", spacing=0)
    return dict(bokeh().embed.json_item(layout, target))
