"""Commands run in this process, as a user would type them."""

import sys
import warnings

import pytest
from helpers import DATA
from typer.testing import CliRunner

from slamjax.cli.app import app, main

GIANTS = str(DATA / "xp_giants.fits")
#: A training of seconds: 21 pixels, 2 folds, nothing searched.
SMALL = ["--wave-range", "500", "540", "--folds", "2", "--C", "10", "--epsilon", "0.05", "--gamma", "0.1"]


def invoke(*arguments):
    """The result of a command that succeeds."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def run(*arguments):
    """What a command that succeeds prints to stdout."""
    return invoke(*arguments).stdout


def refused(monkeypatch, capsys, *arguments):
    """The one sentence on stderr of a command line that fails, without "slamjax: error: "."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # main sets it: undone after the test
    monkeypatch.setattr(sys, "argv", ["slamjax", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    assert lines[0].startswith("slamjax: error: ")
    return lines[0].removeprefix("slamjax: error: ")
