"""The column ``unlike`` of real giants: uniform for those that are like the training set, small for damaged spectra."""

import numpy as np
import pytest
from helpers import in_precision
from models import calibrated_model, giants_model, many_giants
from scipy.stats import kstest

import slamjax
from slamjax.model import Model


def p_values(stars, model=None, **options):
    return np.asarray(slamjax.fit(model or calibrated_model(), stars, n_starts=1, **options)["unlike"])


@pytest.mark.long
def test_p_values_of_giants_never_seen_are_uniform():
    p = p_values(many_giants()[1])
    assert kstest(p, "uniform").pvalue > 1e-3
    assert np.mean(p < 0.05) < 0.1


@pytest.mark.slow
def test_damaged_spectra_are_unlike_and_polynomials_that_are_fitted_do_not_count():
    stars = many_giants()[1][:60]
    plain = np.median(p_values(stars))
    assert plain > 0.2
    spiked = np.array(stars.flux)
    spiked[:, (stars.wave > 550) & (stars.wave < 553)] *= 1.05
    assert np.median(p_values(stars.with_arrays(spiked, stars.ivar))) < 0.02
    bent = stars.flux * (1 + 0.05 * np.sin((stars.wave - 560) / 20))
    bent = stars.with_arrays(bent, stars.ivar)
    solved = np.median(p_values(bent, nuisances=slamjax.Nuisances(polynomial=6)))
    assert np.median(p_values(bent)) < 0.5 * solved


@pytest.mark.slow
def test_nothing_is_said_of_spectra_without_pixels_or_without_errors():
    stars = many_giants()[1][:4]
    ivar = np.array(stars.ivar)
    ivar[0] = 0
    ivar[1, (stars.wave < 550) | (stars.wave > 556)] = 0  # three pixels for four labels
    p = p_values(stars.with_arrays(stars.flux, ivar))
    np.testing.assert_array_equal(np.isnan(p), [True, True, False, False])
    blind = stars.with_arrays(stars.flux, np.where(stars.ivar > 0, np.inf, 0))
    assert np.all(np.isnan(p_values(blind)))


def test_a_model_that_learnt_nothing_of_held_out_stars_says_nothing():
    assert np.all(np.isnan(p_values(many_giants()[1][:3], giants_model())))


@pytest.mark.slow
def test_p_values_survive_saving_and_hardly_depend_on_precision(tmp_path):
    model, stars = calibrated_model(), many_giants()[1][:40]
    model.write(tmp_path / "model.h5")
    back = Model.read(tmp_path / "model.h5")
    assert back.info.calibration.likeness == model.info.calibration.likeness
    single = p_values(stars, back)
    np.testing.assert_array_equal(single, p_values(stars, model))
    with in_precision("float64"):
        double = p_values(stars, back)
    assert np.median(np.abs(np.log(single / double))) < 0.05


def test_a_joint_fit_of_one_spectrum_has_the_calibrated_errors():
    """Low-rank noise, photon shares and stretched errors: the joint fit calibrates them as the plain one does."""
    model, stars = calibrated_model(), many_giants()[1][:30]
    plain, joint = slamjax.fit(model, stars), slamjax.fit({"xp": model}, {"xp": stars}).labels
    for name in model.label_names:
        error = np.asarray(plain[f"{name}_err"], float)
        difference = np.asarray(joint[name], float) - np.asarray(plain[name], float)
        assert np.max(np.abs(difference) / error) < 0.02
        np.testing.assert_allclose(np.asarray(joint[f"{name}_err"], float), error, rtol=2e-3)
