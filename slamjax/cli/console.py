"""What commands print: results, progress bars, warnings and errors."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from slamjax.cli.interrupts import check_stopped, note_if_stopped
from slamjax.errors import SlamWarning

if TYPE_CHECKING:
    from slamjax import typing

_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: object, *, end: str = "\n") -> None:
    """Print a result to stdout, as it is."""
    _out.print(str(text), markup=False, end=end)


def say_written(path: Path) -> None:
    say(f"written: {path}")
    note_if_stopped(lambda: f"{path} was written")


def say_error(text: str, *, style: str = "red") -> None:
    """Print a line to stderr."""
    _err.print(f"slamjax: {text}", style=style, markup=False)


class _Rate(ProgressColumn):
    """How many are done in a second."""

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text("" if rate is None or not task.total else f"{rate:.3g}/s")


class _Bar:
    """Moves a bar, begins another at each stage of the work, and says when a program is compiled."""

    def __init__(self, bar: Progress, title: str) -> None:
        self.bar, self.title, self.task, self.begun = bar, title, bar.add_task(title, total=None), False

    def stage(self, name: str) -> None:
        check_stopped()
        if self.begun:
            self.end()
            self.task = self.bar.add_task(name, total=None)
        self.title, self.begun = name, True
        self.bar.update(self.task, description=name)

    def end(self) -> None:
        """A stage that counted nothing is done as a whole."""
        if self.bar.tasks[-1].total is None:
            self.bar.update(self.task, completed=1, total=1)

    def compiling(self, program: str | None) -> None:
        words = self.title if program is None else f"{self.title}: compiling, once on this machine"
        self.bar.update(self.task, description=words)

    def __call__(self, done: int, total: int) -> None:
        check_stopped()
        self.bar.update(self.task, completed=done, total=total)


@contextmanager
def progress_bar(title: str) -> Iterator[typing.Progress]:
    """A live bar in a terminal, elsewhere one line at the end; yields the function to call with (done, total)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    from slamjax._util.programs import watch_compilation  # imports JAX

    with Progress(*columns, console=_err) as bar:
        moves = _Bar(bar, title)
        try:
            with watch_compilation(moves.compiling):
                yield moves
            moves.end()
        except BaseException:
            bar.live.transient = True  # an error's sentence stands alone, without an unfinished bar above it
            raise


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """slamjax's own warnings in one line, others as Python shows them."""
    if issubclass(category, SlamWarning):
        say_error(f"warning: {message}", style="yellow")
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))


def flag_summary(flags: object) -> str:
    """How many stars have no flag, and how many have each flag."""
    import numpy as np

    from slamjax.flags import Flag

    values = np.asarray(flags)
    counts = {flag.name or "": int(np.sum(values & flag != 0)) for flag in Flag}
    return counted_flags(len(values), int(np.sum(values == 0)), counts)


def counted_flags(n: int, n_good: int, counts: Mapping[str, int]) -> str:
    """How many of n stars have no flag, and how many have each flag, in the flags' order."""
    from slamjax.flags import Flag

    lines = [f"{n_good} of {n} stars without flags"]
    present = [flag.name for flag in Flag if flag.name and counts.get(flag.name)]
    lines += [f"  {counts[name]:6d} {name}" for name in present]
    return "\n".join(lines)
