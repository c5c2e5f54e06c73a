"""What may be asked of nuisances, and what is told of what makes no sense."""

import pytest

from slamjax.errors import SlamError
from slamjax.forward.nuisances import Free, Gaussian, Nuisances


def test_each_is_absent_fixed_free_or_has_a_prior():
    some = Nuisances(rv="free", sigma_v=Gaussian(20, 5), vsini=30, polynomial=2)
    assert some.free == ("rv", "sigma_v")
    assert some.present == ("rv", "sigma_v", "vsini")
    assert some.bounds("rv") == (-600, 600)
    assert some.bounds("sigma_v") == (0, 45)  # a width is not negative
    assert some.bounds("vsini") == (30, 30)
    assert some.n_coefficients == 3
    assert not Nuisances().anything
    assert Nuisances(polynomial=0).anything


def test_the_same_nuisances_are_equal_and_hash_alike():
    """They are static under jit: another hash would compile again."""
    one, other = (Nuisances(rv=Free(-5, 5), sigma_v=7) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rv": "fixed"}, "rv is 'fixed'; give 'free'"),
        ({"rv": Free(5, 5)}, "rv is free from 5 to 5; give finite bounds"),
        ({"rv": [1, 2]}, "rv is .1, 2."),
        ({"rv": float("nan")}, "rv is nan"),
        ({"rv": Free(-1e5, 1e5)}, "rv reaches 100000 km/s"),
        ({"sigma_v": -3}, "sigma_v is a width"),
        ({"vsini": Free(-10, 10)}, "vsini is a width"),
        ({"vsini": Gaussian(10, 0)}, "vsini has a Gaussian prior 10 ± 0"),
        ({"polynomial": -1}, "polynomial is -1"),
        ({"polynomial": 1.5}, "polynomial is 1.5"),
        ({"polynomial": 1, "polynomial_sd": 0}, "polynomial_sd is 0"),
    ],
)
def test_impossible_values_are_errors(given, message):
    with pytest.raises(SlamError, match=message):
        Nuisances(**given)
