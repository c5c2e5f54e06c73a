"""Noise models learnt from held-out stars: honest label errors, on stars made by hand and on real giants."""

import dataclasses

import numpy as np
import pytest
from models import LABELS, SVR_10, THREE_FOLDS, calibrated_model, giants_model, many_giants, recipe, xp_giants
from scipy.stats import median_abs_deviation

from slamjax.datasets import load_xp_giants
from slamjax.emulators.scaling import LabelScaling
from slamjax.emulators.svr import KernelBlock, KernelEmulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.errors import SlamError, SlamWarning
from slamjax.fitting import fit
from slamjax.model.model import Model
from slamjax.noise.calibration import PhotonShares, noise_scale
from slamjax.noise.models import DiagonalNoise, LowRankNoise
from slamjax.training import NoiseSpec, Polynomial, SearchSpec, recalibrate_noise, train
from slamjax.training.held_out import HalfOfStars, HeldOut
from slamjax.training.label_errors import LabelErrors, label_errors
from slamjax.training.noise_calibration import calibrate_learnt, calibrate_stated
from slamjax.training.noise_learning import learn_noise


def linear_stars(n, seed=0, common=0.0, scale=1.0, n_pix=30):
    """Stars of flux = slopesᵀ x with ``scale`` times the stated noise, and ``common`` noise shared by all pixels."""
    rng = np.random.default_rng(seed)
    slopes, x = rng.normal(size=(2, n_pix)), rng.uniform(-1, 1, (n, 2))
    residual = 0.1 * scale * (rng.normal(size=(n, n_pix)) + common * rng.normal(size=(n, 1)))
    block = KernelBlock(np.ones(1), np.zeros(1), slopes[None], "linear", 1)
    scaling = LabelScaling(np.zeros(2), np.ones(2), (False, False))
    emulator = KernelEmulator(scaling, np.eye(2), (block,), np.zeros(n_pix), np.zeros(n_pix), np.ones(n_pix), None)
    stars = HeldOut(x, residual, np.full((n, n_pix), 100.0), np.zeros(n, int), (emulator,))
    return emulator, TrainingLabels.from_scaled(np.concatenate([x, [[-9.0, -9.0], [9.0, 9.0]]])), stars


def photon_noise():
    return LowRankNoise(np.full(30, 1e-8), np.zeros((30, 1)), np.ones(30), np.zeros((30, 0)))


def width(values):
    return median_abs_deviation(values, axis=0, scale="normal")


def plain(column):
    return np.asarray(column, float)


def test_label_errors_are_generalised_least_squares():
    """On a linear emulator the fit of a held-out star is (J Σ⁻¹ Jᵀ)⁻¹ J Σ⁻¹ r."""
    emulator, training_labels, stars = linear_stars(200)
    variance = np.linspace(0.01, 0.1, 30)
    found = label_errors(DiagonalNoise(variance), training_labels, stars)
    slopes, weight = np.asarray(emulator.blocks[0].dual[0]), 1 / (0.01 + variance)
    covariance = np.linalg.inv((slopes * weight) @ slopes.T)
    np.testing.assert_allclose(found.error, stars.residual @ (slopes * weight).T @ covariance, atol=2e-4)
    np.testing.assert_allclose(found.covariance, np.broadcast_to(covariance, (200, 2, 2)), rtol=0.01, atol=1e-6)
    left = stars.residual - found.error @ slopes
    np.testing.assert_allclose(found.chi2, np.sum(left**2 * weight, axis=1), rtol=1e-3)
    assert np.all(found.dof == 28)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_pulls_become_one_wide_whatever_the_stated_errors(scale):
    _, training_labels, stars = linear_stars(600, scale=scale)
    adjusted, found = calibrate_learnt(lambda _: photon_noise(), training_labels, stars)
    pulls, chi2 = pulls_and_chi2(adjusted, found, training_labels, stars)
    np.testing.assert_allclose(width(pulls), 1, atol=0.12)
    assert np.median(chi2) == pytest.approx(1, abs=0.02)


