"""Fixtures for pages in a real browser, which may not ask any network for anything, nor complain."""

import os
import shutil

import pytest

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
    """Opens a page in a tab; at the end of the test it must have asked for nothing and complained of nothing."""
    tabs, complaints, asked = [], [], []

    def watched(page, **options):
        options = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light", **options}
        context = browser.new_context(**options)
        tab = context.new_page()
        tab.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        path = tmp_path / f"page{len(tabs)}.html"
        page.write(path)
        tab.goto(path.as_uri())
        tab.evaluate("(typeof explorer === 'undefined' ? report : explorer).ready.then(() => true)")
        tabs.append(tab)
        return tab

    yield watched
    for tab in tabs:
        tab.context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
