"""The fitter against scipy, against stars whose truth is known, and against spectra that cannot be fitted."""

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_precision
from models import LABELS, TWO_FOLDS, giants_model, held_out, recipe, searched_model
from scipy.optimize import least_squares

from slamjax.errors import SlamError, SlamWarning
from slamjax.fitting import Fitter, OptimiserSpec, fit
from slamjax.flags import Flag
from slamjax.forward import Nuisances
from slamjax.spectra.spectra import Spectra


def values(table, suffix=""):
    return np.stack([np.asarray(table[name + suffix]) for name in LABELS], -1)


def simulated(n=200, noise=0.1, seed=0):
    """Spectra made by the emulator inside the training range, with Gaussian noise of ``noise`` model errors."""
    model = giants_model()
    rng = np.random.default_rng(seed)
    stars = np.asarray(model.training_labels.stars)
    pairs = rng.integers(0, len(stars), (n, 2))
    x = 0.7 * stars[pairs[:, 0]] + 0.3 * stars[pairs[:, 1]]
    labels = np.asarray(model.host_emulator.scaling.inverse(x))
    sigma = noise * np.sqrt(model.noise.model_variance)
    with in_precision("float64"):
        flux = np.asarray(model(labels))
    flux = flux + sigma * rng.normal(size=flux.shape)
    # the recipe would divide by a continuum of its own: these spectra are prepared already
    info = dataclasses.replace(model.info, recipe=type(model.recipe)())
    plain = dataclasses.replace(
        model, info=info, noise=dataclasses.replace(model.noise, model_variance=1e-4 * sigma**2)
    )
    ivar = np.broadcast_to(1 / sigma**2, flux.shape)
    return plain, Spectra(model.wave, flux, ivar, wave_unit="nm"), labels


def scipy_fit(model, prepared, row, start):
    """One star by scipy's trust-region solver, on the same likelihood."""
    sigma = np.sqrt(1 / prepared.ivar[row].astype(float) + model.noise.model_variance)
    low, high = np.asarray(model.training_labels.low), np.asarray(model.training_labels.high)

    def residual(x):
        return (prepared.flux[row] - np.asarray(model.host_emulator.at(jnp.asarray(x)))) / sigma

    return least_squares(residual, np.clip(start, low + 1e-6, high - 1e-6), bounds=(low, high), xtol=1e-12, ftol=1e-12)


@pytest.mark.parametrize("make", [giants_model, searched_model])
def test_finds_scipys_minimum(make):
    model, spectra = make(), held_out()[:8]
    if make is searched_model:
        spectra = recipe()(spectra).on_pixels(np.arange(0, 61, 4))
    prepared = model.prepare(spectra)
    with in_precision("float64"):
        table = fit(model, spectra, n_starts=2)
        x = np.asarray(model.host_emulator.scaling(values(table)))
        for row in range(len(spectra)):
            oracle = scipy_fit(model, prepared, row, x[row])
            assert table["chi2"][row] <= 2 * oracle.cost * (1 + 1e-8) + 1e-7
            if np.all((x[row] > model.training_labels.low + 1e-3) & (x[row] < model.training_labels.high - 1e-3)):
                covariance = np.linalg.inv(oracle.jac.T @ oracle.jac)
                offset = x[row] - oracle.x
                assert offset @ np.linalg.solve(covariance, offset) < 1e-4
                scale = np.asarray(model.host_emulator.scaling.width)
                expected, found = covariance * scale * scale[:, None], np.asarray(table["cov"][row])
                known = np.isfinite(found)
                assert known.any()
                np.testing.assert_allclose(found[known], expected[known], rtol=1e-2)


def test_float32_and_float64_agree_far_within_the_errors():
    table = fit(giants_model(), held_out(), n_starts=1)
    with in_precision("float64"):
        exact = fit(giants_model(), held_out(), n_starts=1)
    apart = np.abs(values(table) - values(exact)) / values(exact, "_err")
    assert np.median(apart) < 0.01
    assert np.quantile(apart, 0.9) < 0.05


