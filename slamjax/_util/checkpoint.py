"""Finished parts of a long run, kept in a folder, so that the same call continues where a run was stopped."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np

from slamjax._util.files import atomic_path
from slamjax.errors import SlamError, SlamWarning

try:
    import fcntl
except ImportError:  # Windows: two runs on one folder are not told apart
    fcntl = None  # type: ignore[assignment]

_STAMP, _LOCK, _SUFFIX = "run.json", "lock", ".part"
#: What a run needs beside its parts.
_BESIDE = ("model.h5",)
_MAGIC = b"slamjax part 1\n"


class Checkpoint:
    """A folder that keeps the finished parts of a run.

    As ``checkpoint=`` of `slamjax.sample`, a path makes one for the call and removes it at its end. Where the result is
    yet to be saved, make it yourself: the folder is removed when the block ends well, and stays if it does not.

    Parameters
    ----------
    folder : path
        New, or of the same run before.

    Raises
    ------
    SlamError
        When the block begins: if the folder cannot be made, holds other files, or another process uses it. In the call:
        if the parts are of another run.

    Examples
    --------
    >>> import slamjax
    >>> with slamjax.Checkpoint("parts") as kept:  # doctest: +SKIP
    ...     posterior = slamjax.sample(model, spectra, checkpoint=kept)
    ...     posterior.write("posterior.nc")
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._lock: int | None = None
        self._run = b""
        self._stays = False

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.folder)!r}; {self.n_parts} parts)"

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise SlamError(f"cannot make the folder {self.folder}: {error.strerror or error}") from error
        strange = sorted(path.name for path in self.folder.iterdir() if not _is_ours(path))
        if strange:
            raise SlamError(f"{self.folder} is a folder with other files in it ({strange[0]}); give another name")
        self._lock = _locked(self.folder)
        for path in self.folder.glob(".slamjax-*"):  # of a process that was killed while it wrote
            path.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.n_parts or (kind is None and not self._stays):
            self.drop()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @classmethod
    @contextmanager
    def of_option(cls, given: Checkpoint | str | os.PathLike[str] | None) -> Iterator[Checkpoint | None]:
        """What a call is given: None, a checkpoint whose block has begun, or a folder for this call."""
        if given is None or isinstance(given, Checkpoint):
            yield given
        else:
            with cls(given) as own:
                yield own

    def stay(self) -> None:
        """Keep the folder when the block ends well, too: others will use its parts."""
        self._stays = True

    def drop(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def n_parts(self) -> int:
        """How many parts are finished."""
        return len(self.numbers())

    def numbers(self) -> set[int]:
        """Which parts are finished."""
        names = (path.stem for path in self.folder.glob(f"[0-9]*{_SUFFIX}"))  # not of one that is being written
        return {int(name) for name in names if name.isdigit()}

    def stamp(self) -> dict[str, str]:
        """The properties of the run whose parts are here."""
        path = self.folder / _STAMP
        try:
            return {str(key): str(value) for key, value in json.loads(path.read_text()).items()}
        except FileNotFoundError as error:
            raise SlamError(f"{self.folder} does not say of which run it is (no {_STAMP}); delete it") from error
        except (OSError, ValueError, AttributeError) as error:
            raise SlamError(f"{path} is damaged ({error}); delete the folder to begin again") from error

    def begin(self, run: Mapping[str, str]) -> None:
        """Parts of the run with these properties (`digest`) follow; raises if the folder has those of another one."""
        stamp = self.folder / _STAMP
        if self._lock is None:
            raise SlamError(f"{self!r} is not in use; begin with: with slamjax.Checkpoint(...) as kept")
        if self.n_parts:
            written = self.stamp()
            changed = sorted(key for key in run if written.get(key) != run[key])
            if changed:
                raise SlamError(
                    f"{self.folder} holds the finished parts of another run (different {', '.join(changed)}); repeat "
                    "that run to finish it, or delete the folder"
                )
        else:
            with atomic_path(stamp) as temporary:
                temporary.write_text(json.dumps(dict(run)))
        self._run = json.dumps(dict(run), sort_keys=True).encode()

    def read(self, number: int) -> dict[str, np.ndarray] | None:
        """The arrays of a part, if it is finished. A damaged part counts as unfinished, with a warning."""
        path = self.path(number)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SlamError(f"{path} cannot be read ({error.strerror or error}); delete it") from error
        head, content = data[: len(_MAGIC) + 32], data[len(_MAGIC) + 32 :]
        if head == _MAGIC + self._digest(number, content):
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        self.refuse(number)
        return None

    def refuse(self, number: int) -> None:
        """Warn that a part is damaged, and delete it."""
        warnings.warn(f"{self.path(number)} is damaged; its spectra are done again", SlamWarning, stacklevel=3)
        self.path(number).unlink(missing_ok=True)

    def write(self, number: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep a finished part."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        content = buffer.getvalue()
        with atomic_path(self.path(number)) as temporary:
            temporary.write_bytes(_MAGIC + self._digest(number, content) + content)

    def _digest(self, number: int, content: bytes) -> bytes:
        """Of a part, its number and its run, so that parts of other runs do not pass for it."""
        return hashlib.sha256(self._run + f"\n{number}\n".encode() + content).digest()

    def path(self, number: int) -> Path:
        """The file of a part."""
        return self.folder / f"{number:08d}{_SUFFIX}"


def digest(*values: Any) -> str:
    """Of all arrays, numbers and words in nested containers and pytrees."""
    result = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(values)[0]:
        array = np.asarray(leaf)
        text = array.astype(str) if array.dtype == object else array
        result.update(f"{jax.tree_util.keystr(path)} {text.dtype} {text.shape}".encode())
        result.update(np.ascontiguousarray(text).tobytes())
    result.update(str(jax.tree_util.tree_structure(values)).encode())
    return result.hexdigest()[:16]


def _is_ours(path: Path) -> bool:
    return path.name in (_STAMP, _LOCK, *_BESIDE) or path.suffix == _SUFFIX or path.name.startswith(".slamjax-")


def _locked(folder: Path) -> int | None:
    """The lock of a folder, which ends with this process, however that ends; None where there are no locks."""
    path = folder / _LOCK
    while True:
        try:
            folder.mkdir(exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise SlamError(f"cannot write {path}: {error.strerror or error}; choose another folder") from error
        if fcntl is None:
            return handle
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            user = os.read(handle, 100).decode(errors="replace").strip()
            os.close(handle)
            raise SlamError(
                f"{folder} is in use by another run ({user or 'just begun'}); wait for it, or give another output"
            ) from error
        except OSError:  # a file system without locks
            return handle
        is_there = False
        with contextlib.suppress(OSError):
            is_there = os.path.samestat(os.fstat(handle), os.stat(path))
        if is_there:
            with contextlib.suppress(OSError):  # the disk is full: the lock holds without a name
                os.truncate(handle, 0)
                os.write(handle, f"process {os.getpid()}".encode())
            return handle
        os.close(handle)  # the run before has just removed it
