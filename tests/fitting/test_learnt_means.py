"""Learnt means of real giants: nearer to known labels than the fit, stored, and refused where there are none."""

import numpy as np
import pytest
from helpers import in_precision
from models import LABELS, THREE_FOLDS, calibrated_model, giants_model, many_giants, recipe

import slamjax
from slamjax.errors import SlamError
from slamjax.model import Model
from slamjax.training import DataSpec, Polynomial, train
from slamjax.training.label_errors import robust_width


def values(table, suffix="", labels=LABELS):
    return np.stack([np.asarray(table[name + suffix], float) for name in labels], -1)


def is_nearer(model, stars, labels=LABELS, **options):
    """Ratio of mean over best label, of rms and of robust scatter, in the geometric mean of the labels; and pulls."""
    table, known = slamjax.fit(model, stars, posterior_mean="learnt", n_starts=2, **options), stars.values(labels)
    fitted = np.isfinite(values(table)).all(axis=1)
    assert fitted.mean() > 0.97
    table, known = table[fitted], known[fitted]
    best, mean = (values(table, suffix, labels) - known for suffix in ("", "_mean"))
    rms = np.sqrt(np.mean(np.square(mean), axis=0) / np.mean(np.square(best), axis=0))
    robust = robust_width(mean) / robust_width(best)
    pulls = robust_width(mean / values(table, "_std", labels)) / robust_width(best / values(table, "_err", labels))
    return [float(np.exp(np.mean(np.log(each)))) for each in (rms, robust, pulls)]


@pytest.mark.long
def test_means_of_giants_never_seen_are_nearer_to_known_labels():
    rms, robust, pulls = is_nearer(calibrated_model(), many_giants()[1])
    assert rms < 0.95
    assert robust < 0.95
    assert pulls == pytest.approx(1, abs=0.25)


@pytest.mark.slow
def test_means_survive_saving_precision_and_other_stars_and_fail_with_the_fit(tmp_path):
    model, stars = calibrated_model(), many_giants()[1][:40]
    model.write(tmp_path / "model.h5")
    back = Model.read(tmp_path / "model.h5")
    assert back.info.calibration.means == model.info.calibration.means
    ivar = np.array(stars.ivar)
    ivar[3] = 0
    stars = stars.with_arrays(stars.flux, ivar)
    table = slamjax.fit(model, stars, posterior_mean="learnt")
    mean, std, sigma = (values(table, suffix) for suffix in ("_mean", "_std", "_err"))
    np.testing.assert_array_equal(mean, values(slamjax.fit(back, stars, posterior_mean="learnt"), "_mean"))
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(mean).any(axis=1)), [3])
    assert np.all(np.isinf(std[3]))
    good = np.arange(40) != 3
    some = values(slamjax.fit(model, stars[4:20], posterior_mean="learnt"), "_mean")
    assert np.max(np.abs(some - mean[4:20]) / sigma[4:20]) < 0.02
    with in_precision("float64"):
        double = values(slamjax.fit(model, stars, posterior_mean="learnt"), "_mean")
    assert np.median(np.abs(double - mean)[good] / sigma[good]) < 0.02


@pytest.mark.slow
def test_polynomials_masks_and_logarithms_have_learnt_means():
    some, others = many_giants()
    model = train(
        some, LABELS, emulator=Polynomial(), recipe=recipe(), search=THREE_FOLDS, noise="lowrank", log_labels=["teff"],
        data=DataSpec(label_windows={"alpha_m": [(510, 530), (590, 600)]}),
    )  # fmt: skip
    rms, robust, pulls = is_nearer(model, others, nuisances=slamjax.Nuisances(polynomial=1))
    assert rms < 0.97
    assert robust < 1
    assert pulls == pytest.approx(1, abs=0.25)


def test_models_without_learnt_means_and_impossible_options_are_one_sentence():
    with pytest.raises(SlamError, match="no learnt means; train it anew with noise='lowrank' and at least 200 stars"):
        slamjax.Fitter(giants_model(), posterior_mean="learnt")
    with pytest.raises(SlamError, match="posterior_mean is 'learned'; give True, False or 'learnt'"):
        slamjax.Fitter(giants_model(), posterior_mean="learned")
    with pytest.raises(SlamError, match="leave out the prior"):
        slamjax.Fitter(giants_model(), posterior_mean="learnt", prior="training")
