"""What a campaign is: many attempts to break slamjax, each of which has one of a few outcomes that are counted.

A campaign is a module of this folder with ``CAMPAIGN = Campaign(...)``. Its attempts are numbered, and the number alone
decides what is tried, so that ``python -m campaigns --only NAME --first K --tried 1`` repeats one. Attempts are made in
a process of their own (`worker`), which is watched for time and memory.
"""

from __future__ import annotations

import importlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from slamjax.errors import SlamError

TESTS = Path(__file__).resolve().parents[1]
#: Bytes that an attempt and the commands it starts may take.
MEMORY = 2 * 2**30


class Outcome(StrEnum):
    """How an attempt ended: the last three are good."""

    CRASHED = "crashed by signal"
    HUNG = "hung"
    GREEDY = "too much memory"
    WRONG = "silently wrong"
    RAW = "raw exception"
    TOLD = "told"
    FLAGGED = "flagged"
    SAME = "same"


GOOD = frozenset({Outcome.TOLD, Outcome.FLAGGED, Outcome.SAME})


@dataclass(frozen=True)
class Report:
    """The outcome of one attempt, and what was seen."""

    outcome: Outcome
    detail: str = ""
    seconds: float = 0.0
    mebibytes: float = 0.0


@dataclass(frozen=True)
class Campaign:
    """Attempts of one kind.

    Attributes
    ----------
    title : for the table
    attempt : makes the attempt of this number, in a folder that `prepare` has filled; what it raises is judged too
    prepare : fills the folder with the files that attempts damage
    tried, short : attempts of ``make torture``, and of the test suite
    seconds : after which an attempt has hung, on a machine without other work
    """

    title: str
    attempt: Callable[[int, Path], Report]
    prepare: Callable[[Path], object] = lambda folder: None
    tried: int = 1000
    short: int = 20
    seconds: float = 20.0


def names() -> list[str]:
    """Names of the modules that are campaigns."""
    own = {"__init__", "__main__", "frame", "worker", "mutations", "runs"}
    found = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return sorted(name for name in found if name not in own and not name.startswith("test_"))


def load(name: str) -> Campaign:
    return importlib.import_module(f"campaigns.{name}").CAMPAIGN


def judged(action: Callable[[], Report], named: str = "") -> Report:
    """The report of an action; an error must be a `SlamError` of one sentence that names the file (or argument)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return action()
    except SlamError as error:
        return judged_message(str(error), named)
    except MemoryError as error:
        return Report(Outcome.GREEDY, str(error))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Report(Outcome.RAW, f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"[:500])


def judged_message(message: str, named: str = "") -> Report:
    """Whether an error is one sentence that names what is wrong."""
    if named not in message:
        return Report(Outcome.RAW, f"does not name {named}: {message}"[:500])
    if "\n" in message.strip() or len(message) > 2000:
        return Report(Outcome.RAW, f"is not one sentence: {message}"[:500])
    return Report(Outcome.TOLD, message)


@dataclass(frozen=True)
class Finished:
    """How a command ended; a negative ``code`` is a signal, None a command that hung or grew and was stopped."""

    code: int | None
    out: str
    err: str
    mebibytes: float
    seconds: float


def command(
    *arguments: object,
    seconds: float = 120.0,
    file_size: int | None = None,
    within: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    before: Callable[[], object] | None = None,
    during: Callable[[subprocess.Popen[str]], object] | None = None,
) -> Finished:
    """Run ``slamjax ARGUMENTS`` in a process of its own.

    Parameters
    ----------
    arguments : of the command line
    seconds : after which it is stopped
    file_size : largest file in bytes that it may write (as ``ulimit -f``)
    within : a command that runs the command line that follows it, in the same process
    environment : of the process; default: this one's
    before : called in the new process before it becomes the command
    during : called with the process as soon as it runs, for instance to send a signal
    """

    def limit() -> None:
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
        if before is not None:
            before()

    began, peak = time.monotonic(), 0.0
    process = subprocess.Popen(
        [*within, sys.executable, "-m", "slamjax", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**(os.environ if environment is None else environment), "PYTHONPATH": str(TESTS.parent)},
        preexec_fn=limit,
    )
    said: list[str] = []
    listener = threading.Thread(target=lambda: said.extend(process.communicate()))
    listener.start()
    if during is not None:
        during(process)
    stopped = False
    while listener.is_alive():
        peak = max(peak, resident(process.pid))
        if not stopped and (peak > MEMORY or time.monotonic() - began > patience(seconds)):
            stopped = True
            process.kill()
        listener.join(0.02)
    spent = time.monotonic() - began
    return Finished(None if stopped else process.returncode, said[0], said[1], peak / 2**20, spent)


def patience(seconds: float) -> float:
    """So many seconds of this machine, where other work keeps its cores busy."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def resident(pid: int) -> float:
    """Bytes of memory that a process holds."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0.0


def judged_command(finished: Finished, named: str = "") -> Report:
    """A command that fails must say why in one line that names the file; the caller judges one that succeeds."""
    code, err = finished.code, finished.err.strip()
    if finished.mebibytes * 2**20 > MEMORY:
        return Report(Outcome.GREEDY, f"{finished.mebibytes:.0f} MiB")
    if code is None:
        return Report(Outcome.HUNG, err[-500:])
    if code < 0:
        return Report(Outcome.CRASHED, f"{signal.Signals(-code).name}: {err[-500:]}")
    if code == 0:
        return Report(Outcome.SAME, finished.out)
    if "Traceback" in err:
        return Report(Outcome.RAW, err[-500:])
    errors = [line for line in err.splitlines() if line.startswith("slamjax: error:")]
    if len(errors) != 1:
        return Report(Outcome.RAW, f"exit status {code}: {err[-500:]}")
    return judged_message(errors[0], named)


def counted(rows: dict[str, list[Report]]) -> str:
    """The table of outcomes, one row per campaign."""
    lines = ["| campaign | tried | " + " | ".join(Outcome) + " | most memory | longest |"]
    lines.append("|---" * (len(Outcome) + 4) + "|")
    for title, reports in rows.items():
        counts = [sum(report.outcome == outcome for report in reports) for outcome in Outcome]
        cells = [title, str(len(reports)), *map(str, counts)]
        cells.append(f"{max(report.mebibytes for report in reports):.0f} MiB")
        cells.append(f"{max(report.seconds for report in reports):.1f} s")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
