"""Progress: a line where somebody looks, calls for functions, nothing elsewhere."""

import io
import re
import sys
import time

import numpy as np
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


def test_a_stage_that_counts_nothing_is_seen_to_go_on(monkeypatch):
    monkeypatch.setattr(progress, "_SILENCE", 0.02)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with reporter(True) as report:
        report.stage("thinking")
        until = time.monotonic() + 10
        while "thinking, 0 s" not in terminal.getvalue() and time.monotonic() < until:
            time.sleep(0.01)
        report(3, 10)
        while "thinking 3/10, 0 s" not in terminal.getvalue() and time.monotonic() < until:
            time.sleep(0.01)
    text = terminal.getvalue()
    assert "\rthinking, 0 s" in text
    assert "\rthinking 3/10, 0 s" in text
    time.sleep(0.1)
    assert terminal.getvalue() == text  # the thread has ended


def test_steps_of_unknown_number_never_exceed_what_is_expected():
    heard = []
    steps = progress.Steps(lambda *at: heard.append(at))
    steps.expect(2)
    steps()
    steps.expect(3)
    for _ in range(4):
        steps()
    assert heard == [(1, 2), (2, 4), (3, 4), (4, 4), (5, 5)]


def counts_of(call):
    """What a function on_progress hears, which must rise to its end."""
    heard = []
    call(lambda *at: heard.append(at))
    assert heard == sorted(heard)
    assert heard[-1][0] == heard[-1][1]
    return heard


def test_simulations_bounds_and_best_fits_are_counted_in_stars(tmp_path, monkeypatch):
    model, ivar = giants_model(), np.full(61, 1e4)
    labels = np.tile(model.training_labels.stars[:1] * 0, (3, 1))
    labels = np.asarray(model.host_emulator.scaling.inverse(labels))
    assert counts_of(lambda told: slamjax.crlb(model, labels, ivar, on_progress=told)) == [(3, 3)]
    simulated = []
    assert counts_of(
        lambda told: simulated.append(slamjax.validation.simulate(model, labels, ivar, on_progress=told))
    ) == [(3, 3)]
    stars = xp_giants()[:4]
    table = slamjax.fit(model, stars, n_starts=1, on_progress=False)
    monkeypatch.setattr("slamjax.fitting.best_fits._ROWS", 3)
    path = tmp_path / "best.fits"
    assert counts_of(lambda told: slamjax.write_best_fits(model, stars, table, path, on_progress=told)) == [
        (3, 4), (4, 4),
    ]  # fmt: skip


def test_learning_the_noise_is_counted(monkeypatch):
    """Of a low-rank noise: candidates, and rounds of fits; a function that knows no stages hears of pixels only."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "_INTERVAL", 0.0)
    noise = slamjax.NoiseSpec("lowrank", ranks=(2,))
    train(xp_giants()[:110], LABELS, emulator=Polynomial(), recipe=recipe(), search=TWO_FOLDS, noise=noise)
    counted = re.findall(r"\rlearning the noise (\d+)/(\d+)", terminal.getvalue())
    assert len(counted) > 3
    assert all(int(done) <= int(total) for done, total in counted)
