"""Tables of any length and any number of files, read and fitted part by part by one `Fitter`."""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from astropy.table import Table

from slamjax.errors import SlamError
from slamjax.fitting.fitter import Fitter, stack_tables, warn_without_errors
from slamjax.io import LabelTable, count_rows, expand_pattern, read, read_table
from slamjax.model.model import Model
from slamjax.spectra.selection import Selection
from slamjax.spectra.spectra import Spectra
from slamjax.typing import Progress

_Part = TypeVar("_Part")
#: Copies of a part's spectra that are in memory at the same time: as read, on the model's pixels, prepared, on the
#: device, each with its errors; those of the previous part, whose slow stars are still being fitted; and the next part.
_COPIES = 11
#: Parts of fewer stars would not fill a batch.
_FEWEST = 512


def fit_table(
    model: Model | Fitter,
    path: str | os.PathLike[str],
    *,
    select: str = "",
    medium: str | None = None,
    frame: str | None = None,
    fwhm: float | None = None,
    part_size: int | None = None,
    on_progress: Progress | None = None,
) -> LabelTable:
    """Labels, errors and flags of the spectra in a FITS table of any length: what `slamjax.fit` gives of all of them.

    Parameters
    ----------
    model : Model or Fitter
        A Model is fitted with the default options; a `slamjax.Fitter` holds others.
    path : path
        A slamjax FITS table.
    select : str
        Which rows, such as ``"logg < 3.6 & teff > 3600"``.
    medium, frame, fwhm : optional
        Metadata that the table lacks, see `slamjax.Spectra.with_metadata`.
    part_size : int, optional
        Rows that are read at once; by default as many as the fitter's ``memory`` holds.
    on_progress : callable, optional
        Called with (rows done, rows in all).

    Returns
    -------
    LabelTable
        As of `slamjax.fit`.

    Raises
    ------
    SlamError
        As `slamjax.read_table` and `slamjax.fit` do, and if no row is selected.

    Examples
    --------
    >>> import os, tempfile
    >>> import slamjax
    >>> stars, new_stars = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 560))
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> path = os.path.join(tempfile.mkdtemp(), "new.fits")
    >>> slamjax.write_table(new_stars[:6], path)
    >>> fitter = slamjax.Fitter(model, n_starts=1)
    >>> len(slamjax.fit_table(fitter, path, part_size=3))
    6
    """
    fitter = _fitter_of(model)
    n, width = count_rows(path)
    size = part_size or _rows_within(fitter.memory, width)
    progress, selection = _RowProgress(on_progress, n), Selection(select)

    def read_part(start: int) -> tuple[int, Spectra]:
        stop = min(n, start + size)
        return stop - start, _selected(
            read_table(path, slice(start, stop)).with_metadata(medium, frame, fwhm), selection
        )

    def parts() -> Iterator[Spectra]:
        for n_rows, spectra in _one_ahead(read_part, range(0, n, size)):
            progress.add(n_rows, len(spectra))
            if len(spectra):
                yield spectra
                warn_without_errors(fitter.model, spectra)  # after the fitter's checks: an error stands alone

    tables = list(fitter.fit_parts(parts(), one_part=n <= size, report=progress.report))
    progress.report(progress.spectra)
    if not tables:
        if n == 0:
            raise SlamError(f"{path} holds no spectra to fit")
        raise selection.keeps_none_of(f"the {n} rows of {path}")
    return _stacked(tables)


