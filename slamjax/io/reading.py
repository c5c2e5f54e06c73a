"""``slamjax.read``: spectra as they come from a survey's archive, or from another package's memory."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from joblib import Parallel, delayed

from slamjax._util.files import existing_file
from slamjax.errors import SlamError, SlamWarning
from slamjax.io.grids import common_grid, place
from slamjax.io.metadata import table_of
from slamjax.io.surveys import gaia, specutils_memory
from slamjax.io.surveys.base import LEAST_LEFT, SurveySpectra
from slamjax.io.surveys.registry import LOADERS, load
from slamjax.io.table import read_table
from slamjax.spectra.spectra import Spectra
from slamjax.typing import Progress

#: Files from which reading is worth processes of its own: astropy holds the interpreter lock.
_MANY = 100
#: Beyond these float32 has no ivar: fluxes in W nm⁻¹ m⁻² have such.
_SMALLEST, _LARGEST = 1e-30, 1e37
#: A path, a glob pattern, a spectrum of specutils, or several of them.
Source = Any


def read(
    source: Source,
    survey: str | None = None,
    *,
    wave: np.ndarray | None = None,
    n_jobs: int = -1,
    on_progress: Progress | None = None,
) -> Spectra:
    """Spectra of survey files, rows in the order given: one a file, or as many as a file has.

    Reads LAMOST low and medium resolution (all layouts), SDSS and BOSS ``spec`` files, APOGEE apStar (its combined
    spectrum), aspcapStar and apVisit, SDSS-V mwmStar and mwmVisit, DESI coadds, Gaia XP spectra as GaiaXPy writes them
    (FITS, CSV, ECSV), slamjax's own table, and specutils' ``Spectrum``, ``SpectrumList`` and ``SpectrumCollection``.
    Wavelengths of files are in Å (Gaia XP: nm), vacuum, as the barycentre sees them, or in the star's frame for apStar,
    aspcapStar and mwm files. Bits of each survey's masks that make a pixel bad are in `slamjax.io.surveys.bitmasks`;
    a mask that would leave less than a tenth of a spectrum's pixels is not used, and the table and a warning say so.

    Parameters
    ----------
    source : path, glob pattern, specutils object, or a sequence of paths or objects
    survey : str, optional
        A loader's name where a file does not say of itself what it is, or has spectra of two instruments: "lamost",
        "lamost-image", "lamost-mrs", "sdss", "apogee-star", "apogee-aspcap", "apogee-visit", "mwm-apogee", "mwm-boss",
        "desi", "gaia-xp".
    wave : (P,) array, optional
        Vacuum wavelengths in Å to bring all spectra to, flux conserved. Default: the surveys' own, where all files
        have pieces of one grid; apVisit files are brought to apStar's, LAMOST's two arms of medium resolution to one
        grid with a gap of bad pixels.
    n_jobs : int
        Processes, where there are many files.
    on_progress : callable, optional
        Told how many files of how many are done.

    Returns
    -------
    Spectra
        Its table has ``file``, ``problem`` (empty, or why there is no spectrum: such a row has no good pixel),
        ``mask_ignored`` where files have masks, and what files say: ``id``, ``ra``, ``dec``, ``snr``, ``rv``,
        ``rv_err``, ...

    Raises
    ------
    SlamError
        If no file can be read, or files are of different frames or grids.
    """
    sources = _sources(source)
    if survey is not None and survey not in LOADERS:
        raise SlamError(f"unknown survey {survey!r}; choose one of {', '.join(LOADERS)}")
    if len(sources) == 1 and survey is None and isinstance(sources[0], str) and is_table(existing_file(sources[0])):
        return read_table(sources[0])
    names = [one if isinstance(one, str) else specutils_memory.name_of(one, row) for row, one in enumerate(sources)]
    found = _read_all(sources, survey, n_jobs, on_progress)
    pieces = [piece for piece in found if isinstance(piece, SurveySpectra)]
    if not pieces:
        raise SlamError(f"{names[0]}: {found[0]}" + (f" (and {len(names) - 1} more files)" if len(names) > 1 else ""))
    _check_alike(pieces)
    _tell_broken(names, found)
    grid = common_grid(pieces) if wave is None else _checked_grid(wave)
    unit = pieces[0].unit if wave is None and len({piece.unit for piece in pieces}) == 1 else "Angstrom"
    flux, ivar = _on_grid(found, grid)
    table = table_of(names, found, ivar)
    _tell_ignored(table["mask_ignored"] if "mask_ignored" in table.colnames else np.zeros(0))
    return Spectra(
        grid / float(f"{u.Unit(unit).to(u.AA):.12g}"),  # astropy's nm has 9.999999999999998 Å
        flux,
        ivar,
        table,
        wave_unit=unit,
        medium=pieces[0].medium,
        frame=pieces[0].frame,
        source=names[0] if len(names) == 1 else f"{len(names)} files, {names[0]} and more",
    )


def matched(pattern: str) -> list[str]:
    """The files that a pattern matches, sorted, or the one that it names."""
    if not glob.has_magic(pattern) or Path(pattern).exists():
        return [pattern]
    found = sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise SlamError(f"{pattern} matches no file; check the pattern")
    return _without_sampling(found)


def _sources(source: Source) -> list[Any]:
    """Names of files, those of a pattern sorted, and spectra in memory."""
    if isinstance(source, (str, os.PathLike)):
        return matched(os.fspath(source))
    if specutils_memory.is_spectrum(source):
        return specutils_memory.spectra_of(source)
    sources: list[Any] = []
    for one in source if isinstance(source, Iterable) else [source]:
        if specutils_memory.is_spectrum(one):
            sources.extend(specutils_memory.spectra_of(one))
        elif isinstance(one, (str, os.PathLike)):
            sources.append(os.fspath(one))
        else:
            raise SlamError(f"{type(one).__name__} {one!r} cannot be read; give paths or specutils' spectra")
    if not sources:
        raise SlamError("no files to read; give at least one")
    return _without_sampling(sources)


def _without_sampling(sources: list[Any]) -> list[Any]:
    """Patterns match GaiaXPy's files of wavelengths too, which are read with their spectra."""
    spectra = [source for source in sources if not (isinstance(source, str) and gaia.is_sampling(source))]
    return spectra or sources


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a file is slamjax's own FITS table."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            with fits.open(path, memmap=True) as hdus:
                return "SPECTRA" in hdus and "WAVELENGTH" in hdus
    except OSError:
        return False  # said when it is read


