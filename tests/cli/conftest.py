"""What the tests of all commands share."""

from functools import partial

import commands
import pytest


@pytest.fixture
def refused(monkeypatch, capsys):
    """Runs a command that must fail, and gives its one sentence on stderr."""
    return partial(commands.refused, monkeypatch, capsys)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A model file of 90 drawn stars, and what its training printed."""
    path = tmp_path_factory.mktemp("model") / "giants.h5"
    select = "logg < 3.6 & teff > 3600"
    labels = ["--labels", "teff,logg,fe_h", "--n-train", 90, "--select", select]
    return path, commands.run("train", commands.GIANTS, "-o", path, *labels, *commands.SMALL)
