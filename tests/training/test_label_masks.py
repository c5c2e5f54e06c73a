"""Labels act at allowed pixels only: elsewhere their derivatives are zero, and nothing else changes."""

import dataclasses
from functools import cache

import jax
import numpy as np
import pytest
from helpers import in_precision, xp_giants
from models import ALPHA_WINDOWS, LABELS, SVR_10, THREE_FOLDS, TWO_FOLDS, quadratic_model, recipe
from sklearn.svm import SVR

import slamjax
from slamjax.errors import SlamError, SlamWarning
from slamjax.model.model import Model
from slamjax.training import DataSpec, train
from slamjax.training.label_masks import allowed_labels

WAVE = np.arange(500.0, 621.0, 2.0)
DATA = DataSpec(label_windows={"alpha_m": ALPHA_WINDOWS}, label_masks={"teff": np.arange(61) % 7 == 0})


def allowed():
    """(P, L) as it should be, by hand."""
    inside = np.any([(low <= WAVE) & (high >= WAVE) for low, high in ALPHA_WINDOWS], axis=0)
    return np.stack([np.arange(61) % 7 > 0, np.ones(61, bool), np.ones(61, bool), inside], axis=1)


@cache
def masked_model(solver="sklearn", kernel="rbf"):
    svr = dataclasses.replace(SVR_10, kernel=kernel, solver=solver)
    stars = xp_giants()[:110]
    return train(stars, LABELS, emulator=svr, recipe=recipe(), search=THREE_FOLDS, noise="diagonal", data=DATA)


def jacobian(model, seed=0):
    x = np.random.default_rng(seed).normal(size=(3, 4))
    with in_precision("float64"):
        return np.moveaxis(np.asarray(model.emulator.at_with_jacobian(x)[1]), -1, 1)


@pytest.mark.parametrize("solver", ["sklearn", "batched"])
def test_the_flux_depends_only_on_labels_that_may_act_at_the_pixel(solver):
    slopes = jacobian(masked_model(solver))
    np.testing.assert_array_equal(np.all(slopes != 0, axis=0), allowed())
    np.testing.assert_array_equal(np.any(slopes != 0, axis=0), allowed())
    with in_precision("float64"):
        model = masked_model(solver)
        x = np.array([0.3, -0.4, 0.5, 0.1])
        automatic = np.asarray(jax.jacfwd(model.emulator.at)(x))
        np.testing.assert_allclose(automatic, np.asarray(model.emulator.at_with_jacobian(x)[1]).T, rtol=1e-9)
        assert np.all(automatic[~allowed()] == 0)


def test_other_kernels_take_masks_too():
    np.testing.assert_array_equal(np.any(jacobian(masked_model(kernel="linear")) != 0, axis=0), allowed())


def test_a_masked_pixel_is_scikit_learns_svr_of_the_other_labels():
    model, spectra = masked_model(), xp_giants()[:110]
    prepared = recipe()(spectra)
    x = np.asarray(model.host_emulator.scaling(spectra.values(LABELS)))
    new = np.asarray(model.host_emulator.scaling(xp_giants()[110:].values(LABELS)))
    with in_precision("float64"):
        flux = np.asarray(model(xp_giants()[110:].values(LABELS)))
    for pixel in (0, 3, 7, 8):
        some = np.flatnonzero(allowed()[pixel])
        f, w = prepared.flux[:, pixel].astype(float), prepared.ivar[:, pixel].astype(float)
        svr = SVR(C=10, epsilon=0.05, gamma=0.1).fit(x[:, some], (f - f.mean()) / f.std(), sample_weight=w / w.mean())
        np.testing.assert_allclose(flux[:, pixel], f.mean() + f.std() * svr.predict(new[:, some]), atol=5e-3 * f.std())


def test_solvers_agree_on_masked_pixels():
    labels = xp_giants()[110:].values(LABELS)
    scale = np.asarray(masked_model().host_emulator.flux_scale)
    with in_precision("float64"):
        one, other = (np.asarray(masked_model(solver)(labels)) for solver in ("sklearn", "batched"))
    # both stop at 1e-3: predictions differ by some times that, where stars are few
    assert np.max(np.abs(one - other) / scale) < 1e-2
    assert np.median(np.abs(one - other) / scale) < 1e-3