@pytest.mark.slow
def test_errors_are_the_scatter_where_the_likelihood_is_true():
    """On spectra made as the likelihood believes, pulls have unit width and no bias."""
    model, spectra, truth = simulated()
    table = fit(model, spectra)
    good = np.asarray(table["flags"]) == 0
    assert good.mean() > 0.8
    pull = ((values(table) - truth) / values(table, "_err"))[good]
    width = 1.4826 * np.median(np.abs(pull - np.median(pull, 0)), 0)
    assert np.all(np.abs(width - 1) < 0.2)  # 5 standard errors of 200 stars
    assert np.all(np.abs(np.median(pull, 0)) < 0.35)
    assert abs(np.median(table["chi2"][good] / table["n_pix"][good]) - 1) < 0.1


def test_covariances_have_the_right_correlations():
    model, spectra, truth = simulated()
    table = fit(model, spectra)
    good = np.asarray(table["flags"]) == 0
    offset = (values(table) - truth)[good]
    distance = np.einsum("ni,nij,nj->n", offset, np.linalg.inv(np.asarray(table["cov"])[good]), offset)
    assert abs(np.median(distance) - 3.36) < 0.8  # median of chi2 with four degrees of freedom
    np.testing.assert_allclose(np.sqrt(np.einsum("nii->ni", table["cov"])), values(table, "_err"), rtol=1e-12)


def test_the_order_and_number_of_stars_do_not_matter():
    table = fit(giants_model(), held_out())
    some = fit(giants_model(), held_out()[[7, 3]])
    apart = np.abs(values(some) - values(table)[[7, 3]]) / values(some, "_err")
    assert np.nanmax(apart) < 0.05
    assert list(some["row"]) == [117, 113]  # where they stand in the file


def test_memory_changes_the_batches_and_not_the_labels():
    table = fit(giants_model(), held_out(), memory=1e-4)
    apart = np.abs(values(table) - values(fit(giants_model(), held_out()))) / values(table, "_err")
    assert np.nanmax(apart) < 0.1


@pytest.mark.parametrize("method", ["adam", "lbfgs"])
def test_gradient_methods_end_at_the_same_minimum(method):
    spectra = held_out()[:12]
    expected, table = (
        fit(giants_model(), spectra, n_starts=1),
        fit(giants_model(), spectra, n_starts=1, optimiser=method),
    )
    inside = (np.asarray(expected["flags"]) == 0) & (np.asarray(table["flags"]) == 0)
    assert inside.sum() >= 8
    np.testing.assert_allclose(table["chi2"][inside], expected["chi2"][inside], rtol=2e-3, atol=0.02)
    apart = np.abs(values(table) - values(expected))[inside] / values(expected, "_err")[inside]
    assert np.max(apart) < 0.2


def test_a_prior_pulls_by_its_weight():
    """A normal prior on Teff far tighter than the spectrum's own error takes over; so does its width."""

    def log_prior(labels):
        return -0.5 * ((labels[0] - 4700) / 2.0) ** 2

    table = fit(giants_model(), held_out()[:20], prior=log_prior, n_starts=1)
    good = np.asarray(table["flags"]) == 0
    assert good.sum() >= 5
    assert np.all(np.abs(table["teff"].value[good] - 4700) < 3)
    np.testing.assert_allclose(table["teff_err"].value[good], 2.0, rtol=0.05)


@pytest.mark.slow
def test_soft_l1_is_not_dragged_by_wild_pixels():
    model, spectra, truth = simulated(60, seed=5)
    flux = spectra.flux.copy()
    flux[:, [10, 30, 50]] += 40 / np.sqrt(spectra.ivar[:, [10, 30, 50]])
    wild = spectra.with_arrays(flux, spectra.ivar)
    plain, robust = (
        fit(model, wild, n_starts=1),
        fit(model, wild, n_starts=1, optimiser=OptimiserSpec("lbfgs", loss="soft_l1")),
    )
    off = [np.nanmedian(np.abs(values(t) - truth), axis=0) for t in (plain, robust)]
    assert np.all(off[1] < 0.8 * off[0])
    assert off[1][0] < 0.5 * off[0][0]


