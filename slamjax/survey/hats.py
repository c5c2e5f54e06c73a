"""Label tables as HATS catalogues (Parquet by sky pixel), made by hats-import."""

from __future__ import annotations

import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from slamjax._util.files import check_writable, existing_file
from slamjax._util.progress import reporter
from slamjax._version import __version__
from slamjax.errors import SlamError, SlamWarning
from slamjax.io import LabelTable, read_labels
from slamjax.io.arrow import import_pyarrow
from slamjax.io.label_arrow import from_arrow, to_arrow
from slamjax.io.parquet import is_parquet
from slamjax.spectra.columns import float_column
from slamjax.survey.clients import import_distributed, local
from slamjax.typing import Progress

#: Rows of a pixel's file at most; HATS divides pixels that have more.
ROWS_PER_PIXEL = 1_000_000
#: Highest order of HEALPix pixels: 3.4 arc minutes.
_ORDER = 10


def to_hats(
    labels: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    ra: str = "ra",
    dec: str = "dec",
    rows_per_pixel: int = ROWS_PER_PIXEL,
    workers: int = 1,
    on_progress: Progress | bool | None = True,
) -> int:
    """Make a HATS catalogue, which LSDB opens, of label tables with positions.

    Parameters
    ----------
    labels : path, or a sequence of those
        Label tables: FITS, ECSV, Parquet, or the folder of a Parquet dataset. Each FITS or ECSV file is read as a
        whole, Parquet by row groups.
    output : path
        A new folder, whose name is the catalogue's; it appears whole or not at all.
    ra, dec : str
        Columns of positions in degrees (ICRS). Rows without one are left out, with a warning.
    rows_per_pixel : int
        Most rows of a partition.
    workers : int
        Processes that sort the rows into pixels.
    on_progress : callable or bool
        Called with (tables read, all tables). By default a line in terminals and notebooks; False for none.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    SlamError
        If tables have no positions, or differ in their columns, or the catalogue cannot be written.

    Examples
    --------
    >>> import slamjax
    >>> slamjax.survey.to_hats("labels.parquet", "giants_catalogue")  # doctest: +SKIP
    """
    target, inputs = _target(output), [labels] if isinstance(labels, str | os.PathLike) else list(labels)
    temporary = tempfile.TemporaryDirectory(dir=target.parent, prefix=".slamjax-hats-")
    with temporary as name, reporter(on_progress) as report:
        scratch = Path(name)
        report.stage("reading label tables")
        files, n, stated = _flat_files(inputs, scratch / "flat", (ra, dec), report)
        report.stage("sorting rows into pixels")
        try:
            about: dict[str, Any] = {"output_artifact_name": target.name, "expected_total_rows": n}
            about |= {"ra_column": ra, "dec_column": dec}
            about["addl_hats_properties"] = {"slamjax_version": __version__, "slamjax_labels": stated}
            _import(files, scratch, rows_per_pixel, workers, about)
            os.replace(scratch / target.name, target)
        except SlamError:
            raise
        except Exception as error:  # hats-import raises errors of many types
            raise SlamError(f"hats-import could not make {target} ({error})") from error
    return n


def _import(files: list[Path], scratch: Path, rows: int, workers: int, about: dict[str, Any]) -> None:
    """Run hats-import with some options and ours."""
    try:
        from hats_import.catalog.arguments import ImportArguments
        from hats_import.pipeline import pipeline_with_client
    except ImportError as error:
        raise SlamError(
            f"HATS catalogues need hats-import ({error}); install it with: pip install 'slamjax[survey]'"
        ) from error
    arguments = ImportArguments(
        output_path=scratch,
        input_file_list=list(files),
        file_reader="parquet",
        use_schema_file=files[0],
        highest_healpix_order=_ORDER,
        pixel_threshold=rows,
        tmp_dir=scratch / "sorting",
        resume=False,
        progress_bar=False,
        **about,
    )
    with _client(workers) as client:
        pipeline_with_client(arguments, client)


