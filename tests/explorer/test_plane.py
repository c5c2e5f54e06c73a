"""The plane of labels: stars, flags, the lasso, corners."""

from functools import cache

import numpy as np
import pytest
from models import LABELS, giants_model, held_out

import slamjax
from slamjax.errors import SlamError
from slamjax.flags import FLAG_ADVICE, Flag

N = 12


@cache
def fitted():
    table = slamjax.fit(giants_model(), held_out()[:N], n_starts=1)
    table["flags"] = [0] * 5 + [Flag.HIGH_CHI2] * 4 + [Flag.HIGH_CHI2 | Flag.AT_BOUND] * 2 + [Flag.FEW_PIXELS]
    return table


@cache
def page():
    return slamjax.explore(giants_model(), held_out()[:N], fitted())


def source(tab, name, column):
    return tab.evaluate(f"[...explorer.documents.plane.get_model_by_name({name!r}).data[{column!r}]]")


def place(tab, x, y):
    """Where a point of the plane is on the screen."""
    return tab.evaluate(
        """([x, y]) => {
          const view = Bokeh.index.find_one_by_id(explorer.documents.plane.get_model_by_name("plane").id);
          const box = view.el.getBoundingClientRect(), {x_scale, y_scale, bbox} = view.frame;
          return [box.left + x_scale.compute(x), box.top + y_scale.compute(y)];
        }""",
        [x, y],
    )


def lasso(tab, corners):
    tab.locator("#plane-figure").scroll_into_view_if_needed()
    points = [place(tab, *corner) for corner in corners]
    tab.mouse.move(*points[0])
    tab.mouse.down()
    for point in [*points[1:], points[0]]:
        tab.mouse.move(*point, steps=8)
    tab.mouse.up()


def names():
    return [str(name).strip() for name in fitted()["apogee_id"]]


def values(name):
    return np.array([float(value) for value in fitted()[name].value])


def test_training_and_fitted_stars_are_drawn(opened):
    tab = opened(page())
    model = giants_model()
    training = np.asarray(model.host_emulator.scaling.inverse(model.training_labels.stars))
    np.testing.assert_allclose(source(tab, "training points", "x"), training[:, 0], rtol=1e-6)
    np.testing.assert_allclose(source(tab, "star points", "x"), values("teff"))
    np.testing.assert_allclose(source(tab, "star points", "y"), values("logg"))
    tab.locator("#plane-y").select_option(label="[Fe/H]")
    np.testing.assert_allclose(source(tab, "star points", "y"), values("fe_h"))
    np.testing.assert_allclose(source(tab, "training points", "y"), training[:, 2], rtol=1e-5, atol=1e-6)


def test_colours_follow_what_is_chosen(opened):
    tab = opened(page())
    seen = {}
    for by in ("chi2", "snr", "flags"):
        tab.locator("#plane-colour").select_option(by)
        seen[by] = source(tab, "star points", "colour")
    order = np.argsort(np.asarray(fitted()["chi2"] / fitted()["n_pix"]))
    assert seen["chi2"][order[0]] != seen["chi2"][order[-1]]
    assert len(set(seen["flags"][:5])) == 1
    assert seen["flags"][0] != seen["flags"][5] != seen["flags"][-1]
    assert seen["snr"] != seen["chi2"]


def test_a_click_shows_the_star(opened):
    tab = opened(page())
    tab.locator("#plane-figure").scroll_into_view_if_needed()
    apart = np.hypot(*((values(name)[:, None] - values(name)) / np.std(values(name)) for name in ("teff", "logg")))
    star = int(np.argmax(np.sort(apart, axis=1)[:, 1]))  # the one with the farthest neighbour
    tab.mouse.click(*place(tab, values("teff")[star], values("logg")[star]))
    tab.wait_for_function(f"explorer.star === {star}")
    assert tab.locator("#star").input_value() == names()[star]
    assert tab.locator("#star-title").inner_text() == names()[star]
    text = tab.locator("#star-table").inner_text()
    assert f"{values('teff')[star]:.0f}" in text
    assert slamjax.flag_names(int(fitted()["flags"][star])) in text
    labels = np.array(tab.evaluate("explorer.sliders.values"))
    np.testing.assert_allclose(labels, [values(name)[star] for name in LABELS])


