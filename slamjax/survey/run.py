"""A survey from its input to its label table, piece by piece, in this process or by a cluster."""

from __future__ import annotations

import dataclasses
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slamjax._util.checkpoint import Checkpoint
from slamjax._util.files import check_writable
from slamjax._util.progress import reporter
from slamjax._util.threads import one_blas_thread
from slamjax.errors import SlamError, SlamWarning
from slamjax.fitting import Fitter
from slamjax.fitting.checkpoint import model_digest
from slamjax.fitting.parts import fitter_of, one_ahead
from slamjax.io import read_table
from slamjax.model.model import Model
from slamjax.survey.cluster import SetAside, on_cluster
from slamjax.survey.collect import Collected, DamagedPart, NothingFittedError, collect
from slamjax.survey.dataset import check_dataset, is_dataset
from slamjax.survey.parts import fingerprint, folder_of, write_part
from slamjax.survey.pieces import Piece, paths_of, pieces_of
from slamjax.survey.work import Done, Job, Read, Reading, fit_piece, read_piece, warnings_of
from slamjax.typing import Progress

#: Different warnings of pieces that are passed on.
_MOST_WARNINGS = 10


@dataclass(frozen=True)
class SurveyReport:
    """What a run did.

    Attributes
    ----------
    pieces : in all
    done_now : spectra that this call fitted, the others were finished before
    seconds : of this call, from the first piece to the last
    writing : seconds that this process was writing parts and the table for
    retries : how often a worker died with a piece, which was done again
    set_aside : pieces that killed every worker they were given to
    collected : what was written; None for a shard
    names : of the worst pieces

    Examples
    --------
    >>> import slamjax
    >>> report = slamjax.fit_survey(model, "stars.fits", "labels.fits")  # doctest: +SKIP
    >>> report.done_now / report.seconds, report.collected.flags  # doctest: +SKIP
    """

    pieces: int
    done_now: int
    seconds: float
    writing: float
    retries: int
    set_aside: tuple[str, ...]
    collected: Collected | None
    names: dict[int, str] = field(default_factory=dict)


def fit_survey(
    model: Model | Fitter,
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    reading: Reading | None = None,
    piece_size: int | None = None,
    shard: tuple[int, int] | None = None,
    client: Any = None,
    on_progress: Progress | bool | None = True,
) -> SurveyReport:
    """Fit any number of spectra, and write their labels, in bounded memory.

    The input is divided into pieces. Each finished one is kept in a folder beside the output, so that the same call
    continues where a run was stopped, with the same result; the folder goes when the output is written. A spectrum,
    file or piece that cannot be fitted has a row that says so (``flags``, ``problem``).

    Parameters
    ----------
    model : Model or Fitter
        A Model is fitted with the default options; a `slamjax.Fitter` holds others.
    inputs : path, glob pattern, ``@list``, or a sequence of those
        slamjax tables, or survey files as `slamjax.read` knows them; ``@list`` is a text file of paths.
    output : path
        FITS, ``.csv`` or ``.ecsv``; a name ending in ``.parquet`` or without an ending is a Parquet dataset.
    reading : Reading, optional
        How input is read, and which spectra are fitted.
    piece_size : int, optional
        Most spectra, or files, of a piece; by default 4096 (files: 512), or as many as the fitter's ``memory`` holds.
    shard : (i, N), optional
        Fit the i-th of N equal shares of the pieces only, and write no output: `slamjax.survey.collect_shards` does.
    client : distributed.Client, optional
        Whose workers fit the pieces; they see the same files. By default this process does.
    on_progress : callable or bool
        Called with (spectra or files done, all). By default a line in terminals and notebooks; False for none.

    Returns
    -------
    SurveyReport

    Raises
    ------
    SlamError
        If the output cannot be written, the spectra do not suit the model, or parts beside the output are of another
        run.

    Examples
    --------
    >>> import os, tempfile
    >>> import slamjax
    >>> stars, new_stars = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> folder = tempfile.mkdtemp()
    >>> slamjax.write_table(new_stars[:6], os.path.join(folder, "new.fits"))
    >>> fitter = slamjax.Fitter(model, n_starts=1)
    >>> report = slamjax.fit_survey(fitter, os.path.join(folder, "new.fits"), os.path.join(folder, "labels.fits"))
    >>> report.collected.n, sorted(os.listdir(folder))
    (6, ['labels.fits', 'new.fits'])
    """
    fitter, reading, target = fitter_of(model), reading or Reading(), Path(output)
    check_survey_output(target)
    paths = paths_of(inputs)
    pieces = pieces_of(paths, fitter, piece_size)
    _check_first_rows(fitter, reading, pieces)
    with Checkpoint(folder_of(target, shard)) as kept, reporter(on_progress) as told:
        told.stage("fitting stars")
        kept.begin(fingerprint(fitter, paths, pieces, reading))
        if shard is not None:
            kept.stay()
            pieces = pieces[shard[0] - 1 :: shard[1]]
        run = _Run(fitter, reading, pieces, kept, client, told)
        collected = None
        while True:
            run.finish()
            if shard is not None:
                break
            try:
                began = time.perf_counter()
                collected = collect([kept], target)
                run.writing += time.perf_counter() - began
                break
            except DamagedPart:  # it is gone, and done again
                continue
            except NothingFittedError:
                kept.drop()
                raise
    names = {number: str(pieces[number]) for number, _ in (collected.worst if collected else ())}
    aside = tuple(map(str, run.set_aside))
    return SurveyReport(len(pieces), run.done_now, run.seconds, run.writing, run.retries, aside, collected, names)


