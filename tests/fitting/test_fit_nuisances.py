"""Velocities, widths and a continuum that were put into spectra come out of a fit, within its errors."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_precision
from models import all_miles_model
from scipy.optimize import least_squares

import slamjax
from slamjax.errors import SlamError
from slamjax.fitting.covariance import covariances
from slamjax.fitting.postprocess import velocity_columns
from slamjax.flags import Flag
from slamjax.forward.nuisances import Free, Gaussian, Nuisances
from slamjax.spectra.spectra import Spectra
from slamjax.validation import prepared_model

NAMES = ("teff", "logg", "fe_h")
WIDE = Nuisances(rv=Free(-550, 550), sigma_v=Free(0, 150), polynomial=2)


@cache
def moved_stars(n=150):
    """Spectra made by the emulator inside the training range, moved, broadened, tilted, with the model's own noise."""
    model = prepared_model(all_miles_model())
    rng = np.random.default_rng(0)
    stars = np.asarray(model.training_labels.stars)
    cool = stars[np.asarray(model.host_emulator.scaling.inverse(stars))[:, 0] < 7500]
    pairs = rng.integers(0, len(cool), (n, 2))
    x = 0.7 * cool[pairs[:, 0]] + 0.3 * cool[pairs[:, 1]]
    truth = {"rv": rng.uniform(-500, 500, n), "sigma_v": rng.uniform(30, 100, n)}
    truth["polynomial"] = np.array([1.0, 0, 0]) + np.array([0.2, 0.2, 0.05]) * rng.normal(size=(n, 3))
    labels = np.asarray(model.host_emulator.scaling.inverse(x))
    forward = model.with_nuisances(WIDE)
    flux = np.asarray(jax.jit(lambda given: forward(labels, **given))(truth))
    ivar = np.full(flux.shape, np.inf)
    flux = flux + np.asarray(model.noise.on_device().draw(jax.random.key(1), ivar.astype(np.float32)))
    truth |= {name: labels[:, k] for k, name in enumerate(NAMES)}
    return model, Spectra(model.wave, flux, ivar, wave_unit="Angstrom", medium="air", frame="rest"), truth


@cache
def fitted_with_bad_ones():
    """All of them, and three that are spoilt: one fit, for every size of batch compiles anew."""
    model, spectra, _ = moved_stars()
    flux, ivar = (np.concatenate([a, a[:3]]) for a in (spectra.flux, spectra.ivar))
    ivar[-3] = 0
    flux[-2] = 0
    ivar[-1, 100:180] = 0
    spoilt = Spectra(model.wave, flux, ivar, wave_unit="Angstrom", medium="air", frame="rest")
    return slamjax.fit(model, spoilt, nuisances=WIDE)


def fitted():
    return fitted_with_bad_ones()[:-3]


@cache
def at_rest():
    """The same stars as the emulator makes them, with noise; and their plain fit."""
    model, _, truth = moved_stars()
    labels = np.stack([truth[name] for name in NAMES], axis=1)
    plain = np.asarray(model(labels))
    noise = np.asarray(model.noise.on_device().draw(jax.random.key(2), np.full(plain.shape, np.inf, np.float32)))
    spectra = Spectra(model.wave, plain + noise, wave_unit="Angstrom", medium="air", frame="rest")
    return spectra, slamjax.fit(model, spectra)


def column(table, name):
    return np.asarray(table[name], float)


def pulls(table, truth, name):
    return (column(table, name) - truth[name]) / column(table, f"{name}_err")


@pytest.mark.slow
def test_velocities_of_hundreds_of_km_s_are_found_within_their_errors():
    _, _, truth = moved_stars()
    table = fitted()
    assert str(table["rv"].unit) == "km / s"
    assert np.mean(table["flags"] == 0) > 0.9
    for name in ("rv", "sigma_v"):
        pull = pulls(table, truth, name)
        assert np.mean(np.abs(pull) < 5) > 0.98, name
        width = 1.4826 * np.median(np.abs(pull - np.median(pull)))
        assert abs(width - 1) < 0.3, name  # 150 stars: 4 standard errors
    assert np.median(column(table, "rv_err")) < 10
    assert np.abs(np.median(table["polynomial"] - truth["polynomial"], axis=0)).max() < 0.01


@pytest.mark.slow
def test_label_errors_are_marginalised_over_the_nuisances():
    """Errors grow, and pulls stay what they are."""
    _, _, truth = moved_stars()
    alone, together = at_rest()[1], fitted()
    for name in NAMES:
        grown = np.median(column(together, f"{name}_err") / column(alone, f"{name}_err"))
        assert grown > 1.02, name
        pull = pulls(together, truth, name)
        assert 1.4826 * np.nanmedian(np.abs(pull - np.nanmedian(pull))) < 1.35, name


