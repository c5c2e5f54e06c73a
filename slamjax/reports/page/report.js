// The page: embeds its figures, paints them in its colours, and makes its tables sortable.

class Report {
  async start() {
    for (const table of document.querySelectorAll("table.sheet")) makeSortable(table);
    useTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    this.views = {};
    const {documents, places} = JSON.parse(document.getElementById("figures").textContent);
    for (const manager of await Bokeh.embed.embed_items(documents, places)) {
      for (const view of manager.roots) {
        const target = places[0].roots[view.model.id];
        if (target) this.views[target] = view;
      }
    }
    this.paint(document.documentElement.dataset.theme);
    document.getElementById("theme").addEventListener("click", () => {
      this.paint(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    });
    document.getElementById("print").addEventListener("click", () => printNarrow());
    window.addEventListener("beforeprint", () => beforePrint(this));
    window.addEventListener("afterprint", () => afterPrint(this));
    return this;
  }

  paint(theme) {
    useTheme(theme);
    const [view] = Object.values(this.views);
    paintFigures(view.model.document);
    paintRoles(view.model.document);
  }
}

/** Tags of glyphs name their colours: "fill:accent" is the style sheet's. */
function paintRoles(bokehDocument) {
  for (const model of bokehDocument.all_models ?? bokehDocument._all_models.values()) {
    if (model.type === "Figure") model.outline_line_color = null;  // axes are enough
    for (const tag of model.tags ?? []) {
      const [kind, role] = String(tag).split(":");
      model[`${kind}_color`] = colour(role);
    }
  }
}

const report = new Report();
report.ready = report.start();
