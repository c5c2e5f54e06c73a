"""The batched solver against libsvm: the same dual, the same optimum."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics.pairwise import rbf_kernel

from slamjax.errors import SlamError
from slamjax.training.search import Candidate
from slamjax.training.svr import shared_kernel
from slamjax.training.svr.pixel import SvrSettings
from slamjax.training.svr.shared_kernel import SharedKernel, chosen_solver, solve_columns
from slamjax.training.svr.smo import Smo
from tests.training.svr.test_dual import by_sklearn, problem

SETTINGS = SvrSettings("rbf", 3, 0.0, 1e-3, -1, min_stars=10, solver="batched")


def smo(kernel):
    return Smo(kernel, n_jobs=2, max_iter=100_000)


@pytest.mark.parametrize("C", [0.1, 10.0])
def test_the_solver_finds_the_optimum_that_libsvm_finds(C):
    x, duals = problem(n=150, columns=12, C=C)
    duals.box[:, ::7] = 0  # stars that columns leave out
    beta, gradient, verdict = solve_columns(duals, smo(duals.kernel), 1e-4)
    best, intercept = by_sklearn(x, duals, tol=1e-6)
    least = duals.objective(best, duals.gradient(best))
    assert np.all(verdict.violation <= 1e-4)
    assert np.all(np.abs(beta) <= duals.box)
    np.testing.assert_allclose(beta.sum(axis=1), 0, atol=1e-11 * C)
    np.testing.assert_allclose(duals.objective(beta, gradient), least, rtol=1e-6)
    np.testing.assert_allclose(beta @ duals.kernel, best @ duals.kernel, atol=2e-3)
    np.testing.assert_allclose(verdict.intercept, intercept, atol=1e-3)
    # at bounds and at zero exactly, not nearly, and nearly everywhere where libsvm has them
    assert np.mean((beta == 0) == (best == 0)) > 0.98
    assert np.mean((np.abs(beta) == duals.box) == (np.abs(best) == duals.box)) > 0.98


def test_float32_steps_reach_a_tolerance_below_their_rounding_errors():
    _, duals = problem(n=300, columns=4, C=100.0)
    found = smo(duals.kernel).improve(duals, 0 * duals.y, -duals.y, duals.judge(0 * duals.y, -duals.y), 1e-6, 0)
    first = duals.feasible(found)
    once = duals.judge(first, duals.gradient(first)).violation
    assert once.max() > 1e-6, "float32 alone would do, and the test shows nothing"
    _, _, verdict = solve_columns(duals, smo(duals.kernel), 1e-6)
    assert np.all(verdict.violation <= np.maximum(1e-6, once / 5))


def test_compact_copies_lead_to_the_same_optimum():
    """Enough stars that most are at a bound, and are left out of the copies."""
    rng = np.random.default_rng(0)
    _, few = problem(n=60)
    x = rng.normal(size=(900, 2))
    y = np.sin(x[:, 0]) + rng.normal(0, 1, (2, 900))
    duals = dataclasses.replace(
        few, kernel=rbf_kernel(x, gamma=0.5), y=y, box=np.full(y.shape, 3.0), epsilon=np.full(2, 0.05)
    )
    beta, gradient, verdict = solve_columns(duals, smo(duals.kernel), 1e-3)
    assert np.mean(np.abs(beta) == 3.0) > 0.8
    best, _ = by_sklearn(x, duals, tol=1e-6)
    assert np.all(verdict.violation <= 1e-3)
    np.testing.assert_allclose(duals.objective(beta, gradient), duals.objective(best, duals.gradient(best)), rtol=1e-6)


def test_each_column_has_its_own_epsilon():
    x, duals = problem(n=80, columns=4)
    duals.epsilon[:] = [0.0, 0.05, 0.2, 5.0]
    beta, _, verdict = solve_columns(duals, smo(duals.kernel), 1e-4)
    best, _ = by_sklearn(x, duals, tol=1e-6)
    np.testing.assert_allclose(beta @ duals.kernel, best @ duals.kernel, atol=2e-3)
    assert np.all(beta[3] == 0), "everything within epsilon needs no support vector"
    assert np.all(verdict.violation <= 1e-4)


def test_unfinished_columns_are_solved_by_scikit_learn_and_counted(monkeypatch):
    class Lazy:
        def improve(self, duals, beta, gradient, verdict, tol, sweep):
            found = smo(duals.kernel).improve(duals, beta, gradient, verdict, tol, sweep)
            found[::2] = beta[::2]  # every other column stays where it was
            return found

    monkeypatch.setattr(shared_kernel, "make_solver", lambda *_: Lazy())
    x, duals = problem(n=80, columns=1)
    y = np.concatenate([duals.y] * 3)
    shared = SharedKernel(x, np.ones(80, bool), duals.kernel, SETTINGS, 1)
    solution = shared.solve(y, np.ones_like(y), Candidate(2.0, 0.1, 0.5), 1e-3)
    assert 1 <= solution.report.by_sklearn <= 2
    assert solution.report.columns == 3
    assert solution.report.violation <= 1e-3
    assert not solution.exhausted.any()
    np.testing.assert_allclose(solution.beta @ duals.kernel, (solution.beta @ duals.kernel)[[0] * 3], atol=5e-3)


def test_an_iteration_limit_is_kept_and_reported():
    x, duals = problem(n=80, columns=2)
    shared = SharedKernel(x, np.ones(80, bool), duals.kernel, dataclasses.replace(SETTINGS, max_iter=3), 1)
    solution = shared.solve(duals.y, np.ones_like(duals.y), Candidate(2.0, 0.1, 0.5), 1e-3)
    assert solution.exhausted.all()
    assert solution.report.by_sklearn == 0


def test_auto_takes_the_batched_solver_where_it_is_compiled_and_worth_it(monkeypatch):
    assert chosen_solver("auto", "rbf", 1000, 1000) == "batched"
    assert chosen_solver("auto", "rbf", 10, 100) == "sklearn"
    assert chosen_solver("batched", "rbf", 10, 100) == "batched"
    assert chosen_solver("batched", "sigmoid", 10, 100) == "sklearn"
    monkeypatch.setattr(shared_kernel, "compiled_here", lambda: False)
    assert chosen_solver("auto", "rbf", 1000, 1000) == "sklearn"
    assert chosen_solver("sklearn", "rbf", 1000, 1000) == "sklearn"
    with pytest.raises(SlamError, match=r"needs numba; install it by: pip install \"slamjax\[fast\]\""):
        chosen_solver("batched", "rbf", 10, 100)
