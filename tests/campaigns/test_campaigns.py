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
    slow = {name for name in frame.names() if frame.load(name).seconds > 60}
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in slow)) for name in frame.names() if name != "kills"]


@pytest.mark.parametrize("name", campaigns())
def test_hostile_input_neither_breaks_nor_lies(name, worker):
    worker.prepare(name)
    reports = {number: worker.attempt(name, number) for number in range(frame.load(name).short)}
    assert {number: one for number, one in reports.items() if one.outcome not in frame.GOOD} == {}
