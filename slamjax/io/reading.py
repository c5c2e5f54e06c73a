"""``slamjax.read``: spectra of survey files, or of specutils in memory."""

from __future__ import annotations

import contextlib
import glob
import os
import signal
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from astropy import units as u
from jaxtyping import Float
from joblib import Parallel, delayed

from slamjax._util.files import existing_file, existing_text
from slamjax._util.progress import reporter
from slamjax.errors import SlamError, SlamWarning
from slamjax.io.catalog import Catalogue, CatalogueLike, On
from slamjax.io.fits_files import open_fits
from slamjax.io.grids import common_grid, line_spreads, place
from slamjax.io.metadata import metadata_table
from slamjax.io.parquet import is_parquet
from slamjax.io.surveys import gaia, specutils_memory
from slamjax.io.surveys.base import MIN_UNMASKED, SurveySpectra
from slamjax.io.surveys.registry import LOADERS, TEXT_LOADERS, load, load_text
from slamjax.io.table import read_table
from slamjax.spectra.flux_units import flux_unit
from slamjax.spectra.length_units import in_length_unit, length_unit
from slamjax.spectra.spectra import Spectra
from slamjax.typing import Progress

#: Number of files from which several processes pay off; threads do not, because astropy holds the interpreter lock.
_MANY_FILES = 100
#: Inverse variances that float32 can hold; fluxes in W nm⁻¹ m⁻² have others.
_FLOAT32_MIN, _FLOAT32_MAX = 1e-30, 1e37
#: A path, a glob pattern, a specutils object, or a sequence of paths and objects.
Source = Any
#: The spectra of one file, or the reason why it gives none.
Result = SurveySpectra | str


