"""A survey in pieces: small descriptions of some of its input, which any process can read and work on by itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from slamjax.errors import SlamError
from slamjax.fitting.parts import rows_within
from slamjax.io import count_rows, expand_pattern, has_rows
from slamjax.model.model import Model

Kind = Literal["table", "files"]
#: Most spectra of a piece: enough to keep a batch full, few enough that little is lost with a worker.
MOST_SPECTRA, MOST_FILES = 4096, 512
#: Inputs of which each is looked at; of more only the first is, and the others are taken to be of its kind.
_FEW = 100


@dataclass(frozen=True)
class Piece:
    """Some of the input.

    Attributes
    ----------
    number : its place in the survey, from 0
    kind : rows of one table, or files
    paths : of the files
    start, stop : rows of the table
    first : spectra in front of it, where each survey file counts as one
    """

    number: int
    kind: Kind
    paths: tuple[str, ...]
    start: int = 0
    stop: int = 0
    first: int = 0

    @property
    def n(self) -> int:
        """Spectra, or files, of which each has at least one."""
        return self.stop - self.start if self.kind == "table" else len(self.paths)

    def __str__(self) -> str:
        if self.kind == "table":
            return f"rows {self.start} to {self.stop - 1} of {self.paths[0]}"
        return self.paths[0] if self.n == 1 else f"{self.n} files, {self.paths[0]} to {self.paths[-1]}"


class Sized(Protocol):
    """What limits pieces: a model's pixels, and GiB."""

    @property
    def model(self) -> Model: ...
    @property
    def memory(self) -> float: ...


def paths_of(inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    """The files of paths, patterns and ``@lists`` (text files of paths), in order."""
    given = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    paths = [path for pattern in given for path in expand_pattern(os.fspath(pattern))]
    if not paths:
        raise SlamError("no input to fit; give a table of spectra or survey files")
    return paths


def pieces_of(paths: Sequence[str], engine: Sized, size: int | None = None, most: int = MOST_SPECTRA) -> list[Piece]:
    """The pieces of files, in order. They do not depend on who works on them.

    Parameters
    ----------
    paths : of `paths_of`
    engine : Engine or Fitter
        Whose ``memory`` limits the pieces.
    size : int, optional
        Most spectra, or files, of a piece.
    most : int
        The same, where no size is given and memory allows more.
    """
    if size is not None and size < 1:
        raise SlamError(f"a piece of {size} spectra is none; give at least 1")
    pieces: list[Piece] = []
    waiting: list[str] = []
    most_files = size or min(MOST_FILES, most, rows_within(engine.memory, 8 * engine.model.wave.size))
    total = 0

    def add(kind: Kind, paths: tuple[str, ...], start: int = 0, stop: int = 0) -> None:
        nonlocal total
        pieces.append(Piece(len(pieces), kind, paths, start, stop, total))
        total += pieces[-1].n

    def add_files() -> None:
        for start, stop in _ranges(len(waiting), most_files):
            add("files", tuple(waiting[start:stop]))
        waiting.clear()

    for path, is_one in zip(paths, _are_tables(paths), strict=True):
        if not is_one:
            waiting.append(path)
            continue
        add_files()
        n, width = count_rows(path)
        for start, stop in _ranges(n, size or min(most, rows_within(engine.memory, width))):
            add("table", (path,), start, stop)
    add_files()
    if not pieces:
        raise SlamError(f"{Path(paths[0])} holds no spectra to fit")
    return pieces


def _are_tables(paths: Sequence[str]) -> Iterator[bool]:
    """Which are tables whose rows are read one by one, rather than survey files."""
    if len(paths) <= _FEW:
        yield from map(has_rows, paths)
        return
    first = has_rows(paths[0])
    for path in paths:
        yield first and has_rows(path)


def _ranges(n: int, most: int) -> Iterator[tuple[int, int]]:
    """Nearly equal ranges of at most so many: equal ones share compiled shapes."""
    count = -(-n // most)
    for k in range(count):
        yield n * k // count, n * (k + 1) // count
