// The page: reads its data, embeds its figures, and ties controls and panels together.

class Explorer {
  async start() {
    const header = (this.header = JSON.parse(document.getElementById("header").textContent));
    const packs = [...document.querySelectorAll("script.arrays")];
    this.arrays = Object.assign({}, ...(await Promise.all(packs.map((pack, k) => unpack(header.arrays[k], pack.textContent)))));
    packs.forEach((pack) => pack.remove());
    this.emulator = new Emulator(header.emulator, this.part("emulator"));
    this.training = this.arrays.training;
    this.introduce();
    useTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    this.documents = {};
    const roots = {};
    for (const [name, item] of Object.entries(header.figures)) {
      const manager = await Bokeh.embed.embed_item(item, item.target_id);
      roots[name] = [...manager.roots][0];
      this.documents[name] = roots[name].model.document;
    }
    this.sliders = new Sliders(header.labels, (labels) => this.predict(labels));
    this.spectrum = new SpectrumPanel(header, this.arrays, this.emulator, this.documents.spectrum);
    this.plane = new LabelPlane(this, this.documents.plane, (star) => this.select(star));
    this.pixel = new PixelView(this, this.documents.pixel);
    this.listen();
    addTools(roots);
    this.paint();
    this.predict(this.sliders.values);
    this.spectrum.fitRange(true);
    if (header.stars) this.showStars();
    return this;
  }

  /** Arrays whose names begin with a prefix, by the rest of their names. */
  part(prefix) {
    const found = Object.entries(this.arrays).filter(([name]) => name.startsWith(`${prefix}/`));
    return Object.fromEntries(found.map(([name, array]) => [name.slice(prefix.length + 1), array]));
  }

  introduce() {
    const {title, facts} = this.header;
    document.getElementById("model-title").textContent = title;
    document.getElementById("facts").replaceChildren(...facts.flatMap(([topic, fact]) => [make("dt", "", topic), make("dd", "", fact)]));
  }

  listen() {
    const on = (id, act) => document.getElementById(id).addEventListener("click", act);
    on("theme", () => {
      useTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
      this.paint();
    });
    on("back", () => this.sliders.setAll(this.header.labels.map((label) => label.start)));
    on("jump", () => this.jump());
    on("copy-python", (event) => copyText(asPython(this), event.target));
    on("copy-command", (event) => copyText(asCommand(this), event.target));
    on("previous", () => this.step(-1));
    on("next", () => this.step(1));
    for (const name of ["flux", "residuals", "gradients"]) {
      const figure = this.documents.spectrum.get_model_by_name(name);
      figure.on_event("tap", (event) => this.pixel.show(nearest(this.arrays.wave, event.x)));
    }
    const star = document.getElementById("star");
    star.addEventListener("change", () => {
      const index = this.header.stars.names.indexOf(star.value.trim());
      if (index >= 0) this.select(index);
      else document.getElementById("star-note").textContent = "There is no star of this name in the page.";
    });
  }

  paint() {
    for (const one of Object.values(this.documents)) paintFigures(one);
    this.spectrum.paint();
    this.plane.paint();
    this.pixel.paint();
    this.spectrum.later();
  }

  predict(labels) {
    const outside = this.outside(labels);
    this.spectrum.predict(labels, outside !== "");
    this.plane.later(labels);
    this.pixel.later();
    this.sayRange(outside);
  }

  /** Why these labels are outside of what the model was trained on; empty where they are not. */
  outside(labels) {
    const beyond = this.header.labels.filter(({low, high}, k) => labels[k] < low - 1e-6 * (high - low) || labels[k] > high + 1e-6 * (high - low));
    if (beyond.length) return `${beyond.map((label) => label.title).join(", ")} outside the training range: what is predicted there means nothing.`;
    const x = this.emulator.scaled(labels), {factors, max_distance} = this.header, n = x.length;
    let within = 0;
    const [nStars] = this.training.shape, enough = Math.min(5, nStars);
    for (let star = 0; star < nStars && within < enough; star++) {
      let square = 0;
      for (let k = 0; k < n; k++) square += (factors[k] * (x[k] - this.training[star * n + k])) ** 2;
      if (square <= max_distance ** 2) within++;
    }
    return within < enough ? "Hardly any training star has such labels: the model extrapolates." : "";
  }

  sayRange(outside) {
    const [chi2, count] = this.spectrum.chi2();
    const fits = count ? ` χ² of these labels: ${(chi2 / count).toPrecision(3)} per pixel.` : "";
    document.getElementById("range-note").textContent = (outside || "Within the training stars.") + fits;
  }

  // stars -------------------------------------------------------------------------------------------------------------

  showStars() {
    const {names} = this.header.stars;
    document.getElementById("star-chooser").hidden = document.getElementById("jump").hidden = false;
    document.getElementById("star-names").replaceChildren(...names.slice(0, 3000).map((name) => Object.assign(make("option"), {value: name})));
    const kept = this.arrays["stars/kept"], first = kept.findIndex((place) => place >= 0);
    if (first >= 0) this.select(first);
  }

  step(by) {
    const {names} = this.header.stars;
    this.select(((this.star ?? 0) + by + names.length) % names.length);
  }

  /** Fitted labels of a star. */
  fitOf(star) {
    const n = this.header.labels.length;
    return [...this.arrays["stars/labels"].subarray(star * n, (star + 1) * n)];
  }

  /** Show a star with its fit. */
  select(star) {
    this.star = star;
    document.getElementById("star").value = this.header.stars.names[star];
    const place = this.arrays["stars/kept"][star];
    if (place >= 0) {
      const sigma = compactRow(this.arrays, "stars/log_sigma", place).map(Math.exp);
      this.spectrum.showStar(compactRow(this.arrays, "stars/flux", place), sigma);
    } else {
      this.spectrum.showStar(null, null);
    }
    document.getElementById("star-title").textContent = this.header.stars.names[star];
    describeStar(this, star);
    drawCorner(this, star);
    this.plane.mark(star);
    const {n_spectra, names} = this.header.stars;
    document.getElementById("star-note").textContent =
      place >= 0 ? "" : `No spectrum of this star is in the page, which has room for ${n_spectra} of ${names.length}.`;
    this.jump();
  }

  jump() {
    const fit = this.fitOf(this.star);
    if (fit.every(Number.isFinite)) {
      this.sliders.setAll(fit);
      this.predict(fit);
      this.spectrum.fitRange(true);
    }
  }
}

const explorer = new Explorer();
window.explorer = explorer;
explorer.ready = explorer.start().catch((error) => {
  const problem = document.getElementById("problem");
  problem.textContent = `The page could not be shown: ${error.message}. It needs a browser of 2023 or later.`;
  problem.hidden = false;
  throw error;
});
