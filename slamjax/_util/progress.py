"""Progress of long work in named stages: a line in terminals and notebooks, nothing elsewhere, or if it is short."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO, runtime_checkable

from slamjax.typing import Progress

#: Seconds between two drawings of the line, and before the first one: what takes no longer needs none.
_INTERVAL, _PATIENCE = 0.1, 2.0
#: Seconds without a word after which it is drawn all the same.
_SILENCE = 1.0


class Reporter(Protocol):
    """What long work reports to: the stage it has come to, and how far it is."""

    def stage(self, name: str, *, shared: bool = True) -> None:
        """Begin a stage; the steps of one that is not ``shared`` are not told to functions that know no stages."""
        ...

    def __call__(self, done: int, total: int) -> None: ...


@runtime_checkable
class _Staged(Protocol):
    def stage(self, name: str) -> None: ...


@contextmanager
def reporter(on_progress: Progress | bool | None) -> Iterator[Reporter]:
    """The reporter of an ``on_progress`` argument.

    Parameters
    ----------
    on_progress : callable or bool, optional
        A function that is called with (done, total), and with the names of stages if it has a method ``stage``; True
        for a line on stderr if that is a terminal or a notebook and the work takes more than two seconds; False or
        None for nothing.
    """
    if callable(on_progress):
        yield _Handed(on_progress)
    elif on_progress and is_interactive(sys.stderr):
        line = _Line(sys.stderr)
        try:
            yield line
        finally:
            line.close()
    else:
        yield _Handed(_nothing)


def is_interactive(stream: TextIO) -> bool:
    """Whether somebody is looking: a terminal, or the output of a notebook's cell."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return stream.isatty() or type(shell).__name__ == "ZMQInteractiveShell"


def _nothing(done: int, total: int) -> None:
    pass


class Steps:
    """Counts the steps of work whose number is known about: more are expected once more are found to be needed."""

    def __init__(self, report: Progress | None = None, expected: int = 0) -> None:
        self._report, self.done, self.expected = report or _nothing, 0, expected

    def expect(self, more: int) -> None:
        """So many steps are still to be done."""
        self.expected = self.done + more

    def __call__(self) -> None:
        """A step is done."""
        self.done += 1
        self._report(self.done, max(self.done, self.expected))


class _Handed:
    """Reports to a function."""

    def __init__(self, function: Progress) -> None:
        self.function, self.heard = function, True

    def stage(self, name: str, *, shared: bool = True) -> None:
        self.heard = shared or isinstance(self.function, _Staged)
        if isinstance(self.function, _Staged):
            self.function.stage(name)

    def __call__(self, done: int, total: int) -> None:
        if self.heard:
            self.function(done, total)


class _Line:
    """One line that is drawn again and again, and at the end says what took how long.

    A thread draws it where the work says nothing for a while: what is not counted is seen to go on, too.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.width, self.drawn, self.made = stream, 0, 0.0, time.monotonic()
        self.name, self.begun, self.seconds = "", time.monotonic(), dict[str, float]()
        self.at: tuple[int, int] | None = None
        self._lock, self._ended = threading.RLock(), threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()

    def _go_on(self) -> None:
        while not self._ended.wait(_SILENCE):
            with self._lock:
                if self.name and time.monotonic() - self.drawn >= _SILENCE and not self._ended.is_set():
                    self._draw(self._state())

    def _state(self) -> str:
        """The stage, how far it is, and how long it takes."""
        seconds = time.monotonic() - self.begun
        if self.at is None:
            return f"{self.name}, {seconds:.0f} s"
        return f"{self.name} {self.at[0]}/{self.at[1]}, {_pace(*self.at, seconds)}"

    def stage(self, name: str, *, shared: bool = True) -> None:
        with self._lock:
            self._end_stage()
            self.name, self.at = name, None
            self._draw(name)

    def __call__(self, done: int, total: int) -> None:
        with self._lock:
            self.at = done, total
            if time.monotonic() - self.drawn > _INTERVAL or done >= total:
                self._draw(self._state())

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._end_stage()
        took = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())
        self._draw(took)
        self.stream.write("\n" if self.width else "")
        self.stream.flush()

    def _end_stage(self) -> None:
        if self.name:
            now = time.monotonic()
            self.seconds[self.name] = self.seconds.get(self.name, 0.0) + now - self.begun
            self.begun = now

    def _draw(self, text: str) -> None:
        if time.monotonic() - self.made < _PATIENCE:
            return
        self.stream.write("\r" + text.ljust(self.width))
        self.stream.flush()
        self.width, self.drawn = len(text), time.monotonic()


def _pace(done: int, total: int, seconds: float) -> str:
    """How long it took; before the end also how many are done in a second, and how many seconds are left."""
    if not 0 < done < total or not seconds > 0:
        return f"{seconds:.0f} s"
    rate = done / seconds
    return f"{seconds:.0f} s, {rate:.3g}/s, {(total - done) / rate:.0f} s left"
