"""``python -m campaigns``: the long campaigns and the table of their outcomes.

``--minutes`` ends a run early and ``--keep FILE`` keeps the reports, so that the next run goes on behind the last one.
``--table FILE`` also writes the table to a file, of everything that is kept; the documentation shows ``outcomes.md``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import tempfile
import time
from datetime import date
from pathlib import Path

import slamjax
from campaigns.frame import GOOD, TESTS, Outcome, Report, counted, load, names
from campaigns.worker import Worker


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m campaigns", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=names(), default=names(), help="these campaigns")
    parser.add_argument("--first", type=int, default=0, help="number of the first attempt")
    parser.add_argument("--tried", type=int, help="attempts of each campaign; default: all")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no attempt after so many")
    parser.add_argument("--keep", type=Path, help="file of the reports; those that it has are not made again")
    parser.add_argument("--folder", type=Path, help="where the files are made; default: a temporary folder")
    parser.add_argument("--table", type=Path, help="Markdown file to write the table to")
    given = parser.parse_args()
    kept = json.loads(given.keep.read_text()) if given.keep and given.keep.exists() else {}
    end = time.monotonic() + 60 * given.minutes
    with (
        tempfile.TemporaryDirectory(prefix="slamjax-campaigns-") as temporary,
        Worker(given.folder or Path(temporary)) as worker,
    ):
        for name in given.only:
            reports = kept.setdefault(name, {})
            last = given.first + (load(name).tried if given.tried is None else given.tried)
            for number in (n for n in range(given.first, last) if str(n) not in reports):
                if time.monotonic() > end:
                    break
                worker.prepare(name)
                report = worker.attempt(name, number)
                reports[str(number)] = dataclasses.asdict(report)
                if report.outcome not in GOOD:
                    print(f"{name} {number}: {report.outcome}: {report.detail[:400]}", flush=True)
                if given.keep:
                    given.keep.write_text(json.dumps(kept))
    rows = {
        load(name).title: [Report(**{**report, "outcome": Outcome(report["outcome"])}) for report in reports.values()]
        for name, reports in kept.items()
        if reports
    }
    table = counted(rows)
    print(table)
    if given.table:
        given.table.write_text(f"{table}\n\n{_where()}\n")


def _where() -> str:
    """The code and the machine."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=TESTS)
    code = f"slamjax {slamjax.__version__}{f' ({commit.stdout.strip()})' if commit.returncode == 0 else ''}"
    machine = f"{platform.system()}, Python {platform.python_version()}, {os.cpu_count()} cores"
    return f"Written by {code}, {machine}, {date.today()}."


if __name__ == "__main__":
    main()
