"""How large is the page of `slamjax explore` for spectra as large as APOGEE's, and how fast does it answer?

The simulated spectra of `large_spectra` (8,575 pixels, labels of real giants, S/N 100), the page with fitted and
training stars, in Chromium without a window. First view: from the request of the file until the prediction is painted.
Updates: a slider is moved again and again, and what counts is how often spectrum and residuals were painted anew.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import slamjax
from benchmarks.common.reporting import current_load, write_results
from benchmarks.common.stars import LABELS, parse_options
from benchmarks.fitting.large_spectra import giants
from slamjax._util.x64 import enable_x64

#: Browsers of the system; without one of them, Playwright's own is used.
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Labels at which the page is compared with the model.
COMPARED = 50
#: Waits until the page has painted.
PAINTED = "explorer.ready.then(() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))))"
#: Moves a slider for some seconds and counts what is painted; the next move waits for the paint of the last.
MOVE = """async (seconds) => {
  await explorer.ready;
  const {documents, sliders, header} = explorer;
  const model = (name) => documents.spectrum.get_model_by_name(name);
  const views = ["flux", "residuals"].map((name) => Bokeh.index.find_one_by_id(model(name).id));
  const frame = () => new Promise(requestAnimationFrame);
  const painted = views.map(() => 0);
  let updates = 0;
  views.forEach((view, k) => {
    const paint = view._actual_paint.bind(view);
    view._actual_paint = () => { painted[k]++; paint(); };
  });
  const {low, high} = header.labels[0], slider = document.getElementById(`slider-${header.labels[0].name}`);
  const start = performance.now();
  while (performance.now() - start < 1000 * seconds) {
    const before = [...painted];
    slider.value = low + (high - low) * (0.5 + 0.3 * Math.sin(updates / 9));
    slider.dispatchEvent(new Event("input"));
    while (painted.some((count, k) => count === before[k])) await frame();
    updates++;
  }
  const rate = updates / ((performance.now() - start) / 1000);
  const began = performance.now();
  for (let k = 0; k < 50; k++) explorer.emulator.flux(sliders.values);
  return {rate, flux: (performance.now() - began) / 50};
}"""


def in_browser(path: Path, labels: np.ndarray, seconds: int) -> dict[str, Any]:
    """What a page does: seconds to the first view (median of three), updates a second, ms per prediction, its flux."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        system = next(filter(None, map(shutil.which, CHROMIUM)), None)
        browser = playwright.chromium.launch(executable_path=system, args=["--no-sandbox"])
        first = []
        for _ in range(3):
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            start = time.perf_counter()
            tab.goto(path.as_uri())
            tab.evaluate(PAINTED)
            first.append(time.perf_counter() - start)
        moved = tab.evaluate(MOVE, seconds)
        flux = tab.evaluate("labels => labels.map(row => [...explorer.emulator.flux(row)])", labels.tolist())
        told = {"browser": f"Chromium {browser.version}", "first_view_seconds": float(np.median(first))}
        browser.close()
    return told | {"updates_a_second": moved["rate"], "flux_ms": moved["flux"], "flux": np.array(flux, float)}


def main() -> None:
    options = parse_options(__doc__, n_pixels=8575, n_fits=200, seconds=5)
    load = current_load()
    stars = giants(options.n_pixels, options.seed)
    model = slamjax.train(
        stars,
        LABELS,
        emulator=slamjax.SVR(C=1.0, epsilon=0.1, gamma=0.1),
        search=slamjax.SearchSpec(folds=2),
        noise="diagonal",
    )
    some = stars[np.arange(options.n_fits)]
    fits = slamjax.fit(model, some)
    start = time.perf_counter()
    page = slamjax.explore(model, some, fits, training=stars)
    making = time.perf_counter() - start
    low, high = model.label_range.T
    labels = np.random.default_rng(options.seed).uniform(low, high, (COMPARED, len(LABELS)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "explore.html"
        page.write(path)
        size = path.stat().st_size / 1e6
        seen = in_browser(path, labels, options.seconds)
    with enable_x64(True):
        exact = np.asarray(model.host_emulator.on_device()(labels))
    error = float(np.nanmax(np.abs(seen.pop("flux") - exact) / np.asarray(model.host_emulator.flux_scale)))
    results = {"megabytes": size, "making_seconds": making, "largest_error": error, **seen}
    text = [
        f"{options.n_pixels:,} pixels, {len(stars):,} training stars, {len(LABELS)} labels, {options.n_fits} fitted "
        f"stars; {seen['browser']}, without a window. The page has {size:.1f} MB and is made in {making:.0f} s. It is "
        f"in view after {seen['first_view_seconds']:.1f} s, and while a slider moves it paints spectrum and residuals "
        f"{seen['updates_a_second']:.0f} times a second; a prediction takes {seen['flux_ms']:.1f} ms of it. At "
        f"{COMPARED} random labels within the training range its flux differs from the model's in float64 by at most "
        f"{error:.1g} of the pixel's spread."
    ]
    settings = {"spectra": "simulated", "pixels": options.n_pixels, "training stars": len(stars), "seed": options.seed}
    write_results(options.out, "explorer", settings, results, text, load)


if __name__ == "__main__":
    main()