@contextmanager
def _client(workers: int) -> Iterator[Any]:
    """A thread of this process, or several processes."""
    if workers > 1:
        with local(workers, dashboard=False) as client:
            yield client
        return
    distributed = import_distributed()
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with distributed.Client(**options, silence_logs=50) as client:
        yield client


def _target(output: str | os.PathLike[str]) -> Path:
    """A folder that can be made; its name is one that HATS allows."""
    target = Path(os.path.abspath(output))
    if target.exists():
        raise SlamError(f"{target} exists; give the name of a new folder")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", target.name):
        raise SlamError(f"{target.name!r} cannot be the name of a catalogue; use letters, digits, '.', '_' and '-'")
    check_writable(target)
    return target


def _flat_files(
    inputs: Sequence[Any], folder: Path, position: tuple[str, str], report: Progress
) -> tuple[list[Path], int, str]:
    """Parquet files with one number in each cell, the number of their rows, and the labels with their units."""
    import_pyarrow()
    import pyarrow.parquet as pq

    folder.mkdir()
    files: list[Path] = []
    names: list[str] = []
    n, without, stated = 0, 0, ""
    for source, table in _tables(inputs, report):
        flat = LabelTable(table, copy=False).flat()
        _check_position(flat.colnames, position, source)
        names, stated = names or flat.colnames, stated or _labels_of(table)
        if flat.colnames != names:
            other = next(iter(set(names) ^ set(flat.colnames)), names[0])
            raise SlamError(f"{source} has other columns than {inputs[0]} ({other}); make one catalogue of each kind")
        degrees = [float_column(getattr(flat[name], "value", flat[name])) for name in position]
        known = np.isfinite(degrees[0]) & (np.abs(degrees[1]) <= 90)
        without += int(np.sum(~known))
        if known.any():
            files.append(folder / f"{len(files):06d}.parquet")
            pq.write_table(to_arrow(LabelTable(flat[known], copy=False)), files[-1])
            n += int(known.sum())
    if not n:
        raise SlamError(
            f"no row of {inputs[0] if inputs else 'the label tables'} has a position; there is nothing to write"
        )
    if without:
        warnings.warn(f"{without} rows have no position and are left out", SlamWarning, stacklevel=3)
    return files, n, stated


def _tables(inputs: Sequence[Any], report: Progress) -> Iterator[tuple[Path, LabelTable]]:
    """Label tables of all inputs, those of Parquet by row groups."""
    import pyarrow.parquet as pq

    for before, given in enumerate(inputs):
        path = Path(given)
        paths = sorted(path.rglob("*.parquet")) if path.is_dir() else [existing_file(path)]
        if not paths:
            raise SlamError(f"{path} is a folder without Parquet files; give label tables")
        for number, source in enumerate(paths):
            # files of a folder, or tables
            report(*((number, len(paths)) if len(inputs) == 1 else (before, len(inputs))))
            if not is_parquet(source):
                yield source, read_labels(source)
                continue
            try:
                with pq.ParquetFile(source) as file:
                    for group in range(file.num_row_groups):
                        yield source, from_arrow(file.read_row_group(group))
            except (OSError, ValueError, TypeError) as error:
                if isinstance(error, SlamError):
                    raise
                raise SlamError(f"{source} cannot be read as a label table ({error}); is it complete?") from error


def _check_position(names: Sequence[str], position: tuple[str, str], source: Path) -> None:
    missing = [name for name in position if name not in names]
    if missing:
        raise SlamError(
            f"{source} has no column {missing[0]!r}; a catalogue needs positions: name their columns, or give the "
            "spectra ra and dec before they are fitted, which label tables keep"
        )


def _labels_of(table: LabelTable) -> str:
    """The labels with their units, as properties of catalogues have them."""
    return ", ".join(f"{name} [{table[name].unit or ''}]" for name in table.label_names if name in table.colnames)
