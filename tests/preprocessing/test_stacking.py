"""Stacks of visits: a weighted mean at rest, whatever the visits' levels and velocities."""

import dataclasses

import numpy as np
import pytest
from helpers import xp_giants

import slamjax
from slamjax._util.constants import LIGHT
from slamjax.errors import SlamError
from slamjax.spectra.spectra import Spectra


def repeated(n=3):
    return xp_giants()[np.repeat([0, 1], n)]


def test_a_stack_of_one_spectrum_is_the_spectrum():
    stars = xp_giants()[:3]
    stacked = slamjax.stack(stars, np.arange(3))
    np.testing.assert_allclose(stacked.flux, stars.flux, rtol=1e-6)
    np.testing.assert_allclose(stacked.ivar, stars.ivar, rtol=1e-5)
    assert stacked.table["n_stacked"].tolist() == [1, 1, 1]


def test_it_is_the_mean_by_inverse_variance():
    stars, rng = repeated(), np.random.default_rng(0)
    ivar = stars.ivar * rng.uniform(0.5, 2, stars.flux.shape)
    flux = stars.flux * (1 + 0.01 * rng.normal(size=stars.flux.shape))
    noisy = dataclasses.replace(stars, flux=flux, ivar=ivar)
    stacked = slamjax.stack(noisy, "source_id")
    of = np.unique(np.asarray(stars.table["source_id"]), return_inverse=True)[1]
    for star in range(2):
        rows = np.flatnonzero(of == star)
        level = np.median(flux[rows], axis=1)[:, None]
        weight = ivar[rows] * level**2
        mean = np.average(flux[rows] / level, axis=0, weights=weight)
        np.testing.assert_allclose(stacked.flux[star], mean * level.max(), rtol=1e-6)
        np.testing.assert_allclose(stacked.ivar[star], weight.sum(axis=0) / level.max() ** 2, rtol=1e-5)


def test_a_fainter_visit_does_not_bend_the_mean():
    stars = repeated(2)
    flux, ivar = stars.flux.copy(), stars.ivar.copy()
    flux[1::2] *= 0.1
    half = flux.shape[1] // 2
    ivar[1::2, :half] = 0
    stacked = slamjax.stack(dataclasses.replace(stars, flux=flux, ivar=ivar), "source_id")
    # the fainter visit's median is that of its red half; its scale is wrong by no more than that ratio
    whole = slamjax.stack(dataclasses.replace(stars, flux=flux), "source_id")
    np.testing.assert_allclose(whole.flux, slamjax.stack(stars, "source_id").flux, rtol=1e-5)
    np.testing.assert_allclose(stacked.flux[:, :half], slamjax.stack(stars, "source_id").flux[:, :half], rtol=1e-5)


def test_spectra_are_brought_to_rest_and_unknown_velocities_left_out():
    wave = np.linspace(5000, 5100, 401)
    rv = np.array([120.0, -250.0, np.nan])
    line = [1 - 0.5 * np.exp(-0.5 * np.square((wave / (1 + np.nan_to_num(v) / LIGHT) - 5050) / 2)) for v in rv]
    spectra = Spectra(
        wave, line, error=np.full((3, 401), 0.01), table={"id": ["a"] * 3}, wave_unit="Angstrom", medium="vacuum",
        frame="observed",
    )  # fmt: skip
    stacked = slamjax.stack(spectra, "id", rv)
    assert stacked.frame == "rest"
    assert stacked.table["n_stacked"].tolist() == [2]
    rest = 1 - 0.5 * np.exp(-0.5 * np.square((wave - 5050) / 2))
    good = stacked.good[0]
    np.testing.assert_allclose(stacked.flux[0, good], rest[good], atol=5e-3)
    assert good.sum() > 350


def test_bad_input_is_told():
    stars = repeated()
    with pytest.raises(SlamError, match="give one velocity for each of 6"):
        slamjax.stack(stars, "source_id", np.zeros(2))
    with pytest.raises(SlamError, match="states no errors"):
        slamjax.stack(dataclasses.replace(stars, ivar=np.full(stars.flux.shape, np.inf)), "source_id")
    with pytest.raises(SlamError, match="no column 'who'"):
        slamjax.stack(stars, "who")