def faint(stars, factor, seed=5):
    """The same stars with white noise added until photon errors are ``factor`` times as large."""
    extra = np.sqrt(factor**2 - 1) / np.sqrt(stars.ivar) * np.random.default_rng(seed).normal(size=stars.ivar.shape)
    return dataclasses.replace(stars, residual=stars.residual + extra, ivar=stars.ivar / factor**2)


def pulls_and_chi2(noise, calibration, training_labels, stars):
    fits = label_errors(noise, training_labels, stars)
    own = fits.star_noise(calibration)
    factor = calibration.stretched(own.variance_factor, fits.shares.variance, 2)
    return fits.inflated(factor).pulls(), own.chi2 / fits.dof


@pytest.mark.parametrize("common", [0.0, 2.0])
@pytest.mark.parametrize("factor", [1.0, 3.0, 10.0])
def test_errors_learnt_from_stars_of_one_brightness_hold_for_fainter_ones(common, factor):
    """Emulator error that is common to all pixels, twice the photon noise, must not grow with it, nor hide it."""
    emulator, training_labels, stars = linear_stars(600, common=common)
    learnt = learn_noise(NoiseSpec("lowrank", ranks=(10,)), emulator, training_labels, stars)
    assert learnt.calibration.photons_as_stated
    unseen = linear_stars(400, seed=1, common=common)[2]
    unseen = dataclasses.replace(stars[:400], residual=unseen.residual)
    pulls, chi2 = pulls_and_chi2(learnt.noise, learnt.calibration, training_labels, faint(unseen, factor))
    np.testing.assert_allclose(width(pulls), 1, atol=0.12)
    assert np.median(chi2) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("factor", [0.5, 1.5, 5.0])
def test_errors_learnt_without_photon_noise_hold_for_stars_whose_noise_hides_how_well_they_are_predicted(factor):
    """Stars whose predictions are very unequally good: χ² tells them apart only without photon noise."""
    emulator, training_labels, stars = linear_stars(900, common=1.0)
    scale = np.exp(np.random.default_rng(3).normal(0, 0.8, (900, 1)))
    ivar = np.full(stars.ivar.shape, np.inf)
    stars = dataclasses.replace(stars, residual=stars.residual * scale, ivar=ivar)
    learnt = learn_noise(NoiseSpec("lowrank", ranks=(10,)), emulator, training_labels, stars[:500])
    assert learnt.calibration.unseen_scale > 1.2
    unseen = stars[500:].fainter(np.full(400, 0.1 * factor), seed=4)
    pulls, _ = pulls_and_chi2(learnt.noise, learnt.calibration, training_labels, unseen)
    assert np.exp(np.mean(np.log(width(pulls)))) == pytest.approx(1, abs=0.1)
    typical = dataclasses.replace(learnt.calibration, unseen_scale=1.0)
    wide, _ = pulls_and_chi2(learnt.noise, typical, training_labels, unseen)
    assert np.all(width(wide) > width(pulls))


def test_photon_noise_is_learnt_where_stars_of_different_brightness_show_that_errors_are_wrong():
    """Stated errors of faint and bright stars are three times too large."""
    emulator, training_labels, stars = linear_stars(900, scale=1 / 3)
    factor = np.exp(np.random.default_rng(2).uniform(0, np.log(10), (900, 1)))
    unequal = dataclasses.replace(stars, residual=stars.residual * factor, ivar=stars.ivar / factor**2)
    learnt = learn_noise(NoiseSpec("lowrank", ranks=(10,)), emulator, training_labels, unequal)
    assert not learnt.calibration.photons_as_stated
    assert np.median(np.asarray(learnt.noise.photon_scale)) < 0.5
    right = dataclasses.replace(unequal, residual=3 * unequal.residual)
    assert learn_noise(
        NoiseSpec("lowrank", ranks=(10,)), emulator, training_labels, right
    ).calibration.photons_as_stated


def test_noise_is_calibrated_on_stars_that_it_was_not_learnt_from():
    """Eighty components of two hundred stars would leave next to nothing of the residuals of these."""
    _, training_labels, stars = linear_stars(240, common=1.0)
    seen = []

    def learn(some):
        seen.append(len(some.x))
        return photon_noise()

    calibrate_stated(learn, training_labels, stars)
    assert seen == [210] * 8 + [240]


