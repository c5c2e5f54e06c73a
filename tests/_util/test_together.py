"""Batches side by side give what they give one after the other."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import in_precision

from slamjax._util import together as module
from slamjax._util.jit import bound, compiled
from slamjax._util.together import cores, together


@compiled
def total(x, y):
    return jnp.sum(x) * y


@compiled
def lower(matrix):
    return jnp.linalg.cholesky(matrix)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_call_has_its_own_arguments_and_the_callers_precision(dtype, monkeypatch):
    monkeypatch.setattr(module, "cores", lambda: 3)
    with in_precision(dtype):
        calls = [(jnp.full(5, k, dtype), 2.0) for k in range(7)]
        found = together(total, calls)
        assert {each.dtype for each in found} == {np.dtype(dtype)}
        assert [float(each) for each in found] == [10.0 * k for k in range(7)]


def test_programs_with_lapack_calls_run_one_after_the_other(monkeypatch):
    monkeypatch.setattr(module, "cores", lambda: 2)
    monkeypatch.setattr(module, "_pool", lambda *_: pytest.fail("two Cholesky factors side by side may hang"))
    matrix = np.diag([4.0, 9.0]).astype(np.float32)
    assert bound(lower, matrix).calls_lapack
    assert not bound(total, matrix, 1.0).calls_lapack
    for each in together(lower, [(matrix,), (matrix,)]):
        np.testing.assert_allclose(each, np.diag([2.0, 3.0]))


@pytest.mark.parametrize(("text", "most"), [("1", 1), ("", 64), ("4,2", 64)])
def test_threads_are_limited_by_the_environment(text, most, monkeypatch):
    monkeypatch.delenv("PJRT_NPROC", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert cores() == most
