"""Splitting on a kernel matrix, and the relay of solvers, against libsvm at large C on flux with little noise."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics.pairwise import rbf_kernel

from slamjax.training.svr import relay
from slamjax.training.svr.dense_splitting import DenseSplitting
from slamjax.training.svr.dual import Duals
from slamjax.training.svr.relay import Relay
from slamjax.training.svr.shared_kernel import solve_columns
from slamjax.training.svr.smo import Smo
from tests.training.svr.test_dual import by_sklearn


def problem(C=100.0, epsilon=0.01, n=150, columns=8, noise=1e-3):
    """Smooth functions of four labels, nearly without noise."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 4)) / 3
    y = np.sin(rng.uniform(0.5, 1.5, (columns, 4)) @ x.T) + rng.normal(0, noise, (columns, n))
    return x, Duals(rbf_kernel(x, gamma=0.5), y, np.full(y.shape, C), np.full(columns, epsilon))


def improved(duals, tol=1e-5):
    zero = np.zeros_like(duals.y)
    return DenseSplitting(duals.kernel, 2).improve(duals, zero, -duals.y, duals.judge(zero, -duals.y), tol, 1)


@pytest.mark.parametrize("C", [1.0, 100.0])
def test_the_optimum_is_that_of_libsvm(C):
    x, duals = problem(C)
    beta = improved(duals)
    gradient = duals.gradient(beta)
    verdict = duals.judge(beta, gradient)
    best, intercept = by_sklearn(x, duals, tol=1e-6)
    least = duals.objective(best, duals.gradient(best))
    assert np.all(verdict.violation <= 1e-5)
    np.testing.assert_allclose(duals.objective(beta, gradient), least, rtol=1e-6)
    np.testing.assert_allclose(beta @ duals.kernel, best @ duals.kernel, atol=1e-3)
    np.testing.assert_allclose(verdict.intercept, intercept, atol=1e-4)
    # at bounds and at zero exactly
    assert np.mean((beta == 0) == (best == 0)) > 0.98
    assert np.mean((np.abs(beta) == duals.box) == (np.abs(best) == duals.box)) > 0.98
    assert np.any(beta == 0)
    assert np.any(np.abs(beta) == duals.box) or C > 1


def test_weights_and_left_out_stars_count():
    x, duals = problem(10.0, noise=0.01)
    rng = np.random.default_rng(1)
    box = duals.box * rng.lognormal(0, 1, len(x)) * rng.uniform(0.5, 2, duals.y.shape)
    box[:, ::7] = 0
    box[2, 1::5] = 0
    duals = dataclasses.replace(duals, box=box)
    beta = improved(duals, 1e-4)
    best, _ = by_sklearn(x, duals, tol=1e-6)
    assert np.all(beta[box == 0] == 0)
    assert np.all(duals.judge(beta, duals.gradient(beta)).violation <= 1e-4)
    least = duals.objective(best, duals.gradient(best))
    np.testing.assert_allclose(duals.objective(beta, duals.gradient(beta)), least, rtol=1e-5)


def test_columns_do_not_depend_on_each_other():
    _, duals = problem()
    np.testing.assert_allclose(improved(duals)[3:4], improved(duals[3:4]), atol=1e-6)


def test_columns_that_take_many_steps_are_handed_over(monkeypatch):
    """And columns that take few are not: their β are those of SMO alone."""
    seen = []
    original = DenseSplitting.improve
    monkeypatch.setattr(DenseSplitting, "improve", lambda *given: seen.append(len(given[1])) or original(*given))
    monkeypatch.setattr(relay, "_SOON", 0.02)
    _, hard = problem()
    easy = Duals(hard.kernel, hard.y[:4], np.full((4, 150), 0.01), np.full(4, 0.5))
    joined = Duals(hard.kernel, *(np.concatenate(parts) for parts in zip(
        (easy.y, easy.box, easy.epsilon), (hard.y, hard.box, hard.epsilon), strict=True)))  # fmt: skip
    beta, _, verdict = solve_columns(joined, Relay(hard.kernel, 1, 300_000), 1e-4)
    assert np.all(verdict.violation <= 1e-4)
    assert seen == [8]
    alone, _, _ = solve_columns(easy, Smo(hard.kernel, 1, 300_000), 1e-4)
    np.testing.assert_array_equal(beta[:4], alone)


def test_where_all_of_a_sample_takes_many_steps_all_columns_are_split_at_once(monkeypatch):
    steps = []
    original = Smo.improve
    monkeypatch.setattr(Smo, "improve", lambda *given: steps.append(len(given[2])) or original(*given))
    monkeypatch.setattr(relay, "_SOON", 0.02)
    x, hard = problem(columns=40)
    beta, _, verdict = solve_columns(hard, Relay(hard.kernel, 1, 300_000), 1e-4)
    assert steps == [16]
    assert np.all(verdict.violation <= 1e-4)
    best, _ = by_sklearn(x, hard, tol=1e-6)
    least = hard.objective(best, hard.gradient(best))
    np.testing.assert_allclose(hard.objective(beta, hard.gradient(beta)), least, rtol=1e-5)


def test_few_columns_and_many_stars_are_left_to_smo(monkeypatch):
    monkeypatch.setattr(relay, "_SOON", 0.01)
    monkeypatch.setattr(DenseSplitting, "improve", lambda *given: pytest.fail("eigenvectors would cost more"))
    _, duals = problem()
    assert np.all(solve_columns(duals[:2], Relay(duals.kernel, 1, 300_000), 1e-4)[2].violation <= 1e-4)
    monkeypatch.setattr(relay, "_MOST_STARS", 100)
    assert np.all(solve_columns(duals, Relay(duals.kernel, 1, 300_000), 1e-4)[2].violation <= 1e-4)


def test_columns_on_which_splitting_does_not_arrive_are_finished_by_smo(monkeypatch):
    monkeypatch.setattr(relay, "_SOON", 0.01)
    monkeypatch.setattr("slamjax.training.svr.dense_splitting._MOST_STEPS", 25)
    _, duals = problem()
    assert np.all(solve_columns(duals, Relay(duals.kernel, 1, 300_000), 1e-4)[2].violation <= 1e-4)


def test_columns_of_noisy_flux_are_left_to_smo(monkeypatch):
    """Most of their coefficients are at a bound."""
    monkeypatch.setattr(relay, "_SOON", 0.002)
    seen = []
    original = DenseSplitting.improve
    monkeypatch.setattr(DenseSplitting, "improve", lambda *given: seen.append(len(given[1])) or original(*given))
    for noise, handed in ((1.0, []), (1e-3, [8])):
        seen.clear()
        _, duals = problem(noise=noise, C=10.0)
        assert np.all(solve_columns(duals, Relay(duals.kernel, 1, 300_000), 1e-4)[2].violation <= 1e-4)
        assert seen == handed
