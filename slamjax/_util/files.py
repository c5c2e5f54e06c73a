"""Atomic writing of files, and checks of paths."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import stat
import tempfile
import zlib
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
        if target.exists() and not os.access(target, os.W_OK):  # a new file could be renamed to it all the same
            raise SlamError(f"cannot write {target}: the file is read-only; choose another name, or make it writable")
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


#: Temporary files that exist now, and folders that were looked through for those of processes that were killed.
_temporaries: set[Path] = set()
_tidy: set[Path] = set()


def remove_temporaries() -> None:
    """Remove the temporary files of all writers, for a process that is about to end."""
    for path in list(_temporaries):
        _remove(path)


def remove_stale(folder: Path) -> None:
    """Remove temporary files of processes of this machine that were killed; once per folder and process."""
    if folder in _tidy or os.name != "posix":
        return
    _tidy.add(folder)
    for path in folder.glob(f"{_prefix()}*"):
        number = path.name.removeprefix(_prefix()).split("-")[0]
        with contextlib.suppress(OSError):
            if number.isdigit() and not _is_running(int(number)):
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _prefix() -> str:
    """Of the names of temporary files, behind which the number of the process stands."""
    return f".slamjax-{zlib.crc32(socket.gethostname().encode()):08x}-"


def _is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def existing_text(path: str | os.PathLike[str]) -> Path:
    """The path, if a text file exists there: readers of text would take a file of zeros into memory as a whole."""
    source = existing_file(path)
    with source.open("rb") as file:
        while piece := file.read(2**20):
            if b"\0" in piece:
                raise SlamError(f"{source} is no text in UTF-8: it has zeros in it; convert it or copy it again")
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
    remove_stale(target.parent)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f"{_prefix()}{os.getpid()}-", suffix=target.suffix)
    temporary = Path(name)
    _temporaries.add(temporary)
    try:
        os.close(handle)
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes files private; users expect their umask
        to_disk(temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise SlamError(f"cannot write {target}: {_reason(error)}; nothing was written") from error
    finally:
        temporary.unlink(missing_ok=True)
        _temporaries.discard(temporary)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder, renamed to ``path`` if the block succeeds; an older folder of that name goes last.

    Raises
    ------
    SlamError
        If the block cannot write.
    """
    target = Path(path)
    remove_stale(target.parent)
    folder = older = None
    try:
        folder = _new_folder(target.parent)
        yield folder
        if target.exists():
            older = _new_folder(target.parent)
            os.replace(target, older)
        os.replace(folder, target)
    except OSError as error:
        raise SlamError(f"cannot write {target}: {_reason(error)}; nothing was written") from error
    finally:
        for temporary in (folder, older):
            if temporary is not None:
                _remove(temporary)
                _temporaries.discard(temporary)


def _new_folder(parent: Path) -> Path:
    """A temporary folder with the user's usual permissions."""
    name = tempfile.mktemp(dir=parent, prefix=f"{_prefix()}{os.getpid()}-")
    os.mkdir(name)
    folder = Path(name)
    _temporaries.add(folder)
    return folder


def to_disk(path: Path) -> None:
    """Let a file reach the disk before its name does: after a power cut it is whole, or not there."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