def _one_ahead(function: Callable[[int], _Part], arguments: Iterable[int]) -> Iterator[_Part]:
    """Results in order; the next one is computed in a thread while the caller works with the one before."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        pending: deque[Future[_Part]] = deque()
        for argument in arguments:
            pending.append(pool.submit(function, argument))
            if len(pending) == 2:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def fit_files(
    model: Model | Fitter,
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    survey: str | None = None,
    fwhm: float | None = None,
    select: str = "",
    n_jobs: int = -1,
    part_size: int | None = None,
    on_progress: Progress | None = None,
) -> LabelTable:
    """Labels, errors and flags of any number of survey files: one row per spectrum, in the order given.

    Files are read by `slamjax.read`; what else there is to do (medium, rest frame by a measured velocity, wavelengths,
    continuum) follows from the files and the model. The table has ``file``, and ``problem`` for a file that gives no
    spectrum: its row is flagged NO_DATA.

    Parameters
    ----------
    model : Model or Fitter
        A Model is fitted with the default options; a `slamjax.Fitter` holds others.
    files : path, glob pattern, or a sequence of those
    survey : str, optional
        As in `slamjax.read`.
    fwhm : float, optional
        Line spread, in the files' unit of wavelength, of files that do not state theirs.
    select : str
        Which rows, by what headers say, such as ``"snr_g > 20"``.
    n_jobs : int
        Processes that read, where there are many files.
    part_size : int, optional
        Files that are read at once; by default as many as the fitter's ``memory`` holds.
    on_progress : callable, optional
        Called with (files done, files in all).

    Returns
    -------
    LabelTable
        As of `slamjax.fit`.

    Raises
    ------
    SlamError
        As `slamjax.read` and `slamjax.fit` do; for files that cannot be read only if none can.

    Examples
    --------
    >>> import slamjax
    >>> labels = slamjax.fit_files(model, "lamost/*.fits", select="snr_g > 20")  # doctest: +SKIP
    """
    fitter = _fitter_of(model)
    given = [files] if isinstance(files, str | os.PathLike) else files
    paths = [path for pattern in given for path in expand_pattern(os.fspath(pattern))]
    n, n_spectra = len(paths), 0
    size = part_size or _rows_within(fitter.memory, 8 * fitter.model.wave.size)
    tables: list[LabelTable] = []
    selection = Selection(select)
    first_error: SlamError | None = None
    any_good = False
    for start in range(0, n, size):
        stop = min(n, start + size)
        report = _part_of(on_progress, start, stop, n)
        groups, error = _read(fitter.model, paths[start:stop], survey, n_jobs)
        first_error = first_error or error
        any_good = any_good or any(len(spectra) and spectra.good.any() for spectra in groups)
        for spectra in groups:
            spectra = dataclasses.replace(spectra.with_metadata(fwhm=fwhm), rows=n_spectra + np.arange(len(spectra)))
            n_spectra += len(spectra)
            spectra = _selected(spectra, selection)
            if not len(spectra):
                continue
            try:
                tables.append(fitter.fit(spectra, report))
            except SlamError as wrong:
                if len(groups) == 1:
                    raise
                names = [str(name) for name in spectra.table["file"]]  # of another survey, with other wavelengths
                empty = dataclasses.replace(_without_data(fitter.model, names, str(wrong)), rows=spectra.rows)
                tables.append(fitter.fit(empty))
        report(1, 1)
    if first_error is not None and not any_good:
        raise first_error
    if not tables:
        raise selection.keeps_none_of(f"the {n_spectra} spectra")
    return _stacked(tables)


class _RowProgress:
    """Progress in rows of a table, from the number of spectra done; not all rows are selected."""

    def __init__(self, on_progress: Progress | None, n: int) -> None:
        self.on_progress, self.n = on_progress, n
        self.rows = self.spectra = self.last = 0

    def add(self, rows: int, spectra: int) -> None:
        """Rows that were read, and how many of them are selected."""
        self.rows, self.spectra = self.rows + rows, self.spectra + spectra

    def report(self, done: int) -> None:
        """Spectra that are done."""
        if self.on_progress is not None:
            self.last = max(self.last, self.rows * min(done, self.spectra) // max(self.spectra, 1))
            self.on_progress(self.n if done == self.spectra and self.rows == self.n else self.last, self.n)


def _fitter_of(model: Model | Fitter) -> Fitter:
    return model if isinstance(model, Fitter) else Fitter(model)


def _rows_within(memory: float, width: int) -> int:
    """Spectra of ``width`` bytes that are read at once within ``memory`` GiB."""
    return int(max(_FEWEST, memory * 2**30 / (_COPIES * max(width, 1))))


def _selected(spectra: Spectra, selection: Selection) -> Spectra:
    """The spectra that are selected; unlike `Spectra.select`, none at all is no error."""
    if not selection.expression:
        return spectra
    return spectra[np.flatnonzero(selection.keeps(spectra.columns(), len(spectra)))]


def _part_of(on_progress: Progress | None, start: int, stop: int, n: int) -> Progress:
    """Progress within rows ``start`` to ``stop`` of n."""

    def report(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(start + (stop - start) * done // max(total, 1), n)

    return report


def _read(
    model: Model, files: Sequence[str | os.PathLike[str]], survey: str | None, n_jobs: int
) -> tuple[list[Spectra], SlamError | None]:
    """Spectra of files in their order, together where they share a grid; the first error of those that have none."""
    try:
        return [read(files, survey, n_jobs=n_jobs)], None
    except SlamError as error:
        if len(files) == 1:
            return [_without_data(model, files, str(error))], error
    # of several surveys, or none of them is whole: one by one
    each = [_read(model, [file], survey, n_jobs) for file in files]
    return [spectra for groups, _ in each for spectra in groups], next((error for _, error in each if error), None)


def _without_data(model: Model, files: Sequence[str | os.PathLike[str]], problem: str) -> Spectra:
    """Spectra without a good pixel, for files that cannot be read."""
    zero = np.zeros((len(files), model.wave.size))
    table = Table({"file": [os.path.basename(path) for path in files], "problem": [problem] * len(files)})
    return Spectra(model.wave, zero, zero, table, wave_unit=model.info.wave_unit, frame="unknown")


def _stacked(tables: list[LabelTable]) -> LabelTable:
    """One table; a column that only some parts have is filled up."""
    table = stack_tables(tables)
    for name in table.colnames:
        if getattr(table[name], "mask", None) is not None and np.any(table[name].mask):
            empty = {"U": "", "S": b"", "f": np.nan}.get(table[name].dtype.kind, 0)
            table[name] = table[name].filled(empty)
    return table
