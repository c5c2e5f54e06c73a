"""Reading pickles of joblib as data: nothing in them is imported, called or executed.

A pickle is a program, and reading one runs it. Here its objects become `Inert` ones, which hold what the pickle says of
them, and arrays of numbers become arrays. Classes and functions must be on a list of the caller's, operations on one of
this module's; anything else ends the reading.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import os
import pickle
import re
import zlib
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar

import numpy as np

from slamjax._util.files import existing_file
from slamjax.errors import SlamError
from slamjax.typing import Progress

#: Names that are needed for the arrays and numbers of any dump; NumPy 2 calls some of them by another name.
_CORES = ("numpy.core", "numpy._core")
_OF_ARRAYS = frozenset(
    {
        ("joblib.numpy_pickle", "NumpyArrayWrapper"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        *((f"{core}.multiarray", name) for core in _CORES for name in ("scalar", "_reconstruct")),
        *((f"{core}.numeric", "_frombuffer") for core in _CORES),
    }
)
_ARRAY = "joblib.numpy_pickle.NumpyArrayWrapper"
_SCALARS = frozenset(f"{core}.multiarray.scalar" for core in _CORES)
#: What an array may hold: numbers of a fixed size; arrays of texts stay inert.
_KINDS, _TEXTS, _MOST_AXES = "biufc", "SU", 4
#: zlib makes at most a thousand bytes of one; what unpacks to more is no dump.
_MOST_UNPACKED = 1100
_PIECE = 2**24
_LONGEST_NAME = 1000
#: How compressed files begin. lz4 is not in Python's library.
_PACKED: dict[bytes, Callable[[BinaryIO], BinaryIO]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),  # type: ignore[dict-item,return-value]
    b"BZ": lambda file: bz2.BZ2File(file),  # type: ignore[dict-item,return-value]
    b"\xfd7zXZ": lambda file: lzma.LZMAFile(file),  # type: ignore[dict-item,return-value]  # noqa: SIM115
    b"\x5d\x00": lambda file: lzma.LZMAFile(file),  # type: ignore[dict-item,return-value]  # noqa: SIM115
    b"\x78": lambda file: io.BufferedReader(_ZlibFile(file)),
}
_LZ4 = b"\x04\x22\x4d\x18"
#: What a damaged or crafted pickle makes the machine raise.
_DAMAGED = (
    pickle.UnpicklingError, EOFError, OSError, zlib.error, lzma.LZMAError, LookupError, TypeError, ValueError,
    AttributeError, ArithmeticError, AssertionError, RecursionError,
)  # fmt: skip


@dataclass(eq=False)
class Inert:
    """An object of a pickle: its class or the function that made it, the arguments, and its state."""

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The object's ``__dict__``."""
        return self.state if isinstance(self.state, dict) else {}


@dataclass(frozen=True)
class _Name:
    """A class or function that a pickle names."""

    name: str


def read_inert(
    path: str | os.PathLike[str], allowed: Collection[tuple[str, str]], kind: str, report: Progress | None = None
) -> Any:
    """What a file of ``joblib.dump`` holds, with `Inert` objects.

    Parameters
    ----------
    path : path
        Compressed as joblib does (zlib, gzip, bz2, xz, lzma), or not.
    allowed : pairs of a module and the name of a class or function in it
        Beside those of arrays and numbers.
    kind : str
        What the file should be, for messages: "a dump of astroslam".
    report : callable, optional
        Called with (bytes read, bytes in all) now and then.

    Raises
    ------
    SlamError
        If the file names anything else, or is no pickle, truncated or damaged.
    """
    source = existing_file(path)
    try:
        with ExitStack() as stack:
            file = stack.enter_context(source.open("rb"))
            content = _Source(file, source.stat().st_size, stack, report)
            found = _Reader(content, allowed).load()
            content.check_end()
            return found
    except _Refused as error:
        raise SlamError(f"{source} is refused: it {error}, as {kind} does not; nothing in it was executed") from error
    except _DAMAGED as error:
        what = str(error) or type(error).__name__
        raise SlamError(
            f"{source} cannot be read as {kind} ({what}); it is truncated, damaged or another kind of file"
        ) from error
    except MemoryError as error:
        raise SlamError(f"{source} does not fit into memory; it is damaged, or made on a larger machine") from error


