"""Places that cannot be written to: each command says so before any long work, and touches nothing.

Where all but the output is read-only (home and caches, the package, the working folder), commands do their work.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from helpers import xp_giants
from models import giants_model

from campaigns.frame import Campaign, Finished, Outcome, Report, command, judged_command, patience
from slamjax.io import write_table

_TRAIN = ["--labels", "teff", "--wave-range", "500", "540", "--folds", "2", "--C", "10", "--epsilon", "0.05"]
#: Commands; the output is OUTPUT, and a folder where it has no suffix.
_COMMANDS = {
    "train": ("out.h5", ["train", "stars.fits", *_TRAIN, "--gamma", "0.1", "-o", "OUTPUT"]),
    "fit": ("out.fits", ["fit", "model.h5", "few.fits", "-o", "OUTPUT"]),
    "fit to text": ("out.ecsv", ["fit", "model.h5", "few.fits", "-o", "OUTPUT"]),
    "read": ("out.fits", ["read", "stars.fits", "-o", "OUTPUT"]),
    "sample": ("out.nc", ["sample", "model.h5", "few.fits", "--draws", "50", "-o", "OUTPUT"]),
    "plot": ("out.png", ["plot", "model.h5", "-o", "OUTPUT"]),
    "validate": ("out.md", ["validate", "model.h5", "few.fits", "-o", "OUTPUT"]),
    "calibrate": ("out.png", ["calibrate", "model.h5", "few.fits", "--n-stars", "20", "-o", "OUTPUT"]),
    "compare": ("out", ["compare", "stars.fits", *_TRAIN, "--gamma", "0.1", "-o", "OUTPUT"]),
    "demo": ("out", ["demo", "--n-train", "300", "-o", "OUTPUT"]),
}
#: Nothing but the output can be written; the other places are outputs.
_REST, _ALL = "all but the output", "all but the output, and no temporary folder"
_PLACES = (
    _REST,
    "folder without permission",
    "file without permission",
    "read-only file system",
    "kernel's files",
    _ALL,
)
_CASES = [
    (name, place)
    for name in _COMMANDS
    for place in _PLACES
    if place not in (_REST, _ALL) or name not in ("compare", "demo")
]
#: Seconds in which a command says what it cannot do: none of them trains or fits within that time.
_SOON = 30.0
_OLD = b"an older result"
#: In a namespace of its own, mounts are seen by this process only.
_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
_READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
_ALL_READ_ONLY = (
    'mount --bind "$0" "$0" && mount --bind "$1" "$1" && mount -o remount,bind,ro / && shift && '
    'for other in /dev/shm /tmp /var/tmp; do mount -o remount,bind,ro "$other" 2>/dev/null || true; done; exec "$@"'
)
_PR_CAPBSET_DROP = 24
#: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: what lets root write where nobody may.
_CAPABILITIES = (1, 2)


def prepare(folder: Path) -> None:
    giants_model().write(folder / "model.h5")
    write_table(xp_giants()[:100], folder / "stars.fits")
    write_table(xp_giants()[110:114], folder / "few.fits")


def attempt(number: int, folder: Path) -> Report:
    name, place = _CASES[number]
    own = folder / "attempt"
    _remove(own)
    for part in ("output", "temporary"):
        (own / part).mkdir(parents=True)
    suffix, words = _COMMANDS[name]
    output = Path("/proc/sys/kernel" if place == "kernel's files" else own / "output") / suffix
    old = place == "file without permission" or number % 2 == 0
    if old and output.suffix and place != "kernel's files":
        output.write_bytes(_OLD)
    given = {"OUTPUT": output} | {word: folder / word for word in words if (folder / word).is_file()}
    try:
        finished = _run([given.get(word, word) for word in words], place, output)
    finally:
        output.parent.chmod(0o755) if own in output.parents else None
    report = judged_command(finished, named="" if place == _ALL else output.name)
    detail = f"{name}, {place}: {report.detail}"
    left = [path.name for path in own.rglob("*") if path not in (output, own / "output", own / "temporary")]
    if finished.code == 0 and place in (_REST, _ALL):
        whole = output.stat().st_size > 500 and output.read_bytes() != _OLD and not left
        return Report(Outcome.SAME if whole else Outcome.WRONG, f"{detail}; beside it {left}")
    if place == _REST:
        return Report(Outcome.RAW, detail)
    if finished.code == 0:
        return Report(Outcome.WRONG, f"said to have written: {detail}")
    if left or (output.is_file() and output.read_bytes() != _OLD) or (output.is_dir() and any(output.iterdir())):
        return Report(Outcome.WRONG, f"{left} and the output are not as before: {detail}")
    if report.outcome is Outcome.TOLD and finished.seconds > patience(_SOON):
        return Report(Outcome.WRONG, f"told after {finished.seconds:.0f} s only: {detail}")
    return Report(report.outcome, detail, finished.seconds, finished.mebibytes)


def _run(words: list[object], place: str, output: Path) -> Finished:
    """The command where this place is read-only."""
    within, environment = [], dict(os.environ)
    if place == "folder without permission":
        output.parent.chmod(0o555)
    elif place == "file without permission":
        if output.suffix:
            output.chmod(0o444)
        else:
            output.mkdir(mode=0o555)
    elif place == "read-only file system":
        within = [*_UNSHARE, _READ_ONLY, str(output.parent)]
    elif place in (_REST, _ALL):
        temporary = output.parents[1] / "temporary" if place == _REST else output.parent
        within = [*_UNSHARE, _ALL_READ_ONLY, str(output.parent), str(temporary)]
        caches = ("NUMBA_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME", "SLAMJAX_CACHE")
        environment = {key: value for key, value in environment.items() if key not in caches}
        environment |= {"HOME": "/nonexistent", "TMPDIR": str(temporary if place == _REST else "/nonexistent")}
    if within and not _has_namespaces():  # what is left of the case: permissions, and no caches
        within = []
        if place == "read-only file system":
            output.parent.chmod(0o555)
    return command(*words, seconds=200, within=within, environment=environment, before=_without_privilege)


def _without_privilege() -> None:
    """Permissions hold for root, too, in the program that this process becomes."""
    if os.geteuid() == 0:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        for capability in _CAPABILITIES:
            prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


@cache
def _has_namespaces() -> bool:
    return shutil.which("unshare") is not None and subprocess.run([*_UNSHARE, "true"]).returncode == 0


def _remove(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)


CAMPAIGN = Campaign("read-only places", attempt, prepare, tried=len(_CASES), short=4, seconds=250)
