"""Compiled programs kept in the user's cache folder, so that a machine and not every process compiles them once.

JAX has such a cache as well, but one that is switched on for a whole process, the user's own functions included, and
that writes its files in place. Here a file appears whole or not at all, has a digest, and is only read by processes
with the same processor, version of XLA and program; the folder keeps the programs that were used last. Loading a
program runs code, so the folder must belong to the user, who alone may write to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jaxlib.version
from jax.experimental import serialize_executable

from slamjax.errors import SlamError

#: Environment variable with another folder, or "off".
VARIABLE = "SLAMJAX_CACHE"
#: Bytes that the folder may take; programs that were not used for longest are deleted.
LARGEST = 512 * 2**20
_OFF = {"off", "0", "no", "none", "false"}
_MAGIC = b"slamjax program 1\n"
_SUFFIX = ".program"
_chosen: list[Path | None] = []
_watchers: list[Callable[[str | None], None]] = []


def keep_programs(folder: str | os.PathLike[str] | None) -> None:
    """Choose where compiled programs are kept between processes, or that they are not.

    slamjax compiles its batches for a model's shape, which takes up to a minute and is done once on a machine: programs
    are kept in the user's cache folder (at most 512 MiB). The environment variable ``SLAMJAX_CACHE`` (a folder, or
    ``off``) does the same as this function. JAX's configuration is not touched, and if it names a compilation cache
    (``JAX_COMPILATION_CACHE_DIR``), that one is used instead.

    Parameters
    ----------
    folder : path or None
        It is made if it does not exist; None keeps nothing.

    Raises
    ------
    SlamError
        If the folder cannot be made, or others may write to it: loading a program runs code.

    Examples
    --------
    >>> import tempfile
    >>> import slamjax
    >>> slamjax.keep_programs(tempfile.mkdtemp())
    >>> slamjax.keep_programs(None)
    """
    path = None if folder is None else Path(folder)
    if path is not None and not _is_safe(path):
        raise SlamError(f"{path} cannot keep compiled programs: make a folder of your own that only you can write to")
    _chosen[:] = [path]


def programs_folder() -> Path | None:
    """Where programs are kept, or None: for several devices they are not."""
    if getattr(jax.config, "jax_compilation_cache_dir", None) or len(jax.local_devices()) > 1:
        return None
    if _chosen:
        return _chosen[0]
    named = os.environ.get(VARIABLE)
    if named is not None and named.strip().lower() in _OFF | {""}:
        return None
    return Path(named) if named else _users_cache()


@contextmanager
def watch_compilation(on_compile: Callable[[str | None], None]) -> Iterator[None]:
    """Call a function with the name of every program that is compiled in this block, before, and with None after."""
    _watchers.append(on_compile)
    try:
        yield
    finally:
        _watchers.remove(on_compile)


def load(lowered: jax.stages.Lowered, options: dict[str, Any] | None, name: str) -> jax.stages.Compiled | None:
    """The program as another process has kept it, or None."""
    path = _path(lowered, options, name)
    return None if path is None else _load(path, lowered)


def compile_and_keep(lowered: jax.stages.Lowered, options: dict[str, Any] | None, name: str) -> jax.stages.Compiled:
    """The program, compiled now and kept for other processes."""
    _tell(name)
    program = lowered.compile(compiler_options=options)
    _tell(None)
    path = _path(lowered, options, name)
    if path is not None:
        _store(path, program)
    return program


def _path(lowered: jax.stages.Lowered, options: dict[str, Any] | None, name: str) -> Path | None:
    folder = programs_folder()
    if folder is None or not _is_safe(folder):
        return None
    return folder / f"{name}-{_key(lowered, options)}{_SUFFIX}"


def _tell(name: str | None) -> None:
    for watcher in list(_watchers):
        watcher(name)


def _key(lowered: jax.stages.Lowered, options: dict[str, Any] | None) -> str:
    """Digest of all that a program depends on."""
    return hashlib.sha256(f"{lowered.as_text()}\n{sorted((options or {}).items())}\n{_machine()}".encode()).hexdigest()


@cache
def _machine() -> str:
    """Versions, processor and device that programs are made for."""
    device = jax.local_devices()[0]
    features = ""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    parts = (jax.__version__, jaxlib.version.__version__, device.client.platform_version, device.device_kind)
    where = (sys.version_info[:2], platform.machine(), platform.processor(), os.cpu_count(), features)
    return repr((*parts, *where, os.environ.get("XLA_FLAGS", "")))


def _load(path: Path, lowered: jax.stages.Lowered) -> jax.stages.Compiled | None:
    """A program as it was stored; a damaged file counts as none and is deleted."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    head, content = data[: len(_MAGIC) + 32], data[len(_MAGIC) + 32 :]
    if head != _MAGIC + hashlib.sha256(content).digest():
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    try:
        program = serialize_executable.deserialize_and_load(
            zlib.decompress(content), lowered.in_tree, lowered.out_tree, execution_devices=jax.local_devices()[:1]
        )
    except Exception:  # of another JAX, or what else may come: compiling is always possible
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return program


def _store(path: Path, program: jax.stages.Compiled) -> None:
    """Keep a program; nothing is said where that cannot be, for example on a full disk."""
    try:
        content = zlib.compress(serialize_executable.serialize(program)[0], 1)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        try:
            with open(handle, "wb") as file:
                file.write(_MAGIC + hashlib.sha256(content).digest() + content)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
        _evict(path.parent)
    except Exception:
        return


def _evict(folder: Path) -> None:
    """Delete the programs that were not used for longest, until the folder is small enough."""
    files = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.suffix in (_SUFFIX, ".tmp"):
                stat = path.stat()
                files.append((stat.st_mtime, stat.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= LARGEST:
            return
        with contextlib.suppress(OSError):
            path.unlink()
            total -= size


def _users_cache() -> Path:
    """The platform's folder for caches."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "slamjax" / "programs"


def _is_safe(folder: Path) -> bool:
    """Whether the folder is there, or can be made, and belongs to this user, who alone may write to it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stat = folder.stat()
    except OSError:
        return False
    return not hasattr(os, "getuid") or (stat.st_uid == os.getuid() and not stat.st_mode & 0o022)
