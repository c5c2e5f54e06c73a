"""Draws of a survey's posteriors: a folder with one Parquet file for each piece, whole or not there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slamjax._util.files import atomic_path, check_writable
from slamjax.errors import SlamError
from slamjax.io.arrow import import_pyarrow, to_arrow_column
from slamjax.io.label_table import LabelTable
from slamjax.spectra.units import with_unit
from slamjax.survey.pieces import Piece

if TYPE_CHECKING:
    from slamjax.sampling import Posterior

#: Of which run the files are; readers of Parquet pass over names that begin so.
_STAMP = "_run.json"
#: Keys of a schema's metadata: rows in front of the piece, chains, and draws of a chain.
_FIRST, _CHAINS, _DRAWS = b"slamjax.first", b"slamjax.chains", b"slamjax.draws"
#: Columns of a posterior's stars that do not identify them.
_NO_IDENTIFIERS = ("row", "problem", "n_pix", "mask_ignored")


def begin_draws(folder: Path, run: Mapping[str, str]) -> None:
    """Make the folder; raises SlamError if it cannot be, or has other files or draws of another run in it."""
    import_pyarrow()
    try:
        folder.mkdir(exist_ok=True)
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise SlamError(f"cannot make the folder {folder}: {error.strerror or error}; choose another one") from error
    strange = [name for name in names if not (name == _STAMP or name.startswith(("piece-", ".slamjax-")))]
    if strange:
        raise SlamError(f"{folder} is a folder with other files in it ({min(strange)}); give another name")
    stamp = folder / _STAMP
    if stamp.exists():
        try:
            before = json.loads(stamp.read_text())
        except (OSError, ValueError) as error:
            raise SlamError(f"{stamp} is damaged ({error}); delete the folder, or give another one") from error
        if before != dict(run):
            changed = ", ".join(sorted(key for key in {*before, *run} if before.get(key) != run.get(key)))
            raise SlamError(f"{folder} has the draws of another run (different {changed}); give another folder")
    check_writable(stamp)
    with atomic_path(stamp) as temporary:
        temporary.write_text(json.dumps(dict(run)))


def path_of(folder: Path, number: int) -> Path:
    """The file of a piece."""
    return folder / f"piece-{number:06d}.parquet"


def has_draws(folder: Path, number: int) -> bool:
    """Whether a piece's file is there; it is whole if it is."""
    return path_of(folder, number).is_file()


def write_draws(folder: Path, piece: Piece, posteriors: Sequence[Posterior]) -> int:
    """Write the draws of a piece's stars; how many stars. A piece of which none was sampled has no file."""
    pa = import_pyarrow()
    import pyarrow.parquet as pq

    tables = [table for table in (_arrow(posterior, piece.first) for posterior in posteriors) if len(table)]
    target = path_of(folder, piece.number)
    if not tables:
        target.unlink(missing_ok=True)
        return 0
    whole = pa.concat_tables(tables, promote_options="default")
    with atomic_path(target) as temporary:
        pq.write_table(whole, temporary, compression="zstd")
    return len(whole)


def renumber(folder: Path, number: int, first: int) -> None:
    """Correct the rows of a piece: files in front of it have other numbers of spectra than one each."""
    import pyarrow.parquet as pq

    path = path_of(folder, number)
    before = int(pq.read_schema(path).metadata[_FIRST])
    if before == first:
        return
    pa, table = import_pyarrow(), pq.read_table(path)
    rows = pa.array(table["row"].to_numpy() + (first - before))
    table = table.set_column(0, table.schema.field("row"), rows)
    with atomic_path(path) as temporary:
        metadata = {**table.schema.metadata, _FIRST: str(first).encode()}
        pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")


def _arrow(posterior: Posterior, first: int) -> Any:
    """The stars that were sampled: row, identifiers, and for each variable a list of its draws, chain by chain."""
    pa = import_pyarrow()
    one = posterior[np.flatnonzero(posterior.sampler.astype(str) != "")]
    chains, draws = one.labels.shape[:2]
    table = LabelTable({"row": np.asarray(one.stars["row"], np.int64) + first})
    for name, values in one.stars.items():
        if name not in _NO_IDENTIFIERS and values.dtype.kind in "iuUSb":
            table[name] = values
    for name, unit in zip(one.label_names, one.label_units, strict=True):
        values = np.moveaxis(one[name], -1, 0).reshape(len(one), -1)
        table[name] = with_unit(np.asarray(values, np.float32), unit)
    columns = [to_arrow_column(table[name], name, "a posterior") for name in table.colnames]
    about = {_FIRST: first, _CHAINS: chains, _DRAWS: draws}
    schema = pa.schema([field for _, field in columns], {key: str(value).encode() for key, value in about.items()})
    return pa.Table.from_arrays([array for array, _ in columns], schema=schema)
