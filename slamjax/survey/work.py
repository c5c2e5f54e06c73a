"""The unit of work: a piece of the input becomes rows of a label table. Nothing else is needed, or changed."""

from __future__ import annotations

import dataclasses
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from slamjax.errors import SlamError, SlamWarning
from slamjax.fitting import Fitter
from slamjax.fitting.checkpoint import model_digest
from slamjax.fitting.parts import selected, stacked
from slamjax.flags import Flag
from slamjax.io import LabelTable, read, read_table
from slamjax.model.model import Model
from slamjax.spectra.selection import Selection
from slamjax.spectra.spectra import Spectra
from slamjax.survey.pieces import Piece
from slamjax.survey.schema import label_schema
from slamjax.typing import Progress

#: Problems that are kept of a piece, for the report.
_PROBLEMS = 5


@dataclass(frozen=True)
class Reading:
    """How input is read, and which spectra count.

    Parameters
    ----------
    select : str
        Which rows, such as ``"logg < 3.6 & teff > 3600"``.
    survey : str, optional
        Loader of survey files, as in `slamjax.read`.
    medium, frame, fwhm : optional
        Metadata that the input lacks, see `slamjax.Spectra.with_metadata`; medium and frame of tables only.
    n_jobs : int
        Processes that read survey files, where there are many in this process.

    Examples
    --------
    >>> import slamjax
    >>> slamjax.survey.Reading("snr_g > 20", survey="lamost").select
    'snr_g > 20'
    """

    select: str = ""
    survey: str | None = None
    medium: str | None = None
    frame: str | None = None
    fwhm: float | None = None
    n_jobs: int = -1


@dataclass(frozen=True)
class Job:
    """What is done to every piece; small enough to travel with each.

    Attributes
    ----------
    model : file of the model
    digest : of the model; processes keep the fitter of the last one
    options : of `slamjax.Fitter`
    reading : how input is read
    """

    model: str
    digest: str
    options: Mapping[str, Any]
    reading: Reading


@dataclass(frozen=True)
class Done:
    """Rows of a piece (None if no spectrum is selected), numbered from the piece's first one, and what is known of it.

    Attributes
    ----------
    table : labels
    n : spectra of the piece, whether they are selected or not
    any_good : whether any of them has data
    problem : of the piece as a whole, or of the first file that cannot be read
    problems : of single files
    seconds : of reading, preparing and fitting
    warnings : texts of warnings
    """

    table: LabelTable | None
    n: int
    any_good: bool = False
    problem: str = ""
    problems: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Read:
    """Spectra of a piece, together where they share a grid; in between, files that give none, with their problems."""

    groups: list[Spectra | list[tuple[str, str]]]
    problem: str = ""
    seconds: float = 0.0


def work(job: Job, piece: Piece) -> Done:
    """Read and fit a piece, in a process that knows nothing: the unit that a cluster distributes."""
    fitter = fitter_of_job(job)
    with warnings_of() as texts:
        done = fit_piece(fitter, job.reading, piece, read_piece(job.reading, piece))
    return dataclasses.replace(done, warnings=tuple(texts))


_fitters: dict[tuple[str, str], Fitter] = {}


def fitter_of_job(job: Job) -> Fitter:
    """The fitter of a job: a process reads a model once, and keeps templates and compiled programs."""
    key = (job.digest, repr(job.options))
    if key not in _fitters:
        model = Model.read(job.model)
        if model_digest(model) != job.digest:
            raise SlamError(f"{job.model} has changed since this run began; put the model back, or begin again")
        _fitters.clear()
        _fitters[key] = Fitter(model, **job.options)
    return _fitters[key]


