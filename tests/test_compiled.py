import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from slamjax.compiled import compiled

SIDE_BY_SIDE = """
import jax, jax.numpy as jnp, numpy as np
from slamjax.compiled import compiled
rng = np.random.default_rng(0)
factors = rng.normal(size=(128, 100, 120)).astype(np.float32)
positive = jnp.asarray(factors @ factors.transpose(0, 2, 1) / 120 + np.eye(100, dtype=np.float32))

@compiled
def all_at_once(matrix):
    lower = jax.scipy.linalg.solve_triangular(matrix, matrix[:, :, :8], lower=True)
    return jnp.linalg.cholesky(matrix), lower, jnp.linalg.eigh(matrix[:, :4, :4]), jnp.linalg.qr(matrix[:, :, :40])

for _ in range(20):
    jax.block_until_ready(all_at_once(positive))
print("done")
"""


def test_lapack_calls_side_by_side_come_to_an_end():
    """They wait for each other for ever with jaxlib's own order, on two cores."""
    done = subprocess.run(
        [sys.executable, "-c", SIDE_BY_SIDE], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip() == "done", done.stderr


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
