"""Ctrl-C, SIGTERM and SIGHUP, in processes of their own. `campaigns.stops` sends them at random moments."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from commands import GIANTS

import slamjax

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
#: A command that says when it begins, and then works: in Python, or in C where no handler of Python's runs.
WORKING = """
import sys, time
from slamjax.cli.interrupts import check_stopped, note_if_stopped, run_stoppable
from slamjax._util.files import atomic_path

def command():
    with atomic_path("out.txt") as temporary:
        temporary.write_text("half")
        print("begun", flush=True)
        {work}

run_stoppable(command)
"""
IN_PYTHON = "while True: time.sleep(0.01)"
IN_C = "__import__('hashlib').pbkdf2_hmac('sha256', b'', b'', 10**9)"
#: An exception in a finaliser is lost, and the work goes on until it is asked for.
LOST = """
        class Careless:
            def __del__(self):
                time.sleep(0.7)
        Careless()
        while True:
            time.sleep(0.1)
            check_stopped()
"""
#: A module that catches and prints whatever is raised while it is imported, as compiled ones do.
CARELESS = "import time, traceback\ntry:\n    time.sleep(9)\nexcept BaseException:\n    traceback.print_exc()"
IMPORTING = f"""
        import pathlib
        pathlib.Path("careless.py").write_text({CARELESS!r})
        sys.path.insert(0, "")
        import careless
"""
#: Work in C before the first part is finished.
NO_PART_YET = """
        import pathlib
        from slamjax.cli.files import kept_parts
        with kept_parts(pathlib.Path("labels.fits")):
            __import__('hashlib').pbkdf2_hmac('sha256', b'', b'', 10**9)
"""


def stopped(work, folder, *signals):
    """(exit status, stderr, seconds) of the command, to which signals were sent."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKING.format(work=work)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    began = time.monotonic()
    for signum in signals:
        time.sleep(0.2)
        process.send_signal(signum)
    _, err = process.communicate(timeout=20)
    return process.returncode, err, time.monotonic() - began


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("work", [IN_PYTHON, LOST], ids=["python", "lost"])
def test_a_signal_ends_a_command_with_one_line_and_no_temporary_file(work, signum, tmp_path):
    code, err, _ = stopped(work, tmp_path, signum)
    assert code == 128 + signum
    assert err == "slamjax: stopped; nothing was written\n"
    assert os.listdir(tmp_path) == []


def test_a_second_signal_ends_a_command_that_is_not_in_python(tmp_path):
    code, err, seconds = stopped(IN_C, tmp_path, signal.SIGINT, signal.SIGINT)
    assert code == 130
    assert err == "slamjax: stopped; nothing was written\n"
    assert os.listdir(tmp_path) == []
    assert seconds < 5


def test_a_signal_during_an_import_ends_the_command_at_once(tmp_path):
    code, err, seconds = stopped(IMPORTING, tmp_path, signal.SIGHUP)
    assert (code, err) == (129, "slamjax: stopped; nothing was written\n")
    assert seconds < 5


def test_an_empty_folder_of_parts_is_removed_at_a_second_signal(tmp_path):
    code, err, _ = stopped(NO_PART_YET, tmp_path, signal.SIGINT, signal.SIGINT)
    assert (code, err) == (130, "slamjax: stopped; nothing was written\n")
    assert not list(tmp_path.glob(".*"))


def test_a_signal_after_the_work_changes_nothing(tmp_path):
    """While the interpreter goes down: the exit status is that of the command, and nothing is said to be stopped."""
    work = """
        import atexit
        def slow_end():
            print("begun", flush=True)
            time.sleep(1)
        atexit.register(slow_end)
"""
    begun_at_the_end = WORKING.replace('        print("begun", flush=True)\n', "")
    process = subprocess.Popen(
        [sys.executable, "-c", begun_at_the_end.format(work=work)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    for _ in range(2):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.1)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert (tmp_path / "out.txt").read_text() == "half"


def test_what_is_kept_and_written_is_said(tmp_path):
    work = "note_if_stopped(lambda: ''); note_if_stopped(lambda: 'a.fits was written'); time.sleep(60)"
    assert stopped(work, tmp_path, signal.SIGINT)[1] == "slamjax: stopped; a.fits was written\n"


@pytest.mark.slow
def test_a_stopped_fit_keeps_its_parts_and_the_same_command_goes_on(trained, tmp_path):
    giants = slamjax.read_table(GIANTS)
    slamjax.write_table(giants[np.arange(4000) % len(giants)], tmp_path / "many.fits")
    command = [sys.executable, "-m", "slamjax", "fit", str(trained[0]), "many.fits", "--piece-size", "500", "-o"]
    subprocess.run([*command, "whole.fits"], cwd=tmp_path, check=True, capture_output=True)
    process = subprocess.Popen([*command, "out.fits"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".out.fits.parts/[0-9]*.part")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    in_use = subprocess.run([*command, "out.fits"], cwd=tmp_path, capture_output=True, text=True)
    process.send_signal(signal.SIGCONT)
    assert in_use.returncode == 1
    assert in_use.stderr.strip().startswith("slamjax: error: .out.fits.parts is in use by another run (process ")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "finished parts are kept in .out.fits.parts, the same command continues" in err
    assert len([line for line in err.splitlines() if line.strip()]) == 1
    assert sorted(os.listdir(tmp_path)) == [
        ".out.fits.parts",
        "many.fits",
        "whole.fits",
        "whole.fits.report.json",
    ]
    subprocess.run([*command, "out.fits"], cwd=tmp_path, check=True, capture_output=True)
    tables = ["out.fits", "out.fits.report.json", "whole.fits", "whole.fits.report.json"]
    assert sorted(os.listdir(tmp_path)) == ["many.fits", *tables]
    whole, continued = (slamjax.read_labels(tmp_path / name) for name in ("whole.fits", "out.fits"))
    assert whole.colnames == continued.colnames
    for name in whole.colnames:
        np.testing.assert_array_equal(np.asarray(whole[name]), np.asarray(continued[name]))
