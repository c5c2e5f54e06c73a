"""Any number of survey files, read and fitted part by part, as one label table in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence

from slamjax._util.progress import reporter
from slamjax.errors import SlamError
from slamjax.fitting import Fitter
from slamjax.fitting.parts import fitter_of, stacked
from slamjax.io import LabelTable
from slamjax.model.model import Model
from slamjax.survey.engines import Fits
from slamjax.survey.pieces import paths_of, pieces_of
from slamjax.survey.work import Done, Reading, do_piece, read_piece
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
    engine = Fits(fitter_of(model))
    reading = Reading(select, survey, fwhm=fwhm, n_jobs=n_jobs)
    pieces = pieces_of(paths_of(files), engine, part_size)
    total, before = sum(piece.n for piece in pieces), 0
    finished: list[Done] = []
    with reporter(on_progress) as told:
        told.stage("fitting files")
        for piece in pieces:

            def report(done: int, n: int, before: int = before, here: int = piece.n) -> None:
                told(before + here * done // max(n, 1), total)

            finished.append(do_piece(engine, reading, piece, read_piece(reading, piece), report))
            before += piece.n
            told(before, total)
    return in_memory(finished)


def in_memory(finished: Sequence[Done]) -> LabelTable:
    """The table of all pieces; raises SlamError if there is nothing in it."""
    problem = next((done.problem for done in finished if done.problem), "")
    if problem and not any(done.any_good for done in finished):
        raise SlamError(problem)
    tables, first = [], 0
    for done in finished:
        if done.table is not None:
            done.table["row"] += first
            tables.append(done.table)
        first += done.n
    if not tables:
        raise SlamError(f"the selection keeps none of the {first} spectra; loosen it")
    return stacked(tables)
