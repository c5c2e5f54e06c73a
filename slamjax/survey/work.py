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
from slamjax.fitting.checkpoint import model_digest
from slamjax.fitting.parts import selected, stacked
from slamjax.flags import Flag
from slamjax.io import LabelTable, read, read_rows
from slamjax.model.model import Model
from slamjax.spectra.selection import Selection
from slamjax.spectra.spectra import Spectra
from slamjax.survey.engines import ENGINES, Engine, Task
from slamjax.survey.pieces import Piece
from slamjax.typing import Progress

#: Files with problems that are kept of a piece, for the report.
_PROBLEMS = 20


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
    digest : of the model; processes keep the engine of the last one
    options : of the engine
    reading : how input is read
    task : which engine
    identity : what tells the options from others; by default their texts
    """

    model: str
    digest: str
    options: Mapping[str, Any]
    reading: Reading
    task: Task = "fit"
    identity: str = ""


@dataclass(frozen=True)
class Problem:
    """A file with rows that have no labels: how many, and why the first one has none."""

    file: str
    rows: int
    text: str

    def __str__(self) -> str:
        more = f" (and {self.rows - 1} more rows)" if self.rows > 1 else ""
        return f"{self.file}: {self.text}{more}"


@dataclass(frozen=True)
class Done:
    """Rows of a piece (None if no spectrum is selected), numbered from the piece's first one, and what is known of it.

    Attributes
    ----------
    table : labels
    n : spectra of the piece, whether they are selected or not
    any_good : whether any of them has data
    problem : of the piece as a whole, or of the first file that cannot be read
    problems : of files, those with the most rows first
    seconds : of reading, preparing and fitting or sampling
    warnings : texts of warnings
    began : when, in seconds since 1970
    beside : rows that are kept beside the table
    deaths : workers that died with this piece
    set_aside : whether all did that it was given to
    """

    table: LabelTable | None
    n: int
    any_good: bool = False
    problem: str = ""
    problems: tuple[Problem, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    began: float = 0.0
    beside: int = 0
    deaths: int = 0
    set_aside: bool = False


@dataclass(frozen=True)
class Read:
    """Spectra of a piece, together where they share a grid; in between, files that give none, with their problems."""

    groups: list[Spectra | list[tuple[str, str]]]
    problem: str = ""
    seconds: float = 0.0


def work(job: Job, piece: Piece) -> Done:
    """Read a piece and do a job, in a process that knows nothing: the unit that a cluster distributes."""
    engine = engine_of_job(job)
    with warnings_of() as texts:
        done = do_piece(engine, job.reading, piece, read_piece(job.reading, piece))
    return dataclasses.replace(done, warnings=tuple(texts))


_engines: dict[tuple[str, str, str], Engine] = {}


def engine_of_job(job: Job) -> Engine:
    """The engine of a job: a process reads a model once, and keeps templates and compiled programs."""
    key = (job.task, job.digest, job.identity or repr(job.options))
    if key not in _engines:
        model = Model.read(job.model)
        if model_digest(model) != job.digest:
            raise SlamError(f"{job.model} has changed since this run began; put the model back, or begin again")
        _engines.clear()
        _engines[key] = ENGINES[job.task](model, job.options)
    return _engines[key]


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
            spectra = read_rows(piece.paths[0], slice(piece.start, piece.stop), bad_rows="flag")
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


def do_piece(
    engine: Engine, reading: Reading, piece: Piece, spectra: Read, on_progress: Progress | bool = False
) -> Done:
    """Rows of what was read; what cannot be fitted has rows without labels that say why."""
    began, preparing, now = time.perf_counter(), engine.seconds_preparing, time.time()
    selection = Selection(reading.select)
    tables: list[LabelTable] = []
    beside: list[Any] = []
    n, files, any_good, problem = 0, 0, False, spectra.problem
    for group in spectra.groups:
        first, n = n, n + len(group)
        if isinstance(group, list):
            names, problems = zip(*group, strict=True)
            tables.append(unfitted(engine, problems, names, first))
            files += len(group)
            continue
        numbers = _numbers(group, piece, files)
        files = int(numbers[-1, 0]) + 1 - piece.first
        try:
            chosen = selected(dataclasses.replace(group, rows=first + np.arange(len(group))), selection)
            if len(chosen):
                table, more = engine.rows(chosen, numbers[np.asarray(chosen.rows) - first], on_progress)
                tables.append(table)
                beside.append(more)
            any_good = any_good or bool(group.good.any())
        except Exception as error:  # one piece must not end a survey
            problem = problem or _told(error)
            tables.append(unfitted(engine, [_told(error)] * len(group), group.table.columns.get("file"), first))
    if not spectra.groups:
        n = piece.n
        tables.append(unfitted(engine, [problem] * n))
    kept = engine.keep(piece, beside)
    preparing = engine.seconds_preparing - preparing
    seconds = {"reading": spectra.seconds, "preparing": preparing}
    seconds[engine.doing] = time.perf_counter() - began - preparing
    whole = stacked(tables) if tables else None
    problems = problems_of(whole, piece)
    return Done(whole, n, any_good, problem, problems, seconds, began=now - spectra.seconds, beside=kept)


def _numbers(group: Spectra, piece: Piece, files: int) -> np.ndarray:
    """Places (N, 2) in the survey, with so many files of the piece before: of the file or row, and within a file.

    They are known before anything else is read, so that they do not depend on how a survey is divided.
    """
    n, place = len(group), np.arange(len(group))
    if piece.kind == "table" or (files == 0 and n == piece.n):
        return np.stack([piece.first + place, np.zeros(n, int)], axis=1)
    if "file" not in group.table.colnames:  # a table of spectra among files
        return np.stack([np.full(n, piece.first + files), place], axis=1)
    names = np.asarray(group.table["file"])
    is_new = np.concatenate([[True], names[1:] != names[:-1]])
    file = np.cumsum(is_new) - 1
    return np.stack([piece.first + files + file, place - np.flatnonzero(is_new)[file]], axis=1)


def unfitted(engine: Engine, problems: Sequence[str], files: Sequence[str] | None = None, first: int = 0) -> LabelTable:
    """Rows without labels, flagged NO_DATA, with their problems."""
    n = len(problems)
    table = engine.empty(n, {} if files is None else {"file": "str"})
    table["row"] = first + np.arange(n)
    table["problem"] = np.asarray(problems, dtype=str)
    table["flags"] = np.full(n, int(Flag.NO_DATA), np.int32)
    if files is not None:
        table["file"] = [os.path.basename(str(path)) for path in files]
    return table


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, SlamError) else f"{type(error).__name__}: {error}"


def problems_of(table: LabelTable | None, piece: Piece) -> tuple[Problem, ...]:
    """The files of a piece that have rows with problems, those with the most first."""
    if table is None or "problem" not in table.colnames:
        return ()
    texts = np.asarray(table["problem"])
    found: dict[str, Problem] = {}
    for row in np.flatnonzero(texts != ""):
        if piece.kind == "table":
            name, text = piece.paths[0], f"row {piece.start + int(table['row'][row])}: {texts[row]}"
        else:
            name, text = str(table["file"][row]) if "file" in table.colnames else piece.paths[0], str(texts[row])
        before = found.get(name)
        found[name] = Problem(name, 1, text) if before is None else dataclasses.replace(before, rows=before.rows + 1)
    return tuple(sorted(found.values(), key=lambda one: -one.rows)[:_PROBLEMS])
