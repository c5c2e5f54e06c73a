"""Training on stars with covariances of their own: what their photons make is no part of the emulator's error."""

from functools import cache

import numpy as np
import pytest
from astropy.table import Table
from scipy.stats import median_abs_deviation
from xp_coefficient_files import LABELS, labelled

import slamjax
from slamjax import NoiseSpec, SlamError
from slamjax.emulators.scaling import LabelScaling
from slamjax.emulators.svr import KernelBlock, KernelEmulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.noise.models import DiagonalNoise, LowRankNoise
from slamjax.noise.stated import StatedPhotons
from slamjax.training.held_out import HeldOut
from slamjax.training.label_errors import label_errors
from slamjax.training.noise_learning import learn_noise

N_PIX = 24


def covariances(error, seed):
    """(N, P, P): nearly the same strong correlations in all stars, of very different size."""
    rng = np.random.default_rng(seed)
    apart = np.abs(np.subtract.outer(np.arange(N_PIX), np.arange(N_PIX)))
    correlation = rng.uniform(0.9, 0.98, len(error))[:, None, None] ** apart
    sigma = error[:, None] * rng.uniform(0.7, 1.4, (len(error), N_PIX))
    return sigma[:, :, None] * correlation * sigma[:, None, :]


def drawn(covariance, seed):
    normal = np.random.default_rng(seed).normal(size=covariance.shape[:2])
    return np.einsum("nij,nj->ni", np.linalg.cholesky(covariance), normal)


def linear_stars(error, seed=0, rough=0.05, white=0.03):
    """Stars of flux = slopesᵀ x, with emulator errors that alternate from pixel to pixel besides their own noise."""
    error, rng, fixed = np.asarray(error, float), np.random.default_rng(seed), np.random.default_rng(7)
    n, slopes, alternating = len(error), fixed.normal(size=(2, N_PIX)), (-1.0) ** np.arange(N_PIX)
    x, own = rng.uniform(-1, 1, (n, 2)), covariances(error, seed + 1)
    emulators = rough * rng.normal(size=(n, 1)) * alternating + white * rng.normal(size=(n, N_PIX))
    block = KernelBlock(np.ones(1), np.zeros(1), slopes[None], "linear", 1)
    scaling = LabelScaling(np.zeros(2), np.ones(2), (False, False))
    zero = np.zeros(N_PIX)
    emulator = KernelEmulator(scaling, np.eye(2), (block,), zero, zero, np.ones(N_PIX), None)
    ivar = 1 / np.einsum("npp->np", own)
    stars = HeldOut(x, drawn(own, seed + 2) + emulators, ivar, np.zeros(n, int), (emulator,), covariance=own)
    return emulator, TrainingLabels.from_scaled(np.concatenate([x, [[-9.0, -9.0], [9.0, 9.0]]])), stars


def width(values):
    return median_abs_deviation(values, axis=0, scale="normal")


def mixed(n, seed=3):
    return 0.03 * 10 ** np.random.default_rng(seed).uniform(0, 1.5, n)


def test_label_errors_are_generalised_least_squares_of_each_stars_own_covariance():
    emulator, training_labels, stars = linear_stars(mixed(60))
    variance = np.linspace(0.01, 0.1, N_PIX)
    found = label_errors(DiagonalNoise(variance), training_labels, stars)
    slopes = np.asarray(emulator.blocks[0].dual[0])
    for n in range(60):
        inverse = np.linalg.inv(stars.covariance[n] + np.diag(variance))
        covariance = np.linalg.inv(slopes @ inverse @ slopes.T)
        expected = covariance @ slopes @ inverse @ stars.residual[n]
        np.testing.assert_allclose(found.error[n], expected, atol=1e-3)
        np.testing.assert_allclose(found.covariance[n], covariance, rtol=0.01, atol=1e-5)
        left = stars.residual[n] - expected @ slopes
        assert found.chi2[n] == pytest.approx(left @ inverse @ left, rel=1e-2)


def test_correlated_photon_noise_does_not_pass_for_emulator_error():
    """Along smooth directions all that is seen is photon noise, along the alternating one none of it is."""
    stars = linear_stars(mixed(800))[2]
    given = stars.residual, stars.photon_variance, 3
    smooth, alternating = np.ones(N_PIX) / np.sqrt(N_PIX), (-1.0) ** np.arange(N_PIX) / np.sqrt(N_PIX)

    def along(noise, direction):
        factors = noise.factors @ noise.factors.T + np.diag(noise.model_variance)
        return float(direction @ factors @ direction)

    own, single = (StatedPhotons.estimate(*given, each).noise(3, 0.1) for each in (stars.covariance, None))
    true = 0.05**2 * N_PIX + 0.03**2
    assert along(own, alternating) == pytest.approx(true, rel=0.15)
    assert along(own, smooth) < 0.05 * true
    assert along(single, smooth) > true


