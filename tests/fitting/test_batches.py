"""Which problems enter a batch next."""

import numpy as np

from slamjax.fitting.batches import _next_problems, _Part


def part(n_stars, n_starts, n_begun=0, active=0):
    x = np.zeros((n_stars * n_starts, 2))
    return _Part(x, np.arange(len(x)) % n_stars, n_stars, 0, n_begun=n_begun, active=np.arange(active))


def test_best_starts_of_all_parts_begin_before_second_ones():
    taken = _next_problems([part(4, 3), part(4, 3)], slots=10)
    assert [list(rows) for _, rows in taken] == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3]]


def test_places_of_problems_that_still_run_are_not_given_away():
    taken = _next_problems([part(4, 3, n_begun=4, active=3), part(4, 3)], slots=6)
    assert [list(rows) for _, rows in taken] == [[], [0, 1, 2]]
