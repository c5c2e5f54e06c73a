// Arrays of the page: see packing.py.

const KINDS = {Float64Array, Float32Array, Int32Array, Int16Array, Uint16Array, Int8Array, Uint8Array};
const NO_DATA = 65535;

/** All arrays by name, each with its shape. */
async function unpack(places, text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const arrays = {};
  for (const {name, kind, shape, offset} of places) {
    const length = shape.reduce((a, b) => a * b, 1);
    arrays[name] = Object.assign(new KINDS[kind](buffer, offset, length), {shape});
  }
  return arrays;
}

/** Rows that were written as whole numbers of steps, as one array of floats. */
function unquantised(arrays, prefix, width) {
  const part = (name) => arrays[`${prefix}/${name}`];
  const sizes = part("bytes"), step = part("step");
  const rows = new Float32Array(sizes.length * width), next = [0, 0, 0, 0, 0];
  for (let row = 0; row < sizes.length; row++) {
    const size = sizes[row], from = next[size] * width, to = row * width;
    next[size]++;
    if (size === 4) {
      rows.set(part("whole4").subarray(from, from + width), to);
    } else if (size === 3) {
      const high = part("high"), low = part("low");
      for (let p = 0; p < width; p++) rows[to + p] = (high[from + p] * 65536 + low[from + p]) * step[row];
    } else {
      const whole = part(`whole${size}`);
      for (let p = 0; p < width; p++) rows[to + p] = whole[from + p] * step[row];
    }
  }
  return rows;
}

/** One row of a `compact` array; NaN where there are no data. */
function compactRow(arrays, prefix, row) {
  const values = arrays[`${prefix}/values`], width = values.shape[1];
  const low = arrays[`${prefix}/low`][row], step = arrays[`${prefix}/step`][row];
  const found = new Float64Array(width);
  for (let p = 0; p < width; p++) {
    const whole = values[row * width + p];
    found[p] = whole === NO_DATA ? NaN : low + step * whole;
  }
  return found;
}
