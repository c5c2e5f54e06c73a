"""Stars whose spectra are unlike those of stars with such labels."""

import dataclasses
import warnings

import numpy as np
import pytest
from helpers import xp_giants
from models import LABELS, SVR_10, THREE_FOLDS, quadratic_model, recipe

import slamjax
from slamjax.datasets import load_xp_giants
from slamjax.errors import SlamError, SlamWarning
from slamjax.model.model import Model
from slamjax.training import DataSpec, NoiseSpec, Polynomial, SearchSpec, noise_fallback, screening, train
from slamjax.training.held_out import HeldOut
from slamjax.training.noise_calibration import HardlyFitted
from slamjax.training.screening import outliers

BAD = [11, 42]


def spoilt():
    """110 giants, of which two have lines ten times as strong."""
    stars = recipe()(xp_giants()[:110])
    flux = stars.flux.copy()
    middle = np.median(flux, axis=0)
    flux[BAD] = middle + 10 * (flux[BAD] - middle) + 0.3 * np.sin(np.arange(flux.shape[1]))
    return stars.with_arrays(flux.astype(np.float32), stars.ivar)


@pytest.mark.parametrize("emulator", [Polynomial(), SVR_10], ids=["polynomial", "svr"])
def test_spoilt_stars_are_left_out_with_the_reason(emulator, tmp_path):
    stars = spoilt()
    with pytest.warns(SlamWarning, match="2 of 110 stars are left out.*residuals are .* times") as caught:
        model = train(stars, LABELS, emulator=emulator, search=THREE_FOLDS, noise="diagonal")
    names = [str(stars.table["apogee_id"][row]).strip() for row in BAD]
    assert list(model.info.screened["star"]) == names
    assert all(name in str(caught[0].message) for name in names)
    assert not np.isin([stars.rows[row] for row in BAD], model.info.record.rows).any()
    assert names[0] in slamjax.describe(model)
    model.write(tmp_path / "m.h5")
    again = Model.read(tmp_path / "m.h5")
    assert list(again.info.screened["reason"]) == list(model.info.screened["reason"])
    # as if they had never been there, but for the folds and what they choose
    kept = np.setdiff1d(np.arange(110), BAD)
    clean = train(stars[kept], LABELS, emulator=emulator, search=THREE_FOLDS, noise="diagonal")
    point = np.median(stars.values(LABELS), axis=0)
    np.testing.assert_allclose(model(point), clean(point), atol=1e-2)


def test_some_of_many_pixels_show_outliers_too(monkeypatch):
    monkeypatch.setattr(screening, "MOST_PIXELS", 40)
    with pytest.warns(SlamWarning, match="2 of 110 stars are left out.*residuals are .* times"):
        model = train(spoilt(), LABELS, emulator=Polynomial(ridge=[0, 1]), search=THREE_FOLDS, noise="diagonal")
    assert list(model.info.screened["row"]) == BAD


def test_the_choice_is_reproducible_and_can_be_switched_off():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SlamWarning)
        first, second = (
            train(spoilt(), LABELS, emulator=Polynomial(), search=THREE_FOLDS, noise="diagonal") for _ in range(2)
        )
    assert list(first.info.screened["row"]) == list(second.info.screened["row"])
    point = np.median(spoilt().values(LABELS), axis=0)
    np.testing.assert_array_equal(first(point), second(point))
    data = DataSpec(screen=False)
    kept = train(spoilt(), LABELS, emulator=Polynomial(), search=THREE_FOLDS, noise="diagonal", data=data)
    assert len(kept.info.record.rows) == 110
    assert "left out" not in slamjax.describe(kept)


def test_good_giants_are_all_kept(recwarn):
    model = train(xp_giants(), LABELS, emulator=Polynomial(), recipe=recipe(), search=THREE_FOLDS, noise="diagonal")
    assert len(model.info.screened) == 0
    assert not any("left out" in str(warning.message) for warning in recwarn)


