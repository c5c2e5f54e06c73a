"""Pulls, coverage and PIT of posteriors that are correct by construction, and by hand arithmetic."""

import dataclasses
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable
from scipy import stats

from slamjax.errors import SlamError
from slamjax.validation import calibration_table, compare_draws, compare_fit, compare_posterior, format_calibration

NAMES = ("teff", "logg")
COVARIANCE = np.array([[2500.0, 6.0], [6.0, 0.04]])


def honest_fits(n=4000, seed=3, stretch=1.0, extra=(0.0, 0.0)):
    """Fits whose error is N(0, C), as stated but for ``stretch``; known labels with errors ``extra`` of their own."""
    rng = np.random.default_rng(seed)
    known = np.stack([rng.normal(4500, 300, n), rng.normal(2, 0.5, n)], -1)
    fitted = known + rng.multivariate_normal(np.zeros(2), COVARIANCE, n) + rng.normal(size=(n, 2)) * extra
    table = QTable()
    for k, (name, unit) in enumerate(zip(NAMES, (u.K, 1), strict=True)):
        table[name] = fitted[:, k] * unit
        table[f"{name}_err"] = np.full(n, stretch * np.sqrt(COVARIANCE[k, k])) * unit
        table[f"{name}_ref"] = known[:, k] * unit
    table["chi2"] = stats.chi2.rvs(98, size=n, random_state=seed)
    table["n_pix"] = 100
    table["flags"] = np.where(rng.random(n) < 0.2, 8, 0)
    table["cov"] = np.broadcast_to(stretch**2 * COVARIANCE, (n, 2, 2))
    return table, known


def honest_draws(n=3000, n_draws=200, seed=4):
    """Draws about a mean that is itself off the truth by one more draw: truth and draws are exchangeable."""
    rng = np.random.default_rng(seed)
    truth = np.stack([rng.normal(4500, 300, n), rng.normal(2, 0.5, n)], -1)
    middle = truth + rng.multivariate_normal(np.zeros(2), COVARIANCE, n)
    return truth, middle[:, None] + rng.multivariate_normal(np.zeros(2), COVARIANCE, (n, n_draws))


class Sampled(SimpleNamespace):
    """As much of a `slamjax.Posterior` as is looked at."""

    def __len__(self):
        return self.labels.shape[2]


def row_of(table, label, low=np.nan):
    return next(row for row in table if row["label"] == label and (row["low"] == low or np.isnan(low)))


def test_honest_errors_have_nominal_coverage():
    for comparison in (compare_fit(honest_fits()[0], NAMES), compare_draws(*honest_draws(), NAMES)):
        for name in (*NAMES, "jointly"):
            row = row_of(calibration_table(comparison), name)
            for level in (50, 68, 90, 95):
                assert abs(row[f"cover{level}"] - level / 100) < 4 * row[f"cover{level}_err"]
            assert abs(row["pull_width"] - 1) < 0.06
            assert abs(row["pull_sd"] - 1) < 0.06
        for pit in comparison.pit.T:
            assert stats.kstest(pit, "uniform").pvalue > 0.01


def test_heavy_tails_are_covered_by_the_95_percent_interval():
    """Student-t pulls of 3 degrees of freedom: the table's 95 % interval makes coverage right, 1.96 errors do not."""
    table, _ = honest_fits(8000)
    rng = np.random.default_rng(5)
    one_error, half = stats.t.ppf([stats.norm.cdf(1), 0.975], 3)
    for name in NAMES:
        table[f"{name}_ref"] = table[name] - rng.standard_t(3, len(table)) / one_error * table[f"{name}_err"]
    narrow = calibration_table(compare_fit(table, NAMES))
    for name in NAMES:
        table[f"{name}_err95"] = half / one_error * table[f"{name}_err"]
    wide = calibration_table(compare_fit(table, NAMES))
    for name in NAMES:
        assert row_of(narrow, name)["cover95"] < 0.91
        assert row_of(wide, name)["cover95"] == pytest.approx(0.95, abs=0.01)
        assert row_of(wide, name)["cover68"] == row_of(narrow, name)["cover68"]


def test_intervals_of_the_table_are_what_coverage_counts():
    """Errors too wide by half, and intervals that say so."""
    table, _ = honest_fits(8000, stretch=1.5)
    for name in NAMES:
        table[f"{name}_err68"] = 0.994458 / 1.5 * table[f"{name}_err"]
        table[f"{name}_err95"] = 1.959964 / 1.5 * table[f"{name}_err"]
    right = calibration_table(compare_fit(table, NAMES))
    for name in NAMES:
        for level in (50, 68, 90, 95):
            assert row_of(right, name)[f"cover{level}"] == pytest.approx(level / 100, abs=0.015)


