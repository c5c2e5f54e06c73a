"""Rank statistics and regions, on a linear model with normal prior and noise, whose posterior is known."""

from functools import cache

import numpy as np
import pytest
from scipy import stats

from slamjax.errors import SlamError
from slamjax.validation import SimulatedCalibration, rank_statistics, rank_test, scale_draws, tarp, thin_draws
from slamjax.validation.ranks import autocorrelation_time

NAMES = ("teff", "logg", "fe_h")
UNITS = np.array([300.0, 0.7, 0.3])


@cache
def linear_gaussian(n=500, n_draws=149, seed=11):
    """Labels from N(0, 1), spectra from their linear model, draws from the exact posterior."""
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(20, 3)) * [0.6, 0.4, 0.5]
    truth = rng.normal(size=(n, 3))
    flux = truth @ design.T + rng.normal(size=(n, 20))
    covariance = np.linalg.inv(design.T @ design + np.eye(3))
    middle = flux @ design @ covariance
    draws = middle[:, None] + rng.multivariate_normal(np.zeros(3), covariance, (n, n_draws))
    return truth * UNITS, draws * UNITS


def test_the_exact_posterior_passes():
    result = SimulatedCalibration.from_draws(*linear_gaussian(), NAMES)
    assert result.passes()
    assert np.all(result.ranks.p_bonferroni > 0.05)
    assert abs(result.regions.width) < 2.5
    assert np.all(np.abs(result.regions.coverage - result.regions.credibility) < 4 * result.regions.band + 1e-9)
    assert "uniform" in str(result)
    assert "NOT" not in str(result)


@pytest.mark.parametrize("factor", [1.2, 1 / 1.2])
def test_widths_wrong_by_a_fifth_fail(factor):
    """500 stars suffice, for ranks and for regions."""
    result = SimulatedCalibration.from_draws(*linear_gaussian(), NAMES).widened(factor)
    assert not result.ranks.passes()
    assert not result.regions.passes()
    assert np.sign(result.regions.width) == np.sign(1 - factor)
    assert str(result).count("NOT") == 2


def test_a_bias_fails():
    truth, draws = linear_gaussian()
    shifted = draws + 0.35 * draws.std(axis=1).mean(axis=0)
    assert not rank_test(truth, shifted, NAMES).passes()


def test_wrong_correlations_fail_in_regions_although_each_label_is_right():
    rng = np.random.default_rng(5)
    covariance = np.array([[1, 0.9], [0.9, 1]])
    middle = rng.normal(size=(1500, 2)) * 3
    truth = middle + rng.multivariate_normal(np.zeros(2), covariance, 1500)
    draws = middle[:, None] + rng.normal(size=(1500, 200, 2))
    assert rank_test(truth, draws, NAMES[:2]).passes()
    assert not tarp(truth, draws).passes()


def test_the_level_is_kept():
    """Of 200 right posteriors' tests at 5 % about 10 fail, not 0 and not 30."""
    rng = np.random.default_rng(0)
    ranks, regions = [], []
    for _ in range(200):
        truth, draws = rng.normal(size=(300, 2)), rng.normal(size=(300, 39, 2))
        ranks.append(rank_test(truth, draws, NAMES[:2]).passes(0.05))
        regions.append(tarp(truth, draws).passes(0.05))
    for passed in (ranks, regions):
        assert 2 <= np.sum(~np.array(passed)) <= 21


def test_ranks_are_counts_and_bins_may_hold_unequal_numbers_of_ranks():
    truth = np.array([[0.5], [2.5], [9.0]])
    draws = np.tile(np.arange(4.0)[None, :, None], (3, 1, 1))
    result = rank_test(truth, draws, ["a"], bins=2)
    assert result.ranks[:, 0].tolist() == [1, 3, 4]
    np.testing.assert_allclose(result.expected, [9 / 5, 6 / 5])  # ranks 0-2 and 3-4
    assert result.counts.tolist() == [[1, 2]]
    np.testing.assert_allclose(result.chi2, [(0.8**2) / 1.8 + 0.8**2 / 1.2])
    np.testing.assert_allclose(result.p, stats.chi2.sf(result.chi2, 1))


def test_ties_are_broken_evenly():
    """Draws heaped on a bound, and the truth with them."""
    ranks = rank_statistics(np.zeros((4000, 1)), np.zeros((4000, 9, 1)))
    assert stats.chisquare(np.bincount(ranks[:, 0], minlength=10)).pvalue > 0.01


def test_scaling_draws_keeps_their_mean():
    _, draws = linear_gaussian()
    wide = scale_draws(draws, 1.2)
    np.testing.assert_allclose(wide.mean(axis=1), draws.mean(axis=1), atol=1e-9)
    np.testing.assert_allclose(wide.std(axis=1), 1.2 * draws.std(axis=1))


def test_regions_do_not_depend_on_units():
    truth, draws = linear_gaussian()
    np.testing.assert_allclose(tarp(truth, draws).fractions, tarp(truth / UNITS, draws / UNITS).fractions)


def test_references_may_be_given():
    truth, draws = linear_gaussian()
    assert tarp(truth, draws, references=draws[:, 0]).passes()
    with pytest.raises(SlamError, match="give one point per star"):
        tarp(truth, draws, references=draws[:, 0, 0])


def chains_of(rho, n=40, n_chains=2, n_draws=2000):
    """Autoregressive chains, whose autocorrelation time is (1 + ρ) / (1 − ρ)."""
    rng = np.random.default_rng(1)
    out = np.zeros((n, n_chains, n_draws, 1))
    out[:, :, 0] = rng.normal(size=(n, n_chains, 1))
    for t in range(1, n_draws):
        out[:, :, t] = rho * out[:, :, t - 1] + np.sqrt(1 - rho**2) * rng.normal(size=(n, n_chains, 1))
    return out


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_the_autocorrelation_time_is_that_of_an_autoregressive_chain(rho):
    np.testing.assert_allclose(autocorrelation_time(chains_of(rho)).mean(), (1 + rho) / (1 - rho), rtol=0.1)


def test_thinned_draws_are_nearly_independent():
    chains = chains_of(0.8)
    thin = thin_draws(chains)
    assert 2 * 2000 // 15 < thin.shape[1] <= 2 * 2000 // 9
    assert autocorrelation_time(thin[:, None]).mean() < 1.6


def test_independent_and_constant_chains_are_not_thinned():
    chains = chains_of(0.0, n_draws=200)
    chains[3] = 1.0
    assert thin_draws(chains).shape == (40, 400, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t, d: rank_test(t, d, NAMES, bins=1), "bins is 1; give 2 to 150"),
        (
            lambda t, d: rank_test(t * np.nan, d, NAMES),
            "leaving such stars out would bias the ranks",
        ),
        (lambda t, d: tarp(t, d * np.inf), "leaving such stars out would bias the coverage"),
        (lambda t, d: tarp(t[:1], d[:1]), "1 stars are too few for coverage"),
        (lambda t, d: thin_draws(d), r"give \(stars, chains, draws, labels\)"),
    ],
)
def test_unusable_draws_are_refused(call, message):
    with pytest.raises(SlamError, match=message):
        call(*linear_gaussian())
