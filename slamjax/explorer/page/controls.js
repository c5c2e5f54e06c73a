// Sliders, one for each label.

class Sliders {
  /** onChange is called at most once a frame, with the labels. */
  constructor(labels, onChange) {
    this.labels = labels;
    this.values = labels.map((label) => label.start);
    this.onChange = onChange;
    this.rows = labels.map((label, k) => this.row(label, k));
    document.getElementById("sliders").replaceChildren(...this.rows.map((row) => row.element));
    this.show();
  }

  row(label, k) {
    const element = make("div", "slider"), title = make("label", "", label.title);
    if (label.unit) title.append(" ", make("small", "", `[${label.unit}]`));
    const number = make("input"), range = make("input");
    Object.assign(number, {type: "number", id: `number-${label.name}`, step: label.step});
    Object.assign(range, {type: "range", id: `slider-${label.name}`, min: label.min, max: label.max, step: label.step});
    title.htmlFor = number.id;
    range.setAttribute("aria-label", label.title);
    const [low, high] = [label.low, label.high].map((end) => (100 * (end - label.min)) / (label.max - label.min));
    range.style.setProperty("--track", `linear-gradient(to right, var(--line) ${low}%, var(--sigma) ${low}% ${high}%, var(--line) ${high}%)`);
    range.title = `training range ${rounded(label.low, label.step)} to ${rounded(label.high, label.step)}`;
    range.addEventListener("input", () => this.set(k, range.valueAsNumber));
    number.addEventListener("change", () => {
      const value = number.valueAsNumber;
      this.set(k, Number.isFinite(value) ? Math.min(label.max, Math.max(label.min, value)) : this.values[k]);
    });
    element.append(title, number, range);
    return {element, number, range};
  }

  set(k, value) {
    this.setAll(this.values.map((before, i) => (i === k ? value : before)));
  }

  setAll(values) {
    this.values = [...values];
    this.show();
    this.isStale = true;
    if (!this.waiting) this.tell();
  }

  /** At once, and again with the next frame if something has moved since. */
  tell() {
    this.isStale = false;
    this.waiting = true;
    this.onChange(this.values);
    requestAnimationFrame(() => {
      this.waiting = false;
      if (this.isStale) this.tell();
    });
  }

  show() {
    this.rows.forEach(({element, number, range}, k) => {
      const label = this.labels[k], value = this.values[k];
      number.value = rounded(value, label.step);
      range.value = value;
      element.classList.toggle("outside", value < label.low || value > label.high);
    });
  }
}

/** A number with as many digits as a step has. */
function rounded(value, step) {
  return Number.isFinite(value) ? value.toFixed(Math.max(0, Math.ceil(-Math.log10(step) - 1e-9))) : "–";
}

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.textContent = text;
  return element;
}
