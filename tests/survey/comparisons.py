"""When two label tables are the same."""

import numpy as np


def assert_same(found, expected):
    """The same columns, units and numbers."""
    assert found.colnames == expected.colnames
    for name in expected.colnames:
        np.testing.assert_array_equal(np.asarray(found[name]), np.asarray(expected[name]), err_msg=name)
        assert getattr(found[name], "unit", None) == getattr(expected[name], "unit", None)
