"""Stars with stated errors under a model whose training stars stated none: simulated, so that the truth is known."""

import dataclasses
from functools import cache

import numpy as np
import pytest
from astropy.table import Table
from helpers import in_precision

import slamjax
from slamjax.flags import Flag
from slamjax.noise.calibration import PHOTON_LIMIT, Calibration, PhotonShares
from slamjax.noise.models import LowRankNoise
from slamjax.noise.photon_part import photon_information, photon_shares
from slamjax.spectra.spectra import Spectra

#: Scatter of the catalogue's labels about the truth, and of all pixels of a star together.
CATALOGUE, COMMON = 0.1, 0.004
LABELS = ("a", "b")


def stars(n, sigma=None, seed=0):
    """Spectra that follow from two labels, with photon noise ``sigma`` that is stated; None: little, not stated.

    The labels that a table states are a catalogue's, off the true ones.
    """
    rng = np.random.default_rng(seed)
    shapes = np.random.default_rng(99)
    wave = np.linspace(500.0, 560.0, 60)
    slopes, bends, common = shapes.normal(size=(2, 60)), 0.2 * shapes.normal(size=60), shapes.normal(size=(3, 60))
    x = rng.uniform(-1, 1, (n, 2))
    flux = 1 + 0.1 * (x @ slopes + (x[:, :1] * x[:, 1:]) * bends)
    flux += COMMON * rng.normal(size=(n, 3)) @ common + 0.002 * rng.normal(size=flux.shape)
    ivar = np.full(flux.shape, np.inf)
    if sigma is not None:
        flux += sigma * rng.normal(size=flux.shape)
        ivar = np.full(flux.shape, sigma**-2.0)
    known = x + CATALOGUE * rng.normal(size=x.shape)
    return Spectra(wave=wave, flux=flux, ivar=ivar, table=Table({"a": known[:, 0], "b": known[:, 1]}), wave_unit="nm")


@cache
def blind_model():
    """Trained on stars without stated errors."""
    return slamjax.train(
        stars(800), LABELS, emulator=slamjax.Polynomial(), noise="lowrank", search=slamjax.SearchSpec(folds=4)
    )


def pull_widths(model, spectra):
    table = slamjax.fit(model, spectra)
    good = np.asarray(table["flags"]) & (Flag.AT_BOUND | Flag.OUTSIDE_TRAINING) == 0
    pulls = [((table[n] - table[f"{n}_ref"]) / table[f"{n}_err"])[good] for n in LABELS]
    return np.array([1.4826 * np.median(np.abs(p - np.median(p))) for p in pulls]), table[good]


def forgetting(model):
    """The same model, with photon noise read like all else."""
    calibration = dataclasses.replace(model.info.calibration, photons_as_stated=False, photon_chi2=0.0)
    return dataclasses.replace(model, info=dataclasses.replace(model.info, calibration=calibration))


@pytest.mark.long
def test_photon_noise_is_as_stated_after_training_without_errors_and_with_equal_ones(tmp_path):
    model = blind_model()
    assert model.info.calibration.photons_as_stated
    assert np.all(model.noise.photon_scale == 1)
    model.write(tmp_path / "model.h5")
    assert slamjax.Model.read(tmp_path / "model.h5").info.calibration == model.info.calibration
    other = slamjax.train(
        stars(300, 0.05), LABELS, emulator=slamjax.Polynomial(), noise="lowrank", search=slamjax.SearchSpec(folds=4)
    )
    assert other.info.calibration.photons_as_stated
    assert np.all(other.noise.photon_scale == 1)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [None, 0.002, 0.05, 0.2])
def test_pulls_have_unit_width_at_any_brightness(sigma):
    """Against the catalogue: at 0.002 its errors dominate, at 0.2 photon noise does."""
    widths, table = pull_widths(blind_model(), stars(600, sigma, seed=5))
    assert np.all((widths > 0.8) & (widths < 1.25)), widths
    reported = np.median(table["chi2"] / table["n_pix"])
    assert 0.7 < reported < 1.4
    assert np.mean(table["flags"] & Flag.HIGH_CHI2 > 0) < 0.02


def test_without_the_correction_errors_of_faint_stars_are_too_large():
    widths, _ = pull_widths(forgetting(blind_model()), stars(600, 0.2, seed=5))
    assert np.all(widths < 0.92), widths


