"""Training labels with gaps and errors: what is inferred teaches like the truth, and what the table says stays."""

import json

import numpy as np
import pytest
from helpers import xp_giants
from labelled_stars import NAMES, mistaken, simulated, with_gaps
from models import LABELS, SVR_10, THREE_FOLDS, TWO_FOLDS, recipe

import slamjax
from slamjax.errors import SlamError, SlamWarning
from slamjax.training.label_errors import robust_width

NOISE = slamjax.NoiseSpec("lowrank", ranks=(5,), floors=(0.2,))
QUADRATIC = slamjax.Polynomial(ridge=0.1)


def trained(stars, emulator=QUADRATIC, noise=NOISE, **data):
    return slamjax.train(
        stars,
        NAMES,
        emulator=emulator,
        noise=noise,
        search=THREE_FOLDS,
        data=slamjax.DataSpec(**data),
        on_progress=False,
    )


def judged(model, n=500):
    """Differences from the true labels of other stars, (N, L), these labels, and the errors."""
    others, true = simulated(n, 99)
    fits = slamjax.fit(model, others, n_starts=1)
    found, error = (np.stack([np.asarray(fits[name + end]) for name in NAMES], axis=1) for end in ("", "_err"))
    return found - true, true, error


@pytest.mark.parametrize("emulator", [QUADRATIC, SVR_10], ids=["polynomial", "svr"])
def test_stars_that_lack_a_label_teach_the_others(emulator):
    """Of 160 stars 100 lack b: the 60 others alone make worse labels, and all stars with b the best ones."""
    stars, true = simulated(160, 1)
    gappy = with_gaps(stars, "b", 0.62)
    width = {}
    for missing in ("infer", "drop"):
        model = trained(gappy, emulator, noise="diagonal", missing=missing)
        width[missing] = robust_width(judged(model)[0])
        if missing == "infer":
            inferred = model.info.provenance["settings"]["inferred"]
            lost = ~np.isfinite(np.asarray(gappy.table["b"]))
            assert inferred == {"stars": int(lost.sum()), "gaps": {"b": int(lost.sum())}, "with_errors": ()}
            assert f"b of {lost.sum()} stars that lack it" in slamjax.describe(model)
            known = np.asarray(model.host_emulator.scaling.inverse(model.training_labels.stars))
            np.testing.assert_allclose(known[:, [0, 2]], true[:, [0, 2]], atol=1e-6)
            np.testing.assert_allclose(known[~lost, 1], true[~lost, 1], atol=1e-6)
            error = known[lost, 1] - true[lost, 1]
            assert 0.05 < error.std() < 0.35, error.std()  # drawn about the truth, far within the density's 0.8
            assert abs(np.polyfit(true[lost, 1], known[lost, 1], 1)[0] - 1) < 0.3
    complete = robust_width(judged(trained(stars, emulator, noise="diagonal"))[0])
    assert np.all(width["infer"][[0, 2]] < 0.9 * width["drop"][[0, 2]]), width
    assert np.all(width["infer"][[0, 2]] < 1.15 * complete[[0, 2]]), (width, complete)
    assert width["infer"][1] < 1.1 * width["drop"][1], width


@pytest.mark.long
def test_errors_of_training_labels_do_not_stretch_the_labels_of_new_stars():
    """Errors of half the labels' spread: an emulator of the labels as they are is too flat, and its labels too far."""
    stars = mistaken(simulated(500, 1)[0], 0.5)
    slope, pulls, width = {}, {}, {}
    for label_errors in ("auto", "fixed"):
        model = trained(stars, label_errors=label_errors)
        difference, true, error = judged(model)
        slope[label_errors] = np.array([np.polyfit(t, t + d, 1)[0] for t, d in zip(true.T, difference.T, strict=True)])
        pulls[label_errors], width[label_errors] = robust_width(difference / error), robust_width(difference)
        assert ("a, b, c within the stated errors" in slamjax.describe(model)) is (label_errors == "auto")
        assert model.info.calibration.without_label_errors
    assert np.all(slope["fixed"] > 1.1), slope
    assert np.all(np.abs(slope["auto"] - 1) < 0.07), slope
    assert np.all(width["auto"] < 0.6 * width["fixed"]), width
    # errors that all stars share, of an emulator of few stars, are part of no star's: labels differ
    assert abs(np.log(pulls["auto"]).mean()) < 0.2, pulls
    assert np.all((pulls["auto"] > 0.7) & (pulls["auto"] < 1.6)), pulls