@pytest.mark.parametrize("stretch", [0.8, 1.25])
def test_wrong_errors_show_in_pulls_and_coverage(stretch):
    table = calibration_table(compare_fit(honest_fits(stretch=stretch)[0], NAMES))
    for name in (*NAMES, "jointly"):
        row = row_of(table, name)
        np.testing.assert_allclose([row["pull_width"], row["pull_sd"]], 1 / stretch, rtol=0.06)
        expected = 2 * stats.norm.cdf(stretch * stats.norm.ppf(0.84)) - 1
        if name != "jointly":
            assert abs(row["cover68"] - expected) < 4 * row["cover68_err"]
        assert (row["cover68"] - 0.68) * (stretch - 1) > 4 * row["cover68_err"] * abs(stretch - 1)


def test_statistics_agree_with_those_by_hand():
    table, known = honest_fits(301)
    values = np.linspace(0, 1, 301)
    result = calibration_table(compare_fit(table, NAMES), values, [0, 0.3, 1.1])
    assert list(result["label"]) == [*NAMES, "jointly"] * 3
    for low, chosen in ((0.0, values < 0.3), (0.3, values >= 0.3)):
        row = row_of(result, "logg", low)
        difference = (table["logg"].value - known[:, 1])[chosen]
        pull = difference / 0.2
        scatter = 1 / stats.norm.ppf(0.75) * np.median(np.abs(difference - np.median(difference)))
        assert row["n"] == chosen.sum()
        assert row["flagged"] == np.sum(table["flags"][chosen] != 0)
        np.testing.assert_allclose(row["bias"], np.median(difference))
        np.testing.assert_allclose(row["bias_err"], np.sqrt(np.pi / 2) * scatter / np.sqrt(chosen.sum()))
        np.testing.assert_allclose(row["bias_scatter"], row["bias"] / scatter)
        np.testing.assert_allclose(row["pull_width"], scatter / 0.2)
        np.testing.assert_allclose(row["pull_sd"], np.std(pull))
        np.testing.assert_allclose(row["cover90"], np.mean(np.abs(pull) < stats.norm.ppf(0.95)))
        np.testing.assert_allclose(row["cover90_err"], np.sqrt(0.9 * 0.1 / chosen.sum()))
        np.testing.assert_allclose(row["chi2_dof"], np.median(table["chi2"][chosen] / 98))
        distance = np.array([d @ np.linalg.inv(COVARIANCE) @ d for d in compare_fit(table, NAMES).difference])
        joint = row_of(result, "jointly", low)
        np.testing.assert_allclose(joint["cover68"], np.mean(distance[chosen] < stats.chi2.ppf(0.68, 2)))
        np.testing.assert_allclose(joint["pull_sd"], np.sqrt(np.mean(distance[chosen]) / 2))


def test_flagged_stars_are_left_out_on_request():
    table, _ = honest_fits(200)
    row = row_of(calibration_table(compare_fit(table, NAMES), good_only=True), "teff")
    assert (row["n"], row["flagged"]) == (np.sum(table["flags"] == 0), 0)


def test_a_label_without_a_finite_error_does_not_count_in_pulls():
    """Its interval would cover anything."""
    table, _ = honest_fits(100)
    table["teff_err"][:10] = np.inf * u.K
    table["cov"][:10] = np.nan
    table["logg"][10:15] = np.nan  # failed fits
    comparison = compare_fit(table, NAMES)
    assert np.sum(np.isfinite(comparison.pull[:, 0])) == 90
    assert np.sum(np.isfinite(comparison.distance)) == 85
    result = calibration_table(comparison)
    assert [row_of(result, name)["n"] for name in (*NAMES, "jointly")] == [100, 95, 95]
    np.testing.assert_allclose(row_of(result, "teff")["cover50_err"], 0.5 / np.sqrt(90))


def test_statistics_of_no_star_are_nan():
    table, _ = honest_fits(20)
    table["teff_ref"] = np.nan * u.K
    row = row_of(calibration_table(compare_fit(table, NAMES)), "teff")
    assert row["n"] == 0
    assert all(np.isnan(row[name]) for name in ("bias", "bias_err", "pull_width", "cover68", "chi2_dof"))
    text = format_calibration(calibration_table(compare_fit(table, NAMES)), "snr")
    assert "nan" not in text


