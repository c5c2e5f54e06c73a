"""kill -9 at a random moment of read, train, fit and sample: the same command then gives what a whole run gives."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

from campaigns.frame import Campaign, Report
from campaigns.runs import Attempt, prepare


def attempt(number: int, folder: Path) -> Report:
    run = Attempt.make(number, folder)

    def kill(process: subprocess.Popen[bytes]) -> None:
        threading.Timer(run.moment, process.kill).start()

    killed = run.run(during=kill)
    kept = len(list(run.output.parent.glob(".*.parts/[0-9]*.part")))
    return run.finish(f"{run.kind} killed after {run.moment:.1f} s (exit {killed.code}), {kept} parts kept")


CAMPAIGN = Campaign("kill -9 (read, train, fit, sample)", attempt, prepare, tried=50, short=1, seconds=500.0)