@contextmanager
def warnings_of() -> Iterator[list[str]]:
    """slamjax's own warnings in this block as texts, to be told where the user is."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", SlamWarning)
        yield texts
    texts += list(dict.fromkeys(str(one.message) for one in caught))


def read_piece(reading: Reading, piece: Piece) -> Read:
    """The spectra of a piece; what cannot be read is no error."""
    began = time.perf_counter()
    groups: list[Spectra | list[tuple[str, str]]] = []
    problem = ""
    if piece.kind == "table":
        try:
            spectra = read_table(piece.paths[0], slice(piece.start, piece.stop), bad_rows="flag")
            spectra = spectra.with_metadata(reading.medium, reading.frame, reading.fwhm)
            groups.append(dataclasses.replace(spectra, rows=np.arange(len(spectra))))
        except (SlamError, MemoryError) as error:
            problem = str(error) or "it does not fit into memory"
    else:
        groups, problem = _read_files(piece.paths, reading)
    return Read(groups, problem, time.perf_counter() - began)


def _read_files(paths: Sequence[str], reading: Reading) -> tuple[list[Any], str]:
    """Groups of files in order, and the first problem; files that share no grid are told apart by halves."""
    try:
        spectra = read(list(paths), reading.survey, n_jobs=reading.n_jobs, on_progress=False)
        return [spectra.with_metadata(fwhm=reading.fwhm)], ""
    except SlamError as error:
        if len(paths) == 1:
            return [[(paths[0], str(error))]], str(error)
    middle = len(paths) // 2
    first, problem = _read_files(paths[:middle], reading)
    second, other = _read_files(paths[middle:], reading)
    if first and second and isinstance(first[-1], list) and isinstance(second[0], list):
        return [*first[:-1], first[-1] + second[0], *second[1:]], problem or other
    return first + second, problem or other


def fit_piece(
    fitter: Fitter, reading: Reading, piece: Piece, spectra: Read, on_progress: Progress | bool = False
) -> Done:
    """Labels of what was read; what cannot be fitted has rows without labels that say why."""
    began, preparing = time.perf_counter(), fitter.seconds_preparing
    selection = Selection(reading.select)
    tables: list[LabelTable] = []
    n, any_good, problem = 0, False, spectra.problem
    for group in spectra.groups:
        first, n = n, n + len(group)
        if isinstance(group, list):
            names, problems = zip(*group, strict=True)
            tables.append(unfitted(fitter, problems, names, first))
            continue
        try:
            chosen = selected(dataclasses.replace(group, rows=first + np.arange(len(group))), selection)
            if len(chosen):
                tables.append(fitter.fit(chosen, on_progress))
            any_good = any_good or bool(group.good.any())
        except Exception as error:  # one piece must not end a survey
            problem = problem or _told(error)
            tables.append(unfitted(fitter, [_told(error)] * len(group), group.table.columns.get("file"), first))
    if not spectra.groups:
        n = piece.n
        tables.append(unfitted(fitter, [problem] * n))
    preparing = fitter.seconds_preparing - preparing
    seconds = {"reading": spectra.seconds, "preparing": preparing}
    seconds["fitting"] = time.perf_counter() - began - preparing
    table = stacked(tables) if tables else None
    return Done(table, n, any_good, problem, _problems(table), seconds)


def unfitted(fitter: Fitter, problems: Sequence[str], files: Sequence[str] | None = None, first: int = 0) -> LabelTable:
    """Rows without labels, flagged NO_DATA, with their problems."""
    n = len(problems)
    table = label_schema(fitter, None if files is None else {"file": "str"}).empty(n)
    table["row"] = first + np.arange(n)
    table["problem"] = np.asarray(problems, dtype=str)
    table["flags"] = np.full(n, int(Flag.NO_DATA), np.int32)
    if files is not None:
        table["file"] = [os.path.basename(str(path)) for path in files]
    for name in fitter.model.label_names:
        for ending in ("_err", "_err68", "_err95", "_std"):
            if name + ending in table.colnames:
                table[name + ending][:] = np.inf * table[name + ending].unit
    place = np.arange(len(fitter.model.label_names))
    table["cov"][:] = np.nan
    table["cov"][:, place, place] = np.inf
    return table


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, SlamError) else f"{type(error).__name__}: {error}"


def _problems(table: LabelTable | None) -> tuple[str, ...]:
    """The first files of a piece that have a problem, with it."""
    if table is None or "problem" not in table.colnames:
        return ()
    rows = np.flatnonzero(np.asarray(table["problem"]) != "")[:_PROBLEMS]
    names = table["file"] if "file" in table.colnames else table["row"]
    return tuple(f"{names[row]}: {table['problem'][row]}" for row in rows)
