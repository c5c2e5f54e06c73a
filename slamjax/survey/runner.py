"""A survey from its input to its table, piece by piece, in this process or by a cluster, whatever is done to it."""

from __future__ import annotations

import dataclasses
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from slamjax._util.checkpoint import Checkpoint, digest
from slamjax._util.files import check_writable
from slamjax._util.progress import Reporter, reporter
from slamjax._util.threads import one_blas_thread
from slamjax.errors import SlamWarning
from slamjax.fitting.checkpoint import model_digest
from slamjax.fitting.parts import one_ahead
from slamjax.io import read_rows
from slamjax.survey.cluster import SetAside, on_cluster
from slamjax.survey.collect import DamagedPart, NothingFittedError, abouts_of, collect
from slamjax.survey.dataset import check_dataset, is_dataset
from slamjax.survey.engines import Engine
from slamjax.survey.parts import fingerprint, folder_of, read_about, write_part
from slamjax.survey.pieces import Piece, paths_of, pieces_of
from slamjax.survey.report import MOST_WARNINGS, Collected, SurveyReport, collected_of, write_report
from slamjax.survey.work import Done, Job, Read, Reading, do_piece, read_piece, warnings_of
from slamjax.typing import Progress


def run_survey(
    engine: Engine,
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    reading: Reading | None,
    piece_size: int | None,
    shard: tuple[int, int] | None,
    client: Any,
    on_progress: Progress | bool | None,
) -> SurveyReport:
    """What `slamjax.fit_survey` and `slamjax.sample_survey` say of themselves."""
    reading, target = reading or Reading(), Path(output)
    check_survey_output(target)
    paths = paths_of(inputs)
    pieces = pieces_of(paths, engine, piece_size, engine.most)
    _check_first_rows(engine, reading, pieces)
    run = fingerprint(engine, paths, pieces, reading)
    with Checkpoint(folder_of(target, shard)) as kept, reporter(on_progress) as told:
        told.stage(f"{engine.doing} stars")
        kept.begin(run)
        engine.begin(run)
        if shard is not None:
            kept.stay()
            pieces = pieces[shard[0] - 1 :: shard[1]]
        work = _Run(engine, reading, pieces, kept, client, told)
        collected = work.of_shard() if shard is not None else work.to_table(target)
        if collected.set_aside:  # the same call tries them again
            kept.stay()
        rate = work.done_now / work.seconds if work.done_now else None
        report = write_report(
            target, run, collected, pieces=len(pieces), rate=rate, writing=work.writing, shard=shard
        )  # fmt: skip
    return SurveyReport(
        pieces=len(pieces),
        done_now=work.done_now,
        seconds=work.seconds,
        writing=work.writing,
        retries=work.retries,
        set_aside=collected.set_aside,
        collected=None if shard is not None else collected,
        names=collected.names,
        file=report,
    )


def check_survey_output(output: Path) -> None:
    """Raise SlamError unless labels can be written there; to be called before long work."""
    if is_dataset(output):
        check_dataset(output)
    else:
        check_writable(output)


def _check_first_rows(engine: Engine, reading: Reading, pieces: Sequence[Piece]) -> None:
    """Raise if the spectra of a table do not suit the model: that is told now, not of every row."""
    for path in dict.fromkeys(piece.paths[0] for piece in pieces if piece.kind == "table"):
        engine.check(read_rows(path, slice(0, 1)).with_metadata(reading.medium, reading.frame, reading.fwhm))


class _Run:
    """Works on the pieces that are not finished."""

    def __init__(
        self,
        engine: Engine,
        reading: Reading,
        pieces: Sequence[Piece],
        kept: Checkpoint,
        client: Any,
        told: Reporter,
    ) -> None:
        self.engine, self.reading, self.pieces, self.kept = engine, reading, pieces, kept
        self.client, self.report = client, told
        self.total = sum(piece.n for piece in pieces)
        self.done_now = self.retries = 0
        self.seconds = self.writing = 0.0
        self._set_aside: set[int] = set()
        self._told: set[str] = set()

    def of_shard(self) -> Collected:
        """Do the pieces, of which others will make a table."""
        self.finish()
        return collected_of(abouts_of(self.kept))

    def to_table(self, output: Path) -> Collected:
        """Do the pieces, and write their table."""
        while True:
            self.finish()
            try:
                began = time.perf_counter()
                self.report.stage("writing the table", shared=False)
                collected = collect([self.kept], output, self.report)
                self.writing += time.perf_counter() - began
                return collected
            except DamagedPart:  # it is gone, and done again
                continue
            except NothingFittedError:
                self.kept.drop()
                raise

    def finish(self) -> None:
        """Do all pieces that are missing."""
        began, finished = time.perf_counter(), self.kept.numbers()
        missing = [piece for piece in self.pieces if piece.number not in finished or not self._is_final(piece.number)]
        before = self.total - sum(piece.n for piece in missing)
        self._report(before)
        for piece, done in self._here(missing, before) if self.client is None else self._there(missing):
            start = time.perf_counter()
            write_part(self.kept, piece, done)
            self.writing += time.perf_counter() - start
            self._tell(done.warnings)
            before += piece.n
            self.done_now += done.n
            self._report(before)
        self.seconds += time.perf_counter() - began

    def _is_final(self, number: int) -> bool:
        """Whether a part needs no other try: workers that died of it in a run before may live in this one."""
        about = read_about(self.kept, number)
        if not about:
            return True  # it is damaged, which is told where its rows are read
        if about["set_aside"]:
            return number in self._set_aside
        return self.engine.is_kept(number, about["beside"])

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
                    done = do_piece(self.engine, self.reading, piece, spectra, within)
                yield piece, dataclasses.replace(done, warnings=tuple(texts))
                before += piece.n

    def _there(self, pieces: Sequence[Piece]) -> Iterator[tuple[Piece, Done]]:
        """By the workers of a client."""
        path = self.kept.folder / "model.h5"
        if not path.exists():
            self.engine.model.write(path)
        reading = Reading(**{**vars(self.reading), "n_jobs": 1})
        job = Job(
            str(path.resolve()), model_digest(self.engine.model), self.engine.options, reading, self.engine.task,
            digest(self.engine.identity()),
        )  # fmt: skip
        for piece, done, deaths in on_cluster(self.client, job, pieces):
            self.retries += deaths
            if isinstance(done, SetAside):
                self._set_aside.add(piece.number)
                done = done.as_done(self.engine, piece)
            yield piece, dataclasses.replace(done, deaths=deaths)

    def _report(self, done: int) -> None:
        self.report(done, self.total)

    def _tell(self, texts: Iterable[str]) -> None:
        """Pass on warnings of pieces, each once and not very many."""
        for text in texts:
            if text not in self._told and len(self._told) < MOST_WARNINGS:
                self._told.add(text)
                warnings.warn(text, SlamWarning, stacklevel=6)
