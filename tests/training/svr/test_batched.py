"""All pixels together against scikit-learn pixel by pixel, on real stars."""

import dataclasses

import numpy as np
import pytest
from helpers import miles
from models import THREE_FOLDS

import slamjax
from slamjax.training.search import make_folds, svr_candidates
from slamjax.training.svr.batched import Stars, fit_pixels_together
from slamjax.training.svr.pixel import SvrSettings, fit_pixel

LABELS = ("teff", "logg", "fe_h")
SETTINGS = SvrSettings("rbf", 3, 0.0, 1e-3, -1, min_stars=10, solver="batched")


@pytest.fixture(scope="module")
def stars():
    """Real MILES stars and twelve of their pixels, with weights, bad pixels, and pixels that cannot be trained."""
    spectra = miles()
    labels = spectra.values(LABELS)
    known = np.isfinite(labels).all(axis=1) & spectra.good.all(axis=1)
    labels, flux = labels[known], spectra.flux[known][:, np.linspace(5, spectra.wave.size - 5, 12).astype(int)]
    x, y = ((a - a.mean(axis=0)) / a.std(axis=0) for a in (labels, flux.astype(float)))
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.3, 2, y.shape)
    weight[rng.random(y.shape) < 0.1] = 0
    weight[4:, 3] = 0  # too few stars
    y[:, 7] = 1.0  # constant flux
    return Stars(x, y, weight, make_folds(np.arange(len(x)), 3, 0))


def candidates(stars, C, epsilon, gamma):
    return svr_candidates(slamjax.SVR(C=C, epsilon=epsilon, gamma=gamma), stars.x, slamjax.SearchSpec())


def one_by_one(stars, found, settings=SETTINGS):
    return [
        fit_pixel(stars.x, stars.y[:, p], stars.weight[:, p], stars.fold, found, settings)
        for p in range(stars.y.shape[1])
    ]


def test_every_pixel_is_fitted_as_scikit_learn_fits_it(stars):
    found = candidates(stars, [0.1, 1.0, 10.0], [0.05], [0.1, 1.0])
    together, report = fit_pixels_together(stars, found, SETTINGS, 2, None)
    alone = one_by_one(stars, found)
    assert report.columns == 10 * (6 * 3 + 1)
    assert report.by_sklearn == 0
    assert report.violation <= 1e-3
    assert [fit.status for fit in together] == [fit.status for fit in alone]
    assert [fit.best for fit in together] == [fit.best for fit in alone]
    assert [fit.n_train for fit in together] == [fit.n_train for fit in alone]
    for mine, theirs in zip(together, alone, strict=True):
        np.testing.assert_allclose(mine.scores, theirs.scores, rtol=2e-3)
        # both stop at a violation of tol, each on its own side of the optimum
        np.testing.assert_allclose(mine.held_out, theirs.held_out, atol=1e-2)
        np.testing.assert_array_equal(np.isnan(mine.held_out), np.isnan(theirs.held_out))
        np.testing.assert_allclose(mine.intercept, theirs.intercept, atol=1e-2)
        assert mine.fold_dual.shape == theirs.fold_dual.shape
        assert np.mean((mine.dual != 0) == (theirs.dual != 0)) > 0.9


def test_folds_predict_their_held_out_stars(stars):
    found = candidates(stars, [1.0], [0.05], [0.5])
    fits, _ = fit_pixels_together(stars, found, SETTINGS, 1, None)
    kernel = np.exp(-0.5 * np.square(stars.x[:, None] - stars.x[None]).sum(axis=-1))
    for pixel in (0, 11):
        for number in range(3):
            out = (stars.fold == number) & (stars.weight[:, pixel] > 0)
            own = fits[pixel].fold_dual[number]
            assert np.all(own[stars.fold == number] == 0)
            np.testing.assert_allclose(
                kernel[out] @ own + fits[pixel].fold_intercept[number], fits[pixel].held_out[out], atol=1e-9
            )


def test_chunks_of_pixels_do_not_change_the_fits(stars, monkeypatch):
    found = candidates(stars, [0.1, 1.0], [0.05], [0.1])
    whole, report = fit_pixels_together(stars, found, SETTINGS, 1, None)
    monkeypatch.setattr("slamjax.training.svr.batched._KEPT_COEFFICIENTS", 0.0)
    told = []
    many = dataclasses.replace(stars, y=np.tile(stars.y, 2), weight=np.tile(stars.weight, 2))
    parts, twice = fit_pixels_together(many, found, SETTINGS, 1, lambda done, total: told.append((done, total)))
    assert twice.columns == 2 * report.columns
    assert told == sorted(told)
    assert told[-1] == (24, 24)
    for a, b in zip(whole * 2, parts, strict=True):
        np.testing.assert_array_equal(a.dual, b.dual)


@pytest.mark.parametrize("kernel", ["linear", "poly"])
def test_other_kernels(stars, kernel):
    settings = dataclasses.replace(SETTINGS, kernel=kernel, degree=2, coef0=1.0)
    found = candidates(stars, [0.1, 1.0], [0.05], [0.3])
    together, report = fit_pixels_together(stars, found, settings, 2, None)
    assert report.violation <= 1e-3
    for mine, theirs in zip(together, one_by_one(stars, found, settings), strict=True):
        assert mine.best == theirs.best
        np.testing.assert_allclose(mine.held_out, theirs.held_out, atol=1e-2)


def test_the_model_records_its_solver(tmp_path):
    spectra = miles()
    some = dataclasses.replace(spectra.on_pixels(np.arange(40)), wave=spectra.wave[:40])
    models = {
        solver: slamjax.train(
            some, LABELS, emulator=slamjax.SVR(gamma=0.1, solver=solver), search=THREE_FOLDS, noise="diagonal"
        )
        for solver in ("batched", "sklearn")
    }
    labels = some.values(LABELS)[:20]
    labels = labels[np.isfinite(labels).all(axis=1)]
    a, b = (np.asarray(model(labels)) for model in models.values())
    np.testing.assert_allclose(a, b, atol=5e-3 * np.std(some.flux))
    report = models["batched"].info.provenance["settings"]["solver"]
    assert report["solver"] == "batched"
    assert report["columns"] == 40 * 4
    assert "batched: 160 machines, 0 of them by scikit-learn" in slamjax.describe(models["batched"])
    models["batched"].write(tmp_path / "model.h5")
    assert slamjax.Model.read(tmp_path / "model.h5").info.provenance["settings"]["solver"] == report
