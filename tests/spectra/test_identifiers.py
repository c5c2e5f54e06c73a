"""Spectra of the same star are recognised, so that they are not split between cross-validation folds."""

import numpy as np
import pytest
from astropy.table import Table
from helpers import xp_giants

from slamjax.spectra.spectra import Spectra


def with_table(**columns):
    n = len(next(iter(columns.values())))
    return Spectra(np.array([1.0, 2.0]), np.ones((n, 2)), table=Table(columns), wave_unit="nm")


def partition(groups):
    """Rows of each group, whatever the numbers of the groups."""
    return sorted(np.flatnonzero(groups == g).tolist() for g in np.unique(groups))


def test_repeats_share_a_group():
    ids = np.arange(20)
    ids[7] = ids[13] = 5  # three spectra of one star
    expected = sorted([[5, 7, 13]] + [[i] for i in range(20) if i not in (5, 7, 13)])
    assert partition(with_table(source_id=10**18 + ids).star_groups()) == expected
    assert partition(with_table(name=[f"star {i}" for i in ids]).star_groups()) == expected


def test_groups_are_joined_through_several_identifiers():
    """Spectra 0 and 1 share a name, 1 and 2 an identifier: all three are of one star."""
    names, ids = [f"s{i}" for i in range(20)], np.arange(100, 120)
    names[1] = "s0"
    ids[2] = 101
    assert [0, 1, 2] in partition(with_table(name=names, star_id=ids).star_groups())


@pytest.mark.parametrize("unknown", ["", "none", "N/A", "-", " nan "])
def test_stars_without_a_name_are_not_one_star(unknown):
    names = [f"s{i}" for i in range(20)]
    names[3] = names[4] = unknown
    assert len(np.unique(with_table(name=names).star_groups())) == 20


@pytest.mark.parametrize("unknown", [0, -9999])
def test_sentinels_are_not_one_star(unknown):
    ids = np.arange(1, 21)
    ids[3] = ids[4] = unknown
    assert len(np.unique(with_table(source_id=ids).star_groups())) == 20


def test_a_class_of_stars_is_no_identifier():
    """Spectral types repeat from star to star, and a count is not an identity."""
    kinds = np.array(["K0", "G2"] * 10)
    spectra = with_table(spectral_type=kinds, n_visits=np.arange(20))
    assert spectra.identifiers() == []
    assert len(np.unique(spectra.star_groups())) == 20


def test_two_visits_of_every_star_share_a_group():
    assert len(np.unique(with_table(source_id=10**18 + np.repeat(np.arange(10), 2)).star_groups())) == 10


def test_real_identifiers_are_found():
    giants = xp_giants()
    assert giants.identifiers() == ["apogee_id", "source_id"]
    twice = giants[[*range(100), 3, 50]]
    groups = twice.star_groups()
    assert len(np.unique(groups)) == 100
    assert groups[100] == groups[3]
    assert groups[101] == groups[50]


@pytest.mark.parametrize("name", ["fiberid", "spid", "plate_id", "field_name"])
def test_columns_of_the_observation_identify_no_star(name):
    rng = np.random.default_rng(0)
    spectra = with_table(**{name: rng.permutation(400) + 1})
    assert spectra.identifiers() == []


def test_a_column_of_row_numbers_is_no_identifier():
    """Another file numbers its rows too, but its stars are different ones."""
    assert with_table(id=np.arange(1, 41)).identifiers() == []


def test_a_poor_identifier_is_dropped_beside_a_good_one():
    rng = np.random.default_rng(0)
    spectra = with_table(source_id=10**18 + rng.permutation(300), group_id=np.repeat(np.arange(1, 101), 3))
    assert spectra.identifiers() == ["source_id"]
