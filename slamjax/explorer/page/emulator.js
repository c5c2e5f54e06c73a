// The emulator in the page: kernel sums, components, flux; and their derivatives. All sums are in double precision.

const KERNELS = {
  rbf: [(s, gamma) => Math.exp(-gamma * s), (s, gamma, c, k) => -gamma * k],
  linear: [(s) => s, () => 1],
  poly: [
    (s, gamma, c, degree) => (gamma * s + c) ** degree,
    (s, gamma, c, k, degree) => degree * gamma * (gamma * s + c) ** (degree - 1),
  ],
  sigmoid: [(s, gamma, c) => Math.tanh(gamma * s + c), (s, gamma, c, k) => gamma * (1 - k * k)],
};

class Emulator {
  constructor(header, arrays) {
    Object.assign(this, {header, arrays});
    this.pixels = header.pixels;
    this.nLabels = header.log.length;
    this.basis = arrays.basis ?? null;
    this.parts = header.projected ? this.projectedParts() : null;
  }

  /** x of labels in their units. */
  scaled(labels) {
    const {center, width} = this.arrays;
    return Float64Array.from(labels, (value, k) => ((this.header.log[k] ? Math.log10(value) : value) - center[k]) / width[k]);
  }

  /** The flux at labels in their units. */
  flux(labels) {
    return this.evaluate(labels, false)[0];
  }

  /** The flux, and for each label the change of the flux by one spread of that label. */
  fluxAndSlopes(labels) {
    return this.evaluate(labels, true);
  }

  evaluate(labels, slopes) {
    const x = this.scaled(labels);
    const {constant, scale} = this.arrays;
    return this.sums(x, slopes).map((flux, number) => {
      for (let p = 0; p < this.pixels; p++) flux[p] = scale[p] * flux[p] + (number ? 0 : constant[p]);
      return flux;
    });
  }

  /** The sums of all pixels, and their derivatives by each x. */
  sums(x, slopes) {
    if (this.parts) return this.projectedSums(x, slopes);
    const terms = this.header.kind === "polynomial" ? this.monomials(x, slopes) : this.kernelSums(x, slopes);
    return terms.map((row) => this.inPixels(row));
  }

  // projected kernel sums, see emulator_arrays.py -----------------------------------------------------------------------

  /** For every γ: its pivots, the Cholesky factor of their kernel matrix, and the coefficients of its pixels. */
  projectedParts() {
    return this.header.blocks.flatMap((block, number) => {
      const array = (name) => this.arrays[`block${number}/${name}`], nLabels = this.nLabels;
      return Array.from(array("gamma"), (gamma, g) => {
        const pivots = array(`${g}/pivots`), points = new Float64Array(pivots.length * nLabels);
        pivots.forEach((row, j) => points.set(this.arrays.support.subarray(row * nLabels, (row + 1) * nLabels), j * nLabels));
        const part = {block, gamma, coef0: array("coef0")[g], metric: array("metric"), points, n: pivots.length};
        part.factor = this.choleskyOf(part);
        return Object.assign(part, {rows: unquantised(this.arrays, `block${number}/${g}/rows`), pixels: array(`${g}/pixels`)});
      });
    });
  }

  /** L of k(u, u) for the pivots u, row by row without its zeros. */
  choleskyOf(part) {
    const {n, points} = part, nLabels = this.nLabels, factor = new Float64Array((n * (n + 1)) / 2);
    for (let i = 0; i < n; i++) {
      const [row] = this.kernels(part, points.subarray(i * nLabels, (i + 1) * nLabels), false, i + 1), at = (i * (i + 1)) / 2;
      for (let j = 0; j <= i; j++) {
        const before = (j * (j + 1)) / 2;
        let sum = row[j];
        for (let k = 0; k < j; k++) sum -= factor[at + k] * factor[before + k];
        factor[at + j] = j === i ? Math.sqrt(sum) : sum / factor[before + j];
      }
    }
    return factor;
  }

