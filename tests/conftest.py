"""Settings that every test file shares."""

import pytest
from helpers import in_precision
from hypothesis import settings

# shared machines are slow now and then: no deadline; the same examples every time
settings.register_profile("slamjax", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("slamjax")


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Runs a test once in each precision, with JAX set to it."""
    with in_precision(request.param):
        yield request.param
