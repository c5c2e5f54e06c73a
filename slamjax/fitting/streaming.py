"""Tables of any length and any number of files: spectra are read, fitted and let go of part by part."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.table import QTable, Table, vstack

from slamjax.errors import SlamError
from slamjax.fitting import fit
from slamjax.io import count_rows, read, read_table
from slamjax.model.model import Model
from slamjax.spectra.selection import evaluate_selection
from slamjax.spectra.spectra import Spectra
from slamjax.typing import Progress

#: Copies of a part's spectra that are in memory at the same time: as read, on the model's pixels, prepared, on the
#: device, each with its errors.
_COPIES = 8
#: Parts of fewer stars would not fill a batch.
_FEWEST = 512


def fit_table(
    model: Model,
    path: str | os.PathLike[str],
    *,
    select: str = "",
    memory: float = 1.0,
    medium: str | None = None,
    frame: str | None = None,
    fwhm: float | None = None,
    on_progress: Progress | None = None,
    **options: Any,
) -> QTable:
    """Labels, errors and flags of the spectra in a FITS table, however many: what `slamjax.fit` gives of all of them.

    Parameters
    ----------
    model : Model
    path : path
        A slamjax FITS table.
    select : str
        Which rows, such as ``"logg < 3.6 & teff > 3600"``.
    memory : float
        GiB that spectra may take, and again a batch on the device.
    medium, frame, fwhm : optional
        What the table does not say of itself, see `slamjax.Spectra.stated`.
    on_progress : callable, optional
        Called with (rows done, rows in all).
    **options
        As of `slamjax.fit`.

    Raises
    ------
    SlamError
        As `slamjax.read_table` and `slamjax.fit` do, and if no row is selected.
    """
    n, width = count_rows(path)
    size = int(max(_FEWEST, memory * 2**30 / (_COPIES * max(width, 1))))
    parts: list[QTable] = []
    for start in range(0, n, size):
        rows = slice(start, min(n, start + size))
        spectra = read_table(path, rows).with_metadata(medium, frame, fwhm)
        if select:
            spectra = spectra[np.flatnonzero(evaluate_selection(select, spectra.columns(), len(spectra)))]

        def told(done: int, total: int, rows: slice = rows) -> None:
            if on_progress is not None:
                on_progress(rows.start + (rows.stop - rows.start) * done // max(total, 1), n)

        if len(spectra):
            parts.append(fit(model, spectra, memory=memory, on_progress=told, **options))
        told(1, 1)
    if not parts:
        if n == 0:
            raise SlamError(f"{path} holds no spectra to fit")
        raise SlamError(f"the selection {select!r} keeps none of the {n} rows of {path}; loosen it")
    return _stacked(parts)


def fit_files(
    model: Model,
    files: Sequence[str | os.PathLike[str]],
    *,
    survey: str | None = None,
    fwhm: float | None = None,
    select: str = "",
    memory: float = 1.0,
    n_jobs: int = -1,
    on_progress: Progress | None = None,
    **options: Any,
) -> QTable:
    """Labels, errors and flags of survey files, however many: a row a spectrum in the order given.

    Files are read by `slamjax.read`; what else there is to do (medium, rest frame by a measured velocity, wavelengths,
    continuum) follows from the files and the model. The table has ``file``, and ``problem`` of a file that gives no
    spectrum: its row is flagged NO_DATA.

    Parameters
    ----------
    model : Model
    files : sequence of paths
    survey : str, optional
        As of `slamjax.read`.
    fwhm : float, optional
        Line spread of files that do not tell theirs, in their unit of wavelength.
    select : str
        Which rows, by what headers say, such as ``"snr_g > 20"``.
    memory : float
        GiB that spectra may take, and again a batch on the device.
    n_jobs : int
        Processes that read, where there are many files.
    on_progress : callable, optional
        Called with (files done, files in all).
    **options
        As of `slamjax.fit`.

    Raises
    ------
    SlamError
        As `slamjax.read` and `slamjax.fit` do; of files that cannot be read only if none can.
    """
    n, done = len(files), 0
    size = int(max(_FEWEST, memory * 2**30 / (_COPIES * 8 * max(model.wave.size, 1))))
    parts: list[QTable] = []
    first_error: SlamError | None = None
    seen = False
    for start in range(0, n, size):
        some = files[start : start + size]

        def told(done: int, total: int, start: int = start, size: int = len(some)) -> None:
            if on_progress is not None:
                on_progress(start + size * done // max(total, 1), n)

        read_in, error = _read(model, some, survey, n_jobs)
        first_error = first_error or error
        seen = seen or any(len(spectra) and spectra.good.any() for spectra in read_in)
        for spectra in read_in:
            spectra = dataclasses.replace(spectra.with_metadata(fwhm=fwhm), rows=done + np.arange(len(spectra)))
            done += len(spectra)
            if select:
                spectra = spectra[np.flatnonzero(evaluate_selection(select, spectra.columns(), len(spectra)))]
            if not len(spectra):
                continue
            try:
                parts.append(fit(model, spectra, memory=memory, on_progress=told, **options))
            except SlamError as wrong:
                if len(read_in) == 1:
                    raise
                names = [str(name) for name in spectra.table["file"]]  # of another survey, with other wavelengths
                nothing = dataclasses.replace(_nothing(model, names, str(wrong)), rows=spectra.rows)
                parts.append(fit(model, nothing, memory=memory, **options))
        told(1, 1)
    if first_error is not None and not seen:
        raise first_error
    if not parts:
        raise SlamError(f"the selection {select!r} keeps none of the {done} spectra; loosen it")
    return _stacked(parts)


def _read(
    model: Model, files: Sequence[str | os.PathLike[str]], survey: str | None, n_jobs: int
) -> tuple[list[Spectra], SlamError | None]:
    """Spectra of some files in their order, together where they have a grid in common; an error of those that have
    none."""
    try:
        return [read(files, survey, n_jobs=n_jobs)], None
    except SlamError as error:
        if len(files) == 1:
            return [_nothing(model, files, str(error))], error
    # of several surveys, or none of them is whole: one by one
    found = [_read(model, [one], survey, n_jobs) for one in files]
    return [spectra for parts, _ in found for spectra in parts], next((error for _, error in found if error), None)


def _nothing(model: Model, files: Sequence[str | os.PathLike[str]], problem: str) -> Spectra:
    """Spectra without a good pixel, for files of which none can be read."""
    nothing = np.zeros((len(files), model.wave.size))
    table = Table({"file": [os.path.basename(path) for path in files], "problem": [problem] * len(files)})
    info = model.info
    return Spectra(model.wave, nothing, nothing, table, wave_unit=info.wave_unit, frame="unknown")


def _stacked(parts: list[QTable]) -> QTable:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # identical meta of the parts
        table = parts[0] if len(parts) == 1 else vstack(parts, metadata_conflicts="silent")
    for name in table.colnames:  # what headers of some parts do not have
        if getattr(table[name], "mask", None) is not None and np.any(table[name].mask):
            empty = {"U": "", "S": b"", "f": np.nan}.get(table[name].dtype.kind, 0)
            table[name] = table[name].filled(empty)
    return table
