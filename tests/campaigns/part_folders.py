"""Damaged and edited part folders of a stopped sample or fit: done again, or named; never another result."""

from __future__ import annotations

import io
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from campaigns.frame import Campaign, Outcome, Report, judged_command
from campaigns.mutations import damaged
from campaigns.runs import KEPT, OUTPUTS, Attempt, contents, prepare, run

Damage = Callable[[Path, Attempt], None]
#: Bytes before the arrays of a part.
_HEAD = len(b"slamjax part 1\n") + 32


def _stopped(kind: str, folder: Path) -> Path:
    """The folder of a run that was killed when its first parts were kept; it is made at the first call."""
    place = folder / f"stopped-{kind}"
    if not place.exists():
        place.mkdir()

        def kill(process: subprocess.Popen[bytes]) -> None:
            while process.poll() is None and len(list(place.glob(".*.parts/[0-9]*.part"))) < 2:
                time.sleep(0.01)
            process.kill()

        run(kind, folder, place / OUTPUTS[kind], during=kill)
    return place


def _generator(at: Attempt) -> np.random.Generator:
    return np.random.default_rng(at.rng.getrandbits(32))


def _random_damage(path: Path, at: Attempt) -> None:
    path.write_bytes(damaged(path.read_bytes(), _generator(at)))


def _truncated(path: Path, at: Attempt) -> None:
    path.write_bytes(path.read_bytes()[: at.rng.randrange(path.stat().st_size)])


def _edited(path: Path, at: Attempt) -> None:
    """Other numbers in a sound archive, behind the old digest."""
    data = path.read_bytes()
    with np.load(io.BytesIO(data[_HEAD:]), allow_pickle=False) as arrays:
        fields = {name: arrays[name] for name in arrays.files}
    for name, values in fields.items():
        if values.dtype.kind == "f":
            fields[name] = values + 1
    buffer = io.BytesIO()
    np.savez(buffer, **fields)
    path.write_bytes(data[:_HEAD] + buffer.getvalue())


def _exchanged(path: Path, at: Attempt) -> None:
    """The part of other stars under this name."""
    others = [other for other in path.parent.glob("[0-9]*.part") if other != path]
    shutil.copy(at.rng.choice(others), path)


def _old_format(path: Path, at: Attempt) -> None:
    path.write_bytes(path.read_bytes()[_HEAD:])


def _stamp_damaged(path: Path, at: Attempt) -> None:
    stamp = path.parent / "run.json"
    stamp.write_bytes(damaged(stamp.read_bytes(), _generator(at)))


def _stamp_gone(path: Path, at: Attempt) -> None:
    (path.parent / "run.json").unlink()


def _stranger(path: Path, at: Attempt) -> None:
    (path.parent / "notes.txt").write_text("mine")


def _folder_is_a_file(path: Path, at: Attempt) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_text("mine")


def _part_is_a_folder(path: Path, at: Attempt) -> None:
    path.unlink()
    path.mkdir()


_DAMAGE: tuple[Damage, ...] = (
    _random_damage,
    _truncated,
    _edited,
    _exchanged,
    _old_format,
    _stamp_damaged,
    _stamp_gone,
    _stranger,
    _folder_is_a_file,
    _part_is_a_folder,
)


def attempt(number: int, folder: Path) -> Report:
    at = Attempt.make(number, folder, KEPT)
    shutil.copytree(_stopped(at.kind, folder), at.output.parent, dirs_exist_ok=True)
    damage = _DAMAGE[number // len(KEPT) % len(_DAMAGE)]
    (parts,) = at.output.parent.glob(".*.parts")
    damage(at.rng.choice(sorted(parts.glob("[0-9]*.part"))), at)
    done = at.run()
    seen = f"{at.kind}, {damage.__name__.strip('_')}"
    if done.code == 0:
        if contents(at.output) != at.expected():
            return Report(Outcome.WRONG, f"{seen}: another result")
        told = "is damaged" in done.err
        shutil.rmtree(at.output.parent)
        return Report(Outcome.TOLD if told else Outcome.SAME, f"{seen}: {'told, and ' if told else ''}done again")
    report = judged_command(done, parts.name)
    return Report(report.outcome, f"{seen}: {report.detail}")


CAMPAIGN = Campaign("part folders of fit and sample", attempt, prepare, tried=200, short=1, seconds=500.0)
