"""How a command ends at Ctrl-C, SIGTERM and SIGHUP: without temporary files, with one line on what is kept.

The first signal raises `Stopped` in the main thread, so that everything is cleaned up on the way out. An exception that
arrives in a callback is lost there; `check_stopped`, which progress calls between batches, raises it again. A second
signal ends the process at once, even during a long compilation, when Python runs no handler: a thread waits for it.

The process is then left by ``os._exit``: to take down the interpreter while XLA's threads still run ends with a
segmentation fault now and then.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from slamjax._util.files import remove_temporaries

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
#: The first signal, once it has come.
_came: list[int] = []
_notes: list[Callable[[], str]] = []
_leaving = threading.Lock()
#: Seconds that cleaning up may take.
_PATIENCE = 5.0


class Stopped(BaseException):
    """The user, or the system, wants the command to end. No `KeyboardInterrupt`: click would take that as its own."""


def note_if_stopped(note: Callable[[], str]) -> None:
    """A function that says what is kept, if the command should be stopped; "" for nothing."""
    _notes.append(note)


def check_stopped() -> None:
    """Raise `Stopped` if a signal has come."""
    if _came:
        raise Stopped


def run_stoppable(command: Callable[[], Any]) -> None:
    """Run a command; at a signal it ends with exit status 130 (Ctrl-C), 143 (SIGTERM) or 129 (SIGHUP)."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    threading.Thread(target=_watch, args=(reading,), daemon=True).start()
    sys.unraisablehook = _tell_if_strange
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for each in _SIGNALS:
        if signal.getsignal(each) is not signal.SIG_IGN:  # nohup
            signal.signal(each, _stop)
    try:
        command()
    except (Stopped, KeyboardInterrupt):
        _leave()
    except BaseException as error:
        was_done = isinstance(error, SystemExit) and not error.code
        if _came and not was_done:  # an error that the interruption caused
            _leave()
        _ignore_signals()
        raise
    _ignore_signals()


def _ignore_signals() -> None:
    """The command is done: while the interpreter goes down, a signal would kill it and the exit status be wrong."""
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)


def _stop(signum: int, frame: FrameType | None) -> None:
    if not _came:
        _came.append(signum)
        if _importing(frame):  # compiled modules print what is raised while they import, or lose it
            _leave()
        raise Stopped


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _tell_if_strange(lost: Any) -> None:
    """Python tells what was raised in a finaliser or callback and lost there; that the command was stopped is known."""
    if not isinstance(lost.exc_value, Stopped | KeyboardInterrupt):
        sys.__unraisablehook__(lost)


def _watch(reading: int) -> None:
    """Wait for two signals, by the numbers that Python's own handler writes."""
    count = 0
    while numbers := os.read(reading, 16):
        count += sum(number in _SIGNALS for number in numbers)
        if count > 1:
            if not _came:
                _came.append(numbers[-1])
            _leave()


def _kept() -> str:
    """What is kept, in words."""
    said = []
    for note in _notes:
        with contextlib.suppress(Exception):
            said.append(note())
    return "; ".join(text for text in said if text) or "nothing was written"


def _leave() -> NoReturn:
    """Clean up, say one line and end the process."""
    if not _leaving.acquire(blocking=False):  # the other thread is about to
        threading.Event().wait(_PATIENCE)
        os._exit(128 + _came[0])
    with contextlib.suppress(BaseException):
        remove_temporaries()
    with contextlib.suppress(BaseException):
        if "multiprocessing.util" in sys.modules:  # semaphores of processes that read files
            sys.modules["multiprocessing.util"]._run_finalizers(0)
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
    with contextlib.suppress(BaseException):
        show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # progress bars hide it
        sys.stderr.write(f"{show_cursor}slamjax: stopped; {_kept()}\n")
        sys.stderr.flush()
    os._exit(128 + (_came[0] if _came else signal.SIGINT))