def test_spectra_without_errors_are_not_corrected():
    some = stars(50, seed=6)
    one, other = (slamjax.fit(model, some) for model in (blind_model(), forgetting(blind_model())))
    np.testing.assert_array_equal(one["cov"], other["cov"])
    np.testing.assert_array_equal(one["chi2"], other["chi2"])


def test_an_outlier_is_flagged_in_spite_of_photon_noise():
    some = stars(20, 0.05, seed=7)
    flux = some.flux.copy()
    flux[0] += 0.3 * np.sin(np.arange(some.n_pix))
    flags = np.asarray(slamjax.fit(blind_model(), some.with_arrays(flux, some.ivar))["flags"])
    assert flags[0] & Flag.HIGH_CHI2
    assert not np.any(flags[1:] & Flag.HIGH_CHI2)


@pytest.mark.slow
def test_a_posterior_is_as_wide_as_the_fit():
    some = stars(12, 0.1, seed=8)
    table = slamjax.fit(blind_model(), some)
    posterior = slamjax.sample(blind_model(), some, sampler=slamjax.SamplerSpec("importance", draws=1000, warmup=50))
    drawn = posterior.table()
    own = np.asarray(table["noise_scale"])
    np.testing.assert_array_equal(posterior.stars["noise_scale"], own)
    noisy = posterior.predictive(blind_model(), 400, with_noise=True, ivar=some.ivar) - posterior.predictive(
        blind_model(), 400
    )
    expected = own[:, None] / np.asarray(blind_model().noise.weights(some.ivar))
    assert 0.9 < np.median(noisy.var(axis=0) / expected) < 1.1
    scale = blind_model().info.calibration.label_scale_of(2)
    for name, stretched in zip(LABELS, scale, strict=True):
        ratio = np.asarray(drawn[f"{name}_err"]) / (np.asarray(table[f"{name}_err"]) / stretched)
        assert 0.85 < np.median(ratio) < 1.15


def test_the_limits_of_reading_chi2():
    calibration = Calibration(20.0, chi2_scale=16.0, tail=10.0, photons_as_stated=True, photon_chi2=1.0)
    pixels = np.array([100, 100])
    shares = PhotonShares(np.array([[0.0], [1.0]]), np.array([100.0, 0.0]), np.array([0.0, 100.0]))
    found = calibration.star_noise(np.array([100 / 16, 100.0]), pixels, pixels, np.ones(2), shares)
    np.testing.assert_allclose(found.chi2, 100)
    np.testing.assert_allclose(found.limit, [20, PHOTON_LIMIT])
    np.testing.assert_allclose(found.variance_factor, 1)
    noisy = calibration.star_noise(np.array([200 / 16, 200.0]), pixels, pixels, np.ones(2), shares)
    np.testing.assert_allclose(noisy.variance_factor[:, 0], [210 / 110, 1])


def test_the_photons_share_of_a_covariance_is_that_of_generalised_least_squares():
    """Against dense algebra: C J Σ⁻¹ N Σ⁻¹ Jᵀ C over C."""
    rng = np.random.default_rng(3)
    jacobian, v, w, sigma = rng.normal(size=(2, 30)), rng.normal(size=(30, 3)), rng.normal(size=(30, 2)), 0.7
    with in_precision("float64"):
        noise = LowRankNoise(np.full(30, 0.2), v, np.full(30, 0.8), w).on_device()
        ivar = np.full(30, sigma**-2.0)
        ivar[:3] = 0
        part = photon_information(noise, ivar, lambda inverse: inverse.gram(jacobian))
    good = slice(3, None)
    photons = sigma**2 * (0.8 * np.eye(30) + w @ w.T)[good, good]
    inverse = np.linalg.inv(0.2 * np.eye(27) + (v @ v.T)[good, good] + photons)
    whole, expected = (
        jacobian[:, good] @ inverse @ each @ jacobian[:, good].T for each in (np.eye(27), photons @ inverse)
    )
    np.testing.assert_allclose(part, expected, rtol=5e-3, atol=5e-3 * np.abs(expected).max())
    covariance = np.linalg.inv(whole)
    shares = photon_shares(covariance[None], np.asarray(part)[None], np.ones((1, 2)))
    wanted = np.diagonal(covariance @ expected @ covariance) / np.diagonal(covariance)
    np.testing.assert_allclose(shares.variance[0], wanted, rtol=0.02)
