"""All pixels on features of inducing stars, against exact SVRs of the same stars."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from helpers import miles
from models import THREE_FOLDS

import slamjax
from slamjax.errors import SlamError
from slamjax.training import held_out, pipeline
from slamjax.training.noise_fallback import learn_noise_if_possible
from slamjax.training.svr import feature_space, shared_kernel
from slamjax.training.svr.batched import Stars
from slamjax.training.svr.feature_space import fit_pixels_in_features
from slamjax.training.svr.inducing import inducing_stars
from slamjax.training.svr.pixel import SvrSettings
from tests.training.svr.test_batched import LABELS, candidates, one_by_one, stars  # noqa: F401

SETTINGS = SvrSettings("rbf", 3, 0.0, 1e-5, -1, min_stars=10, solver="inducing")


def everyone(stars):  # noqa: F811
    return np.arange(len(stars.x))


def test_with_all_stars_inducing_fits_are_those_of_scikit_learn(stars):  # noqa: F811
    found = candidates(stars, [0.1, 1.0, 10.0], [0.05], [0.1, 1.0])
    fits, report = fit_pixels_in_features(stars, everyone(stars), found, SETTINGS, 2, None)
    alone = one_by_one(stars, found)
    assert report.solver == "inducing"
    assert report.inducing == len(stars.x)
    assert report.gap <= 1e-5
    assert fits.status.tolist() == [fit.status for fit in alone]
    assert fits.n_train.tolist() == [fit.n_train for fit in alone]
    assert fits.best.tolist() == [fit.best for fit in alone]
    np.testing.assert_allclose(fits.scores, np.stack([fit.scores for fit in alone]), rtol=3e-3)
    held_out = np.stack([fit.held_out for fit in alone], axis=1)
    np.testing.assert_allclose(fits.held_out, held_out, atol=1e-2)
    assert np.nanstd(held_out, axis=0)[fits.best >= 0].min() > 0.3


def test_few_inducing_stars_lose_little(stars):  # noqa: F811
    found = candidates(stars, [1.0], [0.05], [0.1])
    few = inducing_stars(stars.x, 60, 0.1, SETTINGS)
    fits, _ = fit_pixels_in_features(stars, few, found, SETTINGS, 1, None)
    exact, _ = fit_pixels_in_features(stars, everyone(stars), found, SETTINGS, 1, None)
    trained = fits.best >= 0
    difference = np.nanstd((fits.held_out - exact.held_out)[:, trained], axis=0)
    assert 0 < difference.max() < 0.05 * np.sqrt(exact.scores[trained]).min()
    assert len(fits.dual) == len(few)


def test_folds_predict_their_held_out_stars(stars):  # noqa: F811
    few = inducing_stars(stars.x, 40, 0.5, SETTINGS)
    fits, _ = fit_pixels_in_features(stars, few, candidates(stars, [1.0], [0.05], [0.5]), SETTINGS, 1, None)
    kernel = np.exp(-0.5 * np.square(stars.x[:, None] - stars.x[None, few]).sum(axis=-1))
    for pixel in (0, 11):
        for number in range(3):
            out = (stars.fold == number) & (stars.weight[:, pixel] > 0)
            predicted = kernel @ fits.fold_dual[number][:, pixel] + fits.fold_intercept[number, pixel]
            np.testing.assert_allclose(predicted[out], fits.held_out[out, pixel], atol=1e-5)
        assert np.isnan(fits.held_out[stars.weight[:, pixel] == 0, pixel]).all()


def test_held_out_stars_play_no_part_in_their_fold(stars):  # noqa: F811
    few, found = inducing_stars(stars.x, 40, 0.5, SETTINGS), candidates(stars, [1.0], [0.05], [0.5])
    fits, _ = fit_pixels_in_features(stars, few, found, SETTINGS, 1, None)
    y = np.where((stars.fold == 1)[:, None], 5 - 3 * stars.y, stars.y)
    other, _ = fit_pixels_in_features(dataclasses.replace(stars, y=y), few, found, SETTINGS, 1, None)
    kernel = np.exp(-0.5 * np.square(stars.x[:, None] - stars.x[None, few]).sum(axis=-1))
    before, after = (kernel @ one.fold_dual[1][:, 0] + one.fold_intercept[1, 0] for one in (fits, other))
    np.testing.assert_allclose(before, after, atol=5e-3)
    assert np.std(kernel @ (fits.fold_dual[0] - other.fold_dual[0])[:, 0]) > 0.3


def test_chunks_of_pixels_do_not_change_the_fits(stars, monkeypatch):  # noqa: F811
    found, few = candidates(stars, [0.1, 1.0], [0.05], [0.1]), inducing_stars(stars.x, 40, 0.1, SETTINGS)
    whole, _ = fit_pixels_in_features(stars, few, found, SETTINGS, 1, None)
    monkeypatch.setattr(feature_space, "_chunks", lambda pixels, n: iter(np.array_split(pixels, 3)))
    told = []
    parts, _ = fit_pixels_in_features(stars, few, found, SETTINGS, 1, lambda done, total: told.append((done, total)))
    np.testing.assert_allclose(parts.held_out, whole.held_out, atol=1e-9)
    np.testing.assert_array_equal(parts.best, whole.best)
    assert told == sorted(told)
    assert told[-1] == (12, 12)


@pytest.mark.parametrize("kernel", ["linear", "poly"])
def test_other_kernels(stars, kernel):  # noqa: F811
    settings = dataclasses.replace(SETTINGS, kernel=kernel, degree=2, coef0=1.0)
    found = candidates(stars, [0.1, 1.0], [0.05], [0.3])
    few = inducing_stars(stars.x, 100, 0.3, settings)
    assert len(few) <= 10, "so many monomials there are"
    fits, _ = fit_pixels_in_features(stars, few, found, settings, 2, None)
    for pixel, fit in enumerate(one_by_one(stars, found, settings)):
        assert fits.best[pixel] == fit.best
        np.testing.assert_allclose(fits.held_out[:, pixel], fit.held_out, atol=1e-2)


def test_iterations_that_run_out_are_in_the_status(stars):  # noqa: F811
    settings = dataclasses.replace(SETTINGS, max_iter=2)
    fits, _ = fit_pixels_in_features(
        stars, everyone(stars), candidates(stars, [10.0], [0.05], [0.1]), settings, 1, None
    )
    assert set(fits.status) == {"trained, out of iterations", "too few stars", "constant flux"}


@pytest.fixture(scope="module")
def spectra():
    whole = miles()
    return dataclasses.replace(whole.on_pixels(np.arange(40)), wave=whole.wave[:40])


def trained(spectra, search=THREE_FOLDS, data=None, **options):
    emulator = slamjax.SVR(**({"gamma": 0.1} | options))
    return slamjax.train(
        spectra, LABELS, emulator=emulator, search=search, noise="diagonal", data=data or slamjax.DataSpec()
    )


def test_models_of_inducing_stars_predict_and_say_so(spectra):
    few, exact = trained(spectra, solver="inducing", n_inducing=80), trained(spectra, solver="sklearn")
    labels = spectra.values(LABELS)
    labels = labels[np.isfinite(labels).all(axis=1)]
    difference = np.asarray(few(labels)) - np.asarray(exact(labels))
    assert 0 < np.std(difference) < 0.02 * np.std(spectra.flux)
    assert few.emulator.n_terms <= 80 < exact.emulator.n_terms
    assert f"{few.emulator.n_terms} inducing stars" in slamjax.describe(few)
    np.testing.assert_allclose(few.info.pixels["model_error"], exact.info.pixels["model_error"], rtol=0.1)


def test_masked_labels_do_not_act(spectra):
    low, high = spectra.wave[10] - 1e-3, spectra.wave[30] + 1e-3
    model = trained(
        spectra, solver="inducing", n_inducing=60, data=slamjax.DataSpec(label_windows={"logg": [(low, high)]})
    )
    labels = np.nanmedian(spectra.values(LABELS), axis=0)
    other = labels + np.array([0, 0.5, 0])
    changed = np.asarray(model(labels)) != np.asarray(model(other))
    assert changed[10:31].all()
    assert not changed[:10].any()
    assert not changed[31:].any()


@pytest.mark.parametrize("kind", ["joint", "random"])
def test_searches_choose_among_combinations(spectra, kind):
    search = slamjax.SearchSpec(kind, n_iter=2, folds=3)
    model = trained(spectra, search, solver="inducing", n_inducing=60, C=[0.01, 10.0])
    assert set(np.asarray(model.info.pixels["C"])) <= {0.01, 10.0}
    assert np.mean(np.asarray(model.info.pixels["C"]) == 10.0) > 0.5


def test_many_stars_are_trained_by_inducing_stars(spectra, monkeypatch):
    monkeypatch.setattr(shared_kernel, "_MANY", 50)
    assert trained(spectra).info.provenance["settings"]["solver"]["solver"] == "inducing"
    assert trained(spectra, kernel="sigmoid", gamma=0.01).info.provenance["settings"]["solver"]["solver"] == "sklearn"


def test_impossible_choices_are_refused(spectra):
    with pytest.raises(SlamError, match="sigmoid"):
        trained(spectra, kernel="sigmoid", solver="inducing")
    with pytest.raises(SlamError, match="n_inducing is 0"):
        slamjax.SVR(n_inducing=0)


def test_models_with_pixels_out_of_iterations_can_be_read(spectra, tmp_path):
    model = trained(spectra, solver="inducing", n_inducing=60, max_iter=2)
    assert set(model.info.pixels["status"]) == {"trained, out of iterations"}
    model.write(tmp_path / "model.h5")
    labels = np.nanmedian(spectra.values(LABELS), axis=0)
    np.testing.assert_array_equal(slamjax.Model.read(tmp_path / "model.h5")(labels), model(labels))


def test_of_very_many_stars_the_noise_is_learnt_from_some(spectra, monkeypatch):
    """The whole half of the stars would otherwise be trained again, and a covariance of all of them be made."""
    monkeypatch.setattr(held_out, "_MANY", 100)
    monkeypatch.setattr(held_out, "_DRAWN", 60)
    seen = []
    monkeypatch.setattr(
        pipeline,
        "learn_noise_if_possible",
        lambda *given, **options: seen.append(given[3]) or learn_noise_if_possible(*given, **options),
    )
    emulator = slamjax.SVR(gamma=0.1, solver="inducing", n_inducing=60)
    slamjax.train(spectra, LABELS, emulator=emulator, search=THREE_FOLDS)
    assert len(seen[0].x) == len(seen[0].residual) == 60
    assert seen[0].half is None


def test_memory_grows_in_proportion_to_the_stars():
    """A kernel matrix of 12,000 stars would need 1.1 GiB."""

    def peak(n):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(n, 2))
        y = np.sin(x[:, :1] * np.arange(1, 5)) + rng.normal(0, 0.3, (n, 4))
        many = Stars(x, y, np.ones_like(y), np.arange(n) % 3)
        settings = dataclasses.replace(SETTINGS, max_iter=20)
        tracemalloc.start()
        few = inducing_stars(x, 30, 0.1, settings)
        fit_pixels_in_features(many, few, candidates(many, [1.0], [0.05], [0.1]), settings, 2, None)
        return tracemalloc.get_traced_memory()[1], tracemalloc.stop()

    few, many = (peak(n)[0] for n in (4000, 12_000))
    assert many < 3.3 * few
    assert many < 0.03 * 2**30