def test_the_lasso_lists_identifiers(opened):
    tab = opened(page(), permissions=["clipboard-read", "clipboard-write"])
    x, y = values("teff"), values("logg")
    low, middle, high = x.min() - 20, np.median(x), x.max() + 20
    lasso(tab, [(low, y.min() - 0.1), (middle, y.min() - 0.1), (middle, y.max() + 0.1), (low, y.max() + 0.1)])
    expected = [name for name, at in zip(names(), x, strict=True) if at < middle]
    assert 0 < len(expected) < N
    assert tab.locator("#chosen").input_value().split("\n") == expected
    assert tab.locator("#n-chosen").inner_text() == f"{len(expected)} stars"
    tab.locator("#copy-list").click()
    assert tab.evaluate("navigator.clipboard.readText()").split("\n") == expected
    assert high > middle


def test_flags_are_counted_explained_and_hide_stars(opened):
    tab = opened(page())
    rows = {row.split("\n")[0].strip(): row for row in tab.locator("#flags li").all_inner_texts()}
    assert list(rows) == ["no flag 5", "AT_BOUND 2", "FEW_PIXELS 1", "HIGH_CHI2 6"]
    advice = FLAG_ADVICE[Flag.HIGH_CHI2]
    assert advice[1:] in rows["HIGH_CHI2 6"]
    tab.locator("#flag-HIGH_CHI2").uncheck()
    # a star with another flag, too, is still asked for by that one
    assert source(tab, "star points", "name") == [*names()[:5], *names()[9:]]
    tab.locator("#flag-none").uncheck()
    tab.locator("#flag-AT_BOUND").uncheck()
    assert source(tab, "star points", "name") == names()[11:]


def test_the_corner_has_the_ellipses_of_the_covariance(opened):
    tab = opened(page())
    points = tab.evaluate(
        """[...document.querySelectorAll("#corner g")].map(
          (panel) => [...panel.querySelectorAll("polyline")].map((line) => line.getAttribute("points")))"""
    )
    n = len(LABELS)
    assert [len(panel) for panel in points] == [1 if i == j else 2 for i in range(n) for j in range(i + 1)]
    cov = np.asarray(fitted()["cov"][0])
    panel = [(i, j) for i in range(n) for j in range(i + 1)].index((1, 0))
    ellipse = np.array([pair.split(",") for pair in points[panel][0].split()], float)
    size = 92
    unit = np.array([2 / size, -2 / size]) * 3.2 * np.sqrt(np.diag(cov))[[0, 1]]
    offset = (ellipse - size / 2) * unit
    distance = np.einsum("ni,ij,nj->n", offset, np.linalg.inv(cov[:2, :2]), offset)
    np.testing.assert_allclose(distance, 1, atol=0.12)  # the points are rounded to a tenth of a pixel


@pytest.mark.slow
def test_draws_of_a_posterior_are_shown(opened):
    model, stars = giants_model(), held_out()[:2]
    labels = slamjax.fit(model, stars, n_starts=1)
    posterior = slamjax.sample(model, stars)
    tab = opened(slamjax.explore(model, stars, labels, posterior=posterior))
    assert "Draws" in tab.locator("#corner-note").inner_text()
    draws = np.array(tab.evaluate("drawsOf(explorer, 1)"))
    expected = posterior.labels[:, :, 1].reshape(-1, len(LABELS))
    error = expected.std(axis=0)
    np.testing.assert_allclose(draws.mean(axis=0), expected.mean(axis=0), atol=0.4 * error.max())
    nearest = np.abs(draws[:, None] - expected).max(axis=2, where=np.ones(len(LABELS), bool), initial=0)
    assert (np.abs((draws[:, None] - expected) / error).max(axis=2).min(axis=1) < 0.01).all()
    assert nearest.shape == (len(draws), len(expected))
    with pytest.raises(SlamError, match="of none of these stars"):
        slamjax.explore(model, held_out()[5:7], slamjax.fit(model, held_out()[5:7], n_starts=1), posterior=posterior)


def test_without_spectra_only_training_stars_are_drawn(opened):
    tab = opened(slamjax.explore(giants_model()))
    assert tab.locator("#of-stars").is_hidden()
    assert source(tab, "star points", "x") == []
    assert len(source(tab, "training points", "x")) == 110
