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

/** Rows that were written as whole numbers of steps, byte by byte, as one array of floats. */
function unquantised(arrays, prefix) {
  const planes = arrays[`${prefix}/planes`], step = arrays[`${prefix}/step`];
  const [nBytes, nRows, width] = planes.shape, size = nRows * width, rows = new Float32Array(size);
  for (let row = 0; row < nRows; row++) {
    for (let at = row * width; at < (row + 1) * width; at++) {
      let folded = 0;
      for (let k = nBytes - 1; k >= 0; k--) folded = folded * 256 + planes[k * size + at];
      rows[at] = (folded % 2 ? -(folded + 1) / 2 : folded / 2) * step[row];
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
