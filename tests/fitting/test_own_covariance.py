"""Fits of stars whose pixels' errors have covariances of their own."""

import dataclasses

import numpy as np
import pytest
from helpers import in_precision
from own_covariances import LABELS, bright_model, correlated, model, noise_free, plain, prepared
from scipy.optimize import least_squares

import slamjax
from slamjax import SlamError
from slamjax.fitting.sizes import BatchSizes


def by_dense_algebra(fitted_model, star, start):
    """Labels and their covariance of one star by SciPy, with Σ from plain matrices."""
    s2, factors = (np.asarray(part, float) for part in fitted_model.noise.emulator_part())
    good = star.good[0] & np.isfinite(s2)
    total = (star.covariance[0] + np.diag(np.where(np.isfinite(s2), s2, 0)) + factors @ factors.T)[np.ix_(good, good)]
    root = np.linalg.inv(np.linalg.cholesky(total))
    scaling = fitted_model.host_emulator.scaling

    def residual(x):
        return root @ (star.flux[0] - np.asarray(fitted_model.emulator(scaling.inverse(x)), float))[good]

    found = least_squares(residual, scaling(start), jac="3-point", xtol=1e-14, ftol=1e-14, gtol=1e-14)
    labels = np.asarray(scaling.inverse(found.x))
    slope = np.abs(np.asarray(scaling.inverse(found.x + 1e-6)) - labels) / 1e-6
    return labels, np.sqrt(np.diag(np.linalg.inv(found.jac.T @ found.jac))) * slope, np.sum(found.fun**2)


@pytest.mark.parametrize("noise", ["diagonal", "stated"])
def test_labels_errors_and_chi2_are_those_of_dense_algebra(noise):
    spectra = correlated(noise_free(6))
    with in_precision("float64"):
        the_model = dataclasses.replace(
            model(noise), info=dataclasses.replace(model(noise).info, calibration=model().info.calibration)
        )  # errors and χ² as the likelihood has them
        found = slamjax.fit(the_model, spectra, on_progress=False)
        expected = [
            by_dense_algebra(the_model, spectra[k], np.array([plain(found[name])[k] for name in LABELS]))
            for k in range(len(spectra))
        ]
    for k, (labels, error, chi2) in enumerate(expected):
        for i, name in enumerate(LABELS):
            np.testing.assert_allclose(plain(found[name])[k], labels[i], atol=2e-3 * error[i])
            np.testing.assert_allclose(plain(found[f"{name}_err"])[k], error[i], rtol=2e-3)
        np.testing.assert_allclose(plain(found["chi2"])[k], chi2, rtol=1e-4)


def test_a_diagonal_covariance_is_exactly_the_plain_fit():
    stars = prepared()[110:120]
    diagonal = np.eye(stars.n_pix) * (1 / stars.ivar)[:, None, :]
    expected, found = (
        slamjax.fit(model(), each, on_progress=False)
        for each in (
            dataclasses.replace(stars, ivar=1 / (1 / stars.ivar.astype(float))),
            dataclasses.replace(stars, covariance=diagonal),
        )
    )
    for name in found.colnames:
        np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(expected[name]), name)


@pytest.mark.parametrize(
    "options", [{}, {"prior": {"logg": (2.5, 0.1)}}, {"posterior_mean": True}], ids=["fit", "prior", "mean"]
)
@pytest.mark.parametrize("noise", ["diagonal", "stated"])
def test_hardly_any_correlation_is_nearly_the_plain_fit(noise, options):
    """With a covariance that cannot matter, the dense way arrives where the other does: columns, flags and all."""
    stars = prepared()[110:118]
    covariance = np.eye(stars.n_pix) * (1 / stars.ivar.astype(float))[:, None, :]
    covariance[:, 0, 1] = covariance[:, 1, 0] = 1e-9 * covariance[:, 0, 0]
    with in_precision("float64"):
        expected, found = (
            slamjax.fit(model(noise), each, on_progress=False, **options)
            for each in (stars, dataclasses.replace(stars, covariance=covariance))
        )
    assert found.colnames == expected.colnames
    for name in found.colnames:
        if np.asarray(found[name]).dtype.kind == "f":
            np.testing.assert_allclose(plain(found[name]), plain(expected[name]), rtol=2e-3, atol=2e-4, err_msg=name)
        else:
            np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(expected[name]), name)