def test_small_errors_and_complete_labels_change_nothing():
    stars = mistaken(simulated(120, 1)[0], 0.02)
    auto, fixed = (trained(stars, noise="diagonal", label_errors=kind) for kind in ("auto", "fixed"))
    np.testing.assert_array_equal(auto.host_emulator.basis, fixed.host_emulator.basis)
    np.testing.assert_array_equal(auto.noise.model_variance, fixed.noise.model_variance)
    stars, _ = simulated(120, 1)
    latent, plain = (
        trained(stars, noise="diagonal", label_errors=kind, missing=missing)
        for kind, missing in (("latent", "infer"), ("fixed", "drop"))
    )
    np.testing.assert_array_equal(latent.host_emulator.basis, plain.host_emulator.basis)
    assert latent.info.provenance["settings"]["inferred"] is None
    assert "inferred" not in slamjax.describe(latent)


def test_errors_as_large_as_the_spread_of_labels_are_mended():
    stars = mistaken(simulated(150, 1)[0], 1.0)
    slope, width = {}, {}
    for label_errors in ("auto", "fixed"):
        difference, true, _ = judged(trained(stars, noise="diagonal", label_errors=label_errors))
        slope[label_errors] = np.array([np.polyfit(t, t + d, 1)[0] for t, d in zip(true.T, difference.T, strict=True)])
        width[label_errors] = robust_width(difference)
    assert np.all(slope["fixed"] > 1.3), slope
    assert np.all(np.abs(slope["auto"] - 1) < 0.25), slope
    assert np.all(width["auto"] < 0.5 * width["fixed"]), width


def test_labels_stay_as_they_are_where_held_out_stars_do_not_gain():
    """The table states errors of half the labels' spread, but there are none: to believe it would shrink all labels."""
    stars = mistaken(simulated(240, 1)[0], 0.5)
    table = stars.table.copy()
    for name in NAMES:
        table[name] = simulated(240, 1)[0].table[name]
    exact = slamjax.Spectra(stars.wave, stars.flux, ivar=stars.ivar, table=table, wave_unit=stars.wave_unit)
    auto, fixed = (trained(exact, noise="diagonal", label_errors=kind) for kind in ("auto", "fixed"))
    assert auto.info.provenance["settings"]["inferred"] is None
    np.testing.assert_array_equal(auto.host_emulator.basis, fixed.host_emulator.basis)
    np.testing.assert_array_equal(auto.noise.model_variance, fixed.noise.model_variance)


def test_giants_with_three_times_the_errors_of_their_catalogue():
    """[alpha/M] of 400 giants: a few of its errors are large, and would decide on its emulator."""
    train, test = slamjax.datasets.load_xp_giants()
    train, test, name = train[:400], test[:400], "alpha_m"
    errors = train.values([f"{each}_err" for each in LABELS])
    more = np.sqrt(8) * errors * np.random.default_rng(3).normal(size=errors.shape)
    table = train.table.copy()
    for k, each in enumerate(LABELS):
        table[each], table[f"{each}_err"] = train.values(LABELS)[:, k] + more[:, k], 3 * errors[:, k]
    wrong = slamjax.Spectra(
        train.wave, train.flux, ivar=train.ivar, table=table, wave_unit=train.wave_unit, medium=train.medium
    )
    true, slope, width = test.values([name])[:, 0], {}, {}
    for kind, stars in (("fixed", train), ("fixed, wrong", wrong), ("auto, wrong", wrong)):
        model = slamjax.train(
            stars,
            LABELS,
            emulator=slamjax.Polynomial(),
            recipe=slamjax.Recipe.make(wave_range=(376, 1010), wave_unit="nm", continuum="gaussian:50nm"),
            noise="diagonal",
            search=THREE_FOLDS,
            data=slamjax.DataSpec(label_errors=kind.split(",")[0]),
            on_progress=False,
        )
        found = np.asarray(slamjax.fit(model, test, n_starts=1)[name])
        fitted = np.isfinite(found)
        assert fitted.mean() > 0.98
        slope[kind] = np.polyfit(true[fitted], found[fitted], 1)[0]
        width[kind] = robust_width((found - true)[fitted])
    assert width["auto, wrong"] < 0.95 * width["fixed, wrong"], width
    assert abs(slope["auto, wrong"] / slope["fixed"] - 1) < 0.1, slope


def test_no_star_needs_to_have_all_labels():
    stars, true = simulated(240, 1)
    table = stars.table.copy()
    for k, name in enumerate(NAMES):
        table[name] = np.where(np.arange(240) % 3 == k, np.nan, true[:, k])
    gappy = slamjax.Spectra(stars.wave, stars.flux, ivar=stars.ivar, table=table, wave_unit=stars.wave_unit)
    width = robust_width(judged(trained(gappy, noise="diagonal"))[0])
    assert np.all(width < 1.5 * robust_width(judged(trained(stars, noise="diagonal"))[0])), width


def test_a_label_that_hardly_any_star_has_is_refused_in_a_sentence():
    stars, _ = simulated(60, 1)
    few = with_gaps(stars, "c", 0.95)
    with pytest.raises(SlamError, match=r"label 'c' is known for \d of 60 stars of .*, too few to infer it.*leave the"):
        trained(few, noise="diagonal")


