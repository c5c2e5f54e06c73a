"""Label tables in Arrow: nothing is lost on the way there and back. Units are in the metadata of fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from slamjax.errors import SlamError
from slamjax.io.arrow import UNIT, from_arrow_column, import_pyarrow, to_arrow_column
from slamjax.io.label_table import LabelTable
from slamjax.spectra.units import with_unit

#: The key of a schema's metadata that names the labels.
_LABELS = b"slamjax.labels"


def to_arrow(table: LabelTable) -> Any:
    """The ``pyarrow.Table`` of a label table; vectors in cells become lists of fixed size.

    Examples
    --------
    >>> import astropy.units as u
    >>> from slamjax.io import LabelTable
    >>> from slamjax.io.label_arrow import from_arrow, to_arrow
    >>> labels = LabelTable({"teff": [4512.3] * u.K, "cov": [[[1849.0]]]}, meta={"labels": "teff"})
    >>> from_arrow(to_arrow(labels))["teff"]
    <Quantity [4512.3] K>
    """
    pa = import_pyarrow()
    columns = [to_arrow_column(table[name], name, "a label table") for name in table.colnames]
    meta = {_LABELS: str(table.meta.get("labels", "")).encode()}
    schema = pa.schema([field for _, field in columns], metadata=meta)
    return pa.Table.from_arrays([array for array, _ in columns], schema=schema)


def from_arrow(arrow: Any) -> LabelTable:
    """The label table of a ``pyarrow.Table``; columns that tables do not hold are left out."""
    meta = arrow.schema.metadata or {}
    table = LabelTable(meta={"labels": meta.get(_LABELS, b"").decode()})
    for name, field in zip(arrow.schema.names, arrow.schema, strict=True):
        column = from_arrow_column(arrow[name], field)
        if column is not None:
            is_quantity = UNIT in (field.metadata or {})
            table[name] = with_unit(np.asarray(column), column.unit) if is_quantity else column
    return table


def is_label_dataset(path: Path) -> bool:
    """Whether a path is a folder of Parquet files with their common metadata."""
    return (path / "_metadata").is_file()


def read_label_parquet(path: Path) -> LabelTable:
    """The labels in a Parquet file, or in the folder of a dataset; raises SlamError if they are none."""
    import_pyarrow()
    import pyarrow.parquet as pq

    try:
        arrow = pq.read_table(path)
    except Exception as error:  # of a damaged file pyarrow raises errors of many types
        raise SlamError(f"{path} cannot be read as Parquet ({error}); is it complete?") from error
    if _LABELS not in (arrow.schema.metadata or {}):
        raise SlamError(f"{path} does not name its labels; it is not a table that slamjax fit has written")
    return from_arrow(arrow)
