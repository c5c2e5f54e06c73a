"""What leaves a page: code, commands, pictures, prints; and the command that makes one."""

import shlex
import sys

import numpy as np
import pytest
from commands import GIANTS, refused, run
from helpers import xp_giants
from models import LABELS, giants_model

import slamjax


@pytest.fixture
def files(tmp_path):
    """A model, spectra and labels, as files."""
    model, stars = giants_model(), xp_giants()[110:116]
    paths = {name: tmp_path / name for name in ("giants.h5", "new stars.fits", "labels.fits")}
    model.write(paths["giants.h5"])
    slamjax.write_table(stars, paths["new stars.fits"])
    slamjax.write_labels(slamjax.fit(model, stars), paths["labels.fits"])
    return {
        "model": str(paths["giants.h5"]),
        "spectra": str(paths["new stars.fits"]),
        "labels": str(paths["labels.fits"]),
    }


@pytest.fixture
def tab(files, opened):
    page = slamjax.explore(
        slamjax.Model.read(files["model"]),
        slamjax.read(files["spectra"]),
        slamjax.read_labels(files["labels"]),
        files=files,
    )
    return opened(page, permissions=["clipboard-read", "clipboard-write"])


def copied(tab, button):
    tab.locator(button).click()
    tab.wait_for_function(f"document.querySelector('{button}').textContent === 'Copied'")
    return tab.evaluate("navigator.clipboard.readText()")


def test_python_that_is_copied_gives_what_is_shown(tab, files):
    tab.evaluate("explorer.select(2)")
    tab.locator("#slider-teff").fill("4700")
    names = {}
    exec(copied(tab, "#copy-python"), names)
    shown = np.array(tab.evaluate("[...explorer.spectrum.flux]"), float)
    assert np.abs(names["flux"] - shown).max() < 1e-3 * giants_model().host_emulator.flux_scale.min()
    expected = slamjax.read_labels(files["labels"])[2]
    assert names["labels"]["apogee_id"][0] == expected["apogee_id"]
    assert abs(names["labels"]["teff"][0] - expected["teff"]) < expected["teff_err"]


def test_a_command_that_is_copied_fits_the_star(tab, tmp_path, monkeypatch):
    tab.evaluate("explorer.select(3)")
    command = shlex.split(copied(tab, "#copy-command"))
    assert command[:2] == ["slamjax", "fit"]
    monkeypatch.chdir(tmp_path)
    run(*command[1:], "--n-starts", 1)
    labels = slamjax.read_labels(tmp_path / "star.fits")
    assert list(labels["apogee_id"]) == [tab.locator("#star").input_value()]


def test_without_stars_the_sliders_are_copied(opened):
    tab = opened(slamjax.explore(giants_model()), permissions=["clipboard-read", "clipboard-write"])
    assert copied(tab, "#copy-command") == "slamjax explore MODEL.h5 -o explore.html"
    python = copied(tab, "#copy-python")
    assert "slamjax.fit" not in python
    assert all(f"{name}=" in python for name in LABELS)


@pytest.mark.parametrize("panel", ["spectrum", "plane", "pixel"])
def test_panels_are_saved_and_printed(panel, tab, tmp_path):
    buttons = tab.locator(f"[data-panel={panel}] button")
    with tab.expect_download() as download:
        buttons.first.click()
    assert download.value.suggested_filename == f"{panel}.png"
    content = download.value.path().read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 5000
    shown = (
        "[...document.querySelectorAll('.panel')].filter(p => getComputedStyle(p).display !== 'none').map(p => p.id)"
    )
    tab.evaluate(f"window.print = () => {{ window.printed = {shown}; }}")
    tab.emulate_media(media="print")
    buttons.last.click()
    assert tab.evaluate("printed") == [f"panel-{panel}"]
    assert len(tab.evaluate(shown)) == 3


def test_light_and_dark(opened):
    page = slamjax.explore(giants_model())
    ground = "getComputedStyle(document.body).backgroundColor"
    figure = "explorer.documents.spectrum.get_model_by_name('flux').outline_line_color.value"
    light, dark = opened(page), opened(page, color_scheme="dark")
    assert light.evaluate(ground) != dark.evaluate(ground)
    light.locator("#theme").click()
    assert [light.evaluate(one) for one in (ground, figure)] == [dark.evaluate(one) for one in (ground, figure)]


@pytest.mark.parametrize("width", [1280, 800])
def test_nothing_is_wider_than_the_window(width, files, opened):
    page = slamjax.explore(slamjax.Model.read(files["model"]), slamjax.read(files["spectra"]))
    tab = opened(page, viewport={"width": width, "height": 900})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    wide = "[...document.querySelectorAll('.panel *')].filter(e => e.getBoundingClientRect().right > innerWidth).length"
    assert tab.evaluate(wide) == 0


def test_the_command_writes_a_page(files, tmp_path, opened):
    target = tmp_path / "page.html"
    given = (files["model"], files["spectra"], files["labels"])
    assert "page.html" in run("explore", *given, "-o", target, "--training", GIANTS)
    text = target.read_text()
    assert text.startswith("<!DOCTYPE html>")
    tab = opened(slamjax.Explorer(text, 0))
    assert tab.evaluate("explorer.header.files.spectra") == files["spectra"]
    assert tab.evaluate("explorer.header.stars.names.length") == 6
    assert tab.evaluate("explorer.header.seen.of") == 150


def test_spectra_that_are_not_fitted_yet_are_fitted(files, tmp_path):
    target = tmp_path / "page.html"
    run("explore", files["model"], files["spectra"], "-o", target, "--select", "apogee_snr > 0")
    assert target.stat().st_size > 1e6


def test_without_bokeh_it_is_said_what_to_install(monkeypatch, capsys, files, tmp_path):
    monkeypatch.setitem(sys.modules, "bokeh.embed", None)
    said = refused(monkeypatch, capsys, "explore", files["model"], "-o", tmp_path / "page.html")
    assert "pip install 'slamjax[explore]'" in said
