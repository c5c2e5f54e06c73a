"""Spectra in Parquet files, see `slamjax.io.list_columns`: written in row groups, read by rows in bounded memory."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from slamjax._util.files import existing_file
from slamjax.errors import SlamError
from slamjax.io.arrow import UNIT, from_arrow_column, import_pyarrow, is_list, is_nested
from slamjax.io.list_assembly import Assembly, BadRows, Part
from slamjax.io.list_columns import SpectralAxis, SpectrumColumns
from slamjax.spectra.columns import plain_column
from slamjax.spectra.selection import Selection
from slamjax.spectra.spectra import Spectra

_MAGIC = b"PAR1"
#: Names of files that are written as Parquet.
SUFFIXES = (".parquet", ".pq")
#: Bytes of a row group as it is written and of a batch as it is read, and the fewest rows of either.
_GROUP, _FEWEST = 2**23, 64
#: Bytes of a file that are read ahead.
_BUFFER = 2**20
#: Bytes, or rows, that any file may declare, and those per byte beyond that.
_SMALL, _MOST_PER_BYTE = 2**28, 1000


def is_parquet(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as Parquet does."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def count_parquet(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Number of rows in a Parquet file, and bytes per spectrum in memory."""
    with ParquetSpectra.open(path) as file:
        return file.n, file.width


def row_groups(path: str | os.PathLike[str]) -> list[slice]:
    """The rows of each row group: parts that are read without reading others."""
    with ParquetSpectra.open(path) as file:
        return [slice(int(a), int(b)) for a, b in itertools.pairwise(file.bounds)]


def read_parquet(
    path: str | os.PathLike[str],
    rows: slice | np.ndarray | None = None,
    *,
    select: str = "",
    columns: Mapping[str, str] | None = None,
    bad_rows: BadRows = "raise",
) -> Spectra:
    """Read spectra of a Parquet file, or some of its rows.

    Parameters
    ----------
    path : path
    rows : slice or int array, optional
        Only row groups with these rows are read from the disk.
    select : str, optional
        Which of them, such as ``"snr > 20"``: the columns that it names are read first, then the spectra it keeps.
    columns : mapping, optional
        Names of the columns ``flux``, ``ivar`` or ``error``, and ``wave``, if they have others; ``spectrum.flux`` is a
        field of a structure.
    bad_rows : "raise" or "flag"
        What a row is whose lists have another length: an error, or a row without a good pixel whose column ``problem``
        says so.

    Returns
    -------
    Spectra

    Raises
    ------
    SlamError
        If the file is missing, damaged or holds other things than spectra, or no row is selected.
    """
    with ParquetSpectra.open(path, columns) as file:
        numbers = _numbers(rows, file.n)
        if not select:
            return file.read(numbers, bad_rows)
        selection = Selection(select)
        kept = file.keeps(selection, numbers)
        if not kept.any():
            raise selection.keeps_none_of(f"the {len(numbers)} rows of {file.source}")
        return file.read(numbers[kept], bad_rows)._with(selection=select)


