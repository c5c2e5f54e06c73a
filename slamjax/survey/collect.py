"""One label table from finished parts, of which one at a time is in memory; every spectrum has exactly one row."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slamjax._util.checkpoint import Checkpoint
from slamjax.errors import SlamError
from slamjax.fitting.parts import stacked
from slamjax.io import LabelTable, write_labels
from slamjax.io.label_stream import write_label_blocks
from slamjax.survey.dataset import is_dataset, write_dataset
from slamjax.survey.draws import has_draws, renumber
from slamjax.survey.parts import columns_of, read_about, read_part
from slamjax.survey.report import Collected, collected_of
from slamjax.survey.schema import LabelColumn, LabelSchema
from slamjax.typing import Progress

#: Numbers of missing pieces that a message names.
_NAMED = 5


class DamagedPart(Exception):
    """A part that was finished is not as it was written; it has been deleted."""


class NothingFittedError(SlamError):
    """There is no row to write: no spectrum is selected, or none can be fitted."""


def collect(
    kept: Sequence[Checkpoint], output: str | os.PathLike[str], on_progress: Progress | None = None
) -> Collected:
    """Write the label table of a survey from its finished parts.

    Parameters
    ----------
    kept : checkpoints whose blocks have begun
        Of one run, or of all of its shards.
    output : path
        A name ending in ``.fits``, ``.csv`` or ``.ecsv``, or a Parquet dataset: a name ending in ``.parquet`` or
        without an ending. Texts are written from memory.
    on_progress : callable, optional
        Called with (rows written, all rows).

    Raises
    ------
    SlamError
        If pieces are missing, are of different runs, or have a spectrum twice; if no spectrum could be fitted.
    """
    run = _run_of(kept)
    homes = _homes(kept, int(run["pieces"]))
    abouts = _abouts(homes)
    _refuse_if_none_is_good(abouts)
    schema = _union(abouts)
    n = sum(about["rows"] for about in abouts)
    if n == 0:
        raise NothingFittedError(
            f"the selection keeps none of the {sum(about['n'] for about in abouts)} spectra; loosen it"
        )
    blocks = told_of(_blocks(homes, abouts, schema, run["all_rows"] == "True"), n, on_progress)
    if is_dataset(output):
        write_dataset(schema, blocks, output)
    elif Path(output).suffix.lower() in (".csv", ".ecsv"):
        write_labels(stacked(list(blocks)), output)
    else:
        write_label_blocks(schema.empty(1), n, blocks, output)
    if run.get("draws"):
        _number_draws(Path(run["draws"]), homes, abouts)
    return collected_of(enumerate(abouts))


def told_of(blocks: Iterator[LabelTable], n: int, report: Progress | None) -> Iterator[LabelTable]:
    """Blocks of n rows, each of which is told of once it is written."""
    done = 0
    for block in blocks:
        yield block
        done += len(block)
        if report is not None:
            report(done, n)


def abouts_of(kept: Checkpoint) -> list[tuple[int, dict[str, Any]]]:
    """What the parts of one shard say of themselves, with their numbers; damaged ones are left out."""
    abouts = ((number, read_about(kept, number)) for number in sorted(kept.numbers()))
    return [(number, about) for number, about in abouts if about]


def _number_draws(folder: Path, homes: Sequence[Checkpoint], abouts: Sequence[Mapping[str, Any]]) -> None:
    """Let draws have the rows of the table, too."""
    first = 0
    for number, (home, about) in enumerate(zip(homes, abouts, strict=True)):
        if about["beside"] and not has_draws(folder, number):
            raise SlamError(f"{folder} lacks the draws of piece {number}; run what is in {home.folder} again")
        if about["beside"] and about["first"] != first:
            renumber(folder, number, first)
        first += about["n"]


def _run_of(kept: Sequence[Checkpoint]) -> dict[str, str]:
    """What identifies the run of all parts."""
    first, *others = (one.stamp() for one in kept)
    for one, other in zip(kept[1:], others, strict=True):
        if other != first:
            changed = sorted(key for key in {*first, *other} if first.get(key) != other.get(key))
            raise SlamError(
                f"{one.folder} is of another run than {kept[0].folder} (different {', '.join(changed)}); give the "
                "shards of one run"
            )
    if not {"pieces", "all_rows"} <= set(first):
        raise SlamError(f"{kept[0].folder} holds no parts of a survey")
    for one in kept:
        one.begin(first)
    return first


def _homes(kept: Sequence[Checkpoint], n: int) -> list[Checkpoint]:
    """Where each piece is."""
    homes: dict[int, Checkpoint] = {}
    for one in kept:
        for number in one.numbers():
            if number in homes:
                raise SlamError(
                    f"piece {number} is in {homes[number].folder} and in {one.folder}; give each shard once"
                )
            homes[number] = one
    missing = [number for number in range(n) if number not in homes]
    if missing:
        named = ", ".join(map(str, missing[:_NAMED])) + (", …" if len(missing) > _NAMED else "")
        raise SlamError(
            f"{len(missing)} of {n} pieces are not finished ({named}); run the shards that have them again with the "
            "same commands"
        )
    return [homes[number] for number in range(n)]


def _refuse_if_none_is_good(abouts: Sequence[Mapping[str, Any]]) -> None:
    problem = next((about["problem"] for about in abouts if about["problem"]), "")
    if problem and not any(about["any_good"] for about in abouts):
        raise NothingFittedError(problem)


def _abouts(homes: Sequence[Checkpoint]) -> list[dict[str, Any]]:
    """What all parts say of themselves; there may be a hundred thousand, and those with the same columns share them."""
    abouts: list[dict[str, Any]] = []
    seen: dict[str, Any] = {}
    for number, home in enumerate(homes):
        about = read_about(home, number)
        if not about:
            home.refuse(number)
            raise DamagedPart
        about["columns"] = seen.setdefault(repr(about["columns"]), about["columns"])
        abouts.append(about)
    return abouts


def _union(abouts: Sequence[Mapping[str, Any]]) -> LabelSchema:
    """The columns of all parts, in order, in types that hold all of their values."""
    columns: dict[str, LabelColumn] = {}
    labels = ""
    for about in abouts:
        labels = labels or about["meta"].get("labels", "")
        names = list(columns)
        for place, column in enumerate(columns_of(dict(about))):
            known = columns.get(column.name)
            if known is None:
                names.insert(_after(names, about, place), column.name)
                columns[column.name] = column
            elif known != column:
                columns[column.name] = _common(known, column)
        columns = {name: columns[name] for name in names}
    return LabelSchema(tuple(columns.values()), tuple(name for name in labels.split(",") if name))


def _after(names: list[str], about: Mapping[str, Any], place: int) -> int:
    """Where a part's column goes: behind the one before it."""
    return names.index(about["columns"][place - 1][0]) + 1 if place else 0


