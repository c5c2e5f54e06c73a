// The spectrum: prediction, observed star, residuals, and which pixels change with which label.

class SpectrumPanel {
  constructor(header, arrays, emulator, bokehDocument) {
    Object.assign(this, {header, emulator, document: bokehDocument, wave: arrays.wave});
    this.model = (name) => bokehDocument.get_model_by_name(name);
    this.line = lineNames(header.lines, this.wave, header.wave_unit);
    this.observed = new Float64Array(this.wave.length).fill(NaN);
    this.sigma = this.css = null;
    this.observedLimits = [];
    this.model("wave").change.connect(() => {
      this.drawPrediction();
      this.drawObserved();
      this.drawResiduals();
      this.later();
    });
  }

  /** Draw the prediction at these labels; gradients follow when the sliders rest. */
  predict(labels, isOutside) {
    this.labels = labels;
    this.flux = this.emulator.flux(labels);
    this.isOutside = isOutside;
    this.draw();
    this.later();
  }

  draw() {
    const {flux, observed} = this;
    this.drawPrediction();
    this.paintPrediction();
    if (this.sigma) {
      this.ratios = observed.map((value, p) => (value - flux[p]) / this.sigma[p]);
      this.drawResiduals();
    }
    this.fitRange(false);
  }

  drawPrediction() {
    if (!this.flux) return;
    const kept = this.seen(this.flux), of = (values) => kept.map((p) => values[p]);
    this.model("prediction").data = {wave: of(this.wave), flux: of(this.flux), observed: of(this.observed), line: of(this.line)};
  }

  drawObserved() {
    const kept = this.sigma ? this.seen(this.observed) : [];
    this.model("observation").data = {wave: kept.map((p) => this.wave[p]), flux: kept.map((p) => this.observed[p])};
  }

  drawResiduals() {
    if (!this.sigma || !this.flux) return;
    const kept = this.seen(this.ratios);
    this.model("residual").data = {wave: kept.map((p) => this.wave[p]), ratio: kept.map((p) => this.ratios[p])};
  }

  /** The pixels that a curve is drawn through, for the part of it that is in view. */
  seen(values) {
    const {start, end} = this.model("wave");
    return enough(this.wave, values, start, end, this.model("flux").inner_width || 800);
  }

  paintPrediction() {
    const css = colour(this.isOutside ? "outside" : "predicted"), {glyph} = this.model("prediction line");
    if (css !== this.css) glyph.line_color = this.css = css;
  }

  /** χ² of the prediction and the number of pixels that it is of. */
  chi2() {
    let sum = 0, count = 0;
    for (const ratio of this.sigma ? this.ratios : []) if (Number.isFinite(ratio)) { sum += ratio * ratio; count++; }
    return [sum, count];
  }

  /** Show a star's flux and its σ, or none. */
  showStar(observed, sigma) {
    const has = observed !== null;
    this.observed = has ? observed : new Float64Array(this.wave.length).fill(NaN);
    this.sigma = has ? sigma : null;
    this.observedLimits = limitsWithoutOutliers(this.observed);
    this.drawObserved();
    this.model("observed line").visible = has;
    this.model("residuals").visible = has;
    if (this.flux) {
      this.draw();
      this.fitRange(true);
    }
  }

  /** An ordinate that holds what is drawn: it may grow while sliders move, so that the eye can follow, and shrinks only for another star. */
  fitRange(afresh) {
    const range = this.model("flux range");
    let [low, high] = withRoom(this.observedLimits, limits(this.flux));
    if (!afresh && this.hasRange) [low, high] = [Math.min(low, range.start), Math.max(high, range.end)];
    this.hasRange = true;
    if (low !== range.start || high !== range.end) range.setv({start: low, end: high, reset_start: low, reset_end: high});
    if (!this.sigma || !afresh) return;
    const sizes = this.ratios.filter(Number.isFinite).map(Math.abs).sort();
    const most = Math.max(3.5, 1.15 * (sizes[Math.floor(0.98 * sizes.length)] ?? 0));
    this.model("ratio range").setv({start: -most, end: most, reset_start: -most, reset_end: most});
  }