@pytest.mark.parametrize("calibrate", [calibrate_stated, calibrate_learnt])
def test_noise_is_that_of_an_emulator_which_has_seen_more_stars(calibrate):
    """Where half of the stars make errors 1.5 times as wide, all make them 1.5^log2(4/5) times those of four fifths."""
    emulator, training_labels, stars = linear_stars(600)
    stars = dataclasses.replace(stars, emulators=(emulator,) * 5, fold=np.arange(600) % 5, ivar=np.full((600, 30), 1e8))
    rows = np.arange(0, 600, 2)
    half = dataclasses.replace(stars[rows], residual=1.5 * stars.residual[rows])

    def learn(some):
        return LowRankNoise(np.full(30, 0.01), np.zeros((30, 1)), np.ones(30), np.zeros((30, 0)))

    (before, plain), (after, better) = (
        calibrate(learn, training_labels, each)
        for each in (stars, dataclasses.replace(stars, half=HalfOfStars(rows, half)))
    )
    expected = (1.5**2) ** -np.log2(5 / 4)
    np.testing.assert_allclose(after.model_variance / before.model_variance, expected, rtol=0.02)
    # χ² falls as the errors do, and Σ with them: what is reported of the same stars stays
    assert better.chi2_scale == pytest.approx(plain.chi2_scale, rel=0.02)


def test_only_errors_of_a_label_with_outliers_are_stretched():
    """One star in ten has a wrong second label: no Gaussian is right at every level, a wider one at more of them."""
    emulator, training_labels, stars = linear_stars(900)
    mistaken = stars.x.copy()
    mistaken[::10, 1] += 0.2
    known = dataclasses.replace(stars, residual=stars.residual + (stars.x - mistaken) @ emulator.blocks[0].dual[0])
    plain = calibrate_learnt(lambda _: photon_noise(), training_labels, stars)[1]
    noise, taught = calibrate_learnt(lambda _: photon_noise(), training_labels, dataclasses.replace(known, x=mistaken))
    np.testing.assert_allclose(plain.label_scale, 1, atol=0.1)
    np.testing.assert_allclose(np.exp(plain.intervals.marginal), [[0.994, 1.96]] * 2, atol=0.2)
    assert taught.label_scale[1] > taught.label_scale[0] + 0.05
    # an interval of 95 % holds 95 %, whatever the tails
    fits = label_errors(noise, training_labels, dataclasses.replace(known, x=mistaken))
    own = np.sqrt(np.einsum("nll->nl", fits.covariance)) * taught.label_scale
    half = taught.half_widths(mistaken + fits.error, own)
    assert np.median(half[:, 1, 1]) > 1.2 * np.median(half[:, 1, 0])
    for k, level in enumerate((0.68, 0.95)):
        inside = np.abs(fits.pulls()) / taught.label_scale < half[:, k]
        np.testing.assert_allclose(inside.mean(axis=0), level, atol=0.02)


def test_equally_noisy_stars_share_one_scale_and_unequal_ones_get_their_own():
    _, training_labels, stars = linear_stars(900)
    assert calibrate_learnt(lambda _: photon_noise(), training_labels, stars)[1].tail >= 100
    own = np.sqrt(5 / np.random.default_rng(1).chisquare(5, (900, 1)))
    uneven = dataclasses.replace(stars, residual=stars.residual * own)
    assert calibrate_learnt(lambda _: photon_noise(), training_labels, uneven)[1].tail <= 10


def test_auto_chooses_low_rank_where_pixels_are_correlated():
    emulator, training_labels, stars = linear_stars(600, common=3.0)
    learnt = learn_noise(NoiseSpec(), emulator, training_labels, stars)
    assert isinstance(learnt.noise, LowRankNoise)
    scores = {row["rank"]: row["score"] for row in learnt.calibration.tried}
    assert scores[10] > scores[0] + 0.5


