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
    const quantised = "basis/bytes" in arrays;
    this.basis = quantised ? unquantised(arrays, "basis", this.pixels) : arrays.basis ?? null;
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
    const terms = this.header.kind === "polynomial" ? this.monomials(x, slopes) : this.kernelSums(x, slopes);
    const {constant, scale} = this.arrays;
    return terms.map((row, number) => {
      const flux = this.inPixels(row);
      for (let p = 0; p < this.pixels; p++) flux[p] = scale[p] * flux[p] + (number ? 0 : constant[p]);
      return flux;
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
    const rank = this.basis === null ? 0 : this.basis.length / n, wanted = order ? order[p] : p;
    let slot = 0;
    const sums = this.header.blocks.flatMap((block, number) => {
      const array = (name) => this.arrays[`block${number}/${name}`], dual = array("dual");
      const [nGamma, nSupport, nSlot] = dual.shape;
      return Array.from({length: nGamma}, (_, g) => {
        const weights = Float64Array.from({length: nSlot}, (_, q) => (rank ? this.basis[((slot + q) % rank) * n + p] : Number(slot + q === wanted)));
        slot += nSlot;
        if (weights.every((weight) => weight === 0)) return null;
        const own = new Float64Array(nSupport);
        for (let i = 0; i < nSupport; i++) for (let q = 0; q < nSlot; q++) own[i] += weights[q] * dual[(g * nSupport + i) * nSlot + q];
        return {block, metric: array("metric"), gamma: array("gamma")[g], coef0: array("coef0")[g], own};
      }).filter((one) => one !== null);
    });
    return (labels) => {
      const x = this.scaled(labels);
      let sum = 0;
      for (const {block, metric, gamma, coef0, own} of sums) {
        const {similarity} = this.similarity(x, block, metric, false), [profile] = KERNELS[block.kernel];
        for (let i = 0; i < own.length; i++) sum += own[i] * profile(similarity[i], gamma, coef0, block.degree);
      }
      return constant[p] + scale[p] * sum;
    };
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
      const {similarity, by} = this.similarity(x, block, array("metric"), slopes);
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

  /** |x − s|² or x·s for every support vector, and its derivatives by each x. */
  similarity(x, block, metric, slopes) {
    const {support} = this.arrays, n = support.shape[0], nLabels = this.nLabels;
    const counted = block.labels.length ? block.labels : [...x.keys()];
    const similarity = new Float64Array(n);
    const by = Array.from({length: slopes ? nLabels : 0}, () => new Float64Array(n));
    for (const k of counted) {
      const m = metric[k], here = m * x[k], isDistance = block.kernel === "rbf";
      for (let i = 0; i < n; i++) {
        const there = m * support[i * nLabels + k];
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