def test_the_minimum_is_scipys_over_labels_velocities_and_coefficients():
    model, spectra, _ = moved_stars()
    table = fitted()
    with in_precision("float64"):
        forward = model.with_nuisances(WIDE)
        low, high = forward.bounds()
        low, high = np.concatenate([model.training_labels.low, low]), np.concatenate([model.training_labels.high, high])
        weight = np.where(np.asarray(forward.usable), 1 / np.sqrt(model.noise.model_variance), 0)

        def residual(p, observed):
            x, c = p[:-3], p[-3:]
            flux = forward.at(x) * forward.polynomial(c)
            return jnp.concatenate([(observed - flux) * weight, c - np.array([1, 0, 0])])

        compiled, slopes = jax.jit(residual), jax.jit(jax.jacfwd(residual))
        checked = 0
        for row in np.flatnonzero(table["flags"] == 0)[:3]:
            labels = np.array([column(table, name)[row] for name in NAMES])
            x = np.asarray(
                forward.parameters(labels, rv=column(table, "rv")[row], sigma_v=column(table, "sigma_v")[row])
            )
            start = np.concatenate([np.clip(x, low + 1e-6, high - 1e-6), table["polynomial"][row]])
            found = least_squares(
                compiled, start, jac=slopes, xtol=1e-12, ftol=1e-12, args=(jnp.asarray(spectra.flux[row]),),
                bounds=(np.append(low, [-9] * 3), np.append(high, [9] * 3)),
            )  # fmt: skip
            assert table["chi2"][row] <= 2 * found.cost + 0.02
            information = found.jac.T @ found.jac
            covariance = np.linalg.inv(information)[:3, :3]
            width = np.asarray(model.host_emulator.scaling.width)
            sigma = np.sqrt(np.diag(covariance)) * width
            np.testing.assert_allclose([column(table, f"{name}_err")[row] for name in NAMES], sigma, rtol=0.03)
            checked += 1
        assert checked == 3


@pytest.mark.slow
def test_a_prior_is_respected_and_a_velocity_at_its_bound_is_flagged():
    model, spectra, truth = moved_stars()
    bounded = Nuisances(rv=Free(0, 300), sigma_v=Gaussian(60, 0.01), polynomial=2)
    table = slamjax.fit(model, spectra[:12], nuisances=bounded)
    fine = np.asarray(table["flags"]) == 0
    assert fine.any()
    np.testing.assert_allclose(column(table, "sigma_v")[fine], 60, atol=0.1)
    np.testing.assert_allclose(column(table, "sigma_v_err")[fine], 0.01, rtol=0.1)
    beyond = (truth["rv"] < -50) | (truth["rv"] > 350)
    assert not np.any(fine & beyond[:12])
    stuck = np.asarray(table["flags"]) & Flag.NUISANCE_AT_BOUND > 0
    assert stuck[beyond[:12]].mean() > 0.5  # others find a wrong line within
    assert not stuck[(truth["rv"][:12] > 30) & (truth["rv"][:12] < 270)].any()


@pytest.mark.slow
def test_fixed_velocities_have_no_columns():
    model, spectra, truth = moved_stars()
    known = {name: float(truth[name][0]) for name in ("rv", "sigma_v")}
    fixed = slamjax.fit(model, spectra[:12], nuisances=Nuisances(**known, polynomial=2))
    assert "rv" not in fixed.colnames
    each = fixed["chi2"] / fixed["n_pix"]
    assert each[0] < 1.5
    assert np.all(each[1:] > each[0])  # those are other stars' velocities


def test_zero_broadening_is_not_flagged():
    model, _, truth = moved_stars()
    labels = np.stack([truth[name] for name in NAMES], axis=1)[:12]
    spectra = Spectra(model.wave, np.asarray(model(labels)), wave_unit="Angstrom", medium="air", frame="rest")
    table = slamjax.fit(model, spectra, nuisances=Nuisances(sigma_v=Free(0, 150)))
    assert not np.any(table["flags"] & (Flag.NUISANCE_AT_BOUND | Flag.NOT_CONVERGED))
    assert np.all(column(table, "sigma_v") < 2 * column(table, "sigma_v_err"))
    assert np.all(column(table, "sigma_v_err") > 1)


def test_bad_spectra_become_flagged_rows():
    none, dark, holed = fitted_with_bad_ones()[-3:]
    assert none["flags"] == Flag.NO_DATA
    assert np.isnan(none["rv"])
    assert np.isinf(none["rv_err"])
    assert np.isnan(none["polynomial"]).all()
    assert dark["flags"] != 0
    assert np.isfinite(holed["rv"])


def test_empty_nuisances_give_the_plain_fit():
    spectra, plain = at_rest()
    same = slamjax.fit(moved_stars()[0], spectra, nuisances=Nuisances())
    for name in plain.colnames:
        np.testing.assert_array_equal(np.asarray(plain[name]), np.asarray(same[name]))


def test_other_methods_are_refused():
    model, spectra, _ = moved_stars()
    with pytest.raises(SlamError, match="nuisances are fitted by method='lm', not by 'adam'"):
        slamjax.fit(model, spectra[:2], nuisances=WIDE, optimiser="adam")


def test_an_unconstrained_nuisance_does_not_spoil_the_label_errors():
    """Of two parameters one that nothing is known of: the other keeps its variance."""
    covariance, unknown = covariances(np.diag([4.0, 0.0])[None], np.array([10.0, 10.0]))
    assert covariance[0, 0, 0] == pytest.approx(0.25)
    assert unknown.tolist() == [[False, True]]


def test_the_error_of_a_width_is_linear_far_from_0_and_an_upper_limit_near_0():
    forward = all_miles_model().with_nuisances(Nuisances(sigma_v=Free(0, 150)))
    unit = forward.grid.unit
    square, error = np.array([[4.0], [0.0], [1.0]]), np.array([0.04, 0.09, np.inf])
    columns, stuck = velocity_columns(forward, square, np.square(error)[:, None, None])
    np.testing.assert_allclose(columns["sigma_v"], [2 * unit, 0, unit])
    np.testing.assert_allclose(columns["sigma_v_err"], [0.01 * unit, 0.3 * unit, np.inf])
    assert not stuck.any()
