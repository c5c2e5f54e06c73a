// One star in words, and its corner: draws of its posterior, or the ellipses of its covariance.

const SIZE = 92, GAP = 8, LEFT = 62, BELOW = 46;

/** Labels with errors, χ² and flags as a table. */
function describeStar(explorer, star) {
  const {header, arrays} = explorer, n = header.labels.length, table = document.getElementById("star-table");
  const row = (title, text) => {
    const line = make("tr");
    line.append(make("th", "", title), make("td", "", text));
    return line;
  };
  const rows = header.labels.map((label, k) => {
    const [value, error] = [arrays["stars/labels"][star * n + k], arrays["stars/errors"][star * n + k]];
    return row(label.title, `${withError(value, error)}${label.unit ? ` ${label.unit}` : ""}`);
  });
  const number = (name) => arrays[`stars/${name}`][star];
  rows.push(row("χ² per pixel", shown(number("chi2"))), row("S/N per pixel", shown(number("snr"))));
  rows.push(row("flags", explorer.plane.flagNames(star) || "none"));
  table.replaceChildren(...rows);
}

function shown(value) {
  return Number.isFinite(value) ? value.toPrecision(3) : "not known";
}

/** A value with as many digits as its error has two of. */
function withError(value, error) {
  if (!Number.isFinite(value)) return "no fit";
  if (!Number.isFinite(error) || error <= 0) return `${value.toPrecision(5)} ± ${Number.isFinite(error) ? error : "∞"}`;
  const digits = Math.max(0, 1 - Math.floor(Math.log10(error)));
  return `${value.toFixed(digits)} ± ${error.toFixed(digits)}`;
}

/** The corner of a star: one panel for each pair of labels. */
function drawCorner(explorer, star) {
  const {header, arrays} = explorer, {labels} = header, n = labels.length, svg = document.getElementById("corner");
  const value = (k) => arrays["stars/labels"][star * n + k], cov = arrays["stars/cov"];
  const covariance = (i, j) => (cov.length ? cov[(star * n + i) * n + j] : i === j ? arrays["stars/errors"][star * n + i] ** 2 : 0);
  const draws = drawsOf(explorer, star), note = document.getElementById("corner-note");
  const used = labels.map((_, k) => k).filter((k) => Number.isFinite(value(k)) && covariance(k, k) > 0 && Number.isFinite(covariance(k, k)));
  svg.replaceChildren();
  note.textContent = !used.length
    ? "No errors of this star are known."
    : draws ? "Draws of its posterior, and the 1 and 2 σ ellipses of its covariance." : "1 and 2 σ ellipses of its covariance.";
  if (!used.length) return;
  const side = used.length * (SIZE + GAP);
  svg.setAttribute("viewBox", `0 0 ${LEFT + side} ${side + BELOW}`);
  svg.style.maxWidth = `${1.15 * (LEFT + side)}px`;
  const reach = used.map((k) => 3.2 * Math.sqrt(covariance(k, k)));
  used.forEach((i, row) => {
    used.slice(0, row + 1).forEach((j, place) => {
      const panel = draw("g", {transform: `translate(${LEFT + place * (SIZE + GAP)},${row * (SIZE + GAP)})`});
      panel.append(draw("rect", {width: SIZE, height: SIZE, class: "frame"}));
      if (i === j) panel.append(...bell(draws?.map((one) => (one[i] - value(i)) / reach[row])));
      else panel.append(...pair(covariance(j, j), covariance(i, j), covariance(i, i), reach[place], reach[row],
        draws?.map((one) => [(one[j] - value(j)) / reach[place], (one[i] - value(i)) / reach[row]])));
      if (row === used.length - 1) panel.append(...ticks(labels[j], value(j), reach[place], "x"));
      if (place === 0 && row > 0) panel.append(...ticks(labels[i], value(i), reach[row], "y"));
      svg.append(panel);
    });
  });
}

/** Draws of a star's posterior, as rows of labels; null where there are none. */
function drawsOf({header, arrays}, star) {
  const place = arrays["draws/kept"]?.[star] ?? -1;
  if (place < 0) return null;
  const n = header.labels.length, flat = compactRow(arrays, "draws/labels", place);
  // labels differ by orders of magnitude: they are kept in units of their errors about the fit
  const [center, error] = ["labels", "errors"].map((name) => arrays[`stars/${name}`].subarray(star * n, (star + 1) * n));
  return Array.from({length: flat.length / n}, (_, k) => center.map((value, label) => value + error[label] * flat[k * n + label]));
}

function draw(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

/** The distribution of one label: a histogram of draws, or the normal distribution, over 3.2 σ to either side. */
function bell(draws) {
  const heights = Array(32).fill(0), at = (k) => ((k + 0.5) / 32) * 2 - 1;
  if (draws) for (const u of draws) { const k = Math.floor(16 * (u + 1)); if (k >= 0 && k < 32) heights[k]++; }
  else heights.forEach((_, k) => { heights[k] = Math.exp(-0.5 * (3.2 * at(k)) ** 2); });
  const most = Math.max(...heights) || 1;
  const points = heights.map((h, k) => `${(((at(k) + 1) / 2) * SIZE).toFixed(1)},${(SIZE * (1 - 0.88 * (h / most))).toFixed(1)}`);
  return [draw("polyline", {points: points.join(" "), class: "ellipse"})];
}

/** Ellipses of 1 and 2 σ of two labels, below the draws. */
function pair(xx, xy, yy, reachX, reachY, draws) {
  const [a, b, c] = [xx / reachX ** 2, xy / (reachX * reachY), yy / reachY ** 2];
  const root = Math.sqrt(a), across = b / root, rest = Math.sqrt(Math.max(0, c - across ** 2)), half = SIZE / 2;
  const ellipse = (sigma) => Array.from({length: 61}, (_, k) => {
    const [u, v] = [Math.cos, Math.sin].map((f) => sigma * f((2 * Math.PI * k) / 60));
    return `${(half * (1 + root * u)).toFixed(1)},${(half * (1 - (across * u + rest * v))).toFixed(1)}`;
  }).join(" ");
  const dots = (draws ?? []).filter((pair) => pair.every((u) => Math.abs(u) <= 1)).map(([u, v]) =>
    draw("circle", {cx: (half * (1 + u)).toFixed(1), cy: (half * (1 - v)).toFixed(1), r: 1.3, class: "dot"}));
  return [...dots, ...[1, 2].map((sigma) => draw("polyline", {points: ellipse(sigma), class: "ellipse"}))];
}

/** The values at ± 2 σ, and the label's name. */
function ticks(label, value, reach, axis) {
  const digits = Math.max(0, -Math.floor(Math.log10(reach / 3.2)));
  const parts = [-2, 2].map((sigma) => {
    const text = (value + (sigma / 3.2) * reach).toFixed(digits), at = (SIZE / 2) * (1 + sigma / 3.2);
    return axis === "x"
      ? draw("text", {x: at, y: SIZE + 15, "text-anchor": "middle"}, text)
      : draw("text", {x: -4, y: SIZE - at + 4, "text-anchor": "end"}, text);
  });
  parts.push(axis === "x"
    ? draw("text", {x: SIZE / 2, y: SIZE + 34, "text-anchor": "middle", class: "name"}, label.title)
    : draw("text", {transform: `translate(${-LEFT + 14},${SIZE / 2}) rotate(-90)`, "text-anchor": "middle", class: "name"}, label.title));
  return parts;
}
