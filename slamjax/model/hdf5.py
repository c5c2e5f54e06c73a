"""Named arrays in a sealed HDF5 file: the only module that knows h5py.

A file is made in memory and then written as bytes: HDF5's library writes while it closes a file, and a disk that is
full at that moment ends the process. What a file declares is checked before anything is read: kinds of values, sizes,
and that all of it lies in the file itself.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from slamjax._util.files import atomic_path
from slamjax._util.seal import BLOCK, Seal, read_seal, sealed
from slamjax.errors import SlamError

#: Kinds of values that a file may hold: numbers, booleans and plain text.
_KINDS = frozenset("fiubS")
#: Bytes of arrays that any file may declare, and bytes per byte of the file beyond that: numbers that were learnt
#: compress by a factor of ten at most, and a few kilobytes could declare a terabyte.
_SMALL, _MOST_PER_BYTE = 2**26, 100
_MOST_ARRAYS, _MOST_AXES = 10_000, 4


@dataclass
class Contents:
    """What a file holds: its arrays, its attributes, and the digest of each array in files that have no seal."""

    sealed: Seal
    attributes: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    digests: dict[str, Any] = field(default_factory=dict)


def write_hdf5(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> None:
    """Write arrays and attributes; the file appears whole or not at all."""
    memory = io.BytesIO()
    with h5py.File(memory, "w", userblock_size=BLOCK) as file:
        for name, value in attributes.items():
            file.attrs[name] = value
        for name, array in arrays.items():
            options = {"compression": "gzip", "shuffle": True} if array.size > 4096 else {}
            file.create_dataset(name, data=array, **options)
    with atomic_path(path) as temporary:
        temporary.write_bytes(sealed(memory.getvalue()[BLOCK:]))


def read_hdf5(source: Path) -> Contents:
    """The arrays and attributes of a file.

    Raises
    ------
    SlamError
        If the file is not as it was sealed, or holds anything but arrays of numbers and text in the file itself.
    OSError, RuntimeError, KeyError, ValueError, TypeError
        Of h5py, if it is no HDF5 file or damaged.
    """
    contents = Contents(read_seal(source))
    if contents.sealed is Seal.BROKEN:
        raise SlamError(f"{source} is damaged: the checksum of the file does not match; copy the file again")
    with h5py.File(source, "r") as file:
        contents.attributes = {name: file.attrs[name] for name in ("format", "schema") if name in file.attrs}
        if "format" not in contents.attributes:
            return contents
        datasets: dict[str, h5py.Dataset] = {}
        _find(file, "", datasets, set(), source)
        most = _SMALL + _MOST_PER_BYTE * source.stat().st_size
        declared = sum(_declared(name, dataset, source) for name, dataset in datasets.items())
        if declared > most:
            raise SlamError(
                f"{source} declares arrays of {declared / 2**30:.3g} GiB, more than a file of its size can hold; it is "
                "damaged or not what slamjax train wrote"
            )
        for name, dataset in datasets.items():
            contents.arrays[name] = np.asarray(dataset[()])
            contents.digests[name] = dataset.attrs.get("sha256")
    return contents


def _find(group: Any, path: str, datasets: dict[str, Any], seen: set[Any], source: Path) -> None:
    """Collect the datasets of a group and its groups, each once; links out of the file, or in circles, are refused."""
    address = h5py.h5o.get_info(group.id).addr
    if address in seen or len(datasets) > _MOST_ARRAYS:
        raise SlamError(f"{source} has group {path or '/'!r} in itself or too many arrays; slamjax wrote no such file")
    seen.add(address)
    for name in group:
        full = f"{path}/{name}".lstrip("/")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise SlamError(f"{source} has a link at {full!r} that may lead elsewhere; slamjax wrote no such file")
        item = group[name]
        if isinstance(item, h5py.Group):
            _find(item, full, datasets, seen, source)
        elif isinstance(item, h5py.Dataset):
            datasets[full] = item
        else:
            raise SlamError(f"{source} has {full!r}, which is no array; slamjax wrote no such file")


def _declared(name: str, dataset: h5py.Dataset, source: Path) -> int:
    """Bytes that reading a dataset would take; raises SlamError for one that slamjax does not write."""
    dtype, shape = dataset.dtype, dataset.shape
    reasons = {
        "holds values of another kind than numbers and text": dtype.kind not in _KINDS or dtype.subdtype is not None,
        "has no shape": shape is None,
        "has too many axes": shape is not None and len(shape) > _MOST_AXES,
        "is kept in another file": bool(dataset.external) or dataset.is_virtual,
    }
    for reason, applies in reasons.items():
        if applies:
            raise SlamError(f"{source}: array {name!r} {reason}; slamjax wrote no such file")
    # Python's integers: declared shapes overflow NumPy's
    number = chunk = 1
    for length in shape:
        number *= int(length)
    for length in dataset.chunks or ():
        chunk *= int(length)
    return max(number, chunk) * int(dtype.itemsize)