def test_noisy_stars_and_sparse_labels_are_no_outliers():
    """Residuals as large as a star's errors say, or as its neighbours' in labels, are as they should be."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    error = np.full((300, 50), 0.01)
    error[:20] = 0.2
    ivar = error**-2
    residual = rng.normal(size=(300, 50)) * error
    far = np.arange(270, 300)
    x[far, 0] += 6
    residual[far] *= 15  # the emulator is worse there
    held_out = HeldOut(x, residual, ivar, np.zeros(300, int), ())
    assert outliers(held_out) == {}
    residual[100] *= 15
    assert list(outliers(held_out)) == [100]


def test_never_more_than_a_tenth_is_left_out():
    rng = np.random.default_rng(0)
    residual = rng.normal(size=(100, 50))
    residual[:15] *= 25
    held_out = HeldOut(rng.normal(size=(100, 2)), residual, np.full((100, 50), np.inf), np.zeros(100, int), ())
    assert len(outliers(held_out)) == 10


def test_one_combination_of_a_search_screens():
    with pytest.warns(SlamWarning, match="2 of 110"):
        model = train(
            spoilt(),
            LABELS,
            emulator=Polynomial(ridge=[0.0, 1.0]),
            search=SearchSpec("joint", folds=3),
            noise="diagonal",
        )
    assert len(model.info.candidates) == 2
    assert np.isfinite(model.info.candidates["joint_score"]).all()


def test_auto_falls_back_to_independent_pixels_and_lowrank_says_why(monkeypatch):
    learn = noise_fallback.learn_noise

    def hardly(spec, *args, **options):
        if spec.kind != "diagonal":
            raise HardlyFitted("hardly any held-out star could be fitted")
        return learn(spec, *args, **options)

    monkeypatch.setattr(noise_fallback, "learn_noise", hardly)
    stars = xp_giants()[:110]
    options = {"emulator": Polynomial(), "recipe": recipe(), "search": THREE_FOLDS}
    with pytest.warns(SlamWarning, match="pixels are taken as independent"):
        model = train(stars, LABELS, noise="auto", **options)
    assert model.noise.kind == "diagonal"
    with pytest.raises(SlamError, match="no covariance of pixels can be learnt"):
        train(stars, LABELS, noise=NoiseSpec("lowrank"), **options)
    assert dataclasses.is_dataclass(model)


def test_recalibration_leaves_outliers_out_as_well():
    model, others = quadratic_model(), xp_giants()[110:]
    flux = others.flux.copy()
    flux[5] *= 1 + 0.5 * np.sin(np.arange(flux.shape[1]) / 3)
    spoilt_others = others.with_arrays(flux, others.ivar)
    with pytest.warns(SlamWarning, match="1 of .* stars are left out of noise calibration as outliers"):
        recalibrated = slamjax.recalibrate_noise(model, spoilt_others, noise="diagonal")
    clean = slamjax.recalibrate_noise(model, others[np.arange(40) != 5], noise="diagonal")
    np.testing.assert_allclose(recalibrated.noise.model_variance, clean.noise.model_variance, rtol=1e-3)


def uncut():
    """300 giants as surveys have them: a bad pixel, a continuum near zero that was divided out, wrong labels."""
    stars = recipe()(load_xp_giants()[0][:300])
    flux, ivar = stars.flux.copy(), stars.ivar.copy()
    ivar[3, 20] = 0
    flux[17, :12] = 1037 * np.cos(np.arange(12))
    ivar[17, :12] = np.square(1 / flux[17, :12])
    table = stars.table.copy()
    table["teff"][40], table["logg"][41] = -9999, 1e10
    return dataclasses.replace(stars, flux=flux, ivar=ivar, table=table)


@pytest.mark.filterwarnings("ignore::slamjax.errors.SlamWarning")
def test_uncut_stars_train_with_a_covariance():
    """They aborted: hardly any held-out star could be fitted."""
    model = train(uncut(), LABELS, emulator=Polynomial(), search=SearchSpec(folds=3))
    assert model.noise.kind == "lowrank"
    assert len(model.info.screened) == 2
    assert model.info.provenance["settings"]["masked_pixels"] >= 12
    assert "12 pixels" in slamjax.describe(model)
    labels = slamjax.fit(model, load_xp_giants()[1][:50])
    assert np.isfinite(labels["teff"]).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::slamjax.errors.SlamWarning")
@pytest.mark.long
def test_uncut_stars_are_searched_compared_and_validated():
    search = SearchSpec("joint", folds=3)
    model = train(uncut(), LABELS, emulator=Polynomial(ridge=[0.1, 10.0]), search=search)
    assert np.isfinite(model.info.candidates["joint_score"]).all()
    report = slamjax.validate(model, load_xp_giants()[1][:60], by="apogee_snr")
    assert np.isfinite(report.table["scatter"]).all()
    training = slamjax.TrainingSpec(search=SearchSpec(folds=3))
    comparison = slamjax.compare(uncut(), LABELS, svr=SVR_10, training=training, test=2, by="apogee_snr")
    assert np.isfinite(comparison.summary()["teff_scatter"]).all()
