"""Which spectra belong to which star."""

import numpy as np
import pytest
from helpers import xp_giants

from slamjax import Observations, SlamError


def with_names(spectra, names):
    table = spectra.table.copy()
    table["name"] = names
    return spectra._with(table=table)


def test_rows_belong_to_the_star_that_they_name():
    stars = xp_giants()
    observed = Observations(
        {"a": with_names(stars[:3], ["y", "x ", "y"]), "b": with_names(stars[3:5], ["z", "x"])}, star="name"
    )
    assert list(observed.identifiers) == ["x", "y", "z"]
    assert observed.stars["a"].tolist() == [1, 0, 1]
    assert observed.stars["b"].tolist() == [2, 0]
    assert {name: each.tolist() for name, each in observed.counts().items()} == {"a": [1, 2, 0], "b": [1, 0, 1]}


def test_some_stars_keep_their_spectra():
    stars = xp_giants()
    observed = Observations({"a": stars[:4], "b": stars[4:8]}, {"a": [3, 1, 3, 2], "b": [1, 1, 2, 9]})
    some = observed[1:3]
    assert list(some.identifiers) == [2, 3]
    assert some.stars["a"].tolist() == [1, 1, 0]
    assert some.stars["b"].tolist() == [0]
    np.testing.assert_array_equal(some.spectra["a"].flux, stars.flux[[0, 2, 3]])


def test_without_identifiers_rows_are_stars():
    stars = xp_giants()
    assert Observations({"a": stars[:3], "b": stars[3:6]}).stars["b"].tolist() == [0, 1, 2]
    with pytest.raises(SlamError, match=r"a 3, b 2"):
        Observations({"a": stars[:3], "b": stars[3:5]})


@pytest.mark.parametrize(
    ("star", "message"),
    [
        ("nobody", "no column 'nobody'"),
        ({"b": [1]}, "says nothing of 'a'"),
        ({"a": [1, 2]}, "one for each of 3 spectra"),
        ({"a": ["x", "", "y"]}, "row 1 of 'a' does not say"),
    ],
)
def test_a_row_must_say_whose_it_is(star, message):
    with pytest.raises(SlamError, match=message):
        Observations({"a": xp_giants()[:3]}, star)
