"""A process that makes attempts, and the watch over it: it is ended if an attempt takes too long or too much memory."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from campaigns.frame import MEMORY, TESTS, Outcome, Report, judged, load, patience, resident

#: Seconds that the preparation of a campaign may take.
_PREPARING = 500.0
#: Seconds between two looks at the memory.
_WATCH = 0.02


class Worker:
    """Makes attempts one after the other; a process that was ended is replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def prepare(self, name: str) -> None:
        """Fill the campaign's folder, unless it is filled already."""
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        done = self.folder / name / ".prepared"
        if not done.exists():
            report = self._ask(name, "prepare", _PREPARING)
            if report.outcome is not Outcome.SAME:
                raise RuntimeError(f"{name} cannot be prepared: {report.outcome}: {report.detail}")
            done.touch()

    def attempt(self, name: str, number: int) -> Report:
        """Make the attempt of this number."""
        return self._ask(name, number, load(name).seconds)

    def _ask(self, name: str, task: int | str, seconds: float) -> Report:
        if self._process is None or self._process.poll() is not None:
            self._start()
            self._ask(name, "load", _PREPARING)  # imports take seconds that are not an attempt's
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, task]).encode() + b"\n")
        self._process.stdin.flush()
        began, peak = time.monotonic(), 0.0
        while not select.select([self._replies], [], [], _WATCH)[0]:
            peak = max(peak, resident(self._process.pid))
            spent = time.monotonic() - began
            if peak > MEMORY or spent > patience(seconds):
                self._end()
                outcome = Outcome.GREEDY if peak > MEMORY else Outcome.HUNG
                return Report(outcome, f"ended after {spent:.1f} s", spent, peak / 2**20)
        line = self._replies.readline()
        spent = time.monotonic() - began
        if not line:
            code, said = self._process.wait(), self._stderr.read_text(errors="replace")[-800:]
            self._end()
            cause = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            return Report(Outcome.CRASHED, f"{cause}: {said}", spent, peak / 2**20)
        reply = json.loads(line)
        return Report(Outcome(reply["outcome"]), reply["detail"], spent, max(peak, reply["peak"]) / 2**20)

    def _start(self) -> None:
        reading, writing = os.pipe()
        handle, name = tempfile.mkstemp(dir=self.folder, prefix="stderr-")
        self._stderr = Path(name)
        with os.fdopen(handle, "wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "campaigns.worker", str(self.folder), str(writing)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=[writing],
                env={**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"},
                start_new_session=True,
            )
        os.close(writing)
        self._replies = os.fdopen(reading, "rb")

    def _end(self) -> None:
        """End the process and all that it started."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._replies.close()
        self._stderr.unlink(missing_ok=True)
        self._process = None


def _serve(folder: Path, replies: int) -> None:
    """Read tasks from stdin, and write their reports, one per line."""
    faulthandler.enable()
    for line in sys.stdin:
        name, task = json.loads(line)
        report = _done(name, task, folder / name)
        answer = {"outcome": report.outcome, "detail": report.detail, "peak": resident(os.getpid())}
        answer["peak"] = max(answer["peak"], report.mebibytes * 2**20)  # of the commands that it started
        os.write(replies, json.dumps(answer).encode() + b"\n")


def _done(name: str, task: int | str, folder: Path) -> Report:
    """Make an attempt, or "prepare" the folder, or only "load" the campaign."""
    campaign = load(name)
    if isinstance(task, int):
        return judged(lambda: campaign.attempt(task, folder))

    def prepare() -> Report:
        if task == "prepare":
            campaign.prepare(folder)
        return Report(Outcome.SAME)

    return judged(prepare)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]))