def _common(one: LabelColumn, other: LabelColumn) -> LabelColumn:
    """A column that holds the values of two."""
    if one.shape != other.shape:
        raise SlamError(f"column {one.name!r} has cells of shape {one.shape} and {other.shape}; fit these files apart")
    kinds = np.dtype(one.dtype), np.dtype(other.dtype)
    dtype = np.dtype(str) if any(kind.kind == "U" for kind in kinds) else np.result_type(*kinds)
    if dtype.kind == "U":
        dtype = np.dtype(f"<U{max(_width(kind) for kind in kinds)}")
    return LabelColumn(one.name, dtype.str, one.unit if one.unit is not None else other.unit, one.shape)


def _width(kind: np.dtype[Any]) -> int:
    """Characters of a value as text."""
    return kind.itemsize // 4 if kind.kind == "U" else 24


def _blocks(
    homes: Sequence[Checkpoint],
    abouts: Sequence[Mapping[str, Any]],
    schema: LabelSchema,
    all_rows: bool,
) -> Iterator[LabelTable]:
    """The tables of all parts with the same columns, rows numbered through, one after the other."""
    first = 0
    for number, (home, about) in enumerate(zip(homes, abouts, strict=True)):
        table = read_part(home, number)
        if table is None:
            raise DamagedPart
        n = about["n"]
        if len(table):
            rows = np.asarray(table["row"])
            whole = len(rows) == n if all_rows else True
            if not (whole and np.all(np.diff(rows) > 0) and rows[0] >= 0 and rows[-1] < n):
                raise SlamError(f"{home.path(number)} has not one row for each of its {n} spectra; delete it")
            fixed = schema.conform(table)
            fixed["row"] = rows + first
            yield fixed
        elif all_rows and n:
            raise SlamError(f"{home.path(number)} has no rows of its {n} spectra; delete it")
        first += n