def test_diagonal_is_chosen_where_pixels_are_independent():
    """A low-rank noise then only adds its own estimation errors."""
    emulator, training_labels, stars = linear_stars(600)
    learnt = learn_noise(NoiseSpec(), emulator, training_labels, stars)
    tried = learnt.calibration.tried
    best = max(row["score"] for row in tried)
    assert next(row["score"] for row in tried if row["rank"] == 0) > best - 0.05
    assert isinstance(learnt.noise, DiagonalNoise) == (tried[0]["score"] == best)


def test_the_score_is_highest_for_small_honest_errors():
    noise = np.random.default_rng(0).normal(size=(2000, 2))

    def score(sigma, stated):
        covariance = np.broadcast_to(stated**2 * np.eye(2), (2000, 2, 2))
        shares = PhotonShares.none(np.ones(2000), 2)
        return LabelErrors(sigma * noise, covariance, *np.ones((4, 2000)), shares, np.zeros_like(noise)).score()

    assert score(0.5, 0.5) > score(1, 1)
    assert score(1, 1) > max(score(1, 0.5), score(1, 2))


def test_too_few_stars_for_a_covariance_are_reported():
    emulator, training_labels, stars = linear_stars(60)
    with pytest.raises(SlamError, match="60 stars cannot make a low-rank noise model, which needs at least 120"):
        learn_noise(NoiseSpec("lowrank"), emulator, training_labels, stars)
    with pytest.warns(SlamWarning, match=r"needs at least 120: pixels are taken as independent"):
        noise = learn_noise(NoiseSpec(), emulator, training_labels, stars).noise
    assert isinstance(noise, DiagonalNoise)


def test_too_few_stars_to_learn_photon_noise_still_make_a_covariance():
    """Pixels taken as independent made label errors of Gaia XP giants five times too small."""
    some, others = load_xp_giants()
    with pytest.warns(SlamWarning, match="too large, and 180 stars cannot tell by how much, which needs about 240"):
        model = train(some[:180], LABELS, emulator=Polynomial(), recipe=recipe(), search=THREE_FOLDS)
    assert isinstance(model.noise, LowRankNoise)
    table = fit(model, others[:200])
    pulls = [(plain(table[name]) - plain(table[f"{name}_ref"])) / plain(table[f"{name}_err"]) for name in LABELS]
    assert 0.6 < np.median(width(np.transpose(pulls))) < 1.4


def test_photon_noise_that_must_be_learnt_needs_more_stars():
    emulator, training_labels, stars = linear_stars(180, common=2.0, scale=1 / 3)
    with pytest.raises(SlamError, match="180 stars cannot tell how wrong their stated errors are"):
        learn_noise(NoiseSpec("lowrank", photons="learnt"), emulator, training_labels, stars)


@pytest.mark.long
def test_errors_of_real_giants_are_more_honest_than_the_published_ones():
    model, others = calibrated_model(), many_giants()[1]
    assert isinstance(model.noise, LowRankNoise)
    table, published = fit(model, others), fit(model.with_diagonal_noise(), others)
    ratios = []
    for name in LABELS:
        pulls = [(plain(t[name]) - plain(t[f"{name}_ref"])) / plain(t[f"{name}_err"]) for t in (table, published)]
        good = np.all(np.isfinite(pulls), axis=0) & (np.asarray(table["flags"]) == 0)
        assert 0.6 < width(pulls[0][good]) < 1.5
        ratios.append(width(pulls[1][good]) / width(pulls[0][good]))
    assert np.mean(ratios) > 1.2
    assert 0.7 < np.median(table["chi2"] / (table["n_pix"] - 4)) < 1.4


@pytest.mark.slow
def test_low_rank_models_survive_saving(tmp_path):
    model = calibrated_model()
    model.write(tmp_path / "model.h5")
    back = Model.read(tmp_path / "model.h5")
    assert back.info.calibration == model.info.calibration
    for name, array in vars(model.noise).items():
        np.testing.assert_array_equal(getattr(back.noise, name), array)