def test_errors_learnt_from_stars_of_all_brightness_are_honest_for_bright_and_faint():
    emulator, training_labels, stars = linear_stars(mixed(500))
    learnt = learn_noise(NoiseSpec(ranks=(3,)), emulator, training_labels, stars)
    assert isinstance(learnt.noise, LowRankNoise)
    assert learnt.calibration.photons_as_stated
    for error in (0.03, 0.3, 1.0):
        unseen = linear_stars(np.full(300, error), seed=50)[2]
        fits = label_errors(learnt.noise, training_labels, unseen)
        factor = fits.star_noise(learnt.calibration).variance_factor
        np.testing.assert_allclose(width(fits.inflated(factor).pulls()), 1, atol=0.15)


def test_the_limit_of_chi2_is_that_of_the_stars_own_covariances():
    emulator, training_labels, stars = linear_stars(mixed(100), rough=0)
    learnt = learn_noise(NoiseSpec("diagonal"), emulator, training_labels, stars)
    s2 = np.diag(np.asarray(learnt.noise.model_variance))
    squares = [r @ np.linalg.solve(own + s2, r) for r, own in zip(stars.residual, stars.covariance, strict=True)]
    middle, upper = np.percentile(np.log(np.array(squares) / N_PIX), [50, 84])
    assert learnt.calibration.chi2_limit == pytest.approx(np.exp(middle + 3 * (upper - middle)), rel=1e-6)


@cache
def train_stars():
    return slamjax.read_xp_coefficients(Table(labelled(300, 0.002 * 10 ** np.random.default_rng(5).uniform(0, 1, 300))))


@pytest.mark.slow
def test_pulls_of_bright_and_faint_stars_are_one_wide_after_training_on_coefficients(tmp_path):
    options = {"emulator": slamjax.SVR(C=10, epsilon=0.05, gamma=0.3), "on_progress": False}
    model = slamjax.train(train_stars(), LABELS, noise=NoiseSpec(ranks=(3,)), **options)
    single = NoiseSpec(photons="stated", ranks=(3,))
    before = slamjax.train(train_stars().with_independent_pixels(), LABELS, noise=single, **options)

    def pulls(model, error):
        stars = slamjax.read_xp_coefficients(Table(labelled(300, error, 9)))
        found = slamjax.fit(model, stars, n_starts=1, on_progress=False)
        off = [np.asarray(found[name], float) - stars.values(name) for name in LABELS]
        error = [np.asarray(found[f"{name}_err"], float) for name in LABELS]
        return width(np.divide(off, error).T)

    for error in (0.002, 0.005, 0.02):
        assert np.all((pulls(model, error) > 0.85) & (pulls(model, error) < 1.2))
    assert np.max(pulls(before, 0.002)) > 1.4  # what training on single errors takes the emulator for
    model.write(tmp_path / "model.h5")
    assert slamjax.Model.read(tmp_path / "model.h5").noise.rank == model.noise.rank


def test_missing_labels_are_inferred_with_each_stars_covariance():
    columns = labelled(120, 0.003)
    known = columns["teff"].copy()
    columns["teff"][::6] = np.nan
    stars = slamjax.read_xp_coefficients(Table(columns))
    options = {"emulator": slamjax.Polynomial(), "noise": "diagonal", "on_progress": False}
    model = slamjax.train(stars, LABELS, **options)
    assert model.info.record is not None
    fitted = slamjax.fit(model, stars[::6], n_starts=1, on_progress=False)
    assert np.std(np.asarray(fitted["teff"], float) - known[::6]) < 60


def test_photon_noise_is_not_learnt_where_covariances_state_it():
    with pytest.raises(SlamError, match="leave photons='learnt' out"):
        slamjax.train(train_stars(), LABELS, noise=NoiseSpec(photons="learnt"))
    recipe = slamjax.Recipe.make(continuum="chebyshev:2", wave_unit="pix")
    with pytest.raises(SlamError, match="what changes flux pixel by pixel"):
        slamjax.train(train_stars(), LABELS, recipe=recipe)