def read(
    source: Source,
    survey: str | None = None,
    *,
    wave: Float[np.ndarray, " pixel"] | None = None,
    labels: CatalogueLike | None = None,
    on: On = "file",
    n_jobs: int = -1,
    on_progress: Progress | bool | None = True,
) -> Spectra:
    """Read survey files, all spectra of each, in the order given.

    Supported are LAMOST low and medium resolution (all layouts), SDSS and BOSS ``spec`` files, APOGEE apStar (the
    combined spectrum), aspcapStar and apVisit, SDSS-V mwmStar and mwmVisit, DESI coadds, Gaia XP spectra written by
    GaiaXPy (FITS, CSV, ECSV), Gaia XP coefficients as the archive gives them (the same, see
    `slamjax.read_xp_coefficients`), slamjax's own table (FITS, Parquet), and specutils' ``Spectrum``, ``SpectrumList``
    and ``SpectrumCollection``. Wavelengths are in Å (Gaia XP: nm), vacuum, barycentric, or at rest for apStar,
    aspcapStar and mwm files. `slamjax.io.surveys.bitmasks` lists the mask bits that make a pixel bad. A mask that would
    leave less than a tenth of a spectrum's pixels is ignored, with a warning.

    Parameters
    ----------
    source : path, glob pattern, specutils object, or a sequence of those
    survey : str, optional
        The loader, if a file does not identify itself or has spectra of two instruments: "lamost", "lamost-image",
        "lamost-mrs", "sdss", "apogee-star", "apogee-aspcap", "apogee-visit", "mwm-apogee", "mwm-boss", "desi",
        "gaia-xp", "gaia-xp-coefficients". Only by name: "apogee-star-visits", the single visits of apStar files, and
        "sdss-exposures", the single exposures of each camera of SDSS and BOSS spec files.
    wave : (P,) array, optional
        Vacuum wavelengths in Å, or a Quantity, to which all spectra are resampled, with flux conserved. By default the
        survey's own grid, if all files have parts of one; apVisit files are resampled to apStar's grid, the two arms of
        LAMOST's medium resolution to one grid with a gap of bad pixels.
    labels, on : optional
        A catalogue (path, Table or DataFrame) whose columns are joined to the spectra, and the column that matches
        them, as of `slamjax.join_labels`. Columns are checked before all files are read.
    n_jobs : int
        Processes, if there are many files; -1 for all cores.
    on_progress : callable or bool
        Called with (files done, files in all). By default a line in terminals and notebooks; False for none.

    Returns
    -------
    Spectra
        Its table has ``file``, ``problem`` (empty, or why there is no spectrum: such a row has no good pixel),
        ``mask_ignored`` if files have masks, and metadata of the files: ``id``, ``ra``, ``dec``, ``snr``, ``rv``,
        ``rv_err``, ...

    Raises
    ------
    SlamError
        If no file can be read, the files have different frames or no common grid, or the catalogue cannot be joined.

    Examples
    --------
    >>> import os, tempfile
    >>> import slamjax
    >>> train, _ = slamjax.datasets.load_xp_giants()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "stars.fits")
    ...     slamjax.write_table(train[:3], path)
    ...     len(slamjax.read(path))
    3
    """
    catalogue = None if labels is None else Catalogue.from_option(labels, on)
    sources = _sources(source)
    if survey is not None and survey not in LOADERS:
        raise SlamError(f"unknown survey {survey!r}; choose one of {', '.join(LOADERS)}")
    if len(sources) == 1 and survey is None and isinstance(sources[0], str) and is_table(existing_file(sources[0])):
        return _read_own(sources[0], catalogue)
    names = [
        source if isinstance(source, str) else specutils_memory.name_of(source, number)
        for number, source in enumerate(sources)
    ]
    if catalogue is not None:
        _check_join(catalogue, sources, survey)
    results = _read_all(sources, survey, n_jobs, on_progress)
    spectra = [result for result in results if isinstance(result, SurveySpectra)]
    if not spectra:
        others = f" (and {len(names) - 1} more files)" if len(names) > 1 else ""
        raise SlamError(f"{names[0]}: {results[0]}{others}")
    _check_compatible(spectra)
    _warn_broken(names, results)
    if wave is not None and spectra[0].covariance is not None:
        raise SlamError(f"{names[0]} has coefficients, which have no wavelengths; leave wave out")
    grid = common_grid(spectra) if wave is None else _checked_grid(wave)
    unit = spectra[0].unit if wave is None and len({one.unit for one in spectra}) == 1 else "Angstrom"
    flux, ivar = _on_grid(results, grid)
    fwhm = line_spreads(results, grid)
    table = metadata_table(names, results, ivar)
    _warn_ignored(table["mask_ignored"] if "mask_ignored" in table.colnames else np.zeros(0))
    in_angstrom = 1.0 if unit == "pix" else float(f"{length_unit(unit).to(u.AA):.12g}")  # nm are 9.999999999999998 Å
    everything = Spectra(
        grid / in_angstrom,
        flux,
        ivar,
        table,
        wave_unit=unit,
        medium=spectra[0].medium,
        frame=spectra[0].frame,
        fwhm=None if fwhm is None else fwhm / in_angstrom,
        flux_unit=_common_flux_unit(spectra),
        covariance=_covariances(results, flux.shape[1]),
        source=names[0] if len(names) == 1 else f"{len(names)} files, {names[0]} and more",
    )
    return everything if catalogue is None else catalogue.joined(everything)


def _read_own(path: str, catalogue: Catalogue | None) -> Spectra:
    """A slamjax table, joined with a catalogue."""
    if catalogue is None:
        return read_table(path)
    catalogue.check(read_table(path, slice(0, 1)).table.colnames, path)
    return catalogue.joined(read_table(path))


