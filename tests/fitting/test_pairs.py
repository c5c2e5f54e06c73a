"""Two stars in one spectrum: their sum, its derivatives, and fits that find both."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_precision
from models import all_miles_model

import slamjax
from slamjax.errors import SlamError
from slamjax.flags import Flag
from slamjax.forward.nuisances import Free, Nuisances
from slamjax.forward.pair import PairEmulator
from slamjax.spectra.spectra import Spectra
from slamjax.validation import prepared_model

FIRST, SECOND = np.array([5800.0, 4.3, -0.2]), np.array([5000.0, 4.6, -0.2])


@cache
def one_star():
    return prepared_model(all_miles_model()).with_nuisances(Nuisances(rv=Free(-400, 400)))


def pair_of(w=0.3, dtype=np.float64):
    """The pair's emulator, and the parameters of the two stars at -80 and 150 km/s."""
    forward = one_star()
    x = np.asarray(forward.parameters(np.stack([FIRST, SECOND]), rv=np.array([-80.0, 150.0])), dtype)
    pair = PairEmulator.from_forward(forward, (0, 1))
    return pair, np.array([*x[0, :3], *x[1, :2], x[0, 3], x[1, 3], w], dtype)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_pair_is_the_sum_of_two_stars(precision):
    with in_precision(precision):
        forward, (pair, x) = one_star(), pair_of(dtype=precision)
        by_hand = 0.7 * np.asarray(forward(FIRST, rv=-80.0)) + 0.3 * np.asarray(forward(SECOND, rv=150.0))
        flux = np.asarray(jax.jit(pair.at)(jnp.asarray(x)))
    assert flux.dtype == precision
    good = np.asarray(forward.usable)
    np.testing.assert_allclose(flux[good], by_hand[good], atol={"float32": 2e-5, "float64": 1e-10}[precision])


def test_without_light_of_the_second_it_is_a_single_star():
    forward, (pair, x) = one_star(), pair_of(w=0.0)
    good = np.asarray(forward.usable)
    np.testing.assert_allclose(np.asarray(pair.at(x))[good], np.asarray(forward(FIRST, rv=-80.0))[good], atol=2e-5)


def test_derivatives_are_those_of_finite_differences():
    with in_precision("float64"):
        pair, x = pair_of()
        good = np.asarray(pair.forward.usable)
        flux, slopes = jax.jit(pair.at_with_jacobian)(jnp.asarray(x))
        forwards = jax.jacfwd(pair.at)(jnp.asarray(x))
        at = jax.jit(pair.at)
        plain, numeric = np.asarray(at(x)), []
        for k in range(x.size):
            step = 1e-5 * np.eye(x.size)[k]
            numeric.append((np.asarray(at(x + step)) - np.asarray(at(x - step))) / 2e-5)
    np.testing.assert_allclose(np.asarray(slopes)[:, good], np.array(numeric)[:, good], atol=1e-6)
    np.testing.assert_allclose(np.asarray(forwards).T[:, good], np.asarray(slopes)[:, good], atol=1e-8)
    np.testing.assert_allclose(np.asarray(flux)[good], plain[good], atol=1e-10)


def light(labels):
    """Cooler stars of higher gravity are fainter, the more so in the blue."""
    teff, logg = labels[..., 0:1], labels[..., 1:2]
    return jnp.exp((teff - 5500) / 800 * jnp.linspace(1.2, 0.8, one_star().usable.size) - 0.5 * (logg - 4.4))


