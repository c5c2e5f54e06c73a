"""Errors of the catalogue's labels: no part of what a fit states where the catalogue states them."""

import numpy as np
import pytest
from astropy.table import Table
from helpers import miles
from models import SVR_10, THREE_FOLDS
from scipy.stats import median_abs_deviation

import slamjax
from slamjax.emulators.scaling import LabelScaling
from slamjax.noise.calibration import PhotonShares
from slamjax.training.data import scaled_label_errors
from slamjax.training.label_errors import LabelErrors
from slamjax.training.noise_calibration import _label_scale

NOISE = slamjax.NoiseSpec("lowrank", ranks=(20,), floors=(0.2,))
FEW = slamjax.NoiseSpec("lowrank", ranks=(5,), floors=(0.2,))
#: Errors that are given to the labels of giants, larger than those of fits.
TEFF_ERROR, LOGG_ERROR = 150.0, 0.5


def mistaken(stars, seed, stated):
    """Giants whose Teff and log g have errors, which the table states or not."""
    rng = np.random.default_rng(seed)
    stars = stars[:]
    table = stars.table.copy()
    table.remove_columns([name for name in table.colnames if name.endswith("_err")])
    for name, error in (("teff", TEFF_ERROR), ("logg", LOGG_ERROR)):
        table[name] = stars.values(name) + error * rng.normal(size=len(stars))
        if stated:
            table[f"{name}_err"] = np.full(len(stars), error)
    return slamjax.Spectra(
        stars.wave, stars.flux, ivar=stars.ivar, table=table, wave_unit=stars.wave_unit, frame=stars.frame
    )


def trained(stated):
    stars, others = slamjax.datasets.load_xp_giants()
    wrong = mistaken(stars[:600], 1, stated)
    recipe = slamjax.Recipe.make(wave_range=(400, 800), wave_unit="nm", continuum="gaussian:50nm")
    model = slamjax.train(wrong, ["teff", "logg"], emulator=SVR_10, recipe=recipe, search=THREE_FOLDS, noise=NOISE)
    return model, others[:250]


@pytest.mark.long
def test_stated_errors_of_training_labels_are_no_part_of_a_fits_errors():
    """Judged by other stars with good labels: errors would be much too large if the catalogue's were in them."""
    widths = {}
    for stated in (False, True):
        model, others = trained(stated)
        labels = slamjax.fit(model, others, n_starts=1)
        pulls = [(labels[n].value - others.values(n)) / labels[f"{n}_err"].value for n in model.label_names]
        assert np.isfinite(pulls).mean() > 0.99, labels[~np.isfinite(pulls).all(axis=0)]
        widths[stated] = median_abs_deviation(pulls, axis=1, scale="normal", nan_policy="omit")
        assert model.info.calibration.without_label_errors is stated
        if stated:  # stars with labels of the training stars' quality: their errors are added where they are stated
            report = slamjax.validate(model, mistaken(others, 2, True), n_starts=1)
            pull = report.comparison.pull
            assert np.all(np.abs(median_abs_deviation(pull, axis=0, scale="normal") - 1) < 0.25)
    assert np.all(widths[False] < 0.92), widths
    # 250 stars tell a width to 7 %, and rounding alone moves that of logg between 1.23 and 1.32
    assert np.all((widths[True] > 0.8) & (widths[True] < 1.45)), widths
    assert np.all(widths[True] > 1.08 * widths[False]), widths


def test_label_errors_are_scaled_like_their_labels_and_nothing_is_known_without_columns():
    stars = miles().select("isfinite(teff) & isfinite(logg)")
    names = ("teff", "logg")
    scaling = LabelScaling.from_labels(stars.values(names), names, "standard", ("teff",))
    assert scaled_label_errors(stars, names, scaling) is None
    stars.table["teff_err"] = np.where(np.arange(len(stars)) == 3, np.nan, 50.0)
    found = scaled_label_errors(stars, names, scaling)
    moved = stars.values(names) + np.array([0.5, 0])
    step = np.asarray(scaling(moved)) - np.asarray(scaling(stars.values(names)))
    np.testing.assert_allclose(found[:3, 0], 100 * step[:3, 0], rtol=1e-3)
    assert found[3, 0] == 0
    assert not found[:, 1].any()


