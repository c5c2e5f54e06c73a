"""How much better an emulator of all stars is than those of the folds."""

import dataclasses

import numpy as np
import pytest
from models import LABELS, SVR_10, THREE_FOLDS, recipe, xp_giants

from slamjax.noise.calibration import PhotonShares
from slamjax.training import DataSpec, NoiseSpec, TrainingSpec
from slamjax.training.data import training_set
from slamjax.training.label_errors import LabelErrors
from slamjax.training.learners import make_learner
from slamjax.training.learning_curve import half_of_stars, improvement


def fits(n_stars, variance, photon, seed, n_pix=200):
    """Label errors of an emulator with this error variance and of photons, and χ² made of both."""
    rng = np.random.default_rng(seed)
    error = np.sqrt(variance + photon) * rng.normal(size=(n_stars, 2))
    chi2 = (variance + photon) * rng.chisquare(n_pix, n_stars)
    ones = np.ones(n_stars)
    shares = PhotonShares(np.full((n_stars, 2), photon / (1 + photon)), n_pix * ones, n_pix * photon * ones)
    covariance = np.broadcast_to((1 + photon) * np.eye(2), (n_stars, 2, 2))
    return LabelErrors(error, covariance, chi2, n_pix * ones, n_pix * ones, ones, shares, np.zeros((n_stars, 2)))


@pytest.mark.parametrize("photon", [0.0, 0.5])
@pytest.mark.parametrize("power", [0.5, 1.0, 1.5])
def test_a_power_law_is_continued_to_all_stars(power, photon):
    """Five folds have seen 4/5 of the stars; half of the stars make the emulator's variance 2^power times as large."""
    found = improvement(fits(20000, 1.0, photon, 0), fits(20000, 2.0**power, photon, 1), 1.0, 1.0, 5)
    assert found.labels == pytest.approx(0.8**power, abs=0.02)
    assert found.chi2 == pytest.approx(0.8**power, abs=0.01)


def test_emulators_that_no_longer_learn_are_left_as_they_are():
    found = improvement(fits(2000, 1.0, 0.2, 0), fits(2000, 0.9, 0.2, 1), 1.0, 1.0, 5)
    assert (found.labels, found.chi2) == (1.0, 1.0)
    lost = dataclasses.replace(fits(2000, 1.0, 0.2, 0), chi2=np.full(2000, np.nan))
    assert improvement(lost, fits(2000, 2.0, 0.2, 1), 1.0, 1.0, 5) == (1.0, 1.0)


def test_half_of_the_stars_are_held_out_from_emulators_of_the_other_folds_of_this_half():
    stars, search = xp_giants()[:90], THREE_FOLDS
    options = TrainingSpec(recipe(), search, NoiseSpec(), (), DataSpec(), 0)
    scaled = training_set(stars, LABELS, options, search.folds).scaled
    learner = make_learner(SVR_10, scaled, search, None, 0)
    half = half_of_stars(lambda some: learner.learn(some, None).held_out, scaled, 0)
    assert len(half.rows) == len(scaled.x) // 2
    np.testing.assert_array_equal(half.held_out.x, scaled.x[half.rows])
    np.testing.assert_array_equal(half.held_out.fold, scaled.fold[half.rows])
    star, fold = half.rows[0], scaled.fold[half.rows[0]]
    flux = scaled.flux_mean + scaled.flux_scale * scaled.y[star]
    predicted = np.asarray(half.held_out.emulators[fold].at(scaled.x[star]))
    known = np.isfinite(half.held_out.residual[0])
    np.testing.assert_allclose(half.held_out.residual[0][known], (flux - predicted)[known], atol=1e-5)
