import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVR

from slamjax.training.svr.dual import Duals


def problem(seed=0, n=60, columns=3, C=2.0, epsilon=0.1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    y = np.sin(x[:, 0] * np.arange(1, columns + 1)[:, None]) + rng.normal(0, 0.2, (columns, n))
    box = C * rng.uniform(0.5, 1.5, (columns, n))
    return x, Duals(rbf_kernel(x, gamma=0.5), y, box, np.full(columns, epsilon))


def by_sklearn(x, duals, tol=1e-8):
    beta, intercept = np.zeros_like(duals.y), np.zeros(len(duals))
    for k in range(len(duals)):
        used = duals.box[k] > 0
        machine = SVR(C=1.0, epsilon=duals.epsilon[k], gamma=0.5, tol=tol)
        machine.fit(x[used], duals.y[k, used], sample_weight=duals.box[k, used])
        beta[k, np.flatnonzero(used)[machine.support_]] = machine.dual_coef_[0]
        intercept[k] = machine.intercept_[0]
    return beta, intercept


def test_what_libsvm_finds_is_judged_optimal_with_its_own_intercept():
    x, duals = problem()
    beta, intercept = by_sklearn(x, duals)
    verdict = duals.judge(beta, duals.gradient(beta))
    assert np.all(verdict.violation < 1e-6)
    assert np.all(np.abs(verdict.gap) < 1e-5 * np.abs(verdict.objective))
    np.testing.assert_allclose(verdict.intercept, intercept, atol=1e-6)


def test_the_gap_bounds_how_far_the_objective_is_from_its_least():
    x, duals = problem()
    best, _ = by_sklearn(x, duals)
    least = duals.objective(best, duals.gradient(best))
    rng = np.random.default_rng(1)
    for size in (1e-3, 1e-1, 1.0):
        beta = duals.feasible(best + size * rng.normal(size=best.shape))
        verdict = duals.judge(beta, duals.gradient(beta))
        assert np.all(verdict.violation > 0)
        assert np.all(verdict.objective - least <= verdict.gap + 1e-9)
        assert np.all(verdict.objective > least)


def test_gradient_is_the_slope_of_the_smooth_part():
    _, duals = problem(columns=1)
    beta = np.random.default_rng(2).normal(size=duals.y.shape)
    gradient, step = duals.gradient(beta), 1e-6
    for star in (0, 7):
        move = np.zeros_like(beta)
        move[0, star] = step
        ahead, behind = (duals.objective(b, duals.gradient(b)) for b in (beta + move, beta - move))
        slope = (ahead - behind) / (2 * step) - duals.epsilon * np.sign(beta[0, star])
        assert slope[0] == pytest.approx(gradient[0, star], rel=1e-6)


@given(st.integers(0, 1000), st.floats(1e-8, 10.0))
def test_any_coefficients_become_feasible_and_zeros_and_bounds_stay(seed, scale):
    rng = np.random.default_rng(seed)
    _, duals = problem(seed % 7)
    duals.box[:, :5] = 0
    beta = np.clip(scale * rng.normal(size=duals.y.shape), -duals.box, duals.box)
    beta[rng.random(beta.shape) < 0.3] = 0
    done = duals.feasible(beta)
    assert np.all(np.abs(done) <= duals.box)
    assert np.all(np.abs(done.sum(axis=1)) <= 1e-12 * duals.box.sum(axis=1))
    free = (beta != 0) & (np.abs(beta) < duals.box)
    room = np.where(free, duals.box - np.abs(beta), 0).sum(axis=1)
    enough = np.abs(beta.sum(axis=1)) < 1e-3 * room
    np.testing.assert_array_equal(done[enough][~free[enough]], beta[enough][~free[enough]])


def test_a_column_without_stars_is_solved():
    _, duals = problem(columns=1)
    duals.box[:] = 0
    verdict = duals.judge(0 * duals.y, -duals.y)
    assert verdict.violation == 0
    assert verdict.intercept == 0
