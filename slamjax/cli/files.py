"""Files of a command: read what is selected, and check outputs before any long work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import slamjax
from slamjax.cli.interrupts import note_if_stopped
from slamjax.cli.options import Metadata
from slamjax.errors import SlamError

if TYPE_CHECKING:
    from slamjax.spectra import Spectra


def is_table(files: list[Path]) -> bool:
    """Whether the input is one slamjax table, rather than survey files."""
    from slamjax.io import is_table

    return len(files) == 1 and is_table(files[0])


def has_coefficients(file: Path) -> bool:
    """Whether a file has XP coefficients, with covariances."""
    from slamjax.io import is_coefficients

    return is_coefficients(file)


def read_spectra(
    files: list[Path],
    select: str | None = None,
    metadata: Metadata | None = None,
    survey: str | None = None,
    n_jobs: int = -1,
) -> Spectra:
    """The selected spectra of a slamjax table or of survey files, with missing metadata supplied."""
    if is_table(files):
        spectra = slamjax.read_table(files[0])
    else:
        spectra = slamjax.read([str(path) for path in files], survey, n_jobs=n_jobs)
    if metadata is not None:
        spectra = spectra.with_metadata(metadata.medium, metadata.frame, metadata.fwhm)
    return spectra if select is None else spectra.select(select)


def check_output(output: Path, inputs: Iterable[Path] = (), flag: str = "--output") -> None:
    """Raise unless the output can be written, all inputs exist, and none of them is the output."""
    from slamjax._util.files import check_writable

    check_writable(output)
    check_inputs(output, inputs, flag)


def check_inputs(output: Path, inputs: Iterable[Path], flag: str = "--output") -> None:
    """Raise unless all inputs exist, and none of them is the output."""
    from slamjax._util.files import existing_file

    for path in inputs:
        source = existing_file(path)
        if output.exists() and output.samefile(source):
            raise SlamError(f"{flag} {output} is also an input; choose another name")


def make_folder(folder: Path, file: str) -> None:
    """Make the output folder, and check that a file can be written into it."""
    from slamjax._util.files import check_writable

    if folder.exists() and not folder.is_dir():
        raise SlamError(f"--output {folder} is a file; name a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SlamError(f"cannot make the folder {folder}: {error.strerror}; choose another with -o") from error
    check_writable(folder / file)


@contextmanager
def kept_parts(output: Path) -> Iterator[slamjax.Checkpoint]:
    """Where the finished parts of a run are kept until its output is saved; a stopped run says that they are."""
    with slamjax.Checkpoint(output.parent / f".{output.name}.parts") as kept:
        note_if_stopped(lambda: _said_of(kept))
        yield kept


def _said_of(kept: slamjax.Checkpoint) -> str:
    if kept.n_parts:
        return f"{kept.n_parts} finished parts are kept in {kept.folder}, the same command continues"
    kept.drop()
    return ""
