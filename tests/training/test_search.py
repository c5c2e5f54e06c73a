import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import loguniform
from sklearn.svm import SVR

from slamjax.errors import SlamError
from slamjax.spectra.spectra import Spectra
from slamjax.training.search import Candidate, make_folds, resolve_gamma, svr_candidates
from slamjax.training.specs import SVR as Spec
from slamjax.training.specs import SearchSpec


def values_of(found, name):
    return np.array([getattr(candidate, name) for candidate in found])


def candidates(x, C, epsilon, gamma, seed=0, **search):
    return svr_candidates(Spec(C=C, epsilon=epsilon, gamma=gamma), x, SearchSpec(**search), seed)


X = np.random.default_rng(0).normal(size=(40, 3)) * [1, 2, 0.5]

# --- combinations


def test_plain_numbers_are_one_candidate():
    assert candidates(X, 1, 0.1, 0.5) == (Candidate(C=1.0, epsilon=0.1, gamma=0.5),)


def test_a_grid_is_every_combination_once():
    found = candidates(X, [0.1, 1, 10], np.array([0.05, 0.1]), (0.1, 1))
    expected = {Candidate(*values) for values in itertools.product([0.1, 1.0, 10.0], [0.05, 0.1], [0.1, 1.0])}
    assert len(found) == 12
    assert set(found) == expected
    np.testing.assert_array_equal(np.unique(values_of(found, "C")), [0.1, 1, 10])


def test_equal_combinations_are_tried_once():
    assert len(candidates(X, [1, 1.0], 0.1, ["auto", 1 / 3])) == 1


@pytest.mark.parametrize("gamma", ["scale", "auto", 0.7])
def test_gamma_words_mean_what_scikit_learn_means(gamma):
    machine = SVR(gamma=gamma).fit(X, X[:, 0])
    assert resolve_gamma(gamma, X) == pytest.approx(machine._gamma, rel=1e-12)
    assert candidates(X, 1, 0.1, gamma)[0].gamma == pytest.approx(machine._gamma, rel=1e-12)


def test_random_draws_follow_their_distribution_and_are_reproducible():
    draw = {"C": loguniform(0.1, 10), "epsilon": [0.05, 0.1], "gamma": loguniform(0.01, 1)}
    found = candidates(X, **draw, kind="random", n_iter=30, seed=3)
    assert len(found) == 30
    assert 0.1 <= values_of(found, "C").min() < 1 < values_of(found, "C").max() <= 10
    assert set(values_of(found, "epsilon")) == {0.05, 0.1}
    assert candidates(X, **draw, kind="random", n_iter=30, seed=3) == found
    assert candidates(X, **draw, kind="random", n_iter=30, seed=4) != found


def test_random_draws_from_lists_do_not_repeat():
    grid = candidates(X, [1, 10], [0.1, 0.2], [0.1, 1])
    assert set(candidates(X, [1, 10], [0.1, 0.2], [0.1, 1], kind="random", n_iter=100)) == set(grid)
    assert len(candidates(X, [1, 10], [0.1, 0.2], [0.1, 1], kind="random", n_iter=5)) == 5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"C": 0}, "C is 0; give a number above 0"),
        ({"C": [1, -2]}, "C is -2; give a number above 0"),
        ({"C": np.nan}, "C is nan; give a finite number"),
        ({"C": np.inf}, "C is inf; give a finite number"),
        ({"C": "large"}, "C is 'large'; give a number"),
        ({"C": None}, "C is None; give a number"),
        ({"C": []}, "a list of hyper-parameters is empty"),
        ({"epsilon": -0.1}, "epsilon is -0.1; give 0 or more"),
        ({"epsilon": [0.1, np.nan]}, "epsilon is nan; give a finite number"),
        ({"gamma": 0}, "gamma is 0; give a number above 0"),
        ({"gamma": [1, -1]}, "gamma is -1; give a number above 0"),
        ({"gamma": np.nan}, "gamma is nan; give a finite number"),
        ({"gamma": "wide"}, "gamma is 'wide'; give a number above 0, 'scale' or 'auto'"),
        ({"gamma": loguniform(0.1, 1)}, "gamma is a distribution: a grid needs a list; use search='random'"),
        ({"kind": "bayes"}, "unknown search 'bayes'; choose one of grid, random, joint"),
        ({"kind": "random", "n_iter": 0}, "n_iter is 0; a random search draws at least one"),
    ],
)
def test_impossible_values_are_refused(values, message):
    with pytest.raises(SlamError, match=message):
        candidates(X, **{"C": 1, "epsilon": 0.1, "gamma": 1, **values})


def test_epsilon_may_be_zero():
    assert candidates(X, 1, 0, 1)[0].epsilon == 0


# --- folds


@given(st.lists(st.integers(0, 30), min_size=8, max_size=60), st.integers(2, 5), st.integers(0, 99))
def test_repeat_spectra_of_a_star_share_a_fold(stars, n_folds, seed):
    groups = np.unique(stars, return_inverse=True)[1]
    if groups.max() + 1 < n_folds:
        with pytest.raises(SlamError, match="cannot make"):
            make_folds(groups, n_folds, seed)
        return
    fold = make_folds(groups, n_folds, seed)
    assert set(fold) == set(range(n_folds))  # none empty
    for star in np.unique(groups):
        assert len(set(fold[groups == star])) == 1


def test_folds_from_a_table_with_repeats():
    ids = np.arange(100)
    ids[::20] = 7
    spectra = Spectra(np.array([1.0, 2.0]), np.ones((100, 2)), table={"source_id": 10**18 + ids}, wave_unit="nm")
    fold = make_folds(spectra.star_groups(), 5, seed=0)
    assert len(set(fold[ids == 7])) == 1
    assert (ids == 7).sum() > 1


@pytest.mark.parametrize("repeats", [False, True])
def test_folds_are_even_shuffled_and_reproducible(repeats):
    """Tables are often sorted by S/N: unshuffled folds would hold out one kind of star each."""
    groups = np.repeat(np.arange(100), 2) if repeats else np.arange(200)
    fold = make_folds(groups, 5, seed=1)
    np.testing.assert_array_equal(np.bincount(fold), 40)
    np.testing.assert_array_equal(make_folds(groups, 5, seed=1), fold)
    assert np.mean(make_folds(groups, 5, seed=2) == fold) < 0.5
    first_half = np.bincount(fold[:100], minlength=5)
    assert first_half.min() > 8
    # neither runs of neighbours nor a fixed cycle: the fold of a star does not tell that of the next
    stars = fold[:: 2 if repeats else 1]
    for lag in (1, 5, 10):
        assert np.mean(stars[lag:] == stars[:-lag]) < 0.4


def test_as_many_folds_as_stars_leave_one_out():
    assert sorted(make_folds(np.arange(6), 6, seed=0)) == list(range(6))


def test_fewer_stars_than_folds_is_refused():
    with pytest.raises(SlamError, match="3 training stars cannot make 5 folds; give more stars or fewer folds"):
        make_folds(np.arange(3), 5, seed=0)
    with pytest.raises(SlamError, match="2 training stars cannot make 3 folds"):  # four spectra, but of two stars
        make_folds(np.array([0, 0, 1, 1]), 3, seed=0)


@pytest.mark.parametrize("n_folds", [1, 0, -2])
def test_a_single_fold_is_refused(n_folds):
    with pytest.raises(SlamError, match=f"folds is {n_folds}; give at least 2"):
        make_folds(np.arange(10), n_folds, seed=0)
