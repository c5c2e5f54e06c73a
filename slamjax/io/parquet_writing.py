"""Spectra to Parquet files, part by part."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from slamjax._util.files import atomic_path
from slamjax.errors import SlamError
from slamjax.io.arrow import UNIT, import_pyarrow, to_arrow_column
from slamjax.io.list_columns import SpectralAxis
from slamjax.io.parquet import rows_within
from slamjax.spectra.covariance import refuse_covariance
from slamjax.spectra.spectra import Spectra

_VECTORS = ("flux", "ivar", "flux_error")


def write_parquet(
    spectra: Spectra | Iterable[Spectra], path: str | os.PathLike[str], row_group_size: int | None = None
) -> None:
    """Write spectra as Parquet, which `read_parquet` reads back unchanged; the file appears whole or not at all.

    Parameters
    ----------
    spectra : Spectra, or an iterable of Spectra
        Parts are written one after the other, so that not all of them need be in memory; they share one wavelength
        grid and one table's columns.
    path : path
    row_group_size : int, optional
        Rows of a row group; by default as many as have 8 MiB.

    Raises
    ------
    SlamError
        If the table has columns that Parquet cannot hold or that are named as the spectra's, parts differ, or no file
        can be written there.
    """
    pa = import_pyarrow()
    import pyarrow.parquet as pq

    parts = iter([spectra] if isinstance(spectra, Spectra) else spectra)
    first = next(parts, None)
    if first is None:
        raise SlamError(f"there are no spectra to write to {path}; give at least one")
    with_ivar = not np.all(np.isposinf(first.ivar))
    schema, axis = _to_arrow(first[:0], with_ivar).schema, SpectralAxis.of(first)
    floats = [f"{name}.list.element" for name in _VECTORS if name in schema.names]
    texts = [field.name for field in schema if field.type == pa.string()]
    options = {"compression": "zstd", "compression_level": 1, "use_dictionary": texts, "write_page_checksum": True}
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
        pq.ParquetWriter(file, schema, column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"), **options) as writer,
    ):
        for part in itertools.chain([first], parts):
            refuse_covariance(part, "the table format")
            if not SpectralAxis.of(part).same(axis):
                raise SlamError(f"{part.source} has other wavelengths, medium or frame than {first.source}")
            if not with_ivar and part.has_errors:
                raise SlamError(f"{part.source} has errors and {first.source} has none; write them to two files")
            size = row_group_size or rows_within(part.n_pix * part.flux.itemsize * 2)
            for start in range(0, len(part), size):
                writer.write_table(_as_schema(_to_arrow(part[start : start + size], with_ivar), schema, part.source))


def _as_schema(table: Any, schema: Any, source: str) -> Any:
    """The table in the types of the first part; raises SlamError if it has others columns."""
    if table.schema.equals(schema):
        return table.replace_schema_metadata(schema.metadata)
    try:
        return table.cast(schema)
    except (ValueError, TypeError) as error:
        raise SlamError(f"{source} has other columns than the spectra before it ({error})") from error


def _to_arrow(spectra: Spectra, with_ivar: bool | None = None) -> Any:
    """The Arrow table of spectra, wavelengths in its metadata; without ivar if no errors are known."""
    pa = import_pyarrow()
    source, table = spectra.source, spectra.table
    arrays, fields = [], []
    taken = (*_VECTORS, "fwhm") if spectra.has_own_line_spreads else _VECTORS
    for name in table.colnames:
        if name in taken or (name in ("error", "wave") and table[name].ndim > 1):
            raise SlamError(f"the table of {source} has a column {name!r}, which is kept for the spectra; rename it")
        array, field = to_arrow_column(table[name], name, source)
        arrays.append(array)
        fields.append(field)
    known = not np.all(np.isposinf(spectra.ivar)) if with_ivar is None else with_ivar
    vectors = [("flux", spectra.flux), ("ivar", spectra.ivar)][: 1 + known]
    if spectra.has_own_line_spreads:
        vectors.append(("fwhm", np.asarray(spectra.fwhm)))
    for name, values in vectors:
        offsets = pa.array(np.arange(len(values) + 1, dtype=np.int32) * np.int32(spectra.n_pix))
        array = pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(values).reshape(-1)))
        unit = spectra.flux_unit if name == "flux" else None
        arrays.append(array)
        fields.append(pa.field(name, array.type, metadata=None if unit is None else {UNIT: str(unit).encode()}))
    units = tuple((field.name, field.metadata[UNIT].decode()) for field in fields if field.metadata)
    axis = replace(SpectralAxis.of(spectra), units=units)
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=axis.metadata()))