@dataclass(frozen=True)
class ParquetSpectra:
    """An open Parquet file of spectra."""

    source: str
    file: Any
    columns: SpectrumColumns
    axis: SpectralAxis

    @classmethod
    @contextmanager
    def open(cls, path: str | os.PathLike[str], columns: Mapping[str, str] | None = None) -> Iterator[ParquetSpectra]:
        """Open a file; what goes wrong in it, then or later, is one sentence."""
        source = existing_file(path)
        import_pyarrow()
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(source, buffer_size=_BUFFER, page_checksum_verification=True) as file:
                schema = file.schema_arrow
                _check_size(source, file.metadata)
                layout = SpectrumColumns.of_schema(schema, columns, str(source))
                axis = SpectralAxis.from_schema(schema, str(source))
                _check_units(schema, axis, str(source))
                yield cls(str(source), file, layout, axis)
        except SlamError:
            raise
        except MemoryError as error:
            raise SlamError(f"{source} declares more data than the memory holds; it is damaged") from error
        except Exception as error:  # of a damaged file pyarrow raises errors of many types
            raise SlamError(f"{source} cannot be read as Parquet ({error}); is it complete?") from error

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.file.metadata.num_rows)

    @cached_property
    def bounds(self) -> np.ndarray:
        """(G + 1,) where row groups begin, and where the last one ends."""
        about = self.file.metadata
        return np.cumsum([0, *(about.row_group(k).num_rows for k in range(about.num_row_groups))])

    @cached_property
    def width(self) -> int:
        """Bytes of a spectrum in memory."""
        about, schema = self.file.metadata, self.file.schema_arrow
        if self.axis.wave is not None and self.columns.flux in schema.names:
            kind = schema.field(self.columns.flux).type
            item = 4 if is_list(kind) and str(kind.value_type) in ("float", "halffloat") else 8
            return int(self.axis.wave.size * item * 2)
        return sum(about.row_group(k).total_byte_size for k in range(about.num_row_groups)) // max(self.n, 1) + 1

    def read(self, numbers: np.ndarray, bad_rows: BadRows = "raise") -> Spectra:
        """Spectra of these rows (N,), in this order."""
        schema, order = self.file.schema_arrow, np.argsort(numbers, kind="stable")
        assembly = Assembly(self.columns, self.axis, schema, self.source, len(numbers), bad_rows)
        done = 0
        for table, rows in self._tables(numbers[order]):
            assembly.add(Part(table, rows, order[done : done + len(rows)]))
            done += len(rows)
        return assembly.spectra()

    def keeps(self, selection: Selection, numbers: np.ndarray) -> np.ndarray:
        """(N,) bool: which of these rows, in increasing order, a selection keeps; other columns are not read."""
        kept = np.zeros(len(numbers), bool)
        for group in range(len(self.bounds) - 1):
            low, high = np.searchsorted(numbers, self.bounds[group : group + 2])
            if high > low:
                columns = _GroupColumns(self.file, group, numbers[low:high] - self.bounds[group])
                kept[low:high] = selection.keeps(columns, int(high - low))
        return kept

    def _tables(self, numbers: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
        """Arrow tables of these rows, which are in increasing order, and their numbers."""
        pa = import_pyarrow()
        size, names = rows_within(self.width), self.columns.read_from(self.file.schema_arrow)
        for group in range(len(self.bounds) - 1):
            start, stop = int(self.bounds[group]), int(self.bounds[group + 1])
            low, high = np.searchsorted(numbers, (start, stop))
            if low == high:
                continue
            for batch in self.file.iter_batches(size, row_groups=[group], columns=names):
                first, after = np.searchsorted(numbers, (start, start + batch.num_rows))
                if after > first:
                    rows = numbers[first:after]
                    whole = len(rows) == batch.num_rows
                    table = pa.Table.from_batches([batch])
                    yield (table if whole else table.take(pa.array(rows - start))), rows
                start += batch.num_rows
                if start > numbers[high - 1]:
                    break


class _GroupColumns(Mapping[str, np.ndarray]):
    """Scalar columns of some rows of a row group, each read when it is asked for."""

    def __init__(self, file: Any, group: int, rows: np.ndarray) -> None:
        self._file, self._group, self._rows = file, group, rows
        schema = file.schema_arrow
        self._names = [name for name in schema.names if not is_nested(schema.field(name).type)]
        self._read: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._read:
            table = self._file.read_row_group(self._group, columns=[name])
            column = from_arrow_column(table[name], table.schema.field(name))
            self._read[name] = plain_column(column)[self._rows]
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _check_size(source: Path, about: Any) -> None:
    """Raise SlamError if a file declares far more than its bytes can hold."""
    groups = [about.row_group(k) for k in range(about.num_row_groups)]
    declared, size = sum(group.total_byte_size for group in groups), source.stat().st_size
    if sum(group.num_rows for group in groups) != about.num_rows or about.num_rows < 0:
        raise SlamError(f"{source} is damaged: its row groups do not have the {about.num_rows} rows that it declares")
    if max(declared, about.num_rows) > max(_SMALL, _MOST_PER_BYTE * size):
        raise SlamError(f"{source} of {size} bytes declares {about.num_rows} rows of {declared} bytes; it is damaged")


def _check_units(schema: Any, axis: SpectralAxis, source: str) -> None:
    """Raise SlamError if a column's unit is not that which it was written in, of which there is a checksum."""
    for name, unit in axis.units:
        if name in schema.names:
            stated = (schema.field(name).metadata or {}).get(UNIT, b"").decode("utf-8", "replace")
            if stated != unit:
                raise SlamError(
                    f"column {name!r} of {source} is in {stated or 'no unit'}, but was written in {unit}; the file is "
                    "damaged, or change the unit in the metadata 'slamjax', too"
                )


def _numbers(rows: slice | np.ndarray | None, n: int) -> np.ndarray:
    """Numbers of the rows of n that are asked for."""
    if rows is None:
        return np.arange(n)
    return np.arange(*rows.indices(n)) if isinstance(rows, slice) else np.arange(n)[np.asarray(rows)]


def rows_within(width: int) -> int:
    """Rows of ``width`` bytes in a row group or a batch."""
    return max(_FEWEST, _GROUP // max(width, 1))