def test_errors_are_honest_with_the_covariance_and_not_without():
    true = noise_free(40)
    spectra = dataclasses.replace(true, table=true.table)
    noisy = [correlated(spectra, seed) for seed in range(3)]
    pulls = {}
    for name, change in (("whole", lambda s: s), ("single", lambda s: s.with_independent_pixels())):
        tables = [slamjax.fit(model(), change(each), on_progress=False) for each in noisy]
        off = [(plain(table[f]) - true.values(f)) / plain(table[f"{f}_err"]) for table in tables for f in LABELS]
        pulls[name] = np.std(np.clip(np.concatenate(off), -8, 8))
    assert pulls["whole"] < 1.15
    assert pulls["single"] > 1.4


def test_means_of_the_posterior_take_the_covariance_too():
    spectra = correlated(noise_free(6), strength=0.8, error=0.0004)
    found = slamjax.fit(bright_model(), spectra, posterior_mean=True, on_progress=False)
    single = slamjax.fit(bright_model(), spectra.with_independent_pixels(), on_progress=False)
    for name in ("teff", "logg"):
        error = plain(found[f"{name}_err"])
        np.testing.assert_allclose(plain(found[f"{name}_std"]), error, rtol=0.1)
        assert np.all(np.abs(plain(found[f"{name}_mean"]) - plain(found[name])) < 0.2 * error)
        assert np.median(np.abs(np.log(plain(single[f"{name}_err"]) / error))) > 0.09


def test_a_star_without_a_good_pixel_has_no_labels_and_does_not_disturb_others():
    spectra = correlated(noise_free(3))
    some = spectra.masked(np.array([[False], [True], [False]]))
    found, alone = (slamjax.fit(model(), each, on_progress=False) for each in (some, spectra[[0, 2]]))
    assert slamjax.Flag.NO_DATA in slamjax.Flag(int(found["flags"][1]))
    assert np.isnan(plain(found["teff"])[1])
    np.testing.assert_array_equal(plain(found["teff"])[[0, 2]], plain(alone["teff"]))


def test_parts_and_blocks_do_not_matter():
    spectra = correlated(noise_free(20))
    whole = slamjax.fit(model(), spectra, on_progress=False)
    small = slamjax.Fitter(model(), memory=2e-4)
    assert small._dense_sizes.chunk < len(spectra)
    parts = slamjax.fitting.fitter.stack_tables(list(small.fit_parts([spectra[:7], noise_free(3), spectra[7:]])))
    rows = np.r_[0:7, 10:23]
    for name in LABELS:
        np.testing.assert_allclose(plain(parts[name])[rows], plain(whole[name]), rtol=1e-4)


def test_what_does_not_use_covariances_refuses_them():
    spectra = correlated(noise_free(2))
    with pytest.raises(SlamError, match="no nuisances"):
        slamjax.fit(model(), spectra, nuisances=slamjax.Nuisances(polynomial=1))
    with pytest.raises(SlamError, match="two stars"):
        slamjax.fit_pairs(model(), spectra)
    learnt = dataclasses.replace(
        model("stated"), noise=dataclasses.replace(model("stated").noise, photon_scale=np.full(spectra.n_pix, 2.0))
    )
    with pytest.raises(SlamError, match="photons='stated'"):
        slamjax.fit(learnt, spectra)


def test_covariances_count_in_the_memory_of_a_batch():
    emulator = model().host_emulator
    plain_sizes, dense = (BatchSizes.within(0.1, emulator, 4, 110, 0, 100, False, each) for each in (False, True))
    assert dense.block * 110**2 * 4 < 0.1 * 2**30
    assert dense.chunk * 110**2 * 8 < 0.1 * 2**30
    assert dense.block < plain_sizes.block or plain_sizes.block == 1