def collect_shards(folders: Sequence[Path], output: str | os.PathLike[str]) -> Collected:
    """Write the label table of a survey from the parts of all its shards, which are then removed.

    Parameters
    ----------
    folders : sequence of paths
        Folders of finished parts; those beside the output are ``.NAME.shard-i-of-N.parts``.
    output : path
        As of `slamjax.fit_survey`.

    Raises
    ------
    SlamError
        If pieces are missing, which are named, or the folders are not the shards of one run.

    Examples
    --------
    >>> from pathlib import Path
    >>> import slamjax
    >>> folders = sorted(Path().glob(".labels.fits.shard-*.parts"))
    >>> slamjax.survey.collect_shards(folders, "labels.fits")  # doctest: +SKIP
    """
    target = Path(output)
    check_survey_output(target)
    if not folders:
        raise SlamError(
            f"there are no shards of {target}; run slamjax fit with --shard and this output, or name folders"
        )
    missing = next((folder for folder in folders if not folder.is_dir()), None)
    if missing is not None:
        raise SlamError(f"{missing} is no folder; give folders of finished parts")
    with _all_of(folders) as kept:
        try:
            return collect(kept, target)
        except DamagedPart as error:
            raise SlamError("a finished part is damaged; run its shard again with the same command") from error


@contextmanager
def _all_of(folders: Sequence[Path]) -> Iterator[list[Checkpoint]]:
    """Checkpoints whose folders go if the block ends well, and stay if it does not."""
    with ExitStack() as stack:
        yield [stack.enter_context(Checkpoint(folder)) for folder in folders]


def check_survey_output(output: Path) -> None:
    """Raise SlamError unless labels can be written there; to be called before long work."""
    if is_dataset(output):
        check_dataset(output)
    else:
        check_writable(output)


def _check_first_rows(fitter: Fitter, reading: Reading, pieces: Sequence[Piece]) -> None:
    """Raise if the spectra of a table do not suit the model: that is told now, not of every row."""
    for path in dict.fromkeys(piece.paths[0] for piece in pieces if piece.kind == "table"):
        spectra = read_table(path, slice(0, 1)).with_metadata(reading.medium, reading.frame, reading.fwhm)
        fitter.check(spectra)
        if fitter.prior is not None:
            fitter.prior.attached(spectra)


class _Run:
    """Works on the pieces that are not finished."""

    def __init__(
        self,
        fitter: Fitter,
        reading: Reading,
        pieces: Sequence[Piece],
        kept: Checkpoint,
        client: Any,
        told: Progress,
    ) -> None:
        self.fitter, self.reading, self.pieces, self.kept = fitter, reading, pieces, kept
        self.client, self.report = client, told
        self.total = sum(piece.n for piece in pieces)
        self.done_now = self.retries = 0
        self.seconds = self.writing = 0.0
        self.set_aside: list[Piece] = []
        self._told: set[str] = set()

    def finish(self) -> None:
        """Do all pieces that are missing."""
        began, finished = time.perf_counter(), self.kept.numbers()
        missing = [piece for piece in self.pieces if piece.number not in finished]
        before = self.total - sum(piece.n for piece in missing)
        self._report(before)
        for piece, done in self._here(missing, before) if self.client is None else self._there(missing):
            start = time.perf_counter()
            write_part(self.kept, piece.number, done)
            self.writing += time.perf_counter() - start
            self._tell(done.warnings)
            before += piece.n
            self.done_now += done.n
            self._report(before)
        self.seconds += time.perf_counter() - began

    def _here(self, pieces: Sequence[Piece], before: int) -> Iterator[tuple[Piece, Done]]:
        """In this process; the next rows of a table are read while the ones before are fitted."""

        def read(piece: Piece) -> tuple[Piece, Read | None]:
            return piece, read_piece(self.reading, piece) if piece.kind == "table" else None

        with one_blas_thread():
            for piece, ahead in one_ahead(read, pieces):

                def within(done: int, total: int, before: int = before, n: int = piece.n) -> None:
                    self._report(before + n * done // max(total, 1))

                with warnings_of() as texts:
                    spectra = ahead if ahead is not None else read_piece(self.reading, piece)
                    done = fit_piece(self.fitter, self.reading, piece, spectra, within)
                yield piece, dataclasses.replace(done, warnings=tuple(texts))
                before += piece.n

    def _there(self, pieces: Sequence[Piece]) -> Iterator[tuple[Piece, Done]]:
        """By the workers of a client."""
        path = self.kept.folder / "model.h5"
        if not path.exists():
            self.fitter.model.write(path)
        reading = Reading(**{**vars(self.reading), "n_jobs": 1})
        job = Job(str(path.resolve()), model_digest(self.fitter.model), self.fitter.options, reading)
        for piece, done, deaths in on_cluster(self.client, job, pieces):
            self.retries += deaths
            if isinstance(done, SetAside):
                self.set_aside.append(piece)
                done = done.as_done(self.fitter, piece)
            yield piece, done

    def _report(self, done: int) -> None:
        self.report(done, self.total)

    def _tell(self, texts: Iterable[str]) -> None:
        """Pass on warnings of pieces, each once and not very many."""
        for text in texts:
            if text not in self._told and len(self._told) < _MOST_WARNINGS:
                self._told.add(text)
                warnings.warn(text, SlamWarning, stacklevel=4)
