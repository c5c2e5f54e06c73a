"""Arrays in a page: packed one behind the other, compressed, and written as text."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

#: Names of typed arrays in JavaScript.
_KINDS = {
    "float64": "Float64Array",
    "float32": "Float32Array",
    "int32": "Int32Array",
    "int16": "Int16Array",
    "uint16": "Uint16Array",
    "int8": "Int8Array",
    "uint8": "Uint8Array",
}
#: Every array begins at a multiple of this many bytes, as typed arrays must.
_ALIGNED = 8
#: The value of a `compact` array that stands for no data.
NO_DATA = 65535


def pack(arrays: Mapping[str, np.ndarray]) -> tuple[list[dict[str, Any]], str]:
    """What is where, and all bytes, gzipped, in base64."""
    places, parts, offset = [], [], 0
    for name, array in arrays.items():
        whole = np.ascontiguousarray(array)
        raw = whole.tobytes()
        places.append({"name": name, "kind": _KINDS[whole.dtype.name], "shape": list(whole.shape), "offset": offset})
        padding = -len(raw) % _ALIGNED
        parts += [raw, bytes(padding)]
        offset += len(raw) + padding
    return places, base64.b64encode(gzip.compress(b"".join(parts), compresslevel=6, mtime=0)).decode()


def as_script(value: Any) -> str:
    """JSON that may stand within a script element."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")


def quantised(whole: np.ndarray, step: np.ndarray) -> dict[str, np.ndarray]:
    """Rows (R, P) of whole numbers, in units of steps (R,).

    Signs become the last bit, and bytes of like weight stand together: those that are 0 take no room once compressed.
    """
    whole = whole.astype(np.int64)
    folded = np.where(whole < 0, -2 * whole - 1, 2 * whole).astype(np.uint64)
    n_bytes = max(1, -(-int(folded.max(initial=0)).bit_length() // 8))
    planes = np.stack([(folded >> np.uint64(8 * k)).astype(np.uint8) for k in range(n_bytes)])
    return {"planes": planes, "step": step.astype(float)}


def compact(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Rows (N, P) in two bytes a number, between the smallest and largest of each row; NaN is `NO_DATA`."""
    known = np.isfinite(rows)
    low = np.min(rows, axis=1, initial=np.inf, where=known)
    high = np.max(rows, axis=1, initial=-np.inf, where=known)
    low, high = (np.where(known.any(axis=1), end, 0.0) for end in (low, high))
    step = np.where(high > low, (high - low) / (NO_DATA - 1), 1.0)
    whole = np.where(known, np.round((np.where(known, rows, 0) - low[:, None]) / step[:, None]), NO_DATA)
    return {"values": whole.astype(np.uint16), "low": low, "step": step}


def under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same arrays with a prefix to their names."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}
