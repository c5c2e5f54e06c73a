"""Label tables as a Parquet dataset: a folder of files with the metadata of all in ``_metadata``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from slamjax._util.files import atomic_folder, check_writable, to_disk
from slamjax.errors import SlamError
from slamjax.io import LabelTable
from slamjax.io.arrow import import_pyarrow
from slamjax.io.label_arrow import to_arrow
from slamjax.survey.schema import LabelSchema

#: Rows of a row group, and of a file.
_GROUP, _FILE = 2**16, 2**20


def is_dataset(path: str | os.PathLike[str]) -> bool:
    """Whether an output is a Parquet dataset by its name."""
    return Path(path).suffix.lower() in (".parquet", "")


def check_dataset(path: str | os.PathLike[str]) -> None:
    """Raise SlamError unless a dataset can be written there: a new folder, or an older dataset."""
    import_pyarrow()
    folder = Path(path)
    if folder.is_dir() and not _is_ours(folder):
        raise SlamError(f"{folder} is a folder with other files in it; give another name")
    if folder.exists() and not folder.is_dir():
        raise SlamError(f"{folder} is a file, and a Parquet dataset is a folder; give another name, or delete it")
    if not folder.exists():
        check_writable(folder)


def _is_ours(folder: Path) -> bool:
    names = [path.name for path in folder.iterdir()]
    return all(name in ("_metadata", "_common_metadata") or name.startswith("part-") for name in names)


def write_dataset(schema: LabelSchema, blocks: Iterable[LabelTable], path: str | os.PathLike[str]) -> None:
    """Write blocks of rows; the folder appears whole or not at all."""
    import_pyarrow()
    import pyarrow.parquet as pq

    check_dataset(path)
    arrow = schema.arrow()
    with atomic_folder(path) as folder:
        about: list[Any] = []
        for number, groups in enumerate(_files(blocks)):
            name = f"part-{number:05d}.parquet"
            with pq.ParquetWriter(folder / name, arrow, compression="zstd", metadata_collector=about) as writer:
                for group in groups:
                    writer.write_table(group.cast(arrow))
            about[-1].set_file_path(name)
        pq.write_metadata(arrow, folder / "_metadata", metadata_collector=about)
        pq.write_metadata(arrow, folder / "_common_metadata")
        for file in folder.iterdir():
            to_disk(file)


def _files(blocks: Iterable[LabelTable]) -> Iterator[Iterator[Any]]:
    """Arrow tables of a row group each, file by file."""
    groups = _groups(blocks)
    for first in groups:

        def of_one_file(first: Any = first) -> Iterator[Any]:
            n = len(first)
            yield first
            while n < _FILE and (following := next(groups, None)) is not None:
                n += len(following)
                yield following

        yield of_one_file()


def _groups(blocks: Iterable[LabelTable]) -> Iterator[Any]:
    """Arrow tables of the rows of a row group."""
    pa = import_pyarrow()
    waiting: list[Any] = []
    for block in blocks:
        waiting.append(to_arrow(block))
        if sum(map(len, waiting)) >= _GROUP:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