def test_a_polynomial_leaves_out_the_monomials_of_a_masked_label():
    inside = allowed()[:, 3]
    np.testing.assert_array_equal(np.any(jacobian(quadratic_model()) != 0, axis=0)[:, 3], inside)
    with_alpha = np.array([one[3] > 0 for one in quadratic_model().host_emulator.exponents])
    assert np.all(quadratic_model().host_emulator.basis[np.ix_(with_alpha, ~inside)] == 0)
    np.testing.assert_array_equal(quadratic_model().info.pixels["n_terms"], np.where(inside, 14, 9))


def test_compression_keeps_masks():
    small = masked_model().compress()
    np.testing.assert_array_equal(np.any(jacobian(small) != 0, axis=0), allowed())
    labels = xp_giants()[110:].values(LABELS)
    error = np.abs(np.asarray(small(labels)) - np.asarray(masked_model()(labels)))
    assert np.all(error < 0.2 * np.sqrt(masked_model().noise.model_variance))


def test_a_masked_model_is_saved_whole(tmp_path):
    masked_model().write(tmp_path / "masked.h5")
    back = Model.read(tmp_path / "masked.h5")
    np.testing.assert_array_equal(jacobian(back), jacobian(masked_model()))
    assert back.info.provenance["settings"]["label_windows"]["alpha_m"] == [[510, 530], [590, 600]]


def test_a_window_over_all_pixels_changes_nothing():
    spectra = recipe()(xp_giants()[:80]).on_pixels(np.arange(0, 61, 20))
    plain, masked = (
        train(spectra, LABELS, search=TWO_FOLDS, noise="diagonal", data=DataSpec(label_windows=windows))
        for windows in (None, {"logg": [(400, 700)]})
    )
    labels = spectra.values(LABELS)
    np.testing.assert_array_equal(plain(labels), masked(labels))


@pytest.mark.parametrize("emulator", [slamjax.SVR(), slamjax.Polynomial()])
def test_a_pixel_without_any_label_is_masked(emulator):
    spectra = recipe()(xp_giants()[:80]).on_pixels(np.arange(4))
    data = DataSpec(label_windows={name: [(502, 600)] for name in LABELS})
    with pytest.warns(SlamWarning, match="1 of 4 pixels are masked, every label is masked there"):
        model = train(spectra, LABELS, emulator=emulator, search=TWO_FOLDS, noise="diagonal", data=data)
    np.testing.assert_array_equal(model.trained, [False, True, True, True])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"label_windows": {"ca_fe": [(500, 520)]}}, "label_windows names 'ca_fe', which is not among the labels"),
        ({"label_masks": {"ca_fe": np.ones(61, bool)}}, "label_masks names 'ca_fe', which is not among the labels"),
        ({"label_windows": {"teff": [(520, 500)]}}, "low below high"),
        ({"label_windows": {"teff": (500, 520)}}, "give pairs"),
        ({"label_windows": {"teff": "blue"}}, "give pairs"),
        ({"label_windows": {"teff": []}}, "give pairs"),
        ({"label_windows": {"teff": [(900, 950)]}}, "left with none of the 61 pixels, 500 to 620 nm"),
        ({"label_masks": {"teff": np.ones(61, bool)}}, "left with none of the 61 pixels, 500 to 620 nm"),
        ({"label_masks": {"teff": np.ones(60, bool)}}, "has 60 pixels but prepared spectra have 61"),
        ({"label_masks": {"teff": [(500, 520)]}}, "not an array of bool"),
        (
            {"label_windows": {"teff": [(500, 520)]}, "label_masks": {"teff": np.zeros(61, bool)}},
            "'teff' has both label_windows and label_masks",
        ),
    ],
)
def test_impossible_windows_and_masks_are_named(given, message):
    with pytest.raises(SlamError, match=message):
        allowed_labels(DataSpec(**given), LABELS, WAVE, "nm")


def test_windows_include_both_ends_and_masks_are_true_where_masked():
    np.testing.assert_array_equal(allowed_labels(DATA, LABELS, WAVE, "nm"), allowed())
