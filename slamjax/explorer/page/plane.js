// The plane of two labels: training stars, fitted stars by colour, their flags, and lists of chosen ones.

const SCALES = {
  chi2: {title: "χ² per pixel", log: true},
  snr: {title: "S/N per pixel", log: true},
  flags: {title: "flags"},
};

class LabelPlane {
  /** onStar is called with the index of a star that was clicked. */
  constructor(explorer, bokehDocument, onStar) {
    Object.assign(this, {explorer, header: explorer.header, arrays: explorer.arrays, document: bokehDocument, onStar});
    this.model = (name) => bokehDocument.get_model_by_name(name);
    this.stars = this.header.stars ?? null;
    this.training = trainingLabels(explorer);
    this.hidden = new Set();
    this.chooseAxes();
    if (this.stars) {
      this.listFlags();
      this.listen();
    }
    document.getElementById("of-stars").hidden = !this.stars;
    this.draw(true);
  }

  chooseAxes() {
    const {labels} = this.header;
    const index = (name, otherwise) => Math.max(labels.findIndex((label) => label.name === name), otherwise);
    const [x, y] = [index("teff", 0), labels.length > 1 ? index("logg", 1) : 0];
    this.axes = [["plane-x", x], ["plane-y", y === x ? 0 : y]].map(([id, start]) => {
      const select = document.getElementById(id);
      select.replaceChildren(...labels.map((label, k) => Object.assign(make("option", "", label.title), {value: k})));
      select.value = start;
      select.addEventListener("change", () => this.draw(true));
      return select;
    });
  }

  /** The checkboxes: how many stars have each flag, and what to do. */
  listFlags() {
    const flags = this.arrays["stars/flags"], list = document.getElementById("flags");
    const count = (test) => flags.reduce((n, value) => n + test(value), 0);
    const rows = [{name: "none", value: 0, meaning: "", advice: "these can be used as they are", count: count((value) => value === 0)}];
    for (const flag of this.header.flags) rows.push({...flag, count: count((value) => (value & flag.value) !== 0)});
    list.replaceChildren(...rows.filter((row) => row.count || row.value === 0).map((row) => {
      const item = make("li"), label = make("label"), box = Object.assign(make("input"), {type: "checkbox", checked: true});
      box.id = `flag-${row.name}`;
      box.addEventListener("change", () => {
        if (box.checked) this.hidden.delete(row.value);
        else this.hidden.add(row.value);
        this.draw(false);
      });
      label.append(box, " ", make("b", "", row.value ? row.name : "no flag"), ` ${row.count}`);
      item.append(label, make("p", "note", [row.meaning, row.advice].filter(Boolean).map(sentence).join(" ")));
      return item;
    }));
    this.flagRows = rows;
  }

  listen() {
    document.getElementById("plane-colour").addEventListener("change", () => this.draw(false));
    this.model("plane").on_event("selectiongeometry", (event) => {
      const chosen = this.model("star points").selected.indices.map((point) => this.shown[point]);
      if (event.geometry.type === "point") {
        if (chosen.length) this.onStar(chosen[0]);
      } else if (event.final) {
        this.list(chosen);
      }
    });
    document.getElementById("copy-list").addEventListener("click", (event) => copyText(document.getElementById("chosen").value, event.target));
  }

  /** Identifiers of these stars, to be copied. */
  list(chosen) {
    document.getElementById("chosen").value = chosen.map((star) => this.stars.names[star]).join("\n");
    document.getElementById("n-chosen").textContent = `${chosen.length} star${chosen.length === 1 ? "" : "s"}`;
  }

  isShown(star) {
    const flags = this.arrays["stars/flags"][star];
    if (flags === 0) return !this.hidden.has(0);
    return this.header.flags.some(({value}) => (flags & value) !== 0 && !this.hidden.has(value));
  }

  draw(afresh) {
    const [x, y] = this.axes.map((select) => Number(select.value)), {labels} = this.header, n = labels.length;
    this.model("training points").data = {x: column(this.training, n, x), y: column(this.training, n, y)};
    ["x", "y"].forEach((axis, k) => {
      const label = labels[[x, y][k]];
      this.model(`plane ${axis} axis`).axis_label = label.title + (label.unit ? ` [${label.unit}]` : "");
    });
    if (this.stars) this.drawStars(x, y);
    if (afresh) this.fitRanges(x, y);
    this.mark(this.explorer.star);
  }

  drawStars(x, y) {
    const n = this.header.labels.length, fits = this.arrays["stars/labels"];
    this.shown = this.stars.names.map((_, star) => star).filter((star) => this.isShown(star) && Number.isFinite(fits[star * n]));
    const take = (values) => this.shown.map((star) => values[star]);
    const source = this.model("star points");
    source.selected.indices = [];
    source.data = {
      x: this.shown.map((star) => fits[star * n + x]),
      y: this.shown.map((star) => fits[star * n + y]),
      colour: take(this.colours()),
      name: take(this.stars.names),
      chi2: take(this.arrays["stars/chi2"]),
      snr: take(this.arrays["stars/snr"]),
      flags: this.shown.map((star) => this.flagNames(star) || "none"),
    };
  }