def _read_all(
    sources: list[Any], survey: str | None, n_jobs: int, on_progress: Progress | None
) -> list[SurveySpectra | str]:
    one = delayed(_read_one)
    many = len(sources) >= _MANY and all(isinstance(source, str) for source in sources)
    workers = Parallel(n_jobs=n_jobs if many else 1, return_as="generator", batch_size="auto")
    found: list[SurveySpectra | str] = []
    for result in workers(one(source, survey) for source in sources):
        found.append(result)
        if on_progress is not None:
            on_progress(len(found), len(sources))
    return found


def _read_one(source: Any, survey: str | None) -> SurveySpectra | str:
    """Its spectra, or in words why there is none: one broken file of thousands must not stop the others."""
    try:
        if not isinstance(source, str):
            return specutils_memory.load(source)
        path = existing_file(source)
        if gaia.is_text(path) and survey in (None, "gaia-xp"):
            return gaia.load_text(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)  # cards that do not keep the standard
            with fits.open(path, memmap=False) as hdus:
                return load(hdus, survey)
    except SlamError as error:
        return str(error)
    except (OSError, TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        return f"cannot be read ({type(error).__name__}: {error}); it is truncated, damaged or of another kind"


def _check_alike(pieces: Sequence[SurveySpectra]) -> None:
    if len({piece.frame for piece in pieces}) > 1:
        raise SlamError("some of these spectra are in their star's frame and some are not; read them apart")
    if len({piece.medium for piece in pieces}) > 1:
        raise SlamError("some of these spectra do not say whether their wavelengths are vacuum; read them apart")


def _tell_broken(names: Sequence[str], found: Sequence[SurveySpectra | str]) -> None:
    broken = [(name, said) for name, said in zip(names, found, strict=True) if isinstance(said, str)]
    if broken:
        warnings.warn(
            f"{len(broken)} of {len(names)} files give no spectrum; the first is {broken[0][0]}: {broken[0][1]}",
            SlamWarning,
            stacklevel=3,
        )


def _tell_ignored(ignored: np.ndarray) -> None:
    if np.any(ignored):
        warnings.warn(
            f"the masks of {int(np.sum(ignored))} of {len(ignored)} spectra would leave less than {LEAST_LEFT:.0%} of "
            "their pixels and are not used (column mask_ignored)",
            SlamWarning,
            stacklevel=3,
        )


def _checked_grid(wave: np.ndarray) -> np.ndarray:
    grid = np.asarray(wave, float)
    if grid.ndim != 1 or len(grid) < 2 or not np.all(np.diff(grid) > 0):
        raise SlamError("wave must be at least two rising wavelengths in Å")
    return grid


def _on_grid(found: Sequence[SurveySpectra | str], grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flux and ivar (N, P) of all; a file that gave none has a row without a good pixel."""
    single = all(_fits_single(piece) for piece in found if isinstance(piece, SurveySpectra))
    n_rows = sum(len(piece) if isinstance(piece, SurveySpectra) else 1 for piece in found)
    flux, ivar = np.zeros((2, n_rows, len(grid)), np.float32 if single else np.float64)
    start = 0
    for piece in found:
        if isinstance(piece, str):
            start += 1
            continue
        here = slice(start, start + len(piece))
        flux[here], ivar[here] = place(piece, grid)
        start += len(piece)
    return flux, ivar


def _fits_single(piece: SurveySpectra) -> bool:
    stated = piece.ivar[(piece.ivar > 0) & np.isfinite(piece.ivar)]
    return stated.size == 0 or (stated.min() > _SMALLEST and stated.max() < _LARGEST)