class _Refused(Exception):
    """What a pickle does that no honest one needs."""


class _Source:
    """A file, unpacked where it is compressed, that gives no more than a file of its size may hold."""

    def __init__(self, file: BinaryIO, size: int, stack: ExitStack, report: Progress | None) -> None:
        self._raw, self._size, self._told, self._report = file, size, 0, report
        start = file.read(6)
        file.seek(0)
        opener = next((opener for magic, opener in _PACKED.items() if start.startswith(magic)), None)
        if start.startswith(_LZ4):
            raise ValueError("it is compressed with lz4: load and dump it again without")
        self._file = file if opener is None else stack.enter_context(opener(file))
        self._left = size if opener is None else size * _MOST_UNPACKED

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self._left:
            raise EOFError("it ends too early")
        self._left -= size
        pieces = []
        while size > 0:
            piece = self._file.read(min(size, _PIECE))
            if not piece:
                raise EOFError("it ends too early")
            pieces.append(piece)
            size -= len(piece)
        if self._report is not None and self._raw.tell() - self._told >= _PIECE:
            self._told = self._raw.tell()
            self._report(self._told, self._size)
        return b"".join(pieces)

    def readline(self) -> bytes:
        line = self._file.readline(_LONGEST_NAME)
        self._left -= len(line)
        return line

    def check_end(self) -> None:
        """Raise unless nothing follows; checksums of compressed files are read with the end."""
        if self._file.read(1):
            raise ValueError("it goes on behind its end")


