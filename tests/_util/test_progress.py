"""Progress: a line where somebody looks, calls for functions, nothing elsewhere."""

import io
import sys

import pytest
from helpers import xp_giants
from models import LABELS, TWO_FOLDS, recipe

from slamjax._util.progress import reporter
from slamjax.training import Polynomial, train


class Terminal(io.StringIO):
    def isatty(self):
        return True


def trained(**options):
    stars = xp_giants()[:60]
    train(stars, LABELS, emulator=Polynomial(), recipe=recipe(), search=TWO_FOLDS, noise="diagonal", **options)


def test_a_terminal_sees_named_stages_on_one_line(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    trained()
    text = terminal.getvalue()
    assert text.count("\n") == 1
    for stage in ("preparing", "screening", "training", "learning the noise"):
        assert f"\r{stage}" in text
    assert "screening 61/61" in text
    assert text.splitlines()[-1].endswith(" s") or text.rstrip().endswith(" s")


def test_it_is_switched_off_by_one_argument(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    trained(on_progress=False)
    assert terminal.getvalue() == ""


def test_other_outputs_see_nothing(capsys):
    trained()
    assert capsys.readouterr() == ("", "")


def test_a_line_is_ended_by_an_error(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    def divide():
        with reporter(True) as report:
            report.stage("dividing")
            return 1 / 0

    with pytest.raises(ZeroDivisionError):
        divide()
    assert terminal.getvalue().endswith("\n")


def test_a_function_hears_of_pixels_and_one_with_stages_of_all():
    steps = []
    with reporter(lambda *at: steps.append(at)) as report:
        report.stage("training")
        report(1, 2)
        report.stage("noise", shared=False)
        report(1, 9)
    assert steps == [(1, 2)]

    class Bar:
        def __init__(self):
            self.heard = []

        def stage(self, name):
            self.heard.append(name)

        def __call__(self, done, total):
            self.heard.append((done, total))

    bar = Bar()
    with reporter(bar) as report:
        report.stage("noise", shared=False)
        report(1, 9)
    assert bar.heard == ["noise", (1, 9)]
