"""Blocks of one shape give the rows that one call gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slamjax._util.batching import map_blocks, map_padded, power_of_two_above, power_of_two_below


@pytest.mark.parametrize(("n", "size", "least", "shapes"), [
    (7, 3, None, [3, 3, 3]),
    (6, 3, None, [3, 3]),
    (2, 8, None, [8]),
    (7, 4, 1, [4, 4]),
    (5, 4, 1, [4, 1]),
    (5, 4, 2, [4, 2]),
])  # fmt: skip
def test_rows_are_those_of_one_call_and_blocks_are_filled_up(n, size, least, shapes):
    x, seen = np.arange(2.0 * n, dtype=np.float32).reshape(n, 2), []

    def function(block, pair):
        seen.append(len(block))
        return {"sum": block.sum(axis=1), "pair": pair[0] + 1}

    out = map_padded(function, (x, (x[:, 0], x[:, 1])), size, least)
    np.testing.assert_array_equal(out["sum"], x.sum(axis=1))
    np.testing.assert_array_equal(out["pair"], x[:, 0] + 1)
    assert seen == shapes


@pytest.mark.parametrize(("count", "computed"), [(0, 0), (1, 4), (4, 4), (7, 8), (10, 10)])
def test_blocks_behind_the_rows_that_matter_are_not_computed(count, computed):
    x = np.arange(1.0, 11, dtype=np.float32)

    def function(rows):
        return {"whole": rows + jnp.sum(rows), "square": jnp.square(rows)}

    out = jax.jit(lambda x, count: map_blocks(function, x, 4, count))(x, count)
    np.testing.assert_array_equal(out["square"], np.where(np.arange(10) < computed, x**2, 0))
    sums = np.repeat(np.add.reduceat(x, [0, 4, 8]), 4)[:10]
    np.testing.assert_array_equal(out["whole"], np.where(np.arange(10) < computed, x + sums, 0))


def test_powers_of_two():
    assert [power_of_two_below(n) for n in (1, 2, 3, 4, 1023, 1024)] == [1, 2, 2, 4, 512, 1024]
    assert [power_of_two_above(n) for n in (1, 2, 3, 4, 1023, 1025)] == [1, 2, 4, 4, 1024, 2048]
