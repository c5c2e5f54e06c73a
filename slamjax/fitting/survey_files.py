"""Any number of survey files, read and fitted part by part by one `Fitter`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from slamjax._util.checkpoint import Checkpoint
from slamjax._util.progress import reporter
from slamjax.errors import SlamError
from slamjax.fitting.checkpoint import arrays_to_table, fit_fingerprint, table_to_arrays
from slamjax.fitting.fitter import Fitter
from slamjax.fitting.parts import fitter_of, rows_within, selected, stacked
from slamjax.io import LabelTable, expand_pattern, read
from slamjax.model.model import Model
from slamjax.spectra.selection import Selection
from slamjax.spectra.spectra import Spectra
from slamjax.typing import Progress


def fit_files(
    model: Model | Fitter,
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    survey: str | None = None,
    fwhm: float | None = None,
    select: str = "",
    n_jobs: int = -1,
    part_size: int | None = None,
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    on_progress: Progress | bool | None = True,
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
    checkpoint : path or Checkpoint, optional
        A folder that keeps finished parts, so that the same call continues where a run was stopped, with the same
        result. It is removed at the end; a `slamjax.Checkpoint` keeps it until the labels are saved.
    on_progress : callable or bool
        Called with (files done, files in all). By default a line in terminals and notebooks; False for none.

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
    fitter = fitter_of(model)
    given = [files] if isinstance(files, str | os.PathLike) else files
    paths = [path for pattern in given for path in expand_pattern(os.fspath(pattern))]
    n = len(paths)
    size = part_size or rows_within(fitter.memory, 8 * fitter.model.wave.size)
    options = _FileOptions(survey, fwhm, Selection(select), n_jobs)
    parts: list[_PartOfFiles] = []
    with Checkpoint.of_option(checkpoint) as kept, reporter(on_progress) as told:
        told.stage("fitting files")
        if kept is not None:
            kept.begin(fit_fingerprint(fitter, paths, select=select, part=size, given=(survey, fwhm)))
        for start in range(0, n, size):
            report = _part_of(told, start, min(n, start + size), n)
            arrays = None if kept is None else kept.read(start)
            if arrays is None:
                n_before = sum(part.n_spectra for part in parts)
                parts.append(_fit_part(fitter, paths[start : start + size], n_before, options, report))
                if kept is not None:
                    kept.write(start, parts[-1].to_arrays())
            else:
                parts.append(_PartOfFiles.from_arrays(arrays))
            report(1, 1)
    problem = next((part.problem for part in parts if part.problem), "")
    if problem and not any(part.any_good for part in parts):
        raise SlamError(problem)
    tables = [part.table for part in parts if part.table is not None]
    if not tables:
        raise options.selection.keeps_none_of(f"the {sum(part.n_spectra for part in parts)} spectra")
    return stacked(tables)


@dataclass(frozen=True)
class _FileOptions:
    """How files are read, and which spectra of theirs are fitted."""

    survey: str | None
    fwhm: float | None
    selection: Selection
    n_jobs: int


@dataclass(frozen=True)
class _PartOfFiles:
    """Labels of some files, None if no spectrum is selected, and what is known of all files in the end."""

    table: LabelTable | None
    n_spectra: int
    any_good: bool
    problem: str

    def to_arrays(self) -> dict[str, np.ndarray]:
        return table_to_arrays(self.table, n_spectra=self.n_spectra, any_good=self.any_good, problem=self.problem)

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> _PartOfFiles:
        table, notes = arrays_to_table(arrays)
        return cls(table, **notes)


def _fit_part(
    fitter: Fitter, files: Sequence[str | os.PathLike[str]], n_before: int, options: _FileOptions, report: Progress
) -> _PartOfFiles:
    """The labels of some files, whose rows begin with ``n_before``."""
    tables: list[LabelTable] = []
    groups, error = _read(fitter.model, files, options.survey, options.n_jobs)
    n_spectra = 0
    for spectra in groups:
        rows = n_before + n_spectra + np.arange(len(spectra))
        n_spectra += len(spectra)
        spectra = selected(dataclasses.replace(spectra.with_metadata(fwhm=options.fwhm), rows=rows), options.selection)
        if not len(spectra):
            continue
        try:
            tables.append(fitter.fit(spectra, report))
        except SlamError as wrong:
            if len(groups) == 1:
                raise
            names = [str(name) for name in spectra.table["file"]]  # of another survey, with other wavelengths
            empty = dataclasses.replace(_without_data(fitter.model, names, str(wrong)), rows=spectra.rows)
            tables.append(fitter.fit(empty, on_progress=False))
    any_good = any(bool(len(spectra) and spectra.good.any()) for spectra in groups)
    return _PartOfFiles(stacked(tables) if tables else None, n_spectra, any_good, "" if error is None else str(error))


def _part_of(told: Progress, start: int, stop: int, n: int) -> Progress:
    """Progress within rows ``start`` to ``stop`` of n."""

    def report(done: int, total: int) -> None:
        told(start + (stop - start) * done // max(total, 1), n)

    return report


def _read(
    model: Model, files: Sequence[str | os.PathLike[str]], survey: str | None, n_jobs: int
) -> tuple[list[Spectra], SlamError | None]:
    """Spectra of files in their order, together where they share a grid; the first error of those that have none."""
    try:
        return [read(files, survey, n_jobs=n_jobs, on_progress=False)], None
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
