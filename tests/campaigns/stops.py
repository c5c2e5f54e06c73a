"""Ctrl-C, SIGTERM, SIGHUP at a random moment: one line, the right exit status, no temporary file, a good rerun."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
from pathlib import Path

from campaigns.frame import Campaign, Outcome, Report, judged_command
from campaigns.runs import KEPT, Attempt, prepare

#: Ctrl-C, twice Ctrl-C (the second at once, or after a moment), SIGTERM, SIGHUP.
_SIGNALS = (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Python needs so many seconds until slamjax can take care of signals.
_STARTING = 0.5
_LINE = re.compile(r"slamjax: stopped; .+")


def attempt(number: int, folder: Path) -> Report:
    run = Attempt.make(number, folder)
    signum, twice = run.rng.choice(_SIGNALS), run.rng.random() < 0.25
    moment = max(_STARTING, run.moment)

    def stop(process: subprocess.Popen[bytes]) -> None:
        threading.Timer(moment, process.send_signal, [signum]).start()
        if twice:
            threading.Timer(moment + run.rng.uniform(0, 0.5), process.send_signal, [signum]).start()

    done = run.run(during=stop)
    seen = f"{run.kind}: {signum.name}{' twice' if twice else ''} after {moment:.1f} s"
    if done.code == 0:  # it was quicker
        return run.finish(f"{seen}: had ended")
    if done.code != 128 + signum:
        report = judged_command(done)
        return Report(Outcome.RAW if report.outcome is Outcome.TOLD else report.outcome, f"{seen}: {report.detail}")
    lines = [line for line in done.err.splitlines() if line.strip()]
    if len(lines) != 1 or not _LINE.fullmatch(lines[0]):
        return Report(Outcome.RAW, f"{seen}: {done.err[-400:]}")
    kept = list(run.output.parent.glob(".*.parts/[0-9]*.part"))
    left = [name for name in run.strangers() if not (name.endswith(".parts") and run.kind in KEPT and kept)]
    if left:
        return Report(Outcome.RAW, f"{seen}: left {left}")
    if bool(kept) != ("the same command continues" in lines[0]):
        return Report(Outcome.WRONG, f"{seen}: {len(kept)} parts are kept, but: {lines[0]}")
    return run.finish(f"{seen}: {lines[0]}")


CAMPAIGN = Campaign("Ctrl-C, SIGTERM, SIGHUP", attempt, prepare, tried=60, short=1, seconds=500.0)
