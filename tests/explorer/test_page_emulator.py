"""The emulator that runs in a page predicts what the model predicts."""

import jax
import numpy as np
import pytest
from helpers import in_precision, xp_giants
from models import LABELS, TWO_FOLDS, giants_model, miles_model, quadratic_model, recipe, searched_model

import slamjax
from slamjax.explorer import emulator_arrays
from slamjax.training import SVR, DataSpec, train

#: Largest difference, in units of the pixel's spread among the training stars.
EXACT = 1e-5


def trained_with(**options):
    svr = SVR(**{"C": 1, "epsilon": 0.1, "gamma": 0.1, **options.pop("svr", {})})
    return train(
        xp_giants()[:110], LABELS, emulator=svr, recipe=recipe(), search=TWO_FOLDS, noise="diagonal", **options
    )


MODELS = {
    "one γ": giants_model,
    "γ of each pixel": searched_model,
    "labels in log10, in air": miles_model,
    "polynomial, a label masked": quadratic_model,
    "compressed": lambda: giants_model().compress(),
    "linear": lambda: trained_with(svr={"kernel": "linear"}),
    "poly": lambda: trained_with(svr={"kernel": "poly", "coef0": 1.0}),
    "sigmoid": lambda: trained_with(svr={"kernel": "sigmoid", "gamma": 0.02}),
}
PROJECTED = {
    "projected, one γ": giants_model,
    "projected, γ of each pixel": searched_model,
    "projected, a label masked": lambda: trained_with(data=DataSpec(label_windows={"alpha_m": [(510, 530)]})),
}


def difference(found, expected, model):
    """Largest difference in units of the pixel's spread."""
    scale = np.asarray(model.host_emulator.flux_scale)
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    return np.nanmax(np.abs(found - expected) / scale)


def flux_in_page(tab, labels):
    rows = tab.evaluate("labels => labels.map(row => [...explorer.emulator.flux(row)])", labels.tolist())
    return np.array(rows, float)


@pytest.mark.parametrize("name", [*MODELS, *PROJECTED])
def test_flux_in_the_page_is_the_models(name, opened, random_labels, exact, monkeypatch):
    if name in PROJECTED:
        monkeypatch.setattr(emulator_arrays, "_LARGE", 0)
    model = (MODELS | PROJECTED)[name]()
    page = slamjax.explore(model)
    labels = random_labels(model, 50, beyond=0 if name in PROJECTED else 0.1)
    found = flux_in_page(opened(page), labels)
    assert difference(found, exact(model, labels), model) < EXACT
    assert page.error <= EXACT
    header = emulator_arrays.page_emulator(model.host_emulator, model.training_labels).header
    assert header.get("projected", False) == (name in PROJECTED)


@pytest.mark.parametrize(
    "name",
    [
        "γ of each pixel", "labels in log10, in air", "polynomial, a label masked", "poly", "sigmoid",
        "projected, a label masked",
    ],
)  # fmt: skip
def test_slopes_in_the_page_are_derivatives(name, opened, random_labels, monkeypatch):
    if name in PROJECTED:
        monkeypatch.setattr(emulator_arrays, "_LARGE", 0)
    model = (MODELS | PROJECTED)[name]()
    labels = random_labels(model, 3)
    tab = opened(slamjax.explore(model))
    found = tab.evaluate(
        "labels => labels.map(row => explorer.emulator.fluxAndSlopes(row).map(one => [...one]))", labels.tolist()
    )
    with in_precision("float64"):
        x = np.asarray(model.host_emulator.scaling(labels))
        flux = np.asarray(jax.vmap(model.emulator.at)(x))
        slopes = np.moveaxis(np.asarray(jax.vmap(jax.jacfwd(model.emulator.at))(x)), 2, 1)
    expected = np.concatenate([flux[:, None], slopes], axis=1)
    # slopes of a projection are not held to anything: a strip shows them
    assert difference(np.array(found, float), expected, model) < (1e-3 if name in PROJECTED else EXACT)
    assert np.nanmax(np.abs(slopes) / model.host_emulator.flux_scale) > 0.1
