"""Which of slamjax's files a file is, by its content."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from slamjax._util.files import existing_file
from slamjax.errors import SlamError
from slamjax.io import LabelTable, count_rows, has_rows, read, read_labels, read_rows
from slamjax.io.fits_files import open_fits
from slamjax.io.parquet import is_parquet
from slamjax.model.model import Model
from slamjax.preprocessing import Recipe
from slamjax.spectra.spectra import Spectra

if TYPE_CHECKING:
    from slamjax.sampling import Posterior

Content: TypeAlias = "Model | Spectra | Posterior | Recipe | LabelTable"
#: Bytes of a table of spectra that are read to describe it; of a larger one only the first rows.
_LARGE = 500_000_000
_HDF5, _GZIP = b"\x89HDF", b"\x1f\x8b"
#: How model files begin, see `slamjax._util.seal`.
_SEALED = b"slamjax, HDF5"


@dataclass(frozen=True)
class Opened:
    """What a file holds, and what there is to say of its reading."""

    thing: Content
    notes: tuple[str, ...] = ()


def open_file(path: str | os.PathLike[str]) -> Opened:
    """The content of a model, spectra, label, posterior, recipe or survey file.

    Raises
    ------
    SlamError
        If the file is missing, damaged or of another kind.
    """
    source = existing_file(path)
    try:
        with source.open("rb") as file:
            first = file.read(4096)
    except OSError as error:
        raise SlamError(f"{source} cannot be read: {error.strerror or error}") from error
    if first.startswith((b"SIMPLE", _GZIP)):
        return _open_fits(source)
    if is_parquet(source):
        return _open_table(source)
    if _HDF5 in first[:1024] or first.startswith(_SEALED):
        return Opened(_open_hdf5(source))
    if first.startswith(b"# %ECSV") or source.suffix.lower() == ".csv":
        return _open_table(source) if has_rows(source) else Opened(read_labels(source))
    if source.suffix.lower() == ".toml" or b"[[steps]]" in first:
        return Opened(Recipe.read(source))
    raise SlamError(
        f"{source} is none of slamjax's files (model, spectra, labels, posterior, recipe), and no survey file in FITS"
    )


def _open_hdf5(source: Path) -> Model | Posterior:
    """A model or a posterior: both are HDF5, and the ending says which is more likely."""
    readers: list[Callable[[Path], Model | Posterior]] = [Model.read, _read_posterior]
    errors = []
    for reader in reversed(readers) if source.suffix.lower() == ".nc" else readers:
        try:
            return reader(source)
        except SlamError as error:
            errors.append(error)
    raise errors[0]


def _read_posterior(source: Path) -> Posterior:
    from slamjax.sampling import Posterior

    return Posterior.read(source)


def _open_fits(source: Path) -> Opened:
    try:
        with open_fits(source) as hdus:
            names = [hdu.name for hdu in hdus]
    except SlamError:
        raise
    except Exception as error:  # astropy's readers raise exceptions of many types
        raise SlamError(f"{source} cannot be read as FITS ({error}); is it complete?") from error
    if "LABELS" in names:
        return Opened(read_labels(source))
    if "SPECTRA" not in names and not has_rows(source):
        return Opened(read(source, n_jobs=1, on_progress=False))
    return _open_table(source)


def _open_table(source: Path) -> Opened:
    """A table of spectra; of a large one its first rows."""
    n, width = count_rows(source)
    if n * width <= _LARGE:
        return Opened(read_rows(source))
    few = max(1, _LARGE // width)
    return Opened(read_rows(source, slice(0, few)), (f"(of the first {few} of {n} spectra in the file)",))