  /** Gradients, once nothing has moved for a moment. */
  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.drawStrips(), 60);
  }

  drawStrips() {
    if (!this.labels) return;
    if (this.slopesAt !== this.labels) {
      this.slopes = this.emulator.fluxAndSlopes(this.labels).slice(1).map(relative);
      this.slopesAt = this.labels;
    }
    const source = this.model("strips"), image = source.data.image[0], [nRows, nColumns] = image.shape;
    const {start, end} = this.model("wave");
    this.slopes.forEach((slope, row) => {
      for (let column = 0; column < nColumns; column++) {
        const [from, to] = [column, column + 1].map((edge) => start + ((end - start) * edge) / nColumns);
        image[row * nColumns + column] = strongest(this.wave, slope, from, to);
      }
    });
    source.data = {image: [image], x: [start], y: [0], dw: [end - start], dh: [nRows]};
  }

  paint() {
    this.model("observed line").glyph.line_color = colour("observed");
    this.css = null;
    this.paintPrediction();
    this.model("residual line").glyph.line_color = colour("observed");
    this.model("one sigma").fill_color = colour("sigma");
    this.model("pixel marker").line_color = colour("accent");
    this.model("strip colours").palette = diverging(colour("falls"), colour("rises"));
  }
}

/**
 * Pixels that suffice to draw a curve: where many are in one column of the screen, the smallest and the largest of each
 * column. What is seen is the same, and painting takes a fraction of the time.
 */
function enough(wave, values, start, end, columns) {
  const first = Math.max(firstAtOrAbove(wave, start) - 1, 0), last = Math.min(firstAtOrAbove(wave, end) + 1, wave.length);
  const kept = [];
  if (last - first <= 3 * columns) {
    for (let p = 0; p < wave.length; p++) kept.push(p);
    return kept;
  }
  const width = (end - start) / columns;
  for (let p = first; p < last; ) {
    const next = start + (Math.floor((wave[p] - start) / width) + 1) * width;
    let low = p, high = p;
    for (p++; p < last && wave[p] < next; p++) {
      if (!(values[low] <= values[p])) low = p;
      if (!(values[high] >= values[p])) high = p;
    }
    kept.push(Math.min(low, high));
    if (low !== high) kept.push(Math.max(low, high));
  }
  return kept;
}

/** In units of its own strong values. */
function relative(slope) {
  const sizes = slope.filter(Number.isFinite).map(Math.abs).sort();
  const unit = sizes[Math.floor(0.99 * (sizes.length - 1))] || 1;
  return slope.map((value) => value / unit);
}

/** The strongest value of the pixels between two wavelengths, or that of the pixel that contains them. */
function strongest(wave, values, from, to) {
  let p = firstAtOrAbove(wave, from), found = NaN;
  for (; p < wave.length && wave[p] < to; p++) if (!(Math.abs(values[p]) <= Math.abs(found))) found = values[p];
  return Number.isNaN(found) ? values[nearest(wave, (from + to) / 2)] : found;
}

function firstAtOrAbove(wave, value) {
  let low = 0, high = wave.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (wave[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function nearest(wave, value) {
  const above = Math.min(firstAtOrAbove(wave, value), wave.length - 1), below = Math.max(above - 1, 0);
  return value - wave[below] < wave[above] - value ? below : above;
}

/** Limits of an axis that hold all of these, with some room. */
function withRoom(...ends) {
  const known = ends.flat(), [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
  const room = 0.06 * (high - low) || 0.05 * Math.abs(high) || 1;
  return [low - room, high + room];
}

/** The smallest and the largest of the values; nothing where none is known. */
function limits(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : [];
}

/** The same without outliers: they lie beyond the central 96 % by more than half their width. */
function limitsWithoutOutliers(values) {
  const known = Float64Array.from(values).filter(Number.isFinite).sort();
  if (!known.length) return [];
  const [q2, q98] = [0.02, 0.98].map((q) => known[Math.floor(q * (known.length - 1))]), reach = 0.5 * (q98 - q2);
  return [Math.max(known[0], q2 - reach), Math.min(known[known.length - 1], q98 + reach)];
}

/** For every pixel, the names of the lines in it; in fine pixels also of those within 30 km/s, which a pointer can hit. */
function lineNames(lines, wave, unit) {
  const digits = unit === "nm" ? 2 : unit === "Angstrom" ? 1 : 4, names = Array.from(wave, () => []);
  for (const [name, at] of lines) {
    const text = `${name} ${at.toFixed(digits)}`, own = nearest(wave, at);
    names[own].push(text);
    for (let p = firstAtOrAbove(wave, at * (1 - 1e-4)); p < wave.length && wave[p] <= at * (1 + 1e-4); p++) if (p !== own) names[p].push(text);
  }
  return names.map((some) => (some.length > 5 ? [...some.slice(0, 5), "…"] : some).join(", ") || "–");
}
