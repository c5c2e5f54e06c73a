"""Covariances between pixels: kept through selections and masks, refused by all that would drop them."""

import dataclasses

import numpy as np
import pytest
from models import giants_model, miles_model, recipe

import slamjax
from slamjax import SlamError, Spectra
from slamjax.preprocessing import BadPixels, GaussianContinuum, Resample, WaveRange


def correlated(n=3, n_pix=6, seed=0):
    """Spectra with a covariance of their own each."""
    root = np.random.default_rng(seed).normal(size=(n, n_pix, n_pix))
    covariance = root @ np.swapaxes(root, 1, 2) + np.eye(n_pix)
    wave = np.linspace(500, 600, n_pix)
    return Spectra(wave, np.ones((n, n_pix)), covariance=covariance, wave_unit="nm", frame="rest")


def test_ivar_is_one_over_the_diagonal_and_rows_and_pixels_stay_together():
    spectra = correlated()
    for star in range(3):
        for pixel in range(6):
            assert spectra.ivar[star, pixel] == 1 / spectra.covariance[star, pixel, pixel]
    some = spectra[[2, 0]].on_pixels(np.array([4, 1]))
    for row, star in enumerate((2, 0)):
        for i, one in enumerate((4, 1)):
            for j, other in enumerate((4, 1)):
                assert some.covariance[row, i, j] == spectra.covariance[star, one, other]
    again = dataclasses.replace(spectra, source="elsewhere")
    np.testing.assert_array_equal(again.covariance, spectra.covariance)
    assert spectra.with_independent_pixels().covariance is None
    assert "covariances" in spectra.facts()["errors"]


def test_a_bad_pixel_has_neither_variance_nor_covariances():
    whole = correlated(1)
    flux, covariance = whole.flux.copy(), whole.covariance.copy()
    flux[0, 1], covariance[0, 2, 2] = np.nan, np.nan
    ivar = np.where(np.arange(6) == 3, 0.0, 1.0)[None]
    spectra = Spectra(whole.wave, flux, ivar, covariance=covariance, wave_unit="nm")
    assert spectra.good.tolist() == [[True, False, False, False, True, True]]
    kept = np.ix_([0], [0, 4, 5], [0, 4, 5])
    np.testing.assert_array_equal(spectra.covariance[kept], whole.covariance[kept])
    assert not spectra.covariance[0, [1, 2, 3]].any()
    np.testing.assert_array_equal(BadPixels(max_flux=0.5)(whole).covariance, np.zeros((1, 6, 6)))


@pytest.mark.parametrize(
    ("covariance", "said"),
    [
        (np.eye(6), "shape"),
        (np.triu(np.ones((1, 6, 6))) + 6 * np.eye(6), "not symmetric"),
        (np.ones((1, 6, 6)) - 2 * np.eye(6)[::-1] + 2 * np.diag([1, 0, 0, 0, 0, 1]), "row 0"),
        ("many", "not an array of numbers"),
    ],
)
def test_what_is_no_covariance_is_refused(covariance, said):
    with pytest.raises(SlamError, match=said):
        Spectra(np.arange(6.0), np.ones((1, 6)), covariance=covariance, wave_unit="nm")


@pytest.mark.slow
def test_every_user_of_single_errors_refuses_covariances(tmp_path):
    model = giants_model()
    whole = correlated(2, 61)
    labels = {name: [1.0, 2.0] for name in model.label_names}
    spectra = dataclasses.replace(whole, wave=np.linspace(500, 620, 61), table=labels, frame="observed")
    lines = miles_model().info
    many = correlated(2, lines.wave.size)
    moving = dataclasses.replace(many, wave=lines.wave, wave_unit=lines.wave_unit, medium="air", frame="observed")
    users = {
        "prepare": lambda: model.prepare(spectra),
        "observations": lambda: slamjax.Observations({"xp": spectra}),
        "measure_rv": lambda: slamjax.measure_rv(miles_model(), moving),
        "recalibrate": lambda: slamjax.recalibrate_noise(model, correlated(30, 61)),
        "continuum": lambda: GaussianContinuum(50.0, "nm")(spectra),
        "resample": lambda: Resample(500, 600, 10, "nm")(spectra),
        "recipe": lambda: recipe()(spectra),
        "fits": lambda: slamjax.write_table(spectra, tmp_path / "some.fits"),
        "parquet": lambda: slamjax.write_table(spectra, tmp_path / "some.parquet"),
    }
    for name, use in users.items():
        with pytest.raises(SlamError, match="covariances between pixels") as told:
            use()
        assert "with_independent_pixels" in str(told.value), name
    assert WaveRange(500, 560, "nm")(spectra).covariance.shape == (2, 31, 31)