def test_an_empty_bin_is_nan_without_a_warning():
    table, _ = honest_fits(20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = calibration_table(compare_fit(table, NAMES), np.full(20, 5.0), [0, 1, 10])
    empty = rows[(rows["label"] == "teff") & (rows["high"] == 1)][0]
    assert empty["n"] == 0
    assert np.isnan(empty["pull_width"])
    assert np.isnan(empty["bias_scatter"])


def test_errors_of_another_catalogue_are_added_in_quadrature():
    extra = np.array([60.0, 0.3])
    table, _ = honest_fits(extra=extra)
    without = row_of(calibration_table(compare_fit(table, NAMES)), "teff")
    assert without["cover68"] < 0.55
    comparison = compare_fit(table, NAMES, reference_errors=np.broadcast_to(extra, (len(table), 2)))
    result = calibration_table(comparison)
    for name in (*NAMES, "jointly"):
        assert abs(row_of(result, name)["cover68"] - 0.68) < 4 * without["cover68_err"]
    unknown = np.broadcast_to(extra, (len(table), 2)).copy()
    unknown[:7, 1] = np.nan
    assert np.sum(np.isfinite(compare_fit(table, NAMES, reference_errors=unknown).pull[:, 1])) == len(table) - 7


def test_draws_are_smoothed_by_the_errors_of_the_known_labels():
    truth, draws = honest_draws(2000)
    rng = np.random.default_rng(8)
    errors = np.broadcast_to([80.0, 0.0], truth.shape)
    known = truth + errors * rng.normal(size=truth.shape)
    comparison = compare_draws(known, draws, NAMES, reference_errors=errors)
    for pit in comparison.pit.T:
        assert stats.kstest(pit, "uniform").pvalue > 0.01
    assert stats.kstest(compare_draws(known, draws, NAMES).pit[:, 0], "uniform").pvalue < 1e-6


def test_draws_agree_with_the_gaussian_posterior_they_come_from():
    truth, draws = honest_draws(50, 20000)
    table = QTable({f"{name}_ref": truth[:, k] for k, name in enumerate(NAMES)})
    for k, name in enumerate(NAMES):
        table[name], table[f"{name}_err"] = draws.mean(axis=1)[:, k], draws.std(axis=1)[:, k]
    table["flags"], table["cov"] = 0, np.stack([np.cov(one.T) for one in draws])
    by_fit, by_draws = compare_fit(table, NAMES), compare_draws(truth, draws, NAMES)
    np.testing.assert_allclose(by_draws.pull, by_fit.pull, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(by_draws.pit, by_fit.pit, atol=0.02)
    np.testing.assert_allclose(by_draws.distance, by_fit.distance, rtol=1e-3)


def test_a_posterior_is_compared_with_its_known_labels():
    """One star was not sampled: its draws are NaN."""
    truth, draws = honest_draws(40, 60)
    draws[5] = np.nan
    posterior = Sampled(
        label_names=NAMES,
        labels=np.moveaxis(draws.reshape(40, 2, 30, 2), 0, 2),
        flags=np.arange(40) % 2,
        stars={"teff_ref": truth[:, 0], "logg_ref": truth[:, 1], "chi2": np.full(40, 49.0), "n_pix": np.full(40, 100)},
    )
    comparison = compare_posterior(posterior)
    expected = compare_draws(truth, draws, NAMES)
    np.testing.assert_array_equal(comparison.pit, expected.pit)
    np.testing.assert_allclose(comparison.pull, expected.pull)
    assert np.all(np.isnan(comparison.pit[5]))
    assert np.all(comparison.chi2_dof == 0.5)
    assert row_of(calibration_table(comparison), "teff")["n"] == 39
    del posterior.stars["logg_ref"]
    with pytest.raises(SlamError, match="the posterior has no logg_ref to compare with"):
        compare_posterior(posterior)


def test_calibration_does_not_depend_on_units():
    truth, draws = honest_draws(100)
    here = calibration_table(compare_draws(truth, draws, NAMES))
    there = calibration_table(compare_draws(truth * [1e-3, 50], draws * [1e-3, 50], NAMES))
    for name in here.colnames[4:]:
        if name not in ("bias", "bias_err"):
            np.testing.assert_allclose(here[name], there[name], rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: compare_fit(t["teff", "teff_err", "flags"], ["teff"]), "no teff_ref to compare with"),
        (lambda t: compare_fit(t, NAMES, reference_errors=np.ones((3, 2))), r"shape \(3, 2\); give one per star"),
        (lambda t: compare_fit(t, NAMES, reference_errors=-np.ones((9, 2))), "has negative values"),
        (lambda t: compare_draws(np.ones((9, 2)), np.ones((9, 2)), NAMES), r"give \(stars, labels\) and"),
    ],
)
def test_unusable_comparisons_are_refused(call, message):
    with pytest.raises(SlamError, match=message):
        call(honest_fits(9)[0])


def test_a_comparison_is_plain_data():
    comparison = compare_fit(honest_fits(9)[0], NAMES)
    assert len(comparison) == 9
    with pytest.raises(dataclasses.FrozenInstanceError):
        comparison.pull = None