@pytest.mark.slow
def test_noise_is_recalibrated_on_the_stars_of_another_survey():
    """With three times the stated photon errors, label errors grow and the emulator stays."""
    others = many_giants()[1]
    extra = 3 * np.random.default_rng(0).normal(size=others.flux.shape) / np.sqrt(others.ivar)
    noisy = others.with_arrays(others.flux + extra, others.ivar)
    model = recalibrate_noise(calibrated_model(), noisy, noise="lowrank")
    assert model.host_emulator is calibrated_model().host_emulator
    assert "recalibrated" in model.info.provenance["settings"]["noise"]
    table = fit(model, noisy)
    table = table[table["flags"] == 0]
    pulls = np.concatenate([(plain(table[n]) - plain(table[f"{n}_ref"])) / plain(table[f"{n}_err"]) for n in LABELS])
    assert 0.7 < width(pulls) < 1.5


def test_training_stars_cannot_be_used_for_recalibration():
    with (
        pytest.warns(SlamWarning, match="110 trained the model"),
        pytest.raises(SlamError, match="to learn the noise from"),
    ):
        recalibrate_noise(giants_model(), xp_giants()[:115])


def test_joint_search_chooses_one_combination_for_all_pixels():
    stars = many_giants()[0][:260]
    svr = dataclasses.replace(SVR_10, C=[0.01, 10])
    model = train(stars, LABELS, emulator=svr, recipe=recipe(), search=SearchSpec("joint", folds=3), noise="diagonal")
    assert set(model.info.pixels["C"]) == {10.0}
    scores = model.info.candidates["joint_score"]
    assert np.argmax(scores) == list(model.info.candidates["C"]).index(10)
    assert model.info.cv_scores.shape == (model.wave.size, 2)


@pytest.mark.slow
def test_a_star_noisier_than_its_stated_errors_gets_larger_label_errors():
    model, others = calibrated_model(), many_giants()[1][:50]
    calibration = dataclasses.replace(model.info.calibration, sparse=0.0, tail=20.0)
    model = dataclasses.replace(model, info=dataclasses.replace(model.info, calibration=calibration))
    same = dataclasses.replace(calibration, tail=np.inf)
    alike = dataclasses.replace(model, info=dataclasses.replace(model.info, calibration=same))
    own, common = fit(model, others), fit(alike, others)
    good = np.isfinite(own["logg"])
    scale = noise_scale(np.asarray(own["chi2"]), np.asarray(own["n_pix"]) - 4, 20.0)
    np.testing.assert_allclose((own["logg_err"] / common["logg_err"])[good], np.sqrt(scale)[good], rtol=1e-3)
    np.testing.assert_array_equal(own["logg"][good], common["logg"][good])
    assert np.ptp(scale[good]) > 0.1


@pytest.mark.parametrize("photons", [1e-6, 1.0])
def test_the_whole_covariance_of_few_pixels_is_learnt(photons):
    """Colours share bands: their errors are correlated, and the photon noise of no star is part of that."""
    rng = np.random.default_rng(3)
    emulator, training_labels, stars = linear_stars(1000, n_pix=3)
    root = np.array([[1, 0, 0], [-0.7, 0.7, 0], [0.2, -0.6, 0.8]]) * 0.1
    variance = photons * 0.01 * rng.uniform(0.2, 1, (1000, 3))
    residual = rng.normal(size=(1000, 3)) @ root.T + rng.normal(size=(1000, 3)) * np.sqrt(variance)
    residual[::50] *= 10
    residual[::7, 2] = np.nan
    given = dataclasses.replace(stars, residual=residual, ivar=1 / variance)
    learnt = learn_noise(NoiseSpec(), emulator, training_labels, given)
    noise = learnt.noise
    covariance = noise.factors @ noise.factors.T + np.diag(noise.model_variance)
    np.testing.assert_allclose(covariance, root @ root.T, atol=0.2 * 0.01)
    assert 1.5 < learnt.calibration.chi2_limit < 20


def test_one_pixel_has_independent_noise_and_no_warning(recwarn):
    assert isinstance(learn_noise(NoiseSpec(), *linear_stars(200, n_pix=1)).noise, DiagonalNoise)
    assert not recwarn.list