  flagNames(star) {
    const flags = this.arrays["stars/flags"][star];
    return this.header.flags.filter(({value}) => (flags & value) !== 0).map(({name}) => name).join(", ");
  }

  /** A colour for every star, and the legend that says what they mean. */
  colours() {
    const by = document.getElementById("plane-colour").value, legend = document.getElementById("plane-legend");
    if (by === "flags") {
      const flags = this.arrays["stars/flags"], used = this.flagRows.filter((row) => row.count);
      const colours = new Map(used.map((row, k) => [row.value, row.value ? QUALITATIVE[(k - 1 + QUALITATIVE.length) % QUALITATIVE.length] : colour("accent")]));
      legend.replaceChildren(...used.flatMap((row) => [swatch(colours.get(row.value), row.value ? row.name : "no flag"), " "]));
      return [...flags].map((value) => colours.get(value === 0 ? 0 : used.find((row) => value & row.value).value));
    }
    const values = [...this.arrays[`stars/${by}`]], {title} = SCALES[by];
    const known = values.filter((value) => value > 0 && Number.isFinite(value)).map(Math.log).sort((a, b) => a - b);
    if (!known.length) {
      legend.textContent = `${title}: not known`;
      return values.map(() => colour("muted"));
    }
    const [low, high] = [0.02, 0.98].map((q) => known[Math.round(q * (known.length - 1))]);
    const bar = make("span", "bar");
    bar.style.background = `linear-gradient(to right, ${SEQUENTIAL.join(",")})`;
    legend.replaceChildren(`${title}  ${Math.exp(low).toPrecision(3)} `, bar, ` ${Math.exp(high).toPrecision(3)}`);
    return values.map((value) => (value > 0 && Number.isFinite(value) ? sequential((Math.log(value) - low) / (high - low || 1)) : colour("muted")));
  }

  /** Teff and log g grow to the left and downwards, as in every HR diagram. */
  fitRanges(x, y) {
    [["x", x], ["y", y]].forEach(([axis, k]) => {
      const label = this.header.labels[k], room = 0.05 * (label.high - label.low);
      const ends = [label.low - room, label.high + room];
      if (axis === "x" ? label.name === "teff" : label.name === "logg") ends.reverse();
      const [start, end] = ends;
      this.model(`plane ${axis}`).setv({start, end, reset_start: start, reset_end: end});
    });
  }

  /** A ring about the star that is shown, and a cross at the labels of the sliders. */
  mark(star) {
    const [x, y] = this.axes.map((select) => Number(select.value)), n = this.header.labels.length;
    const fits = this.arrays["stars/labels"], has = star !== undefined && star !== null;
    this.model("shown star").data = {x: has ? [fits[star * n + x]] : [], y: has ? [fits[star * n + y]] : []};
    this.follow(this.explorer.sliders.values);
  }

  /** The cross follows the sliders once they rest: painting thousands of stars would slow them down. */
  later(labels) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.follow(labels), 80);
  }

  follow(labels) {
    const [x, y] = this.axes.map((select) => Number(select.value));
    this.model("slider point").data = {x: [labels[x]], y: [labels[y]]};
  }

  paint() {
    this.model("training glyph").glyph.setv({fill_color: colour("stars"), line_color: null});
    // the darkest colours need an edge on dark ground
    this.model("star glyph").glyph.setv({line_color: colour("muted"), line_width: 0.8});
    this.model("ring").glyph.line_color = colour("ink");
    this.model("cross").glyph.line_color = colour("predicted");
    if (this.stars) this.draw(false);
  }
}

/** Labels of the training stars in their units, one star after the other. */
function trainingLabels({header, arrays, emulator}) {
  const n = header.labels.length, {center, width} = emulator.arrays;
  return Float64Array.from(arrays.training, (x, i) => {
    const t = x * width[i % n] + center[i % n];
    return header.emulator.log[i % n] ? 10 ** t : t;
  });
}

function column(rows, n, k) {
  return Float64Array.from({length: rows.length / n}, (_, row) => rows[row * n + k]);
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}.`;
}

function swatch(css, text) {
  const element = make("span", "named"), square = make("span", "swatch");
  square.style.background = css;
  element.append(square, text);
  return element;
}

/** viridis, and colours that stay apart for most eyes on light and dark ground. */
const SEQUENTIAL = ["#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
const QUALITATIVE = ["#e69f00", "#d55e00", "#cc79a7", "#009e73", "#56b4e9", "#b3a100", "#8c6bb1", "#a65628"];

function sequential(t) {
  const at = Math.min(1, Math.max(0, t)) * (SEQUENTIAL.length - 1), k = Math.min(Math.floor(at), SEQUENTIAL.length - 2);
  const [from, to] = [SEQUENTIAL[k], SEQUENTIAL[k + 1]].map(rgb);
  return `rgb(${from.map((value, c) => Math.round(value + (at - k) * (to[c] - value))).join(",")})`;
}
