"""From spectra with known labels to a model, and the errors if that is impossible."""

import dataclasses
import warnings

import numpy as np
import pytest
from astropy.table import vstack
from helpers import in_precision, miles, xp_giants
from models import LABELS, THREE_FOLDS, TWO_FOLDS, giants_model, recipe, searched_model
from sklearn import svm

from slamjax.errors import SlamError, SlamWarning
from slamjax.model.model import Model
from slamjax.preprocessing import MaskWavelengths, Recipe, RestFrame, WaveRange
from slamjax.spectra.spectra import Spectra
from slamjax.training import SVR, DataSpec, NoiseSpec, Polynomial, SearchSpec, train


def few_pixels(spectra, count=4):
    return recipe()(spectra).on_pixels(np.arange(0, 61, 61 // count)[:count])


def test_every_pixel_is_scikit_learns_svr():
    """The exported model is what SVR gives on the prepared, standardised spectra, weights included."""
    model, spectra = giants_model(), xp_giants()[:110]
    prepared = recipe()(spectra)
    labels = spectra.values(LABELS)
    x = np.asarray(model.host_emulator.scaling(labels))
    new = np.asarray(model.host_emulator.scaling(xp_giants()[110:].values(LABELS)))
    with in_precision("float64"):
        flux = np.asarray(model(xp_giants()[110:].values(LABELS)))
    for pixel in (0, 17, 60):
        f, w = prepared.flux[:, pixel].astype(float), prepared.ivar[:, pixel].astype(float)
        mean, scale = f.mean(), f.std()
        svr = svm.SVR(C=10, epsilon=0.05, gamma=0.1).fit(x, (f - mean) / scale, sample_weight=w / w.mean())
        # libsvm stops at 1e-3: sums taken in another order end elsewhere within that
        np.testing.assert_allclose(flux[:, pixel], mean + scale * svr.predict(new), atol=5e-3 * scale)


def test_the_search_is_recorded_for_every_pixel():
    info = searched_model().info
    assert len(info.candidates) == 6
    assert info.cv_scores.shape == (len(info.wave), 6)
    best = np.argmin(info.cv_scores, axis=1)
    for name in ("C", "gamma", "epsilon"):
        np.testing.assert_array_equal(info.pixels[name], info.candidates[name][best])
    assert len(np.unique(info.pixels["gamma"])) > 1  # or the test of kernel groups would be none
    np.testing.assert_array_equal(info.pixels["cv_mse"], info.cv_scores[np.arange(len(best)), best])


def test_gamma_scale_is_one_number_for_all_pixels_masks_or_not():
    spectra = few_pixels(xp_giants()[:80])
    ivar = spectra.ivar.copy()
    ivar[:30, 1] = 0
    model = train(spectra.with_arrays(spectra.flux, ivar), LABELS, search=TWO_FOLDS)
    x = model.training_labels.stars
    np.testing.assert_allclose(model.info.pixels["gamma"], 1 / (4 * x.var()), rtol=1e-12)
    assert list(model.info.pixels["n_train"]) == [80, 50, 80, 80]


def test_stars_with_missing_labels_are_left_out_and_counted_if_they_are_to_be_dropped():
    spectra = few_pixels(xp_giants()[:80])
    table = spectra.table.copy()
    table["fe_h"][:7] = np.nan
    changed = Spectra(spectra.wave, spectra.flux, spectra.ivar, table, spectra.wave_unit)
    with pytest.warns(SlamWarning, match=r"7 of 80 stars .*fe_h: 7"):
        model = train(changed, LABELS, search=TWO_FOLDS, data=DataSpec(missing="drop"))
    assert len(model.training_labels.stars) == 73
    assert 0 not in model.info.record.rows


def test_a_pixel_that_cannot_be_trained_predicts_nan_and_is_reported():
    spectra = few_pixels(xp_giants()[:80])
    flux, ivar = spectra.flux.copy(), spectra.ivar.copy()
    flux[:, 0] = 1.0
    ivar[5:, 2] = 0
    with pytest.warns(SlamWarning, match=r"1 of 4 pixels are masked, (constant flux|too few stars)") as caught:
        model = train(spectra.with_arrays(flux, ivar), LABELS, search=TWO_FOLDS, noise="diagonal")
    assert len(caught) == 2
    assert list(model.info.pixels["status"]) == ["constant flux", "trained", "too few stars", "trained"]
    predicted = np.asarray(model(spectra.values(LABELS)))
    assert np.all(np.isnan(predicted[:, [0, 2]]))
    assert np.all(np.isfinite(predicted[:, [1, 3]]))
    assert np.isposinf(model.noise.model_variance[0])


def test_pixels_masked_by_the_recipe_give_no_warning(recwarn):
    spectra = xp_giants()[:60]
    recipe = Recipe((WaveRange(500, 540, "nm"), MaskWavelengths([(515, 523)], "nm")))
    model = train(spectra, ("teff", "logg"), recipe=recipe, search=TWO_FOLDS, noise="diagonal")
    inside = (model.wave >= 515) & (model.wave <= 523)
    assert list(np.unique(model.info.pixels["status"][inside])) == ["masked by the recipe"]
    assert np.all(model.info.pixels["status"][~inside] == "trained")
    assert not [w for w in recwarn if "masked" in str(w.message)]


def test_drawn_stars_are_reproducible_and_recorded():
    spectra = few_pixels(xp_giants())
    first, again, other = (
        train(spectra, LABELS, data=DataSpec(n_train=60), seed=s, search=TWO_FOLDS) for s in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.info.record.rows, again.info.record.rows)
    assert len(np.unique(first.info.record.rows)) == 60
    assert set(first.info.record.rows) != set(other.info.record.rows)
    assert first.info.record.contains(spectra).sum() == 60
    np.testing.assert_array_equal(first.host_emulator.blocks[0].dual, again.host_emulator.blocks[0].dual)


def test_duplicate_stars_train_and_share_a_fold():
    spectra = few_pixels(xp_giants()[:60])
    twice = Spectra(
        spectra.wave,
        np.concatenate([spectra.flux, spectra.flux[:20]]),
        np.concatenate([spectra.ivar, spectra.ivar[:20]]),
        vstack([spectra.table, spectra.table[:20]]),
        spectra.wave_unit,
    )
    groups = twice.star_groups()
    np.testing.assert_array_equal(groups[60:], groups[:20])
    model = train(twice, LABELS, search=TWO_FOLDS)
    assert model.trained.all()
    assert model.info.record.contains(spectra).all()


def test_spectra_without_errors_put_the_photon_noise_into_the_model_error():
    spectra = miles().select("isfinite(teff) & isfinite(logg) & isfinite(fe_h) & teff > 4000 & teff < 7000")
    spectra = spectra.on_pixels(np.arange(0, 300, 30))
    model = train(
        spectra, ["teff", "logg", "fe_h"], emulator=SVR(gamma="auto"), log_labels=["teff"], search=THREE_FOLDS
    )
    assert not model.info.has_errors
    assert np.all(model.noise.model_variance > 0)
    np.testing.assert_allclose(np.asarray(model.host_emulator.scaling.inverse(model.training_labels.stars))[:, 0],
                               spectra.values("teff"), rtol=1e-6)  # fmt: skip


def test_one_label_is_enough():
    spectra = few_pixels(xp_giants()[:80])
    model = train(spectra, "teff", search=TWO_FOLDS)
    assert model(np.array([[4500.0]])).shape == (1, 4)


@pytest.mark.parametrize("kernel", ["linear", "poly", "sigmoid"])
def test_other_kernels_train(kernel):
    spectra = few_pixels(xp_giants()[:80])
    svr = SVR(kernel=kernel, gamma=0.05, coef0=0.5, degree=2)
    model = train(spectra, LABELS, emulator=svr, search=TWO_FOLDS)
    assert model.host_emulator.blocks[0].kernel == kernel
    assert np.median(model.info.pixels["cv_mse"]) < 1


def test_progress_is_reported_up_to_the_last_pixel():
    steps = []
    train(few_pixels(xp_giants()[:60]), LABELS, search=TWO_FOLDS, on_progress=lambda *at: steps.append(at))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SVR(C=0), "C is 0; give a number above 0"),
        (lambda: SVR(C=[1, -1]), "C is -1"),
        (lambda: SVR(epsilon=-0.1), "epsilon is -0.1"),
        (lambda: SVR(gamma="wide"), "gamma is 'wide'"),
        (lambda: SVR(kernel="cubic"), "unknown kernel 'cubic'"),
        (lambda: Polynomial(degree=0), "degree is 0"),
        (lambda: Polynomial(ridge=[1, -1]), "ridge is -1"),
        (lambda: SVR(n_jobs=0), "n_jobs is 0"),
        (lambda: SVR(degree=0), "degree is 0"),
        (lambda: SVR(coef0=float("nan")), "coef0 is nan"),
        (lambda: SVR(tol=0), "tol is 0"),
        (lambda: SVR(max_iter=0), "max_iter is 0"),
        (lambda: SVR(solver="fast"), "unknown solver 'fast'; choose one of auto, batched, inducing, sklearn"),
        (lambda: SearchSpec(folds=1), "folds is 1"),
        (lambda: SearchSpec(n_iter=0), "n_iter is 0"),
        (lambda: NoiseSpec(ranks=()), "ranks are"),
        (lambda: NoiseSpec(floors=(0,)), "floors are"),
        (lambda: DataSpec(weights="snr"), "unknown weights 'snr'"),
        (lambda: DataSpec(flux_scaling="none"), "unknown flux_scaling 'none'"),
        (lambda: DataSpec(min_stars=-1), "min_stars is -1"),
    ],
)
def test_specs_refuse_impossible_values(make, message):
    with pytest.raises(SlamError, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"emulator": "svr"}, r"emulator is 'svr'; give slamjax.SVR\(...\) or slamjax.Polynomial\(...\)"),
        ({"search": "halving"}, "unknown search 'halving'"),
        ({"noise": "white"}, "unknown noise 'white'"),
        ({"data": DataSpec(n_train=1000)}, "n_train is 1000 but 60 stars"),
        ({"data": {"n_train": 50}}, r"data is {'n_train': 50}; give slamjax.DataSpec\(...\)"),
        ({"recipe": "recipe.toml"}, "recipe is 'recipe.toml'; give a slamjax.Recipe"),
        ({"labels": ["teff", "colour"]}, "has no column 'colour'"),
        ({"labels": ["teff", "teff"]}, "'teff' is given twice"),
        ({"labels": []}, "no labels are given"),
        ({"seed": -1}, "seed is -1"),
        ({"log_labels": ["fe_h"]}, "'fe_h' has values that are not positive"),
    ],
)
def test_impossible_settings_are_named(change, message):
    options = {"labels": LABELS, "recipe": recipe(), "search": TWO_FOLDS} | change
    with pytest.raises(SlamError, match=message):
        train(xp_giants()[:60], options.pop("labels"), **options)