def test_light_may_follow_from_the_labels():
    with in_precision("float64"):
        forward, (_, x) = one_star(), pair_of()
        pair = PairEmulator.from_forward(forward, (0, 1), light)
        x = x[:-1]
        good = np.asarray(forward.usable)
        first, second = (np.asarray(light(jnp.asarray(labels))) for labels in (FIRST, SECOND))
        w = second / (first + second)
        by_hand = (1 - w) * np.asarray(forward(FIRST, rv=-80.0)) + w * np.asarray(forward(SECOND, rv=150.0))
        flux, slopes = jax.jit(pair.at_with_jacobian)(jnp.asarray(np.tile(x, (2, 1))))
        numeric = jax.jacfwd(pair.at)(jnp.asarray(x))
    np.testing.assert_allclose(np.asarray(flux)[1][good], by_hand[good], atol=1e-9)
    np.testing.assert_allclose(np.asarray(slopes)[0][:, good], np.asarray(numeric).T[:, good], atol=1e-8)
    assert pair.bounds(np.zeros(4), np.ones(4))[0].shape == x.shape


def test_a_known_light_finds_the_pairs_that_have_it():
    model = prepared_model(all_miles_model())
    pair = PairEmulator.from_forward(one_star(), (0, 1), light)
    x = pair_of()[1][:-1]
    flux = np.nan_to_num(np.tile(np.asarray(jax.jit(pair.at)(x)), (3, 1)))
    flux = flux + 0.005 * np.random.default_rng(3).normal(size=flux.shape)
    spectra = Spectra(model.wave, flux, np.full(flux.shape, 4e4), wave_unit="Angstrom", medium="air", frame="rest")
    table = slamjax.fit_pairs(model, spectra, light=light, on_progress=False)
    given = float(np.mean(np.asarray(pair.share(jnp.asarray(x)))))
    assert np.all(np.asarray(table["flags"]) & Flag.TWO_STARS)
    assert np.all(np.abs(table["light_2"] - given) < 4 * table["light_2_err"] + 0.02)
    assert np.all(table["light_2_err"] > 0)


@cache
def fitted():
    """Eight pairs, eight single stars, one without data: photon noise and the emulator's own."""
    model = prepared_model(all_miles_model())
    pair, x = pair_of()
    forward, rng = one_star(), np.random.default_rng(0)
    alone = np.asarray(forward(np.tile(FIRST, (8, 1)), rv=rng.uniform(-100, 100, 8)))
    flux = np.nan_to_num(np.concatenate([np.tile(np.asarray(pair.at(x)), (8, 1)), alone, alone[:1]]))
    ivar = np.full(flux.shape, 1e4)
    flux = flux + np.nan_to_num(
        np.asarray(model.noise.on_device().draw(jax.random.key(0), jnp.asarray(ivar, jnp.float32)))
    )
    ivar[-1] = 0
    spectra = Spectra(model.wave, flux, ivar, wave_unit="Angstrom", medium="air", frame="rest")
    return slamjax.fit_pairs(model, spectra, on_progress=False)


def test_both_stars_of_clear_pairs_are_found():
    table = fitted()[:8]
    assert np.all(np.asarray(table["flags"]) & Flag.TWO_STARS)
    assert np.median(np.abs(table["rv_1"].value + 80)) < 15
    assert np.median(np.abs(table["rv_2"].value - 150)) < 30
    assert abs(np.median(table["light_2"]) - 0.3) < 0.15
    assert np.all(table["chi2"] < table["chi2_single"])
    np.testing.assert_array_equal(table["fe_h_1"], table["fe_h_2"])


def test_single_stars_are_not_called_pairs():
    assert not np.any(np.asarray(fitted()["flags"][8:]) & Flag.TWO_STARS)


def test_a_spectrum_without_data_is_a_flagged_row():
    row = fitted()[-1]
    assert row["flags"] == Flag.NO_DATA
    assert np.isnan([row["teff_1"].value, row["delta_bic"]]).all()
    assert np.isinf(row["rv_2_err"].value)


def test_labels_that_cannot_be_common_are_named():
    model = all_miles_model()
    with pytest.raises(SlamError, match="alpha"):
        slamjax.fit_pairs(model, None, common=["alpha"])
    with pytest.raises(SlamError, match="leave one out"):
        slamjax.fit_pairs(model, None, common=model.label_names)
