"""Atomic writing of files, and checks of paths."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slamjax.errors import SlamError


def check_writable(path: str | os.PathLike[str]) -> Path:
    """The path, if a file can be written there; to be checked before long work."""
    target = Path(path)
    folder = target.parent
    if target.is_dir():
        raise SlamError(f"cannot write {target}: it is a folder; give a file name")
    if not folder.is_dir():
        raise SlamError(f"cannot write {target}: the folder {folder} does not exist; create it first")
    try:
        # by writing: permission bits say nothing about a read-only file system
        handle, probe = tempfile.mkstemp(dir=folder, prefix=".slamjax-")
        os.close(handle)
        os.unlink(probe)
    except OSError as error:
        raise SlamError(f"cannot write {target}: {error.strerror or error}; choose another folder") from error
    return target


def existing_file(path: str | os.PathLike[str]) -> Path:
    """The path, if a file exists there."""
    source = Path(path)
    if not source.exists():
        raise SlamError(f"{source}: no such file; check the path")
    if source.is_dir():
        raise SlamError(f"{source} is a folder; give a file name")
    return source


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside ``path``, renamed to it if the block succeeds and removed if it fails."""
    target = check_writable(path)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".slamjax-", suffix=target.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes files private; users expect their umask
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