def test_one_star_or_a_constant_label_is_refused():
    spectra = few_pixels(xp_giants()[:60])
    with pytest.raises(SlamError, match="1 of 1 stars"):
        train(spectra[:1], LABELS)
    table = spectra.table.copy()
    table["logg"] = 2.5
    with pytest.raises(SlamError, match=r"'logg' is the same, 2\.5"):
        train(Spectra(spectra.wave, spectra.flux, spectra.ivar, table, spectra.wave_unit), LABELS)


def test_a_handful_of_stars_is_refused_with_the_reason():
    with pytest.raises(SlamError, match=r"no pixel could be trained \(too few stars"):
        train(few_pixels(xp_giants()[:8]), LABELS, search=TWO_FOLDS)


def test_threads_leave_pythons_warnings_as_they_were():
    """Catching warnings in a worker would silence the whole process, now and then."""
    spectra = few_pixels(xp_giants()[:80])
    before = warnings.filters[:], warnings.showwarning
    statuses = [
        list(
            train(spectra, LABELS, emulator=SVR(C=10, n_jobs=jobs, max_iter=60), search=TWO_FOLDS).info.pixels["status"]
        )
        for jobs in (1, 4)
    ]
    assert (warnings.filters[:], warnings.showwarning) == before
    assert statuses[0] == statuses[1]
    assert "trained, out of iterations" in statuses[0]


