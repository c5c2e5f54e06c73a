"""Continuous XP spectra, in the archive's layout and GaiaXPy's: the matrix is built here by a plain loop."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import slamjax
from slamjax import SlamError

N = 5


def stars(n_stars=3, seed=0):
    """Columns of the archive, and the correlation matrices of each band."""
    rng = np.random.default_rng(seed)
    columns = {"source_id": np.arange(n_stars) + 10**18, "phot_g_mean_flux": np.full(n_stars, 50.0)}
    matrices = {}
    for band in ("bp", "rp"):
        root = rng.normal(size=(n_stars, N, N)) + 2 * np.eye(N)
        covariance = root @ np.swapaxes(root, 1, 2)
        error = np.sqrt(np.einsum("npp->np", covariance))
        correlation = covariance / error[:, :, None] / error[:, None, :]
        triangle = []
        for star in range(n_stars):  # the upper triangle, column by column
            triangle.append([correlation[star, i, j] for j in range(N) for i in range(j)])
        columns[f"{band}_coefficients"] = 100 * rng.normal(size=(n_stars, N))
        columns[f"{band}_coefficient_errors"] = error
        columns[f"{band}_coefficient_correlations"] = np.array(triangle)
        columns[f"{band}_n_relevant_bases"] = np.array([2, 3, N])[:n_stars]
        columns[f"{band}_standard_deviation"] = np.full(n_stars, 1.3)
        matrices[band] = correlation
    return columns, matrices


def as_text(columns, path):
    """As GaiaXPy's and the archive's CSV: vectors in brackets."""
    rows = [",".join(columns)]
    for star in range(len(columns["source_id"])):
        cells = [value[star] for value in columns.values()]
        rows.append(",".join(f'"({", ".join(map(repr, map(float, c)))})"' if np.ndim(c) else str(c) for c in cells))
    path.write_text("\n".join(rows) + "\n")


def as_fits(columns, path):
    """With vectors of variable length, as the archive writes them."""
    made = []
    for name, values in columns.items():
        if values.ndim == 1:
            made.append(fits.Column(name, "K" if values.dtype.kind == "i" else "D", array=values))
        else:
            rows = np.empty(len(values), object)
            rows[:] = [row for row in values]
            made.append(fits.Column(name, "PD()", array=rows))
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(made)]).writeto(path)


@pytest.mark.parametrize("kind", ["csv", "fits", "table"])
def test_the_covariance_is_that_of_errors_and_correlations(kind, tmp_path):
    columns, matrices = stars()
    source = tmp_path / f"xp.{kind}"
    if kind == "table":
        source = Table(columns)
    else:
        (as_text if kind == "csv" else as_fits)(columns, source)
    found = slamjax.read_xp_coefficients(source, scale="phot_g_mean_flux")
    for star in range(3):
        for first, band in enumerate(("bp", "rp")):
            error = columns[f"{band}_coefficient_errors"][star]
            for i in range(N):
                assert found.flux[star, first * N + i] == columns[f"{band}_coefficients"][star, i] / 50
                for j in range(N):
                    expected = error[i] * error[j] * matrices[band][star, i, j] / 50**2
                    assert found.covariance[star, first * N + i, first * N + j] == pytest.approx(expected, rel=1e-12)
    assert not found.covariance[:, :N, N:].any()
    assert list(found.table["source_id"]) == list(columns["source_id"])
    assert found.table["id"][0] == str(10**18)
    assert str(found.wave_unit) == "pix"


def test_truncated_coefficients_are_integrated_out():
    columns, _ = stars()
    whole, some = (slamjax.read_xp_coefficients(Table(columns), truncate=each, scale=np.ones(3)) for each in (0, 1))
    expected = np.zeros((3, 2 * N), bool)
    for star, relevant in enumerate((2, 3, N)):
        expected[star, :relevant] = expected[star, N : N + relevant] = True
    np.testing.assert_array_equal(some.good, expected)
    for star in range(3):
        kept = np.ix_(expected[star], expected[star])
        np.testing.assert_array_equal(some.covariance[star][kept], whole.covariance[star][kept])


def test_of_norm_one_noise_that_scales_all_coefficients_is_gone():
    columns, _ = stars(1)
    absolute = slamjax.read_xp_coefficients(Table(columns), scale=np.ones(1))
    found = slamjax.read_xp_coefficients(Table(columns))
    flux, covariance = absolute.flux[0], absolute.covariance[0]
    assert np.sum(np.square(found.flux)) == pytest.approx(1)
    assert found.table["scale"][0] == pytest.approx(np.linalg.norm(flux))
    drawn = flux + 1e-3 * np.random.default_rng(0).multivariate_normal(np.zeros(2 * N), covariance, 50_000)
    drawn /= np.linalg.norm(drawn, axis=1)[:, None]
    across = np.linalg.svd(flux[None])[2][1:]  # what is perpendicular to the coefficients
    expected = across @ np.cov(1e3 * drawn.T) @ across.T
    at = across @ found.covariance[0] @ across.T
    error = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(at / error / error[:, None], expected / error / error[:, None], atol=0.03)
    # nothing is correlated with the direction that is gone
    np.testing.assert_allclose(across @ found.covariance[0] @ flux, 0, atol=1e-10)


def test_a_star_without_a_band_or_with_impossible_correlations_has_no_good_pixel():
    columns, _ = stars()
    columns["rp_coefficients"][0] = np.nan
    columns["rp_coefficient_errors"][0] = np.nan
    columns["bp_coefficient_correlations"][1] = -1
    found = slamjax.read_xp_coefficients(Table(columns))
    assert found.good.any(axis=1).tolist() == [False, False, True]
    assert found.table["problem"].tolist() == [
        "a photometer has no coefficients", "the correlations are those of no noise", "",
    ]  # fmt: skip


def test_what_holds_no_coefficients_is_told(tmp_path):
    columns, _ = stars()
    as_text(columns, tmp_path / "xp.csv")
    with pytest.raises(SlamError, match="read_xp_coefficients"):
        slamjax.read(tmp_path / "xp.csv")
    as_fits(columns, tmp_path / "xp.fits")
    with pytest.raises(SlamError, match="read_xp_coefficients"):
        slamjax.read(tmp_path / "xp.fits")
    del columns["rp_coefficient_errors"]
    as_text(columns, tmp_path / "less.csv")
    with pytest.raises(SlamError, match=r"less\.csv has no column rp_coefficient_errors"):
        slamjax.read_xp_coefficients(tmp_path / "less.csv")
    columns, _ = stars()
    columns["bp_coefficient_correlations"] = columns["bp_coefficient_correlations"][:, :-1]
    with pytest.raises(SlamError, match="9 values, but 5 coefficients have 10"):
        slamjax.read_xp_coefficients(Table(columns))