@pytest.mark.parametrize("value", [np.nan, -9999.0, np.inf, 0.0])
def test_an_error_that_is_no_error_counts_as_unknown(value):
    stars = miles()[:5]
    stars.table["teff_err"] = np.full(5, value)
    assert not slamjax.spectra.label_errors.stated_label_errors(stars, ["teff"]).any()


def simulated(n, seed, label_error):
    """Stars of a quadratic emulator at S/N 50, their true labels, and a catalogue that is wrong by ``label_error``."""
    rng = np.random.default_rng(seed)
    shape = np.random.default_rng(0).normal(size=(5, 80))
    true = rng.normal(size=(n, 2))
    a, b = true.T
    terms = np.stack([a, b, 0.1 * a**2, 0.1 * a * b, 0.1 * b**2])
    sigma = 0.02
    flux = 1 + 0.025 * terms.T @ shape + sigma * rng.normal(size=(n, 80))
    table = Table({name: true[:, k] + label_error * rng.normal(size=n) for k, name in enumerate("ab")})
    stars = slamjax.Spectra(np.arange(5000.0, 5080), flux, ivar=np.full((n, 80), sigma**-2), table=table, wave_unit="A")
    return stars, true


@pytest.mark.long
def test_pulls_of_true_labels_are_one_wide_where_the_catalogues_errors_are_stated():
    """The errors of fits are 0.1; the catalogue's are four times as large in variance."""
    label_error = 0.2
    stars, _ = simulated(800, 1, label_error)
    others, true = simulated(600, 2, 0.0)
    widths = {}
    for stated in (True, False):
        if stated:
            stars.table["a_err"] = stars.table["b_err"] = np.full(len(stars), label_error)
        else:
            stars.table.remove_columns(["a_err", "b_err"])
        model = slamjax.train(stars, ["a", "b"], emulator=slamjax.Polynomial(), noise=FEW, on_progress=False)
        assert ("without those that the training table states" in slamjax.describe(model)) is stated
        labels = slamjax.fit(model, others, n_starts=1)
        pulls = [(labels[name].value - true[:, k]) / labels[f"{name}_err"].value for k, name in enumerate("ab")]
        widths[stated] = median_abs_deviation(pulls, axis=1, scale="normal")
    # a little wide: what the table's errors hide is taken as usual, because they may be stated wrongly
    assert np.all((widths[True] > 0.88) & (widths[True] < 1.1)), widths
    assert np.all(widths[False] < 0.6), widths


@pytest.mark.parametrize(("stated", "most"), [(0.0, 1.1), (0.5, 1.6)])
def test_errors_of_the_table_that_are_stated_a_tenth_too_small_are_not_taken_for_those_of_fits(stated, most):
    """Of fits with errors of 0.1: where the table's are 0.55 instead of 0.5, what they lack is twice as much."""
    rng, n = np.random.default_rng(0), 1000
    error = 0.1 * rng.normal(size=(n, 2)) + 1.1 * stated * rng.normal(size=(n, 2))
    pixels, covariance = np.full(n, 50.0), np.tile(0.01 * np.eye(2), (n, 1, 1))
    shares = PhotonShares(np.full((n, 2), 1e-3), pixels, np.zeros(n))
    known = np.full((n, 2), stated**2)
    fits = LabelErrors(error, covariance, pixels, pixels, pixels, np.ones(n), shares, known)
    scale = _label_scale(fits, np.ones((n, 2)), shares.variance)
    assert np.all((scale > 1 / most) & (scale < most)), scale