def test_a_few_gaps_among_few_stars_are_left_out():
    stars, true = simulated(19, 1)
    table = stars.table.copy()
    table["c"] = np.where(np.arange(19) == 4, np.nan, true[:, 2])
    gappy = slamjax.Spectra(stars.wave, stars.flux, ivar=stars.ivar, table=table, wave_unit=stars.wave_unit)
    with pytest.warns(SlamWarning, match=r"1 of 19 stars lack a label and are left out of training \(c: 1\)"):
        model = slamjax.train(gappy, NAMES, emulator=slamjax.Polynomial(degree=1), search=TWO_FOLDS, noise="diagonal")
    assert len(model.training_labels.stars) == 18


def test_only_what_no_label_explains_is_left_out_among_stars_with_gaps():
    """Star 3 lacks b and is like any other; star 8 lacks b, and its spectrum is of another kind."""
    stars, true = simulated(150, 1)
    flux = stars.flux.copy()
    flux[8] = flux[8] + 1.0 * np.where(np.arange(80) % 2, 1, -1)
    table = stars.table.copy()
    table["b"] = np.where(np.isin(np.arange(150), np.append(np.arange(100, 140), [3, 8])), np.nan, true[:, 1])
    gappy = slamjax.Spectra(stars.wave, flux, ivar=stars.ivar, table=table, wave_unit=stars.wave_unit)
    with pytest.warns(SlamWarning, match="left out"):
        model = trained(gappy, noise="diagonal")
    assert list(model.info.screened["row"]) == [8]
    assert len(model.training_labels.stars) == 149


@pytest.mark.parametrize("search", ["grid", "joint"])
def test_gaps_go_with_masks_logarithms_searches_and_files(tmp_path, search):
    stars = with_gaps(xp_giants()[:110], "fe_h", 0.3)
    model = slamjax.train(
        stars,
        LABELS,
        emulator=slamjax.SVR(C=[1, 10], epsilon=0.05, gamma=0.1),
        recipe=recipe(),
        search=slamjax.SearchSpec(search, folds=2),
        noise="diagonal",
        log_labels=["teff"],
        data=slamjax.DataSpec(label_windows={"alpha_m": [(510, 530), (590, 600)]}),
        on_progress=False,
    )
    lost = ~np.isfinite(stars.values(["fe_h"])[:, 0])
    assert model.info.provenance["settings"]["inferred"]["gaps"] == {"fe_h": int(lost.sum())}
    known = np.asarray(model.host_emulator.scaling.inverse(model.training_labels.stars))
    np.testing.assert_allclose(known[:, 0], stars.values(["teff"])[:, 0], rtol=1e-6)
    truth = xp_giants()[:110].values(["fe_h"])[lost, 0]
    assert np.corrcoef(known[lost, 2], truth)[0, 1] > 0.5
    model.write(tmp_path / "model.h5")
    again = slamjax.Model.read(tmp_path / "model.h5")
    assert slamjax.describe(again) == slamjax.describe(model)
    json.dumps(again.info.provenance)
    assert np.isfinite(slamjax.fit(again, xp_giants()[110:120], n_starts=1)["fe_h"]).all()


def test_labels_are_inferred_from_all_pixels_where_some_screen_the_stars(monkeypatch):
    for module in ("screening", "metric_choice"):
        monkeypatch.setattr(f"slamjax.training.{module}.MOST_PIXELS", 30)
    stars = with_gaps(simulated(210, 1)[0], "b", 0.2)
    emulator = slamjax.SVR(C=10, epsilon=0.05, gamma=0.1)
    model = slamjax.train(stars, NAMES, emulator=emulator, search=TWO_FOLDS, noise="diagonal", on_progress=False)
    lost = ~np.isfinite(np.asarray(stars.table["b"]))
    known = np.asarray(model.host_emulator.scaling.inverse(model.training_labels.stars))
    assert model.info.provenance["settings"]["inferred"]["gaps"] == {"b": int(lost.sum())}
    assert np.std(known[lost, 1] - simulated(210, 1)[1][lost, 1]) < 0.35


def test_a_comparison_is_judged_by_complete_stars():
    stars = with_gaps(xp_giants()[:90], "fe_h", 0.3)
    training = slamjax.TrainingSpec(recipe=recipe(), noise="diagonal", search=TWO_FOLDS)
    contest = slamjax.compare(stars, LABELS[:3], svr=SVR_10, training=training, test=2, on_progress=False)
    complete = int(np.isfinite(stars.values(["fe_h"])).sum())
    assert complete < 90
    assert len(contest.stars) == 90
    assert all(len(table) == complete for table in contest.labels.values())
    assert all(np.isfinite(table["fe_h_ref"]).all() for table in contest.labels.values())