  /** k(x, u) of the first pivots, and its derivatives by each x. */
  kernels(part, x, slopes, count = part.n) {
    const {block, gamma, coef0, metric, points} = part, [profile, slope] = KERNELS[block.kernel];
    const {similarity, by} = this.similarity(x, block, metric, slopes, points.subarray(0, count * this.nLabels));
    const values = similarity.map((s) => profile(s, gamma, coef0, block.degree));
    return [values, ...by.map((row) => row.map((ds, i) => ds * slope(similarity[i], gamma, coef0, values[i], block.degree)))];
  }

  projectedSums(x, slopes) {
    const sums = Array.from({length: slopes ? 1 + this.nLabels : 1}, () => new Float64Array(this.pixels));
    for (const part of this.parts) {
      const {factor, rows, pixels} = part, width = pixels.length, own = new Float64Array(width);
      this.kernels(part, x, slopes).forEach((values, number) => {
        solveLower(factor, values);
        own.fill(0);
        for (let j = 0; j < values.length; j++) {
          const value = values[j], from = j * width;
          for (let q = 0; q < width; q++) own[q] += value * rows[from + q];
        }
        const target = sums[number];
        for (let q = 0; q < width; q++) target[pixels[q]] = own[q];
      });
    }
    return sums;
  }

  /** Coefficients of the kernels of one projected pixel: c of Lᵀ c = W. */
  projectedPixel(p) {
    return this.parts.flatMap((part) => {
      const {factor, rows, pixels, n} = part, q = pixels.indexOf(p);
      if (q < 0) return [];
      const own = Float64Array.from({length: n}, (_, j) => rows[j * pixels.length + q]);
      for (let i = n - 1; i >= 0; i--) {
        own[i] /= factor[(i * (i + 1)) / 2 + i];
        for (let j = 0; j < i; j++) own[j] -= factor[(i * (i + 1)) / 2 + j] * own[i];
      }
      return [{...part, own}];
    });
  }

  /** The flux of one pixel as a function of labels: its own coefficients are picked out once. */
  atPixel(p) {
    const {constant, scale, order} = this.arrays, n = this.pixels;
    if (this.header.kind === "polynomial") {
      return (labels) => {
        const [terms] = this.monomials(this.scaled(labels), false);
        return constant[p] + scale[p] * terms.reduce((sum, term, r) => sum + term * this.basis[r * n + p], 0);
      };
    }
    const sums = this.parts ? this.projectedPixel(p) : this.pixelParts(p, order ? order[p] : p);
    return (labels) => {
      const x = this.scaled(labels);
      let sum = 0;
      for (const {block, metric, gamma, coef0, own, points} of sums) {
        const {similarity} = this.similarity(x, block, metric, false, points), [profile] = KERNELS[block.kernel];
        for (let i = 0; i < own.length; i++) sum += own[i] * profile(similarity[i], gamma, coef0, block.degree);
      }
      return constant[p] + scale[p] * sum;
    };
  }

  /** Coefficients of the support vectors for one pixel, whose sum is in this slot or of all components. */
  pixelParts(p, wanted) {
    const n = this.pixels, rank = this.basis === null ? 0 : this.basis.length / n;
    let slot = 0;
    return this.header.blocks.flatMap((block, number) => {
      const array = (name) => this.arrays[`block${number}/${name}`], dual = array("dual");
      const [nGamma, nSupport, nSlot] = dual.shape;
      return Array.from({length: nGamma}, (_, g) => {
        const weights = Float64Array.from({length: nSlot}, (_, q) => (rank ? this.basis[((slot + q) % rank) * n + p] : Number(slot + q === wanted)));
        slot += nSlot;
        if (weights.every((weight) => weight === 0)) return null;
        const own = new Float64Array(nSupport);
        for (let i = 0; i < nSupport; i++) for (let q = 0; q < nSlot; q++) own[i] += weights[q] * dual[(g * nSupport + i) * nSlot + q];
        return {block, metric: array("metric"), gamma: array("gamma")[g], coef0: array("coef0")[g], own, points: this.arrays.support};
      }).filter((one) => one !== null);
    });
  }

