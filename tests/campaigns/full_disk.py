"""Disks that are full and files that may not grow: each command says so in one sentence, and loses nothing."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

from helpers import xp_giants
from models import giants_model

from campaigns.frame import Campaign, Outcome, Report, command, judged_command
from slamjax.io import write_table

_TRAIN = ["--labels", "teff", "--wave-range", "500", "540", "--folds", "2", "--C", "10", "--epsilon", "0.05"]
_COMMANDS = {
    "train": ["train", "stars.fits", *_TRAIN, "--gamma", "0.1", "-o", "out.h5"],
    "fit": ["fit", "model.h5", "few.fits", "-o", "out.fits"],
    "read": ["read", "stars.fits", "-o", "out.fits"],
    "sample": ["sample", "model.h5", "few.fits", "--draws", "400", "-o", "out.nc"],
    "plot": ["plot", "model.h5", "-o", "out.png"],
}
#: Bytes that a file may have.
_LIMITS = (0, 1, 500, 2880, 5000, 20_000, 40_000)
_CASES = [(name, limit) for limit in _LIMITS for name in _COMMANDS]


def prepare(folder: Path) -> None:
    giants_model().write(folder / "model.h5")
    write_table(xp_giants()[:100], folder / "stars.fits")
    write_table(xp_giants()[110:114], folder / "few.fits")


def attempt(number: int, folder: Path) -> Report:
    name, limit = _CASES[number]
    place = folder / "attempt"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    words = [str(_place(word, folder, place)) for word in _COMMANDS[name]]
    output = place / next(word for word in _COMMANDS[name] if word.startswith("out."))
    old = number % 2 == 0
    if old:
        output.write_bytes(b"an older result")
    finished = command(*words, seconds=200, file_size=limit)
    report = judged_command(finished, named=place.name)
    detail = f"{name}, {limit} bytes: {report.detail}"
    if finished.code == 0 and not _is_whole(name, words, output, folder):
        return Report(Outcome.WRONG, detail)
    if finished.code != 0 and (output.read_bytes() != b"an older result" if old else output.exists()):
        return Report(Outcome.WRONG, f"the older file is gone: {detail}")
    left = [path for path in place.rglob(".slamjax-*") if path.is_file()]
    if left:
        return Report(Outcome.WRONG, f"left behind {left}: {detail}")
    return Report(report.outcome, detail, report.seconds, finished.mebibytes)


def _place(word: str, folder: Path, place: Path) -> object:
    if word.startswith("out."):
        return place / word
    return folder / word if (folder / word).is_file() else word


def _is_whole(name: str, words: list[str], output: Path, folder: Path) -> bool:
    """Whether a command that succeeded within its limit wrote what it writes without one."""
    return output.exists() and abs(output.stat().st_size / _size(name, folder) - 1) < 0.05


@cache
def _size(name: str, folder: Path) -> int:
    place = folder / "whole"
    place.mkdir(exist_ok=True)
    words = [_place(word, folder, place) for word in _COMMANDS[name]]
    finished = command(*words, seconds=200)
    assert finished.code == 0, finished.err
    return os.path.getsize(place / next(word for word in _COMMANDS[name] if word.startswith("out.")))


CAMPAIGN = Campaign("file size limits", attempt, prepare, tried=len(_CASES), short=3, seconds=500)
