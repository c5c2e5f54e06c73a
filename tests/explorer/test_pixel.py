"""One pixel against a label: training stars, both curves, and what training chose."""

import importlib
from functools import cache

import numpy as np
import pytest
from helpers import xp_giants
from models import LABELS, giants_model, held_out, quadratic_model, searched_model
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

import slamjax
from slamjax.errors import SlamError
from slamjax.explorer import emulator_arrays

explore_module = importlib.import_module("slamjax.explorer.explorer")


@cache
def page():
    return slamjax.explore(
        giants_model(), held_out()[:4], slamjax.fit(giants_model(), held_out()[:4], n_starts=1), training=training()
    )


@cache
def training():
    return xp_giants()[:110]


def source(tab, name, column):
    """A column of one of the figure's sources, once nothing moves any more."""
    tab.wait_for_function("!explorer.sliders.waiting && !explorer.pixel.timer")
    return np.array(tab.evaluate(f"[...explorer.documents.pixel.get_model_by_name({name!r}).data[{column!r}]]"), float)


def held_fixed(tab, x, k):
    """Labels along one of them, the others as the sliders are."""
    labels = np.tile(np.array(tab.evaluate("explorer.sliders.values"), float), (len(x), 1))
    labels[:, k] = x
    return labels


@pytest.mark.parametrize("model", [giants_model, searched_model, quadratic_model])
@pytest.mark.parametrize(("along", "large"), [(0, 500_000), (2, 0)])
def test_the_curve_is_the_model_along_a_label(model, along, large, opened, exact, monkeypatch):
    monkeypatch.setattr(emulator_arrays, "_LARGE", large)
    tab = opened(slamjax.explore(model()))
    pixel = 7
    tab.evaluate(f"explorer.pixel.show({pixel})")
    tab.locator("#pixel-along").select_option(str(along))
    x, y = source(tab, "slam curve", "x"), source(tab, "slam curve", "y")
    low, high = model().label_range[along]
    np.testing.assert_allclose([x[0], x[-1]], [low, high])
    expected = exact(model(), held_fixed(tab, x, along))[:, pixel]
    assert np.abs(y - expected).max() < 1e-5 * model().host_emulator.flux_scale[pixel]
    assert np.ptp(y) > 0


def test_a_click_in_the_spectrum_chooses_the_pixel(opened):
    tab = opened(page())
    pixel = 30
    x, y = tab.evaluate(
        """(pixel) => {
          const view = Bokeh.index.find_one_by_id(explorer.documents.spectrum.get_model_by_name("flux").id);
          const box = view.el.getBoundingClientRect(), {x_scale, bbox} = view.frame;
          return [box.left + x_scale.compute(explorer.arrays.wave[pixel]), box.top + bbox.vcenter];
        }""",
        pixel,
    )
    tab.mouse.click(x, y)
    tab.wait_for_function(f"explorer.pixel.pixel === {pixel}")
    assert float(tab.locator("#pixel-wave").input_value()) == pytest.approx(giants_model().wave[pixel], abs=1e-3)
    tab.locator("#pixel-up").click()
    assert tab.evaluate("explorer.pixel.pixel") == pixel + 1
    tab.locator("#pixel-wave").fill("589.1")
    tab.locator("#pixel-wave").press("Enter")
    assert tab.evaluate("explorer.pixel.pixel") == int(np.argmin(np.abs(giants_model().wave - 589.1)))
    assert "Na I D" in tab.locator("#pixel-facts").inner_text()


def test_training_stars_and_a_quadratic_through_them(opened):
    tab = opened(page())
    pixel, k = 25, 1
    tab.evaluate(f"explorer.pixel.show({pixel})")
    tab.locator("#pixel-along").select_option(str(k))
    model = giants_model()
    prepared = model.prepare(training())
    labels, flux, good = training().values(LABELS), prepared.flux[:, pixel], prepared.good[:, pixel]
    x = np.concatenate([source(tab, name, "x") for name in ("near stars", "far stars")])
    y = np.concatenate([source(tab, name, "y") for name in ("near stars", "far stars")])
    order, expected = np.argsort(x), np.argsort(labels[good, k])
    np.testing.assert_allclose(x[order], labels[good, k][expected], rtol=1e-6)
    np.testing.assert_allclose(y[order], flux[good][expected], atol=1e-4 * np.ptp(flux))
    assert 0 < len(source(tab, "near stars", "x")) < good.sum()
    # the quadratic by scikit-learn
    standard = model.host_emulator.scaling
    fit = make_pipeline(PolynomialFeatures(2), LinearRegression()).fit(standard(labels[good]), flux[good])
    at = source(tab, "quadratic curve", "x")
    np.testing.assert_allclose(
        source(tab, "quadratic curve", "y"), fit.predict(standard(held_fixed(tab, at, k))), atol=1e-4 * np.ptp(flux)
    )


def test_what_training_chose_is_said(opened):
    model = searched_model()
    tab = opened(slamjax.explore(model))
    pixel = 3
    tab.evaluate(f"explorer.pixel.show({pixel})")
    text = tab.locator("#pixel-facts").inner_text().split("\n")
    told = dict(zip(text[::2], text[1::2], strict=True))
    row = model.info.pixels[pixel]
    for title, name in (("C", "C"), ("ε", "epsilon"), ("γ", "gamma"), ("held-out error / variance", "cv_mse")):
        if name in model.info.pixels.colnames and title in told:
            assert float(told[title]) == pytest.approx(row[name], rel=1e-3)
    assert {"C", "γ", "held-out error / variance"} <= set(told)


def test_training_stars_among_the_spectra_are_found(opened):
    stars = xp_giants()[80:140]
    tab = opened(slamjax.explore(giants_model(), stars, slamjax.fit(giants_model(), stars, n_starts=1)))
    known = giants_model().info.record.contains(stars)
    assert 20 < known.sum() < len(stars)
    assert len(source(tab, "near stars", "x")) + len(source(tab, "far stars", "x")) == known.sum()


def test_it_is_said_which_training_stars_are_shown(opened, monkeypatch):
    note = "#pixel-note"
    assert "--training" in opened(slamjax.explore(giants_model())).locator(note).inner_text()
    assert opened(page()).locator(note).inner_text() == ""
    monkeypatch.setattr(explore_module, "_MOST", 2 * giants_model().wave.size * 30)
    monkeypatch.setattr(explore_module, "_LEAST", 0)
    tab = opened(slamjax.explore(giants_model(), training=training()))
    assert "Of 110 training stars 30 are" in tab.locator(note).inner_text()
    assert len(source(tab, "near stars", "x")) + len(source(tab, "far stars", "x")) == 30


def test_training_stars_without_labels_are_refused():
    with pytest.raises(SlamError, match="have all labels; at least 20 do"):
        slamjax.explore(giants_model(), training=training()[:5])
