// Light and dark: colours are those of the style sheet, and Bokeh's figures take them from there.

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function useTheme(name) {
  document.documentElement.dataset.theme = name;
}

/** Figures, axes and grids in the colours of the page. */
function paintFigures(bokehDocument) {
  const [panel, ink, muted, line, grid] = ["panel", "ink", "muted", "line", "grid"].map(colour);
  for (const model of bokehDocument.all_models ?? bokehDocument._all_models.values()) {
    if (model.type === "Figure" || model.type === "Plot") {
      model.outline_line_color = line;
      model.stylesheets = [`:host { background-color: ${panel} !important; }`];
    } else if (model.type?.endsWith("Axis")) {
      model.setv({
        axis_line_color: line, major_tick_line_color: model.major_tick_line_color && line, minor_tick_line_color: null,
        major_label_text_color: muted, axis_label_text_color: ink, axis_label_text_font_style: "normal",
        major_label_text_font_size: "12px", axis_label_text_font_size: "13px",
      });
    } else if (model.type === "Grid") {
      model.grid_line_color = grid;
    } else if (model.type === "Legend") {
      model.setv({
        background_fill_color: panel, background_fill_alpha: 0.8, border_line_color: null, label_text_color: ink,
        label_text_font_size: "12px", padding: 4, margin: 6,
      });
    }
  }
}

/** A palette from one colour over the panel's to another. */
function diverging(low, high) {
  const [from, middle, to] = [low, colour("panel"), high].map(rgb);
  return Array.from({length: 129}, (_, k) => {
    const t = (k - 64) / 64, end = t < 0 ? from : to;
    return `rgb(${middle.map((m, c) => Math.round(m + Math.abs(t) * (end[c] - m))).join(",")})`;
  });
}

function rgb(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}