def test_lm_accepts_least_squares_only():
    with pytest.raises(SlamError, match="sums of squares only"):
        OptimiserSpec(loss="soft_l1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "newton"}, "unknown method 'newton'"),
        ({"loss": "huber"}, "unknown loss 'huber'"),
        ({"max_iter": 0}, "max_iter is 0"),
    ],
)
def test_impossible_optimiser_options_are_named(options, message):
    with pytest.raises(SlamError, match=message):
        OptimiserSpec(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimiser": "newton"}, "unknown method 'newton'"),
        ({"n_starts": 0}, "n_starts is 0"),
        ({"memory": 0}, "memory is 0"),
        ({"optimiser": "adam", "nuisances": Nuisances(rv="free")}, "not by 'adam'"),
    ],
)
def test_impossible_options_are_named_before_any_spectrum_is_read(options, message):
    with pytest.raises(SlamError, match=message):
        Fitter(giants_model(), **options)


def test_a_fitter_gives_the_same_labels_however_often_it_is_used():
    fitter = Fitter(giants_model(), n_starts=2)
    first, again = fitter.fit(held_out()[:9]), fitter.fit(held_out()[:9])
    once = fit(giants_model(), held_out()[:9], n_starts=2)
    for table in (again, once):
        np.testing.assert_array_equal(values(table), values(first))


def test_spectra_without_a_good_pixel_fail_alone():
    """All NaN, zero ivar and infinite flux: NaN labels and infinite errors in their rows, others as before."""
    spectra = held_out()[:6]
    flux, ivar = spectra.flux.copy(), spectra.ivar.copy()
    flux[1], ivar[2], flux[4] = np.nan, 0, np.inf
    broken = Spectra(spectra.wave, flux, ivar, spectra.table, wave_unit="nm", medium="vacuum")
    table = fit(giants_model(), broken)
    failed = [1, 2, 4]
    assert np.all(np.asarray(table["flags"])[failed] == Flag.NO_DATA)
    assert np.all(np.isnan(values(table)[failed]))
    assert np.all(np.isposinf(values(table, "_err")[failed]))
    assert np.all(np.asarray(table["n_pix"])[failed] == 0)
    sound = fit(giants_model(), spectra)
    apart = np.abs(values(table) - values(sound)) / values(sound, "_err")
    assert np.max(apart[[0, 3, 5]]) < 0.05


def test_masked_pixels_are_as_if_they_were_not_there():
    spectra = held_out()[:6]
    model = giants_model()
    prepared = model.prepare(spectra)
    info = dataclasses.replace(model.info, recipe=type(model.recipe)())
    plain = dataclasses.replace(model, info=info)
    ivar, wild = prepared.ivar.copy(), prepared.flux.copy()
    ivar[:, 20:30], wild[:, 20:30] = 0, 1e9
    table = fit(plain, prepared.with_arrays(wild, ivar))
    quiet = fit(plain, prepared.with_arrays(prepared.flux, ivar))
    np.testing.assert_array_equal(values(table), values(quiet))
    assert np.all(table["n_pix"] == 51)


def test_few_pixels_are_flagged_and_unconstrained_labels_get_infinite_errors():
    spectra = held_out()[:5]
    ivar = spectra.ivar.copy()
    inside = np.flatnonzero((spectra.wave >= 500) & (spectra.wave <= 620))
    ivar[:, inside] = 0
    ivar[:, inside[::30]] = 1e-2  # two or three pixels of no weight
    table = fit(giants_model(), spectra.with_arrays(spectra.flux, ivar))
    flags = np.asarray(table["flags"])
    assert np.all(flags & Flag.FEW_PIXELS)
    assert np.all(flags & Flag.UNCONSTRAINED)
    assert np.all(np.isposinf(values(table, "_err")).any(axis=1))


def test_a_label_at_the_edge_is_flagged_and_stays_inside():
    model, spectra, _ = simulated(20)
    low, high = np.asarray(model.training_labels.low), np.asarray(model.training_labels.high)
    beyond = np.asarray(model.host_emulator.scaling.inverse(np.array([[0.1, 0.1, high[2] + 0.7, 0.1]])))
    with in_precision("float64"):
        flux = np.repeat(np.asarray(model(beyond)), 20, 0)
    table = fit(model, spectra.with_arrays(flux, spectra.ivar))
    assert np.all(np.asarray(table["flags"]) & Flag.AT_BOUND)
    x = np.asarray(model.host_emulator.scaling(values(table)))
    assert np.all((x >= low - 1e-5) & (x <= high + 1e-5))


