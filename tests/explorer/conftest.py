"""Pages in a real browser, which may not ask any network for anything, nor complain."""

import os
import shutil

import numpy as np
import pytest
from helpers import in_precision

#: Browsers of the system; without one of them, Playwright's own is tried.
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: A browser must be had: its lack is a failure, not a reason to skip.
NEEDED = bool(os.environ.get("SLAMJAX_NEEDS_BROWSER"))


@pytest.fixture(scope="module")
def browser():
    """Chromium, without a window."""
    if NEEDED:
        import playwright.sync_api as sync_api
    else:
        sync_api = pytest.importorskip("playwright.sync_api", reason="pages are tested with Playwright")
    with sync_api.sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, CHROMIUM)), None)
        try:
            found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except sync_api.Error as error:
            if NEEDED:
                raise
            pytest.skip(f"no Chromium can be started ({str(error).splitlines()[0]}); make browser installs one")
        yield found
        found.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens an Explorer in a tab; at the end of the test it must have asked for nothing and complained of nothing."""
    tabs, complaints, asked = [], [], []

    def watched(explorer, **options):
        options = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light", **options}
        context = browser.new_context(**options)
        tab = context.new_page()
        tab.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        path = tmp_path / f"page{len(tabs)}.html"
        explorer.write(path)
        tab.goto(path.as_uri())
        tab.evaluate("explorer.ready.then(() => true)")
        tabs.append(tab)
        return tab

    yield watched
    for tab in tabs:
        tab.context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.fixture
def random_labels():
    """Draws labels anywhere in the range of a model's sliders."""

    def draw(model, count, seed=0):
        low, high = model.label_range.T
        room = np.where(model.host_emulator.scaling.log, 0, 0.1) * (high - low)
        return np.random.default_rng(seed).uniform(low - room, high + room, (count, len(low)))

    return draw


@pytest.fixture
def exact():
    """Flux of a model in float64."""

    def flux(model, labels):
        with in_precision("float64"):
            return np.asarray(model.emulator(labels))

    return flux
