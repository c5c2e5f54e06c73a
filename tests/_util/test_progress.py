"""Progress: a line where somebody looks, calls for functions, nothing elsewhere."""

import io
import sys

import pytest
from helpers import miles, xp_giants
from models import LABELS, TWO_FOLDS, giants_model, miles_model, recipe
from survey_files import LAMOST

import slamjax
from slamjax._util import progress
from slamjax._util.progress import reporter
from slamjax.training import Polynomial, train


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def all_work_takes_long(monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)


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


def test_short_work_shows_no_line(monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 60.0)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with reporter(True) as report:
        report.stage("adding")
        report(1, 2)
    assert terminal.getvalue() == ""


def test_the_line_tells_the_pace_and_the_time_left():
    assert progress._pace(0, 10, 3.0) == "3 s"
    assert progress._pace(50, 200, 2.0) == "2 s, 25/s, 6 s left"
    assert progress._pace(10, 10, 3.0) == "3 s"


@pytest.mark.parametrize("call", ["fit", "measure_rv", "fit_files", "read"])
def test_long_work_of_every_kind_shows_a_line_that_one_argument_switches_off(call, monkeypatch):
    giants_model(), miles_model()  # training them shows lines of its own
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    work = {
        "fit": lambda **options: slamjax.fit(giants_model(), xp_giants()[:4], n_starts=1, **options),
        "measure_rv": lambda **options: slamjax.measure_rv(miles_model(), miles()[:2], n_templates=2, **options),
        "fit_files": lambda **options: slamjax.fit_files(miles_model(), LAMOST, n_jobs=1, **options),
        "read": lambda **options: slamjax.read(LAMOST, n_jobs=1, **options),
    }[call]
    work(on_progress=False)
    assert terminal.getvalue() == ""
    work()
    assert terminal.getvalue().rstrip(" \n").endswith(" s")
