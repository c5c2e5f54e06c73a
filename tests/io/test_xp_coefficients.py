"""Continuous XP spectra, in the archive's layout and GaiaXPy's: the matrix is built here by a plain loop."""

import numpy as np
import pytest
from astropy.table import Table
from survey_files import xp_csv
from xp_coefficient_files import N, as_fits, as_plain_fits, as_text, labelled, stars

import slamjax
from slamjax import SlamError
from slamjax.io import count_rows, read_rows


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


WRITERS = [("xp.csv", as_text), ("xp.fits", as_fits), ("plain.fits", as_plain_fits)]


@pytest.mark.parametrize(("name", "write"), WRITERS)
def test_files_are_recognised_by_their_columns(tmp_path, name, write):
    columns, _ = stars()
    path = write(
        columns | {"teff": np.array([5000.5, np.nan, 4000]), "kind": np.array(["a", "b", "c"])}, tmp_path / name
    )
    found, expected = slamjax.read(path), slamjax.read_xp_coefficients(path)
    for each in ("wave", "flux", "ivar", "covariance"):
        np.testing.assert_array_equal(getattr(found, each), getattr(expected, each))
    assert (found.wave_unit, found.frame, found.medium) == (expected.wave_unit, expected.frame, expected.medium)
    assert found.table["source_id"].tolist() == [10**18, 10**18 + 1, 10**18 + 2]
    assert found.table["file"][0] == name
    for each in (found, expected):  # columns that were joined to the archive's
        np.testing.assert_array_equal(each.values("teff"), [5000.5, np.nan, 4000])
        assert each.table["kind"].tolist() == ["a", "b", "c"]
        assert each.table["bp_n_relevant_bases"].dtype.kind == "i"
    rows = read_rows(path, slice(1, 3))
    assert count_rows(path) == (3, 8 * 110**2)
    assert rows.rows.tolist() == [1, 2]
    np.testing.assert_array_equal(rows.covariance, expected.covariance[1:])
    assert rows.table["source_id"].tolist() == [10**18 + 1, 10**18 + 2]


def test_several_files_are_joined_and_a_broken_one_has_a_row(tmp_path):
    for number in range(2):
        as_text(stars(seed=number)[0], tmp_path / f"{number}.csv")
    (tmp_path / "broken.csv").write_text((tmp_path / "0.csv").read_text()[:500])
    catalogue = Table({"source_id": [10**18 + 1], "teff": [5000.0]})
    with pytest.warns(slamjax.SlamWarning, match=r"broken\.csv"), pytest.warns(slamjax.SlamWarning, match="catalogue"):
        found = slamjax.read(str(tmp_path / "*.csv"), labels=catalogue, on="source_id")
    assert found.table["file"].tolist() == ["0.csv"] * 3 + ["1.csv"] * 3 + ["broken.csv"]
    assert found.good.any(axis=1).tolist() == [True] * 6 + [False]
    expected = [slamjax.read_xp_coefficients(tmp_path / f"{number}.csv").covariance for number in range(2)]
    np.testing.assert_array_equal(found.covariance[:6], np.concatenate(expected))
    assert not found.covariance[6].any()
    assert found.values("teff")[[1, 4]].tolist() == [5000, 5000]


def test_coefficients_are_not_mixed_with_what_they_are_not(tmp_path):
    path = as_fits(stars()[0], tmp_path / "xp.fits")
    with pytest.raises(SlamError, match="some have coefficients; read them separately"):
        slamjax.read([path, xp_csv(tmp_path / "sampled.csv")])
    with pytest.raises(SlamError, match=r"xp\.fits has coefficients, which have no wavelengths; leave wave out"):
        slamjax.read(path, wave=np.arange(4000.0, 5000))
    with pytest.raises(SlamError, match="different numbers of coefficients"):
        slamjax.read([path, as_fits(labelled(3, 0.01), tmp_path / "more.fits")])
    with pytest.raises(SlamError, match="has coefficients of XP spectra; read it without a survey"):
        slamjax.read(path, "gaia-xp")


def test_what_holds_no_coefficients_is_told(tmp_path):
    columns, _ = stars()
    del columns["rp_coefficient_errors"]
    as_text(columns, tmp_path / "less.csv")
    with pytest.raises(SlamError, match=r"less\.csv has no column rp_coefficient_errors"):
        slamjax.read_xp_coefficients(tmp_path / "less.csv")
    with pytest.raises(SlamError, match=r"less\.csv: the file has no column rp_coefficient_errors"):
        slamjax.read(tmp_path / "less.csv")
    columns, _ = stars()
    columns["bp_coefficient_correlations"] = columns["bp_coefficient_correlations"][:, :-1]
    with pytest.raises(SlamError, match="9 values, but 5 coefficients have 10"):
        slamjax.read_xp_coefficients(Table(columns))
