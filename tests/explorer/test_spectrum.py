"""The spectrum of the page: sliders, stars, and what is said of them."""

from functools import cache

import numpy as np
import pytest
from models import LABELS, giants_model, held_out

import slamjax
from slamjax.errors import SlamError


@cache
def stars():
    return held_out()[:8]


@cache
def fitted():
    return slamjax.fit(giants_model(), stars(), n_starts=1)


@cache
def page():
    return slamjax.explore(giants_model(), stars(), fitted())


def drawn(tab, name, column):
    """A column of one of the page's sources, once the page has drawn."""
    tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return np.array(
        tab.evaluate(f"[...explorer.documents.spectrum.get_model_by_name({name!r}).data[{column!r}]]"), float
    )


def spread():
    return np.asarray(giants_model().host_emulator.flux_scale)


def test_sliders_move_the_prediction(opened, exact):
    tab = opened(slamjax.explore(giants_model()))
    before = drawn(tab, "prediction", "flux")
    wanted = {"teff": 4600, "logg": 2.4, "fe_h": -0.4, "alpha_m": 0.12}
    for name, value in wanted.items():
        tab.locator(f"#slider-{name}").fill(str(value))
    now = drawn(tab, "prediction", "flux")
    assert np.all(np.abs(now - exact(giants_model(), np.array(list(wanted.values())))) < 1e-5 * spread())
    assert np.abs(now - before).max() > 0.1 * spread().min()
    np.testing.assert_array_equal(drawn(tab, "prediction", "wave"), giants_model().wave)


def test_a_number_that_is_typed_moves_its_slider(opened):
    tab = opened(slamjax.explore(giants_model()))
    tab.locator("#number-logg").fill("2.1")
    tab.locator("#number-logg").press("Enter")
    assert tab.locator("#slider-logg").input_value() == "2.1"
    tab.locator("#back").click()
    low, high = giants_model().label_range[1]
    assert low < float(tab.locator("#number-logg").input_value()) < high


def test_outside_the_training_range_is_said_and_grey(opened):
    tab = opened(slamjax.explore(giants_model()))
    line = "explorer.documents.spectrum.get_model_by_name('prediction line').glyph.line_color.value"
    note = tab.locator("#range-note")
    inside = tab.evaluate(line)
    assert "Within" in note.inner_text()
    tab.locator("#slider-teff").fill(tab.locator("#slider-teff").get_attribute("max"))
    drawn(tab, "prediction", "flux")
    assert "Teff outside the training range" in note.inner_text()
    assert tab.evaluate(line) != inside
    assert "outside" in tab.locator(".slider").first.get_attribute("class")


def test_labels_without_training_stars_nearby_are_told_like_the_flag(opened, random_labels):
    model = giants_model()
    tab = opened(slamjax.explore(model))
    labels = random_labels(model, 60)
    low, high = model.label_range.T
    labels = np.clip(labels, low, high)
    told = np.array([bool(tab.evaluate("row => explorer.outside(row) !== ''", row.tolist())) for row in labels])
    expected = np.asarray(model.training_labels.outside(model.host_emulator.scaling(labels)))
    np.testing.assert_array_equal(told, expected)
    assert 0 < expected.sum() < len(labels)


def test_a_star_is_shown_at_its_fit_with_residuals(opened, exact):
    tab = opened(page())
    row = 3
    tab.locator("#star").fill(str(fitted()["apogee_id"][row]).strip())
    tab.locator("#star").press("Enter")
    prepared = giants_model().prepare(stars())
    predicted, observed = drawn(tab, "prediction", "flux"), drawn(tab, "prediction", "observed")
    labels = np.array([float(fitted()[name][row].value) for name in LABELS])
    assert np.all(np.abs(predicted - exact(giants_model(), labels)) < 1e-5 * spread())
    flux = np.where(prepared.good[row], prepared.flux[row], np.nan)
    np.testing.assert_allclose(observed, flux, atol=1e-4 * np.nanmax(np.abs(flux)))
    sigma = np.sqrt(giants_model().info.pixels["model_error"] ** 2 + 1 / prepared.ivar[row].astype(float))
    np.testing.assert_allclose(drawn(tab, "residual", "ratio"), (flux - predicted) / sigma, atol=0.02)
    tab.locator("#slider-teff").fill("4700")
    tab.locator("#jump").click()
    assert tab.locator("#number-teff").input_value() == f"{labels[0]:.0f}"


def test_stars_follow_each_other(opened):
    tab = opened(page())
    names = [str(name).strip() for name in fitted()["apogee_id"]]
    assert tab.locator("#star").input_value() == names[0]
    tab.locator("#next").click()
    assert tab.locator("#star").input_value() == names[1]
    for _ in range(2):
        tab.locator("#previous").click()
    assert tab.locator("#star").input_value() == names[-1]


def test_lines_are_named(opened):
    tab = opened(slamjax.explore(giants_model()))
    names = tab.evaluate("explorer.documents.spectrum.get_model_by_name('prediction').data.line")
    wave = giants_model().wave
    assert "Mg I b" in names[int(np.argmin(np.abs(wave - 518.5)))]
    assert "Na I D" in names[int(np.argmin(np.abs(wave - 589.3)))]


def test_strips_show_which_pixels_change(opened, exact):
    tab = opened(slamjax.explore(giants_model()))
    tab.wait_for_timeout(150)
    image = np.array(
        tab.evaluate(
            """(() => {
              const [one] = explorer.documents.spectrum.get_model_by_name("strips").data.image, [rows, n] = one.shape;
              return Array.from({length: rows}, (_, k) => Array.from(one).slice(k * n, (k + 1) * n));
            })()"""
        )
    )
    start = np.array(tab.evaluate("explorer.sliders.values"))
    model, n = giants_model(), image.shape[1]
    columns = model.wave[0] + (np.arange(n) + 0.5) * (model.wave[-1] - model.wave[0]) / n
    pixel = np.abs(model.wave - columns[:, None]).argmin(axis=1)
    clear = np.abs(columns - model.wave[pixel]) < 0.9  # of two pixels, at whose edge either may be shown
    for k, row in enumerate(image):
        step = 1e-3 * np.asarray(model.host_emulator.scaling.width)[k] * np.eye(len(LABELS))[k]
        slope = exact(model, start + step) - exact(model, start - step)
        # the strips are these slopes but for a factor
        factor = np.dot(row, slope[pixel]) / np.dot(slope[pixel], slope[pixel])
        assert factor > 0
        np.testing.assert_allclose(row[clear], factor * slope[pixel][clear], atol=0.01)


def test_labels_of_other_spectra_are_refused():
    with pytest.raises(SlamError, match="8 rows of labels are not of the 3 spectra"):
        slamjax.explore(giants_model(), stars()[[0, 2, 4]], fitted())


def test_a_page_may_stand_in_a_notebook(opened):
    text = slamjax.explore(giants_model())._repr_html_()
    assert text.startswith("<iframe srcdoc=")
    assert "<script" not in text
