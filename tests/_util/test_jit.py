import jax
import jax.numpy as jnp
import numpy as np

from slamjax._util.jit import _options, compiled


def test_this_xla_knows_the_scheduling_option():
    """Without it batches are compiled as by jax.jit, and may hang on few cores: look for another remedy then."""
    assert _options() is not None


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