def test_one_absurd_error_does_not_silence_the_other_stars():
    spectra = few_pixels(xp_giants()[:80])
    ivar = spectra.ivar.astype(float)
    ivar[3] *= 1e8
    labels = spectra.values(LABELS)
    plain, absurd = (
        np.asarray(train(s, LABELS, search=TWO_FOLDS)(labels))
        for s in (spectra, spectra.with_arrays(spectra.flux, ivar))
    )
    assert np.all(np.ptp(absurd, axis=0) > 0.3 * np.ptp(plain, axis=0))


def test_numpy_numbers_as_settings_can_be_saved(tmp_path):
    spectra = few_pixels(xp_giants()[:60])
    model = train(
        spectra,
        LABELS,
        emulator=SVR(tol=np.float32(1e-3)),
        search=SearchSpec(folds=np.int64(2)),
        seed=np.int64(3),
    )
    model.write(tmp_path / "model.h5")
    assert Model.read(tmp_path / "model.h5").info.provenance["settings"]["seed"] == 3


def test_the_selection_and_a_digest_of_flux_and_labels_are_recorded():
    spectra = few_pixels(xp_giants()).select("logg < 3.6").select("teff > 3600")
    settings = train(spectra, LABELS, search=TWO_FOLDS).info.provenance["settings"]
    assert settings["selection"] == "(logg < 3.6) & (teff > 3600)"
    table = spectra.table.copy()
    table["teff"][0] += 1
    other = Spectra(spectra.wave, spectra.flux, spectra.ivar, table, spectra.wave_unit)
    assert (
        train(other, LABELS, search=TWO_FOLDS).info.provenance["settings"]["training_sha256"]
        != settings["training_sha256"]
    )


def test_observed_spectra_that_resolve_velocities_give_a_warning():
    """MILES pixels are 53 km/s wide; those of Gaia XP are a thousand, and give no warning."""
    stars = miles()[:60].select("isfinite(teff) & isfinite(logg) & isfinite(fe_h)")
    moving = dataclasses.replace(stars, frame="observed")
    settings = {"search": TWO_FOLDS, "noise": "diagonal"}
    with pytest.warns(SlamWarning, match="in the observed frame, on pixels of 5. km/s: .* put rest_frame or resample"):
        train(moving.on_pixels(slice(0, 20)), ["teff"], **settings)
    moving.table["rv"] = np.zeros(len(moving))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = train(moving.on_pixels(slice(0, 20)), ["teff"], recipe=Recipe((RestFrame(),)), **settings)
        train(xp_giants()[:60].on_pixels(slice(80, 100)), ["teff"], **settings)
    assert model.info.frame == "rest"
