"""``slamjax.read``: spectra as they come from a survey's archive."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.utils.exceptions import AstropyWarning
from joblib import Parallel, delayed

from slamjax.errors import SlamError, SlamWarning
from slamjax.files import existing_file
from slamjax.readers.grids import common_grid, place
from slamjax.readers.pieces import LOADERS, Piece, identify, load
from slamjax.readers.table import read_table
from slamjax.spectra import Spectra
from slamjax.typing import Progress

#: Files from which reading is worth processes of its own: astropy holds the interpreter lock.
_MANY = 100
Source = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def read(
    source: Source,
    survey: str | None = None,
    *,
    wave: np.ndarray | None = None,
    n_jobs: int = -1,
    progress: Progress | None = None,
) -> Spectra:
    """Spectra of survey files, a row a file, in the order given.

    Reads LAMOST low resolution (all layouts), SDSS and BOSS ``spec`` files, APOGEE apStar (its combined spectrum) and
    apVisit, and slamjax's own table. Wavelengths are in Å, vacuum, as the barycentre sees them, or in the star's frame
    for apStar. Bits of each survey's masks that make a pixel bad are in `slamjax.readers.masks`; a mask that would
    leave next to nothing is not believed.

    Parameters
    ----------
    source : path, glob pattern or sequence of paths
    survey : str, optional
        A loader's name where a file does not say of itself what it is: "lamost", "lamost-image", "sdss",
        "apogee-star", "apogee-visit".
    wave : (P,) array, optional
        Vacuum wavelengths in Å to bring all spectra to, flux conserved. Default: the surveys' own, where all files
        have pieces of one grid; apVisit files are brought to apStar's.
    n_jobs : int
        Processes, where there are many files.
    progress : callable, optional
        Told how many files of how many are done.

    Returns
    -------
    Spectra
        Its table has ``file``, ``problem`` (empty, or why a file gives no spectrum: such a row has no good pixel) and
        what headers say: ``id``, ``ra``, ``dec``, ``snr``, ``rv``, ...

    Raises
    ------
    SlamError
        If no file can be read, or files are of different frames or grids.
    """
    paths = _paths(source)
    if survey is not None and survey not in LOADERS:
        raise SlamError(f"unknown survey {survey!r}; choose one of {', '.join(LOADERS)}")
    if len(paths) == 1 and survey is None and is_table(existing_file(paths[0])):
        return read_table(paths[0])
    found = _read_all(paths, survey, n_jobs, progress)
    pieces = [piece for piece in found if isinstance(piece, Piece)]
    if not pieces:
        raise SlamError(f"{paths[0]}: {found[0]}" + (f" (and {len(paths) - 1} more files)" if len(paths) > 1 else ""))
    frames = {piece.frame for piece in pieces}
    if len(frames) > 1:
        raise SlamError("some of these spectra are in their star's frame and some are not; read them apart")
    broken = [(path, said) for path, said in zip(paths, found, strict=True) if isinstance(said, str)]
    if broken:
        warnings.warn(
            f"{len(broken)} of {len(paths)} files give no spectrum; the first is {broken[0][0]}: {broken[0][1]}",
            SlamWarning,
            stacklevel=2,
        )
    grid = common_grid(pieces) if wave is None else _checked_grid(wave)
    flux, ivar = np.zeros((2, len(paths), len(grid)), np.float32)
    for row, piece in enumerate(found):
        if isinstance(piece, Piece):
            flux[row], ivar[row] = place(piece, grid)
    return Spectra(
        grid,
        flux,
        ivar,
        _facts(paths, found, ivar),
        wave_unit="Angstrom",
        medium="vacuum",
        frame=pieces[0].frame,
        source=paths[0] if len(paths) == 1 else f"{len(paths)} files, {paths[0]} and more",
    )


def _paths(source: Source) -> list[str]:
    """File names; a pattern gives those that it matches, sorted."""
    if isinstance(source, (str, os.PathLike)):
        pattern = os.fspath(source)
        if glob.has_magic(pattern) and not Path(pattern).exists():
            matched = sorted(glob.glob(pattern, recursive=True))
            if not matched:
                raise SlamError(f"{pattern} matches no file; check the pattern")
            return matched
        return [pattern]
    paths = [os.fspath(path) for path in source]
    if not paths:
        raise SlamError("no files to read; give at least one")
    return paths


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a file is slamjax's own FITS table."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            with fits.open(path, memmap=True) as hdus:
                return "SPECTRA" in hdus and "WAVELENGTH" in hdus
    except OSError:
        return False  # said when it is read


def _read_all(paths: list[str], survey: str | None, n_jobs: int, progress: Progress | None) -> list[Piece | str]:
    one = delayed(_read_one)
    workers = Parallel(n_jobs=n_jobs if len(paths) >= _MANY else 1, return_as="generator", batch_size="auto")
    found: list[Piece | str] = []
    for result in workers(one(path, survey) for path in paths):
        found.append(result)
        if progress is not None:
            progress(len(found), len(paths))
    return found


def _read_one(path: str, survey: str | None) -> Piece | str:
    """The file's spectrum, or in words why there is none: one broken file of thousands must not stop the others."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)  # cards that do not keep the standard
            with fits.open(existing_file(path), memmap=False) as hdus:
                return load(hdus, survey or identify(hdus))
    except SlamError as error:
        return str(error)
    except (OSError, TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        return f"cannot be read ({type(error).__name__}: {error}); it is truncated, damaged or of another kind"


def _checked_grid(wave: np.ndarray) -> np.ndarray:
    grid = np.asarray(wave, float)
    if grid.ndim != 1 or len(grid) < 2 or not np.all(np.diff(grid) > 0):
        raise SlamError("wave must be at least two rising wavelengths in Å")
    return grid


def _facts(paths: list[str], found: Sequence[Piece | str], ivar: np.ndarray) -> Table:
    """What headers say, a column a fact; where a file lacks one, NaN or an empty text."""
    problems = [
        said if isinstance(said, str) else "" if good else "no good pixel"
        for said, good in zip(found, np.any(ivar > 0, axis=1), strict=True)
    ]
    table = Table({"file": [os.path.basename(path) for path in paths], "problem": problems})
    facts = [piece.facts if isinstance(piece, Piece) else {} for piece in found]
    for name in dict.fromkeys(name for one in facts for name in one):
        values: list[Any] = [one.get(name) for one in facts]
        known = [value for value in values if value is not None]
        if all(isinstance(value, str) for value in known):
            table[name] = [value or "" for value in values]
        elif all(isinstance(value, int) for value in known) and len(known) == len(values):
            table[name] = np.array(values, np.int64)
        else:
            table[name] = np.array([np.nan if value is None else float(value) for value in values])
    return table
