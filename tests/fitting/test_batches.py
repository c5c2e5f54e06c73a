"""Which problems enter a batch next."""

import numpy as np

from slamjax.fitting.batches import Starts, _next_problems, _Part


def part(n_stars, n_starts):
    spectra = np.zeros((n_stars, 1))
    return _Part(Starts(np.zeros((n_stars * n_starts, 2)), spectra, spectra))


def begin(running, slots):
    taken = _next_problems(running, slots)
    for one, rows in taken:
        one.active = np.concatenate([one.active, rows])
    return [list(rows) for _, rows in taken]


def test_best_starts_of_all_parts_begin_before_second_ones():
    running = [part(4, 3), part(4, 3)]
    assert begin(running, 5) == [[0, 1, 2, 3], [0]]
    running[0].end(np.array([1, 2]))
    assert begin(running, 6) == [[], [1, 2, 3]]
    assert begin(running, 9) == [[5, 6], []]


def test_a_star_has_one_problem_at_a_time():
    """Whether a second start is given up must not depend on when a place was free."""
    running = [part(3, 2)]
    assert begin(running, 100) == [[0, 1, 2]]
    assert begin(running, 100) == [[]]
    running[0].end(np.array([1]))
    assert begin(running, 100) == [[4]]
    running[0].end(np.array([0, 2, 4]))
    assert begin(running, 100) == [[3, 5]]
    assert not running[0].is_done
    running[0].end(np.array([3, 5]))
    assert running[0].is_done


def test_places_of_problems_that_still_run_are_not_given_away():
    running = [part(4, 3), part(4, 3)]
    begin(running[:1], 3)
    assert begin(running, 6) == [[3], [0, 1]]
