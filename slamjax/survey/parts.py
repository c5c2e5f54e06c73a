"""Finished parts of a survey: label tables of pieces as arrays in a `Checkpoint`, and what identifies their run."""

from __future__ import annotations

import dataclasses
import json
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import MaskedColumn
from astropy.units import Quantity, Unit

from slamjax._util.checkpoint import Checkpoint, digest
from slamjax.errors import SlamError
from slamjax.io import LabelTable
from slamjax.survey.engines import Engine
from slamjax.survey.pieces import Piece
from slamjax.survey.report import counts_of
from slamjax.survey.schema import LabelColumn
from slamjax.survey.work import Done, Reading

#: Of Done, what is kept beside the table.
_NOTES = ("n", "any_good", "problem", "seconds", "warnings", "began", "beside", "deaths", "set_aside")
#: What a part must say of itself.
_NEEDED = {"columns", "rows", "counts", "piece", "first", *_NOTES}


def fingerprint(engine: Engine, paths: Sequence[str], pieces: Sequence[Piece], reading: Reading) -> dict[str, str]:
    """What identifies a survey, whoever works on which of its pieces."""
    how = (reading.select, reading.survey, reading.medium, reading.frame, reading.fwhm)
    return {
        "task": engine.task,
        **engine.identity(),
        "inputs": str(len(paths)),
        "files": digest("\n".join(map(_identity, paths))),
        "reading": digest(how),
        "piece_size": digest([piece.n for piece in pieces]),
        "pieces": str(len(pieces)),
        "all_rows": str(not reading.select),
    }


def _identity(path: str) -> str:
    """A file, unless it was changed."""
    try:
        stat = Path(path).stat()
    except OSError:
        return f"{path} missing"
    return f"{path} {stat.st_size} {stat.st_mtime_ns}"


def shard_of(text: str) -> tuple[int, int]:
    """The i-th of N, from ``i/N`` (1/N to N/N)."""
    first, _, second = text.partition("/")
    if not (first.isdigit() and second.isdigit() and 1 <= int(first) <= int(second)):
        raise SlamError(f"--shard is {text!r}; give i/N, from 1/N to N/N, as in 3/8")
    return int(first), int(second)


def folder_of(output: Path, shard: tuple[int, int] | None = None) -> Path:
    """Where the finished parts of an output are kept, or those of one of N shards."""
    part = "" if shard is None else f".shard-{shard[0]}-of-{shard[1]}"
    return output.parent / f".{output.name}{part}.parts"


def shard_folders(output: Path) -> list[Path]:
    """The folders of all shards of an output."""
    return sorted(output.parent.glob(f".{output.name}.shard-*-of-*.parts"))


def write_part(kept: Checkpoint, piece: Piece, done: Done) -> None:
    """Keep a finished piece."""
    kept.write(piece.number, part_to_arrays(piece, done))


def part_to_arrays(piece: Piece, done: Done) -> dict[str, np.ndarray]:
    """A finished piece as arrays, with its columns described."""
    table = LabelTable() if done.table is None else done.table
    arrays: dict[str, np.ndarray] = {}
    columns = []
    for k, name in enumerate(table.colnames):
        column = table[name]
        unit = column.unit.to_string() if isinstance(column, Quantity) else None
        values = np.asarray(column.value if isinstance(column, Quantity) else np.ma.getdata(column))
        if isinstance(column, MaskedColumn) and np.any(column.mask):
            empty: Any = {"f": np.nan, "U": "", "S": b""}.get(values.dtype.kind, 0)
            values = np.ma.filled(column, empty)
        if values.dtype.kind in "OS":
            values = np.char.decode(values, "utf-8", "replace") if values.dtype.kind == "S" else values.astype(str)
        arrays[f"column{k}"] = values
        columns.append([name, values.dtype.str, unit, values.shape[1:]])
    notes = {name: getattr(done, name) for name in _NOTES}
    about = {
        "columns": columns,
        "meta": dict(table.meta),
        "rows": len(table),
        "counts": counts_of(done.table),
        "problems": [dataclasses.astuple(one) for one in done.problems],
        "piece": str(piece),
        "first": piece.first,
        "ended": time.time(),
        **notes,
    }
    arrays["about"] = np.array(json.dumps(about))
    return arrays


def read_about(kept: Checkpoint, number: int) -> dict[str, Any]:
    """What a part says of itself, without reading its rows; its digest is checked when they are read."""
    try:
        with zipfile.ZipFile(kept.path(number)) as archive, archive.open("about.npy") as file:
            about: dict[str, Any] = json.loads(str(np.lib.format.read_array(file, allow_pickle=False)))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError):
        return {}
    return about if isinstance(about, dict) and set(about) >= _NEEDED else {}


def columns_of(about: dict[str, Any]) -> list[LabelColumn]:
    """The columns of a part."""
    return [LabelColumn(name, kind, unit, tuple(shape)) for name, kind, unit, shape in about["columns"]]


def read_part(kept: Checkpoint, number: int) -> LabelTable | None:
    """The table of a part; None if it is not there, or is damaged (with a warning; it is deleted)."""
    arrays = kept.read(number)
    if arrays is None:
        return None
    about = json.loads(str(arrays["about"]))
    table = LabelTable(meta=about["meta"])
    for k, (name, _, unit, _) in enumerate(about["columns"]):
        values = arrays[f"column{k}"]
        table[name] = values if unit is None else values * Unit(unit)
    return table