def test_a_spectrum_unlike_any_star_is_flagged_by_its_chi2():
    spectra = held_out()[:3]
    ripple = 1 + 0.3 * np.sign(np.sin(spectra.wave))
    table = fit(giants_model(), spectra.with_arrays((spectra.flux * ripple).astype(np.float32), spectra.ivar))
    assert np.all(np.asarray(table["flags"]) & Flag.HIGH_CHI2)


def test_labels_where_no_training_star_is_near_are_flagged():
    model, spectra, _ = simulated(10)
    low, high = np.asarray(model.training_labels.low), np.asarray(model.training_labels.high)
    # hot, low gravity, metal-rich, alpha-rich: no such star
    corner = 0.9 * np.array([high[0], low[1], high[2], high[3]])
    with in_precision("float64"):
        flux = np.asarray(model(model.host_emulator.scaling.inverse(corner[None])))
    table = fit(model, spectra.with_arrays(np.repeat(flux, 10, 0), spectra.ivar))
    assert np.all(np.asarray(table["flags"]) & Flag.OUTSIDE_TRAINING)


def test_out_of_iterations_is_a_failure():
    table = fit(giants_model(), held_out(), optimiser=OptimiserSpec(max_iter=1), n_starts=1)
    out = (np.asarray(table["flags"]) & Flag.NOT_CONVERGED) != 0
    assert out.sum() > 20
    assert np.all(np.isnan(values(table)[out]))
    assert np.all(np.isposinf(values(table, "_err")[out]))


@pytest.mark.slow
def test_spectra_without_errors_are_flagged_with_a_warning():
    spectra = held_out()[:4]
    silent = Spectra(spectra.wave, spectra.flux, None, spectra.table, wave_unit="nm", medium="vacuum")
    with pytest.warns(SlamWarning, match="states no flux errors"):
        table = fit(giants_model(), silent)
    assert np.all(np.asarray(table["flags"]) & Flag.NO_ERRORS)
    assert np.all(np.isnan(table["snr"]))


def test_faint_fluxes_are_fitted_as_well_as_others():
    """Fluxes of 1e-17 have squares that float32 cannot hold."""
    from slamjax.training import train

    stars = held_out()
    spectra = giants_model().prepare(stars).on_pixels(slice(0, None, 6))
    flux, ivar = spectra.flux.astype(float) * 1e-17, spectra.ivar.astype(float) * 1e34
    small = Spectra(spectra.wave, flux, ivar, spectra.table, "nm")
    tables = [fit(train(s, LABELS[:2], search=TWO_FOLDS), s, n_starts=1) for s in (spectra, small)]
    sound = (np.asarray(tables[0]["flags"]) == 0) & (np.asarray(tables[1]["flags"]) == 0)
    assert sound.sum() > 20
    np.testing.assert_allclose(tables[1]["chi2"][sound], tables[0]["chi2"][sound], rtol=0.05)


def test_log_labels_come_back_in_physical_units():
    from slamjax.training import train

    stars = giants_model().prepare(held_out()).on_pixels(slice(0, None, 6))
    table = fit(train(stars, LABELS[:2], log_labels=["teff"], search=TWO_FOLDS), stars)
    plain = fit(train(stars, LABELS[:2], search=TWO_FOLDS), stars)
    assert np.nanmedian(np.abs(table["teff"] - plain["teff"]).value) < 30
    ratio = np.asarray(table["teff_err"] / plain["teff_err"])
    assert 0.8 < np.nanmedian(ratio) < 1.25


def test_progress_reaches_the_last_star():
    reports = []
    fit(giants_model(), held_out(), on_progress=lambda *at: reports.append(at))
    assert reports[-1] == (40, 40)
    assert all(a[0] <= b[0] for a, b in itertools.pairwise(reports))


def test_one_absurd_pixel_gives_a_flagged_row_not_one_without_data():
    spectra = held_out()[:3]
    flux = spectra.flux.astype(float)
    flux[1, np.argmin(np.abs(spectra.wave - 560))] = 1e25
    flags = np.asarray(fit(giants_model(), spectra.with_arrays(flux, spectra.ivar))["flags"])
    assert flags[1] != 0
    assert not flags[1] & Flag.NO_DATA
