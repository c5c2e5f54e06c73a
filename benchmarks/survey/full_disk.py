"""A survey on a disk that is too small: does it stop with one sentence, and end with the same table after all?"""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What fits on the disk, in units of all parts, and of the label table (in place of parts before their size is known),
#: and further options.
CASES: dict[str, tuple[float, float, tuple[str, ...]]] = {
    "some parts": (0.0, 0.5, ()),
    "half of the parts, two workers": (0.5, 0.0, ("--workers", "2")),
    "the parts, half of the table": (1.0, 0.5, ()),
}
#: Seconds that a run may take at most.
_PATIENCE = 3600


@dataclass(frozen=True)
class Disk:
    """A folder with little room, until `enlarge` is called; ``limit`` is called in new processes that write to it."""

    folder: Path
    enlarge: Callable[[], None]
    limit: Callable[[], None] | None = None


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Disk]:
    """A file system in memory of so many bytes; where it may not be mounted, a limit on the size of each file."""
    folder.mkdir()
    if _mount(f"size={size}", folder):
        try:
            yield Disk(folder, lambda: _enlarged(folder, 20 * size))
        finally:
            subprocess.run(["umount", folder], check=True)
            folder.rmdir()
        return
    print("no file system can be mounted: files are limited instead", flush=True)
    limits = [size]

    def limit() -> None:
        for most in limits:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    yield Disk(folder, limits.clear, limit)
    shutil.rmtree(folder)


def _mount(options: str, folder: Path) -> bool:
    with contextlib.suppress(OSError):
        command = ["mount", "-t", "tmpfs", "-o", options, "slamjax", folder]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False


def _enlarged(folder: Path, size: int) -> None:
    if not _mount(f"remount,size={size}", folder):
        raise SystemExit(f"{folder} cannot be made larger")


def on_full_disk(
    command: Sequence[object], table: int, beside: int, pieces: int, folder: Path, same: Callable[[Path], bool]
) -> dict[str, dict[str, Any]]:
    """How a run ends on each disk, and how the same command ends once there is room.

    ``command`` lacks the output. Bytes of a whole label ``table`` and of what workers need ``beside`` it are given, and
    ``same`` compares with the table.
    """
    found: dict[str, dict[str, Any]] = {}
    all_parts = float(table)
    for name, (of_parts, of_table, more) in CASES.items():
        room = of_parts * all_parts + of_table * table + (beside if more else 0)
        with small_disk(folder / "disk", int(room)) as disk:
            output = disk.folder / "labels.fits"
            words = list(map(str, [sys.executable, "-m", "slamjax", *command, "-o", output, *more]))
            stopped = _run(words, disk.limit)
            parts = [path.stat().st_size for path in disk.folder.glob(".*.parts/*.part")]
            all_parts = pieces * sum(parts) / len(parts) if parts else all_parts
            disk.enlarge()
            resumed = _run(words, None)
            is_same = resumed.returncode == 0 and same(output)
            wanted = (output.name, f"{output.name}.report.json")
            left = [path.name for path in disk.folder.iterdir() if path.name not in wanted]
            found[name] = {
                "code": stopped.returncode,
                "said": _last_line(stopped.stderr),
                "sentence": stopped.returncode != 0 and "Traceback" not in stopped.stderr,
                "parts": len(parts),
                "same": is_same,
                "left": left,
                "resumed": _last_line(resumed.stderr) if resumed.returncode else "",
            }
        print(f"{name}: {found[name]}", flush=True)
    return found


def _run(words: Sequence[str], limit: Callable[[], None] | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, preexec_fn=limit, capture_output=True, text=True, timeout=_PATIENCE, check=False)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