  /** Components, or sums in the order of the blocks, as the sums of the pixels. */
  inPixels(terms) {
    const n = this.pixels, sums = new Float64Array(n), {order} = this.arrays;
    if (this.basis !== null) {
      const basis = this.basis;
      for (let r = 0; r < terms.length; r++) {
        const term = terms[r], from = r * n;
        if (term !== 0) for (let p = 0; p < n; p++) sums[p] += term * basis[from + p];
      }
    } else if (order) {
      for (let p = 0; p < n; p++) sums[p] = terms[order[p]];
    } else {
      sums.set(terms);
    }
    return sums;
  }

  /** Rows of sums over the support vectors: the sums themselves, and their derivatives by each x. */
  kernelSums(x, slopes) {
    const nRows = slopes ? 1 + this.nLabels : 1;
    const parts = Array.from({length: nRows}, () => []);
    this.header.blocks.forEach((block, number) => {
      const array = (name) => this.arrays[`block${number}/${name}`];
      const [nGamma, nSupport, nSlot] = array("dual").shape;
      const {similarity, by} = this.similarity(x, block, array("metric"), slopes, this.arrays.support);
      const [profile, slope] = KERNELS[block.kernel];
      for (let g = 0; g < nGamma; g++) {
        const gamma = array("gamma")[g], coef0 = array("coef0")[g], dual = array("dual");
        const rows = Array.from({length: nRows}, () => new Float64Array(nSlot));
        for (let i = 0; i < nSupport; i++) {
          const s = similarity[i], k = profile(s, gamma, coef0, block.degree);
          const from = (g * nSupport + i) * nSlot, sums = rows[0];
          for (let q = 0; q < nSlot; q++) sums[q] += k * dual[from + q];
          if (!slopes) continue;
          const ds = slope(s, gamma, coef0, k, block.degree);
          for (let label = 0; label < this.nLabels; label++) {
            const factor = ds * by[label][i], sums = rows[1 + label];
            if (factor !== 0) for (let q = 0; q < nSlot; q++) sums[q] += factor * dual[from + q];
          }
        }
        rows.forEach((row, k) => parts[k].push(row));
      }
    });
    return parts.map((some) => (this.basis === null ? joined(some) : added(some, this.basis.length / this.pixels)));
  }

  /** |x − s|² or x·s for every support vector or other point, and its derivatives by each x. */
  similarity(x, block, metric, slopes, points) {
    const nLabels = this.nLabels, n = points.length / nLabels;
    const counted = block.labels.length ? block.labels : [...x.keys()];
    const similarity = new Float64Array(n);
    const by = Array.from({length: slopes ? nLabels : 0}, () => new Float64Array(n));
    for (const k of counted) {
      const m = metric[k], here = m * x[k], isDistance = block.kernel === "rbf";
      for (let i = 0; i < n; i++) {
        const there = m * points[i * nLabels + k];
        similarity[i] += isDistance ? (here - there) ** 2 : here * there;
        if (slopes) by[k][i] = m * (isDistance ? 2 * (here - there) : there);
      }
    }
    return {similarity, by};
  }

  /** Rows of monomials of x, and their derivatives by each x. */
  monomials(x, slopes) {
    const {exponents} = this.arrays, [nTerms, nLabels] = exponents.shape;
    const rows = Array.from({length: slopes ? 1 + nLabels : 1}, () => new Float64Array(nTerms));
    for (let term = 0; term < nTerms; term++) {
      const powers = exponents.subarray(term * nLabels, (term + 1) * nLabels);
      const product = (lowered) => powers.reduce(
        (value, power, k) => value * (k === lowered ? (power ? power * x[k] ** (power - 1) : 0) : x[k] ** power), 1);
      rows.forEach((row, number) => { row[term] = product(number - 1); });
    }
    return rows;
  }
}

/** φ of L φ = k, in the place of k. */
function solveLower(factor, values) {
  for (let i = 0, at = 0; i < values.length; at += ++i) {
    let sum = values[i];
    for (let j = 0; j < i; j++) sum -= factor[at + j] * values[j];
    values[i] = sum / factor[at + i];
  }
}

function joined(parts) {
  const whole = new Float64Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) { whole.set(part, at); at += part.length; }
  return whole;
}

/** Every block contributes to the same components, one γ after the other. */
function added(parts, n) {
  const whole = joined(parts), sums = new Float64Array(n);
  for (let i = 0; i < whole.length; i++) sums[i % n] += whole[i];
  return sums;
}
