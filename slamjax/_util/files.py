"""Atomic writing of files, and checks of paths."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slamjax.errors import SlamError

#: What a path may lead to that is no file.
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Where to write, if a file can be written there; to be checked before long work.

    A symbolic link is followed: the file that it leads to is written, and the link stays.
    """
    target = _end_of_links(path)
    folder = target.parent
    if target.is_dir():
        raise SlamError(f"cannot write {target}: it is a folder; give a file name")
    if not folder.is_dir():
        raise SlamError(f"cannot write {target}: the folder {folder} does not exist; create it first")
    try:
        kind = stat.S_IFMT(target.stat().st_mode) if target.exists() else stat.S_IFREG
        if kind != stat.S_IFREG:
            raise SlamError(f"cannot write {target}: it is {_KINDS.get(kind, 'no file')}; give the name of a file")
        # by writing: permission bits say nothing about a read-only file system
        handle, probe = tempfile.mkstemp(dir=folder, prefix=".slamjax-")
        os.close(handle)
        os.unlink(probe)
    except (OSError, ValueError) as error:
        if isinstance(error, SlamError):
            raise
        raise SlamError(f"cannot write {target}: {_reason(error)}; choose another folder or name") from error
    return target


def existing_file(path: str | os.PathLike[str]) -> Path:
    """The path, if a regular file exists there: a pipe or device could hang or have no end."""
    source = Path(path)
    try:
        kind = stat.S_IFMT(source.stat().st_mode)
    except FileNotFoundError as error:
        raise SlamError(f"{source}: no such file; check the path") from error
    except (OSError, ValueError) as error:
        raise SlamError(f"{str(source)!r} cannot be read: {_reason(error)}; check the path") from error
    if kind == stat.S_IFDIR:
        raise SlamError(f"{source} is a folder; give a file name")
    if kind != stat.S_IFREG:
        raise SlamError(f"{source} is {_KINDS.get(kind, 'no file')}; copy what it gives to a file and name that one")
    return source


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside ``path``, renamed to it if the block succeeds and removed if it fails.

    Raises
    ------
    SlamError
        If the block cannot write, for instance because the disk is full.
    """
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
    except OSError as error:
        raise SlamError(f"cannot write {target}: {_reason(error)}; nothing was written") from error
    finally:
        temporary.unlink(missing_ok=True)


def _end_of_links(path: str | os.PathLike[str]) -> Path:
    """The path itself, or what it leads to if it is a symbolic link."""
    try:
        target = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
        if target.is_symlink():
            raise SlamError(f"cannot write {target}: it is a symbolic link to itself; choose another name")
    except (OSError, ValueError) as error:
        if isinstance(error, SlamError):
            raise
        raise SlamError(f"cannot write {os.fspath(path)!r}: {_reason(error)}; choose another name") from error
    return target


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
