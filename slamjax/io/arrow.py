"""Columns of tables in Arrow and back: missing values stay missing, text is UTF-8, units are in fields' metadata."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Column, MaskedColumn

from slamjax.errors import SlamError

#: The key of a field's metadata that holds the unit of its column.
UNIT = b"unit"


def import_pyarrow() -> Any:
    """pyarrow, or one sentence on how to get it."""
    try:
        import pyarrow
    except ImportError as error:
        raise SlamError(f"Parquet needs pyarrow ({error}); install it with: pip install 'slamjax[survey]'") from error
    return pyarrow


def to_arrow_column(column: Any, name: str, source: str) -> tuple[Any, Any]:
    """The ``pyarrow`` array and field of an astropy column; vectors become lists of fixed size.

    Raises
    ------
    SlamError
        If the values are neither numbers nor text nor true or false.
    """
    pa = import_pyarrow()
    values = np.asarray(getattr(column, "unmasked", column))
    mask = np.broadcast_to(np.asarray(getattr(column, "mask", False)), values.shape)
    flat, hidden = values.reshape(-1), mask.reshape(-1)
    if flat.dtype.kind == "O" and all(isinstance(value, str) for value in flat[~hidden]):
        flat = np.where(hidden, "", flat).astype(str)
    if flat.dtype.kind == "S":
        flat = np.char.decode(flat, "utf-8", "replace")
    if flat.dtype.kind not in "biufU" or flat.dtype in (np.float16, np.longdouble):
        raise SlamError(
            f"column {name!r} of {source} holds {values.dtype} values, which Parquet cannot; convert or drop it"
        )
    if 0 in values.shape[1:]:
        raise SlamError(f"column {name!r} of {source} has cells of shape {values.shape[1:]} without values; drop it")
    is_text = flat.dtype.kind == "U"
    native = flat.tolist() if is_text else np.ascontiguousarray(flat, flat.dtype.newbyteorder("="))
    array = pa.array(native, pa.string() if is_text else None, mask=np.ascontiguousarray(hidden))
    for size in reversed(values.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    unit = getattr(column, "unit", None)
    return array, pa.field(name, array.type, metadata=None if unit is None else {UNIT: str(unit).encode()})


def from_arrow_column(array: Any, field: Any) -> Column | None:
    """The astropy column of an Arrow array, masked where values are missing; None for what tables do not hold.

    Those are structures, maps, and lists of different lengths.
    """
    pa = import_pyarrow()
    array, shape = _without_lists(pa, as_array(array))
    if array is None:
        return None
    flat = _flat(pa, array)
    if flat is None:
        return None
    values, mask = flat.reshape(shape), _is_null(array).reshape(shape)
    unit = field_unit(field)
    if mask.any():
        return MaskedColumn(values, name=field.name, mask=mask, unit=unit)
    return Column(values, name=field.name, unit=unit)


def field_unit(field: Any) -> u.UnitBase | None:
    """The unit that the metadata of a field state, as astropy writes it."""
    text = (field.metadata or {}).get(UNIT)
    return None if text is None else u.Unit(text.decode("utf-8", "replace"), parse_strict="silent")


def as_array(array: Any) -> Any:
    """One Arrow array of plain storage, from one in chunks, with a dictionary, or of an extension type."""
    pa = import_pyarrow()
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def is_list(kind: Any) -> bool:
    """Whether a type of Arrow is a list of any sort."""
    types = import_pyarrow().types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def is_nested(kind: Any) -> bool:
    """Whether a type of Arrow has parts: lists, structures, maps."""
    return bool(import_pyarrow().types.is_nested(kind))


def list_values(array: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """The values of all lists one after the other, where each list starts, and its length, -1 for a missing one."""
    pa = import_pyarrow()
    missing, n = _is_null(array), len(array)
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        starts, lengths = (array.offset + np.arange(n)) * size, np.full(n, size)
    else:
        offsets = np.asarray(array.offsets).astype(np.int64)
        starts, lengths = offsets[:-1], np.diff(offsets)
    return as_array(array.values), starts, np.where(missing, -1, lengths)


def matrix(array: Any, n_pix: int) -> tuple[np.ndarray, np.ndarray]:
    """Lists as rows (N, ``n_pix``), NaN for missing values and in rows of another length, and the lengths (N,).

    Raises
    ------
    TypeError
        If these are no lists of numbers; it says what they are.
    """
    pa = import_pyarrow()
    array = as_array(array)
    if not is_list(array.type):
        raise TypeError(f"holds {array.type}, no lists of numbers")
    values, starts, lengths = list_values(array)
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        raise TypeError(f"holds lists of {values.type}, not of numbers")
    dtype = np.float32 if values.type in (pa.float32(), pa.float16()) else np.float64
    fits = lengths == n_pix
    if len(starts) and fits.all() and np.all(np.diff(starts) == n_pix):
        whole = values.slice(int(starts[0]), len(starts) * n_pix)
        return whole.to_numpy(zero_copy_only=False).astype(dtype, copy=False).reshape(-1, n_pix), lengths
    rows = np.full((len(starts), n_pix), np.nan, dtype)
    if fits.any():
        rows[fits] = values.to_numpy(zero_copy_only=False)[starts[fits][:, None] + np.arange(n_pix)]
    return rows, lengths


def _without_lists(pa: Any, array: Any) -> tuple[Any, tuple[int, ...]]:
    """The values in lists of equal lengths, and the shape that they have; None if the lists differ."""
    shape: tuple[int, ...] = (len(array),)
    while is_list(array.type):
        values, starts, lengths = list_values(array)
        if not len(lengths) or np.any(lengths != lengths[0]) or lengths[0] < 1:
            size = array.type.list_size if pa.types.is_fixed_size_list(array.type) else 0
            if len(lengths) or not size:
                return None, ()
            lengths, starts = np.array([size]), np.array([0])
        size = int(lengths[0])
        if np.any(np.diff(starts) != size):
            return None, ()
        array, shape = values.slice(int(starts[0]), int(np.prod(shape)) * size), (*shape, size)
    return array, shape


def _flat(pa: Any, array: Any) -> np.ndarray | None:
    """Values of one dimension; missing ones are 0, False, "" or NaN."""
    types, kind = pa.types, array.type
    if types.is_temporal(kind):
        array, kind = array.cast(pa.string()), pa.string()  # ISO 8601
    if types.is_decimal(kind):
        array, kind = array.cast(pa.float64()), pa.float64()
    if types.is_null(kind):
        return np.full(len(array), np.nan)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return np.array(array.fill_null("").to_pylist(), dtype=str) if len(array) else np.zeros(0, "U1")
    if types.is_boolean(kind):
        return np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False))
    if types.is_integer(kind):
        return np.asarray(array.fill_null(0).to_numpy(zero_copy_only=False))
    if types.is_floating(kind):
        return np.array(array.to_numpy(zero_copy_only=False))
    return None


def _is_null(array: Any) -> np.ndarray:
    return np.asarray(array.is_null().to_numpy(zero_copy_only=False))
