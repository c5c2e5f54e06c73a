"""Polynomials by least squares against NumPy's, scikit-learn's Ridge, and their own cross-validation redone."""

import numpy as np
import pytest
from helpers import xp_giants
from models import LABELS, TWO_FOLDS, quadratic_model, recipe
from sklearn.linear_model import Ridge

from slamjax.emulators.polynomial import exponents_of, monomials
from slamjax.errors import SlamError, SlamWarning
from slamjax.training import Polynomial, SearchSpec, train
from slamjax.training.ridge import fit_polynomials, solve


def problem(weights, n=90, n_pix=9, seed=0):
    """Terms, flux and weights: the same for all pixels, or each pixel's own with some stars left out."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    terms = monomials(x, exponents_of(3, 2))
    y = terms @ rng.normal(size=(9, n_pix)) + 0.3 * rng.normal(size=(n, n_pix)) + 2
    own = rng.uniform(0.2, 3, size=(n, n_pix)) * (rng.random((n, n_pix)) > 0.2)
    return terms, y, own if weights == "own" else np.repeat(own[:, :1], n_pix, axis=1)


@pytest.mark.parametrize("weights", ["own", "shared"])
def test_without_a_penalty_it_is_weighted_least_squares(weights):
    terms, y, weight = problem(weights)
    basis, intercept = solve(terms, y, weight, np.zeros(1))
    for pixel in range(y.shape[1]):
        root = np.sqrt(weight[:, pixel])
        design = np.column_stack([np.ones(len(terms)), terms])
        expected = np.linalg.lstsq(root[:, None] * design, root * y[:, pixel], rcond=None)[0]
        np.testing.assert_allclose(np.append(intercept[0, pixel], basis[0, :, pixel]), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("weights", ["own", "shared"])
@pytest.mark.parametrize("ridge", [0.1, 30.0])
def test_a_penalty_is_scikit_learns(weights, ridge):
    terms, y, weight = problem(weights)
    basis, intercept = solve(terms, y, weight, np.array([7.0, ridge]))
    for pixel in range(y.shape[1]):
        machine = Ridge(alpha=ridge).fit(terms, y[:, pixel], sample_weight=weight[:, pixel])
        np.testing.assert_allclose(basis[1, :, pixel], machine.coef_, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(intercept[1, pixel], machine.intercept_, rtol=1e-8)


@pytest.mark.parametrize("weights", ["own", "shared"])
def test_undetermined_directions_are_left_out(weights):
    """A repeated column, and fewer stars than terms: the shortest solution, finite, that predicts the stars."""
    terms, y, weight = problem(weights)
    twice = np.column_stack([terms, terms[:, 0]])
    once, double = (solve(t, y, weight, np.zeros(1)) for t in (terms, twice))
    np.testing.assert_allclose(twice @ double[0][0] + double[1][0], terms @ once[0][0] + once[1][0], atol=1e-6)
    few = solve(terms[:5], y[:5], np.ones_like(y[:5]), np.zeros(1))
    np.testing.assert_allclose(terms[:5] @ few[0][0] + few[1][0], y[:5], atol=1e-8)


def test_held_out_predictions_and_scores_are_those_of_folds_left_out():
    terms, y, weight = problem("own")
    fold = np.arange(len(terms)) % 3
    ridges = np.array([0.0, 1.0, 50.0])
    found = fit_polynomials(terms, y, weight, fold, ridges, 20)
    for pixel in (0, 5):
        scores = np.zeros((3, 3))
        predicted = np.full((3, len(y)), np.nan)
        for k, ridge in enumerate(ridges):
            for number in range(3):
                out = fold == number
                machine = Ridge(alpha=max(ridge, 1e-10)).fit(
                    terms[~out], y[~out, pixel], sample_weight=weight[~out, pixel]
                )
                predicted[k, out] = machine.predict(terms[out])
                square = np.square(predicted[k, out] - y[out, pixel])
                scores[k, number] = np.average(square, weights=weight[out, pixel])
        np.testing.assert_allclose(found.scores[pixel], scores.mean(axis=1), rtol=1e-6)
        assert found.best[pixel] == np.argmin(scores.mean(axis=1))
        used = weight[:, pixel] > 0
        np.testing.assert_allclose(found.held_out[used, pixel], predicted[found.best[pixel], used], rtol=1e-6)
        assert np.isnan(found.held_out[~used, pixel]).all()


def test_batches_of_pixels_do_not_change_the_fits(monkeypatch):
    """However little memory there is, the numbers are the same."""
    terms, y, weight = problem("own")
    fold, ridges = np.arange(len(terms)) % 3, np.array([0.0, 1.0])
    whole = fit_polynomials(terms, y, weight, fold, ridges, 20)
    monkeypatch.setattr("slamjax.training.ridge._MEMORY", 1e-6)
    parts = fit_polynomials(terms, y, weight, fold, ridges, 20)
    for name in ("basis", "intercept", "held_out", "fold_basis", "scores"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12, atol=1e-12)


def test_a_trained_pixel_is_scikit_learns_ridge_on_prepared_spectra():
    model, spectra = quadratic_model(), xp_giants()[:110]
    prepared = recipe()(spectra)
    terms = monomials(np.asarray(model.host_emulator.scaling(spectra.values(LABELS))), model.host_emulator.exponents)
    for pixel in (8, 12, 50):
        flux, ivar = prepared.flux[:, pixel].astype(float), prepared.ivar[:, pixel].astype(float)
        kept = model.host_emulator.basis[:, pixel] != 0
        ridge = max(model.info.pixels["ridge"][pixel], 1e-10)
        machine = Ridge(alpha=ridge).fit(terms[:, kept], (flux - flux.mean()) / flux.std(), ivar / ivar.mean())
        np.testing.assert_allclose(model.host_emulator.basis[kept, pixel], machine.coef_, rtol=1e-5, atol=1e-8)


def test_a_pixel_that_cannot_be_trained_predicts_nan():
    spectra = recipe()(xp_giants()[:80]).on_pixels(np.arange(4))
    flux, ivar = spectra.flux.copy(), spectra.ivar.copy()
    flux[:, 0] = 1.0
    ivar[5:, 2] = 0
    with pytest.warns(SlamWarning, match=r"1 of 4 pixels are masked, (constant flux|too few stars)"):
        model = train(
            spectra.with_arrays(flux, ivar), LABELS, emulator=Polynomial(), search=TWO_FOLDS, noise="diagonal"
        )
    assert list(model.info.pixels["status"]) == ["constant flux", "trained", "too few stars", "trained"]
    np.testing.assert_array_equal(np.isnan(model(spectra.values(LABELS))), np.array([[1, 0, 1, 0]] * 80, bool))


def test_one_ridge_may_be_chosen_for_all_pixels_together():
    spectra = recipe()(xp_giants()[:110]).on_pixels(np.arange(0, 61, 6))
    emulator, search = Polynomial(ridge=[0.1, 1e5]), SearchSpec("joint", folds=3)
    model = train(spectra, LABELS, emulator=emulator, search=search, noise="diagonal")
    assert len(np.unique(model.info.pixels["ridge"])) == 1
    assert (
        model.info.pixels["ridge"][0] == model.info.candidates["ridge"][np.argmax(model.info.candidates["joint_score"])]
    )


def test_a_degree_with_more_terms_than_stars_is_refused():
    with pytest.raises(SlamError, match=r"no pixel could be trained .*140 are needed"):
        train(xp_giants()[:60], LABELS, emulator=Polynomial(degree=4), recipe=recipe(), search=TWO_FOLDS)
