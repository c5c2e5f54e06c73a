"""Virtual environments of other codes, which scripts run their workers in."""

from __future__ import annotations

import subprocess
from pathlib import Path


class WorkerFailed(Exception):
    """Another code could not be installed or run here."""


def environment(folder: Path, base: str, *packages: tuple[str, ...]) -> Path:
    """The Python of a virtual environment that has these packages, installed one lot after the other."""
    python = folder / "bin" / "python"
    made = folder / "made"
    if not made.exists():
        run_command([base, "-m", "venv", "--clear", str(folder)])
        for lot in packages:
            run_command([str(python), "-m", "pip", "install", "--quiet", *lot])
        made.touch()
    return python


def run_command(command: list[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise WorkerFailed((ended.stderr or ended.stdout).strip()[-2000:])
