"""The first attempts of every campaign; ``make torture`` makes all of them."""

import pytest

from campaigns import frame
from campaigns.worker import Worker


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    with Worker(tmp_path_factory.mktemp("campaigns")) as one:
        yield one


def campaigns():
    """All but the killed commands, which take minutes; those that start commands take longer."""
    seconds = {name: frame.load(name).seconds for name in frame.names() if name != "kills"}
    marks = {
        name: [pytest.mark.slow] * (took > 60) + [pytest.mark.long] * (took >= 500) for name, took in seconds.items()
    }
    return [pytest.param(name, marks=marks[name]) for name in seconds]


@pytest.mark.parametrize("name", campaigns())
def test_hostile_input_neither_breaks_nor_lies(name, worker):
    worker.prepare(name)
    reports = {number: worker.attempt(name, number) for number in range(frame.load(name).short)}
    assert {number: one for number, one in reports.items() if one.outcome not in frame.GOOD} == {}