def _check_join(catalogue: Catalogue, sources: Sequence[Any], survey: str | None) -> None:
    """Raise SlamError if a few of the files, read beforehand, lack the column that the catalogue is joined on."""
    names = ["file", "problem"]
    if catalogue.of_spectra in names:
        return
    few = [_read_one(sources[k], survey) for k in sorted({0, len(sources) // 2, len(sources) - 1})]
    found = [result for result in few if isinstance(result, SurveySpectra)]
    if found:
        names += [name for result in found for name in result.metadata if name not in names]
        catalogue.check(list(dict.fromkeys(names)), f"the header of {sources[0]}")


def expand_pattern(pattern: str) -> list[str]:
    """The files that match a glob pattern, sorted; a path without wildcards is returned as it is.

    ``@list.txt`` stands for the paths in a text file, one a line.

    A home folder (``~``) is put in, as a shell does where the pattern is not quoted.

    Raises
    ------
    SlamError
        If no file matches.
    """
    if pattern.startswith("@") and not os.path.lexists(pattern):
        return _listed(os.path.expanduser(pattern[1:]))
    pattern = os.path.expanduser(pattern)
    if not glob.has_magic(pattern) or os.path.lexists(pattern):
        return [pattern]
    files = sorted(glob.glob(pattern, recursive=True))
    if not files:
        raise SlamError(f"{pattern} matches no file; check the pattern")
    return _without_sampling(files)


def _listed(path: str) -> list[str]:
    """The paths in a text file."""
    try:
        lines = existing_text(path).read_text().splitlines()
    except UnicodeDecodeError as error:
        raise SlamError(f"{path} is no text in UTF-8; give a list of paths, one a line") from error
    paths = [line.strip() for line in lines if line.strip()]
    if not paths:
        raise SlamError(f"{path} lists no file; give a list of paths, one a line")
    return paths


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a file is slamjax's own table, FITS or Parquet."""
    if is_parquet(path):
        return True
    try:
        with open_fits(path) as hdus:
            return "SPECTRA" in hdus and "WAVELENGTH" in hdus
    except Exception:  # astropy raises errors of many types; they are reported when the file is read
        return False


def _sources(source: Source) -> list[Any]:
    """Paths, patterns expanded, and single specutils objects."""
    if isinstance(source, (str, os.PathLike)):
        return expand_pattern(os.fspath(source))
    sources: list[Any] = []
    for one in source if isinstance(source, Iterable) and not specutils_memory.is_spectrum(source) else [source]:
        if specutils_memory.is_spectrum(one):
            sources.extend(specutils_memory.split(one))
        elif isinstance(one, (str, os.PathLike)):
            sources.extend(expand_pattern(os.fspath(one)))
        else:
            raise SlamError(f"{type(one).__name__} {one!r} cannot be read; give paths or specutils' spectra")
    if not sources:
        raise SlamError("no files to read; give at least one")
    return _without_sampling(sources)


def _without_sampling(sources: list[Any]) -> list[Any]:
    """Without GaiaXPy's files of wavelengths, which patterns match too and which are read with their spectra."""
    spectra = [source for source in sources if not (isinstance(source, str) and gaia.is_sampling(source))]
    return spectra or sources


def _read_all(sources: list[Any], survey: str | None, n_jobs: int, on_progress: Progress | bool | None) -> list[Result]:
    many = len(sources) >= _MANY_FILES and all(isinstance(source, str) for source in sources)
    workers = Parallel(n_jobs=n_jobs if many else 1, return_as="generator", batch_size="auto")
    results: list[Result] = []
    with _no_interrupts_in(many):
        each = workers(delayed(_read_one)(source, survey) for source in sources)
    with reporter(on_progress) as report, contextlib.closing(each):  # ends the processes where this one is stopped
        report.stage("reading files")
        for result in each:
            results.append(result)
            report(len(results), len(sources))
    return results


@contextlib.contextmanager
def _no_interrupts_in(processes: bool) -> Iterator[None]:
    """Processes that are started here do not see Ctrl-C, which a terminal sends to all: this one ends them."""
    if not processes or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _read_one(source: Any, survey: str | None) -> Result:
    """The spectra of one source, or why there are none: one broken file must not stop thousands of others."""
    try:
        if not isinstance(source, str):
            return specutils_memory.load(source)
        path = existing_file(source)
        if gaia.is_text(path) and survey in (None, *TEXT_LOADERS):
            return load_text(path, survey)
        with open_fits(path) as hdus:
            return load(hdus, survey)
    except SlamError as error:
        return str(error).removeprefix(f"{source} ")
    except MemoryError:
        return "declares more data than the memory holds; it is damaged, or to be read on a larger machine"
    except Exception as error:  # of a damaged file astropy raises errors of many types
        return f"cannot be read ({type(error).__name__}: {error}); it is truncated, damaged or of another kind"


def _check_compatible(spectra: Sequence[SurveySpectra]) -> None:
    if len({one.covariance is None for one in spectra}) > 1:
        raise SlamError("some of these files have spectra and some have coefficients; read them separately")
    if spectra[0].covariance is not None and len({one.wave.size for one in spectra}) > 1:
        raise SlamError("these files have different numbers of coefficients; read them separately")
    if len({one.frame for one in spectra}) > 1:
        raise SlamError("some of these spectra are in the star's rest frame and some are not; read them separately")
    if len({one.medium for one in spectra}) > 1:
        raise SlamError("some of these spectra do not state whether wavelengths are vacuum; read them separately")


def _common_flux_unit(spectra: Sequence[SurveySpectra]) -> u.UnitBase | None:
    """The unit of flux of all files; None, not stated, if it is not the same."""
    first, *others = (flux_unit(one.flux_unit, "of these spectra") for one in spectra)
    return first if all(first is not None and other == first for other in others) else None


def _warn_broken(names: Sequence[str], results: Sequence[Result]) -> None:
    broken = [(name, reason) for name, reason in zip(names, results, strict=True) if isinstance(reason, str)]
    if broken:
        warnings.warn(
            f"{len(broken)} of {len(names)} files give no spectrum; the first is {broken[0][0]}: {broken[0][1]}",
            SlamWarning,
            stacklevel=3,
        )


def _warn_ignored(ignored: np.ndarray) -> None:
    if np.any(ignored):
        warnings.warn(
            f"the masks of {int(np.sum(ignored))} of {len(ignored)} spectra would leave less than {MIN_UNMASKED:.0%} "
            "of their pixels and are not used (column mask_ignored)",
            SlamWarning,
            stacklevel=3,
        )


def _checked_grid(wave: np.ndarray) -> np.ndarray:
    grid = np.asarray(in_length_unit(wave, u.AA, "of wave"), float)
    if grid.ndim != 1 or len(grid) < 2 or not np.all(np.diff(grid) > 0):
        raise SlamError("wave must be at least two increasing wavelengths in Å")
    return grid


def _on_grid(results: Sequence[Result], grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flux and ivar (N, P) of all spectra; a file without a spectrum gets a row without a good pixel."""
    single = all(_fits_float32(result) for result in results if isinstance(result, SurveySpectra))
    n_rows = sum(len(result) if isinstance(result, SurveySpectra) else 1 for result in results)
    flux, ivar = np.zeros((2, n_rows, len(grid)), np.float32 if single else np.float64)
    start = 0
    for result in results:
        if isinstance(result, str):
            start += 1
            continue
        rows = slice(start, start + len(result))
        flux[rows], ivar[rows] = place(result, grid)
        start += len(result)
    return flux, ivar


def _covariances(results: Sequence[Result], n_pix: int) -> np.ndarray | None:
    """(N, P, P) of all spectra, 0 for a file without; None if they state none."""
    if all(isinstance(result, str) or result.covariance is None for result in results):
        return None
    empty = np.zeros((1, n_pix, n_pix))
    return np.concatenate(
        [empty if isinstance(one, str) or one.covariance is None else one.covariance for one in results]
    )


def _fits_float32(spectra: SurveySpectra) -> bool:
    if spectra.covariance is not None:  # each is known to more digits
        return False
    known = spectra.ivar[(spectra.ivar > 0) & np.isfinite(spectra.ivar)]
    return known.size == 0 or bool(known.min() > _FLOAT32_MIN and known.max() < _FLOAT32_MAX)
