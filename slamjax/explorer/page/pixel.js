// One pixel: its flux against a label, through the training stars and both emulators, and what training chose for it.

const CURVE = 80;
/** Training stars whose other labels lie within this many spreads of the sliders' are dark. */
const NEAR = 0.7;

class PixelView {
  constructor(explorer, bokehDocument) {
    const {header, arrays} = explorer;
    Object.assign(this, {explorer, header, arrays});
    this.model = (name) => bokehDocument.get_model_by_name(name);
    this.quadratic = header.quadratic ? new Emulator(header.quadratic, explorer.part("quadratic")) : null;
    this.along = document.getElementById("pixel-along");
    this.along.replaceChildren(...header.labels.map((label, k) => Object.assign(make("option", "", label.title), {value: k})));
    this.along.addEventListener("change", () => this.draw());
    this.number = document.getElementById("pixel-wave");
    this.number.addEventListener("change", () => Number.isFinite(this.number.valueAsNumber) && this.show(nearest(arrays.wave, this.number.valueAsNumber)));
    document.getElementById("pixel-down").addEventListener("click", () => this.show(this.pixel - 1));
    document.getElementById("pixel-up").addEventListener("click", () => this.show(this.pixel + 1));
    document.getElementById("pixel-unit").textContent = header.wave_unit;
    document.getElementById("pixel-note").textContent = this.saysSeen();
    this.show(this.firstShown());
  }

  /** How many training stars there are to be seen. */
  saysSeen() {
    const {seen} = this.header;
    if (!seen) return "Training stars are not in the page: give them as training= or --training.";
    return seen.n < seen.of ? `Of ${seen.of} training stars ${seen.n} are in the page; the quadratic is through all of them.` : "";
  }

  /** A pixel that changes much with the labels: sliders then move something. */
  firstShown() {
    const {scale, constant} = this.explorer.emulator.arrays;
    let best = 0;
    for (let p = 0; p < scale.length; p++) if (Number.isFinite(constant[p]) && !(scale[p] <= scale[best])) best = p;
    return best;
  }

  show(pixel) {
    const {wave} = this.arrays;
    this.pixel = Math.min(Math.max(pixel, 0), wave.length - 1);
    this.number.value = wave[this.pixel].toFixed(3);
    this.slam = this.explorer.emulator.atPixel(this.pixel);
    this.parabola = this.quadratic?.atPixel(this.pixel);
    this.describe();
    this.draw();
    const marker = this.explorer.documents.spectrum.get_model_by_name("pixel marker");
    marker.setv({location: wave[this.pixel], visible: true});
  }

  describe() {
    const {chosen, status} = this.header.pixels, line = this.explorer.spectrum.line[this.pixel];
    const rows = [["pixel", `${this.pixel} of ${this.arrays.wave.length}`], ["lines", line]];
    for (const name of chosen) rows.push([PIXEL_NAMES[name] ?? name, number(this.arrays[`pixels/${name}`][this.pixel])]);
    if (this.pixel in status) rows.push(["training", status[this.pixel]]);
    document.getElementById("pixel-facts").replaceChildren(...rows.flatMap(([topic, fact]) => [make("dt", "", topic), make("dd", "", fact)]));
  }

  draw() {
    const {labels} = this.header, k = Number(this.along.value), label = labels[k], here = this.explorer.sliders.values;
    const x = Float64Array.from({length: CURVE}, (_, i) => label.low + ((label.high - label.low) * i) / (CURVE - 1));
    const curve = (value) => Float64Array.from(x, (at) => value(here.map((other, i) => (i === k ? at : other))));
    const slam = curve(this.slam), parabola = this.parabola ? curve(this.parabola) : null;
    this.model("slam curve").data = {x, y: slam};
    this.model("quadratic curve").data = parabola ? {x, y: parabola} : {x: [], y: []};
    this.model("quadratic line").visible = parabola !== null;
    this.model("here").data = {x: [here[k]], y: [this.slam(here)]};
    this.model("pixel x axis").axis_label = label.title + (label.unit ? ` [${label.unit}]` : "");
    const seen = this.drawTraining(k, here), star = this.drawStar(k);
    this.model("pixel legend").items.forEach((item) => { item.visible = item.renderers[0].data_source.get_length() > 0; });
    this.fitRanges(label, [slam, parabola ?? [], seen, star]);
  }

  /** The training stars: dark where their other labels are near those of the sliders. */
  drawTraining(k, here) {
    const values = this.arrays["seen/flux/values"];
    if (!values) return [];
    const [nStars, nPixels] = values.shape, n = here.length, {width} = this.explorer.emulator.arrays, at = this.arrays["seen/labels"];
    const [low, step] = ["low", "step"].map((name) => this.arrays[`seen/flux/${name}`]), center = this.explorer.emulator.scaled(here);
    const points = {near: {x: [], y: []}, far: {x: [], y: []}};
    for (let star = 0; star < nStars; star++) {
      const whole = values[star * nPixels + this.pixel];
      if (whole === NO_DATA) continue;
      const own = at.subarray(star * n, (star + 1) * n), x = this.explorer.emulator.scaled(own);
      const isNear = x.every((value, i) => i === k || Math.abs(value - center[i]) < NEAR);
      const some = points[isNear ? "near" : "far"];
      some.x.push(own[k]);
      some.y.push(low[star] + step[star] * whole);
    }
    this.model("near stars").data = points.near;
    this.model("far stars").data = points.far;
    return [...points.near.y, ...points.far.y];
  }

  /** The star that is shown, at its fit. */
  drawStar(k) {
    const {star, spectrum} = this.explorer, flux = star === undefined ? NaN : spectrum.observed[this.pixel];
    const has = Number.isFinite(flux);
    this.model("this star").data = {x: has ? [this.explorer.fitOf(star)[k]] : [], y: has ? [flux] : []};
    return has ? [flux] : [];
  }

  fitRanges(label, series) {
    const room = 0.04 * (label.high - label.low), [slam, parabola, seen, star] = series;
    const [low, high] = withRoom(limitsWithoutOutliers(seen), limits(slam), limits(parabola), limits(star));
    this.model("pixel x").setv({start: label.min, end: label.max, reset_start: label.low - room, reset_end: label.high + room});
    this.model("pixel y").setv({start: low, end: high, reset_start: low, reset_end: high});
  }

  /** Sliders moved: the curves go through the new labels. */
  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.timer = null;
      this.draw();
    }, 40);
  }

  paint() {
    const set = (name, fields) => this.model(name).glyph.setv(fields);
    set("slam line", {line_color: colour("predicted")});
    set("quadratic line", {line_color: colour("accent")});
    set("far glyph", {fill_color: colour("stars")});
    set("near glyph", {fill_color: colour("observed")});
    set("here glyph", {line_color: colour("predicted")});
    set("this star glyph", {line_color: colour("ink")});
  }
}

const PIXEL_NAMES = {epsilon: "ε", gamma: "γ", cv_mse: "held-out error / variance", model_error: "model error", ridge: "ridge"};

function number(value) {
  return Number.isFinite(value) ? String(Number(value.toPrecision(4))) : "–";
}