class _ZlibFile(io.RawIOBase):
    """A stream of zlib, unpacked as it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._unpack, self._packed = file, zlib.decompressobj(), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._unpack.eof:
            self._packed = self._packed or self._file.read(_PIECE)
            if not self._packed:
                raise EOFError("it ends too early")
            data = self._unpack.decompress(self._packed, len(buffer))
            self._packed = self._unpack.unconsumed_tail
            if data:
                buffer[: len(data)] = data
                return len(data)
        return 0


#: Operations that make plain data, or move it about; those that make objects are below.
_PLAIN = (
    "PROTO", "FRAME", "MARK", "POP", "POP_MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2",
    "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "GLOBAL", "STACK_GLOBAL",
    "MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "STOP",
)  # fmt: skip
_Base: Any = pickle._Unpickler


class _Reader(_Base):
    """Python's own unpickler with few operations, none of which calls anything.

    Arrays follow their description in the file, as joblib writes them.
    """

    dispatch: ClassVar[dict[int, Any]] = {
        getattr(pickle, name)[0]: _Base.dispatch[getattr(pickle, name)[0]] for name in _PLAIN
    }

    def __init__(self, source: _Source, allowed: Collection[tuple[str, str]]) -> None:
        super().__init__(source)
        self._source, self._allowed = source, allowed

    def load(self) -> Any:
        try:
            return super().load()
        except KeyError as error:
            if isinstance(error.args[0], int):  # the dispatch table has no such operation
                raise _Refused(f"uses the operation {bytes([error.args[0]])!r}") from error
            raise

    def find_class(self, module: str, name: str) -> _Name:
        if (module, name) not in _OF_ARRAYS and (module, name) not in self._allowed:
            raise _Refused(f"names {module}.{name}"[:_LONGEST_NAME])
        return _Name(f"{module}.{name}")

    def _make(self, maker: Any, args: Any) -> Any:
        if not isinstance(maker, _Name) or not isinstance(args, tuple):
            raise _Refused("calls what is no class")
        return _scalar(args) if maker.name in _SCALARS else Inert(maker.name, args)

    def load_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self._make(self.stack[-1], args)

    def load_newobj_ex(self) -> None:
        self.stack.pop()
        self.load_reduce()

    def load_build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if not isinstance(made, Inert):
            raise _Refused("sets the state of what is no object")
        made.state = state
        if made.name == _ARRAY:
            self.stack[-1] = self._array(made.attributes)

    def load_append(self) -> None:
        value = self.stack.pop()
        self._extend([value])

    def load_appends(self) -> None:
        self._extend(self.pop_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        target = target.items if isinstance(target, Inert) else target
        if not isinstance(target, list):
            raise _Refused("appends to what is no list")
        target.extend(values)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def load_setitems(self) -> None:
        self._update(self.pop_mark())

    def _update(self, pairs: list[Any]) -> None:
        keys, values, target = pairs[::2], pairs[1::2], self.stack[-1]
        if isinstance(target, Inert):
            target.items.extend(zip(keys, values, strict=True))
        elif not isinstance(target, dict) or not all(isinstance(key, str | int) for key in keys):
            raise _Refused("sets items of what is no dictionary of names")
        else:
            target.update(zip(keys, values, strict=True))

    def _array(self, described: Mapping[str, Any]) -> Any:
        """The array whose bytes follow; one of objects is a pickle of its own, and stays inert."""
        shape, kind = described["shape"], described["dtype"]
        if isinstance(kind, Inert) and kind.args[:1] in (("O8",), ("O",), ("|O",)):
            return _Reader(self._source, self._allowed).load()
        dtype = _dtype(kind)
        plausible = isinstance(shape, tuple) and len(shape) <= _MOST_AXES
        if not plausible or not all(type(length) is int and 0 <= length < 2**40 for length in shape):
            raise _Refused("holds an array of an impossible shape")
        if described.get("numpy_array_alignment_bytes") is not None:
            self._source.read(self._source.read(1)[0])
        data = self._source.read(math.prod(shape) * dtype.itemsize)
        if dtype.kind not in _KINDS:
            return Inert("numpy.ndarray", (shape, data))
        array = np.frombuffer(data, dtype).reshape(shape, order="F" if described["order"] == "F" else "C")
        return array.astype(dtype.newbyteorder("="), copy=False)


for _operation, _method in {
    "REDUCE": _Reader.load_reduce, "NEWOBJ": _Reader.load_reduce, "NEWOBJ_EX": _Reader.load_newobj_ex,
    "BUILD": _Reader.load_build, "APPEND": _Reader.load_append, "APPENDS": _Reader.load_appends,
    "SETITEM": _Reader.load_setitem, "SETITEMS": _Reader.load_setitems,
}.items():  # fmt: skip
    _Reader.dispatch[getattr(pickle, _operation)[0]] = _method


def _dtype(described: Any) -> np.dtype[Any]:
    """A type of numbers or texts, made anew from its letter, size and byte order."""
    if not isinstance(described, Inert) or described.name != "numpy.dtype":
        raise _Refused("holds an array without a type of numbers")
    letters, state = described.args[0], described.state
    order = state[1] if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">") else "="
    if not isinstance(letters, str) or not re.fullmatch(f"[{_KINDS}{_TEXTS}][0-9]{{1,4}}", letters):
        raise _Refused(f"holds an array of {letters!r}"[:_LONGEST_NAME])
    return np.dtype(order + letters)


def _scalar(args: tuple[Any, ...]) -> Any:
    """A number; a text stays inert."""
    if len(args) != 2 or not isinstance(args[1], bytes):
        raise _Refused("holds a number without bytes")
    dtype = _dtype(args[0])
    if dtype.kind not in _KINDS:
        return Inert("numpy.ndarray", args)
    return np.frombuffer(args[1], dtype, 1)[0].item()
