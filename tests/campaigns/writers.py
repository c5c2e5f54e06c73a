"""Two runs at once on one output: one of them is told, or the output is whole; never a mixture."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

from campaigns.frame import Campaign, Finished, Outcome, Report, judged_command
from campaigns.runs import Attempt, prepare


def attempt(number: int, folder: Path) -> Report:
    run = Attempt.make(number, folder)
    ended: list[Finished] = []
    delay = run.moment * run.rng.random()

    def second() -> None:
        time.sleep(delay)
        ended.append(run.run())

    thread = threading.Thread(target=second)

    def begin(process: subprocess.Popen[bytes]) -> None:
        thread.start()

    ended.append(run.run(during=begin))
    thread.join()
    seen = f"{run.kind}, the second {delay:.1f} s later: exits {[done.code for done in ended]}"
    for done in ended:
        report = judged_command(done, "" if done.code == 0 else run.output.name)
        if report.outcome not in (Outcome.SAME, Outcome.TOLD):
            return Report(report.outcome, f"{seen}: {report.detail}")
    if all(done.code for done in ended):
        return Report(Outcome.WRONG, f"{seen}: neither wrote")
    return run.finish(seen)


CAMPAIGN = Campaign("two writers at once", attempt, prepare, tried=24, short=1, seconds=700.0)
