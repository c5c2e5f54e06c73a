import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slamjax._util import jit
from slamjax._util.jit import _options, compiled


def test_this_xla_knows_the_options():
    """Without the first batches are compiled as by jax.jit, and may hang on few cores: look for another remedy then.

    Without the second, labels depend on the number of cores in their last digits.
    """
    assert _options(False) == jit._IN_ORDER
    assert _options(True) == jit._IN_ORDER | jit._ONE_THREAD


def test_compiled_once_and_usable_inside_other_transformations():
    traced = []

    @compiled
    def square(x):
        traced.append(None)
        return x * x

    for _ in range(2):
        np.testing.assert_array_equal(square(jnp.arange(3.0)), [0, 1, 4])
    assert len(traced) == 1
    np.testing.assert_array_equal(jax.jit(jax.vmap(square))(jnp.arange(3.0)), [0, 1, 4])
    np.testing.assert_array_equal(jax.vmap(jax.grad(square))(jnp.arange(3.0)), [0, 2, 4])


@pytest.mark.skipif(not jit._MAPS.exists(), reason="memory maps are Linux's")
def test_memory_maps_stay_flat_however_many_shapes_are_compiled(monkeypatch):
    @compiled
    def product(x):
        return jnp.sin(x @ x.T).sum()

    def maps():
        return jit._MAPS.read_bytes().count(b"\n")

    jax.clear_caches()
    most = maps() + 100
    monkeypatch.setattr(jit, "MOST_MAPS", most)
    largest = 0
    for n in range(3, 63):
        product(np.ones((n, n), np.float32))
        largest = max(largest, maps())
    assert largest < most + 60
    np.testing.assert_allclose(product(np.ones((3, 3), np.float32)), 9 * np.sin(3), rtol=1e-6)
