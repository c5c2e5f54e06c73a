"""Progress of long work in named stages: a line in terminals and notebooks, nothing elsewhere, or if it is short."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO, runtime_checkable

from slamjax.typing import Progress

#: Seconds between two drawings of the line, and before the first one: what takes no longer needs none.
_INTERVAL, _PATIENCE = 0.1, 2.0


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
    """One line that is drawn again and again, and at the end says what took how long."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.width, self.drawn, self.made = stream, 0, 0.0, time.monotonic()
        self.name, self.begun, self.seconds = "", time.monotonic(), dict[str, float]()

    def stage(self, name: str, *, shared: bool = True) -> None:
        self._end_stage()
        self.name = name
        self._draw(name)

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.drawn > _INTERVAL or done >= total:
            self._draw(f"{self.name} {done}/{total}, {_pace(done, total, now - self.begun)}")

    def close(self) -> None:
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
