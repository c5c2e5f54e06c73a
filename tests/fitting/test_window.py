"""Places of spectra, and the sizes of batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slamjax.fitting.window import Window, aligned_zeros


@pytest.fixture
def accelerator(monkeypatch):
    """What a GPU would have, on this CPU."""
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")


def check_places():
    spectra = np.arange(300.0, dtype=np.float32).reshape(100, 3)
    window = Window((spectra, None), 40)
    first = window.enter((spectra[:30], None))
    window.leave(first[5:25])
    second = window.enter((spectra[50:75], None))
    held = np.asarray(window.stars[0])
    np.testing.assert_array_equal(held[first[:5]], spectra[:5])
    np.testing.assert_array_equal(held[first[25:]], spectra[25:30])
    np.testing.assert_array_equal(held[second], spectra[50:75])
    return window


def test_a_place_holds_the_spectrum_that_entered_it():
    window = check_places()
    assert (window.sizes, window.block) == ([48], 16)


def test_a_place_on_an_accelerator_holds_the_spectrum_that_entered_it(accelerator):
    window = check_places()
    assert (window.sizes, window.block) == ([40, 5, 1], 0)
    assert isinstance(window.stars[0], jax.Array)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [16]), (16, [16]), (40, [16, 16, 16]), (70, [128]), (300, [128, 128, 16, 16, 16])],
)
def test_batches_have_few_empty_places(count, expected, accelerator):
    batches = Window(np.zeros((1, 1)), 1024).split(count)
    assert [size for _, size in batches] == expected
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in batches]), np.arange(count))


def test_aligned_arrays_begin_where_compiled_functions_read_them():
    rows = aligned_zeros((5, 7), np.float32)
    assert rows.ctypes.data % 64 == 0
    assert rows.shape == (5, 7)
    rows[2] = 3
    assert jnp.sum(rows) == 21
