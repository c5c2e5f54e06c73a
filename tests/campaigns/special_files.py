"""Special files on the command line: pipes, sockets, folders and links in the place of inputs and outputs."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
from itertools import product
from pathlib import Path

import numpy as np
from helpers import xp_giants
from models import giants_model

from campaigns.frame import Campaign, Finished, Outcome, Report, command, judged_command
from slamjax.io import write_table

_KINDS = ("pipe", "socket", "folder", "loop", "dangling", "link", "empty", "sparse", "text")
#: Commands with INPUT or OUTPUT in the place that is tried.
_COMMANDS = {
    "info": ["info", "INPUT"],
    "model of fit": ["fit", "INPUT", "stars.fits", "-o", "out.fits"],
    "spectra of fit": ["fit", "model.h5", "INPUT", "-o", "out.fits"],
    "spectra of read": ["read", "INPUT", "-o", "out.fits"],
    "spectra of train": ["train", "INPUT", "--labels", "teff", "-o", "out.h5"],
    "spectra of sample": ["sample", "model.h5", "INPUT", "-o", "out.nc"],
    "recipe of train": ["train", "stars.fits", "--labels", "teff", "--recipe", "INPUT", "-o", "out.h5"],
    "spectra of plot": ["plot", "model.h5", "INPUT", "-o", "out.png"],
    "posterior of plot": ["plot", "INPUT", "--what", "corner", "-o", "out.png"],
    "output of plot": ["plot", "model.h5", "-o", "OUTPUT"],
    "output of fit": ["fit", "model.h5", "stars.fits", "-o", "OUTPUT"],
    "output of read": ["read", "stars.fits", "-o", "OUTPUT"],
    "output of sample": ["sample", "model.h5", "stars.fits", "--draws", "50", "-o", "OUTPUT"],
    "table of sample": ["sample", "model.h5", "stars.fits", "--draws", "50", "-o", "out.nc", "--table", "OUTPUT"],
}
_CASES = list(product(_COMMANDS, _KINDS))
_ENDS = {
    "model of fit": ".h5",
    "recipe of train": ".toml",
    "output of sample": ".nc",
    "posterior of plot": ".nc",
    "output of plot": ".png",
}


def prepare(folder: Path) -> None:
    giants_model().write(folder / "model.h5")
    write_table(xp_giants()[:2], folder / "stars.fits")


def attempt(number: int, folder: Path) -> Report:
    name, kind = _CASES[int(np.random.default_rng(1).permutation(len(_CASES))[number])]
    place = folder / "attempt"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    words = _COMMANDS[name]
    given = place / f"given{_ENDS.get(name, '.fits')}"
    goal = place / f"goal{given.suffix}"
    is_output = "OUTPUT" in words
    _make(kind, given, goal, is_output, folder / ("model.h5" if given.suffix == ".h5" else "stars.fits"))
    before = _state(given)
    places = {"INPUT": given, "OUTPUT": given, "model.h5": folder / "model.h5", "stars.fits": folder / "stars.fits"}
    finished = command(*(places.get(w, place / w if w.startswith("out.") else w) for w in words), seconds=60)
    report = judged_command(finished, named=given.name if kind not in ("link", "dangling", "text") else "")
    report = _checked(report, finished, before, given, goal if kind in ("link", "dangling") and is_output else None)
    left = [path.name for path in place.iterdir() if path.name.startswith(".slamjax-")]
    if left:
        return Report(Outcome.WRONG, f"{name}, {kind}: left behind {left}")
    return Report(report.outcome, f"{name}, {kind}: {report.detail}", report.seconds, finished.mebibytes)


def _make(kind: str, given: Path, goal: Path, is_output: bool, sound: Path) -> None:
    if kind == "pipe":
        os.mkfifo(given)
    elif kind == "socket":
        with contextlib.chdir(given.parent), socket.socket(socket.AF_UNIX) as one:  # names of sockets are short
            one.bind(given.name)
    elif kind == "folder":
        given.mkdir()
    elif kind == "loop":
        given.symlink_to(given)
    elif kind == "dangling":
        given.symlink_to(goal)
    elif kind == "link":
        shutil.copy(sound, goal)
        given.symlink_to(goal)
    elif kind == "empty":
        given.touch()
    elif kind == "sparse":
        with given.open("wb") as file:
            file.truncate(2**32)
    else:
        given.write_text("no file of ours\n" * 100)


def _state(path: Path) -> int:
    return stat.S_IFMT(os.lstat(path).st_mode)


def _checked(report: Report, finished: Finished, before: int, given: Path, goal: Path | None) -> Report:
    """What was no file is what it was; a link is still a link, and what was written is where it leads."""
    if _state(given) != before:
        return Report(Outcome.WRONG, f"replaced: {report.detail}")
    if goal is not None and finished.code == 0 and (not goal.exists() or goal.stat().st_size < 1000):
        return Report(Outcome.WRONG, f"nothing is where the link leads: {report.detail}")
    return report


CAMPAIGN = Campaign("special files on the command line", attempt, prepare, tried=len(_CASES), short=4, seconds=90)
