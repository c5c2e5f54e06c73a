"""Label tables in Arrow: nothing is lost on the way there and back. Units are in the metadata of fields."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from astropy.units import Quantity, Unit

from slamjax.io import LabelTable
from slamjax.io.arrow import import_pyarrow as import_pyarrow

_UNIT, _SHAPE, _LABELS = b"unit", b"shape", b"slamjax.labels"


def to_arrow(table: LabelTable) -> Any:
    """The ``pyarrow.Table`` of a label table; a vector in a cell becomes a list of fixed size.

    Examples
    --------
    >>> import astropy.units as u
    >>> from slamjax.io import LabelTable
    >>> from slamjax.survey.arrow import from_arrow, to_arrow
    >>> labels = LabelTable({"teff": [4512.3] * u.K, "cov": [[[1849.0]]]}, meta={"labels": "teff"})
    >>> arrow = to_arrow(labels)
    >>> arrow.schema.field("cov").type
    FixedSizeListType(fixed_size_list<item: double>[1])
    >>> from_arrow(arrow)["teff"]
    <Quantity [4512.3] K>
    """
    pa = import_pyarrow()
    arrays, fields = [], []
    for name in table.colnames:
        column = table[name]
        unit = column.unit.to_string() if isinstance(column, Quantity) else None
        values = np.asarray(column.value if unit is not None else np.ma.getdata(column))
        shape = values.shape[1:]
        about: dict[bytes, bytes] = {} if unit is None else {_UNIT: unit.encode()}
        array = _array(pa, values.reshape(-1))
        if shape:
            array = pa.FixedSizeListArray.from_arrays(array, int(np.prod(shape)))
            about[_SHAPE] = json.dumps(shape).encode()
        arrays.append(array)
        fields.append(pa.field(name, array.type, metadata=about or None))
    meta = {_LABELS: str(table.meta.get("labels", "")).encode()}
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=meta))


def _array(pa: Any, values: np.ndarray) -> Any:
    """An Arrow array of one dimension in the machine's byte order; text is UTF-8."""
    if values.dtype.kind in "US":
        text = np.char.decode(values, "utf-8", "replace") if values.dtype.kind == "S" else values
        return pa.array(text.tolist(), pa.string())
    if values.dtype.kind == "O":
        return pa.array([str(value) for value in values], pa.string())
    return pa.array(np.ascontiguousarray(values, values.dtype.newbyteorder("=")))


def from_arrow(arrow: Any) -> LabelTable:
    """The label table of a ``pyarrow.Table`` that `to_arrow` has made."""
    meta = arrow.schema.metadata or {}
    table = LabelTable(meta={"labels": meta.get(_LABELS, b"").decode()})
    for name, field in zip(arrow.schema.names, arrow.schema, strict=True):
        about = field.metadata or {}
        values = _values(arrow[name].combine_chunks())
        if _SHAPE in about:
            values = values.reshape(len(arrow), *json.loads(about[_SHAPE]))
        table[name] = values * Unit(about[_UNIT].decode()) if _UNIT in about else values
    return table


def _values(array: Any) -> np.ndarray:
    """A NumPy array of one dimension."""
    pa = import_pyarrow()
    if pa.types.is_fixed_size_list(array.type):
        return _values(array.flatten())
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return np.array(array.to_pylist(), dtype=str) if len(array) else np.zeros(0, "U1")
    return np.asarray(array.to_numpy(zero_copy_only=False))
