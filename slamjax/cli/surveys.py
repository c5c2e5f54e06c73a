"""What commands on surveys share: checks before a run, what is kept when it is stopped, and what it did."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slamjax.cli.clusters import Cluster
from slamjax.cli.console import counted_flags, progress_bar, say, say_error, say_written
from slamjax.cli.files import check_inputs, is_table
from slamjax.cli.interrupts import note_if_stopped
from slamjax.cli.options import Metadata
from slamjax.errors import SlamError

if TYPE_CHECKING:
    from slamjax.survey import Reading, SurveyReport
    from slamjax.survey.report import Collected

#: Inputs that are looked for before a run: of very many files some may be missing, and have rows that say so.
LOOKED_FOR = 100
#: Worst pieces and files that are named.
_NAMED = 3

PieceSize = Annotated[
    int | None,
    typer.Option(help="Most spectra, or files, that are worked on and kept together; default: as memory allows."),
]
Shard = Annotated[
    str | None,
    typer.Option(metavar="i/N", help="Do this share of the pieces only; `slamjax collect` joins all N."),
]


def reading_of(spectra: list[Path], select: str | None, survey: str | None, metadata: Metadata, n_jobs: int) -> Reading:
    """How input is read, as options say."""
    from slamjax.survey import Reading

    if (metadata.medium or metadata.frame) and not is_table(spectra[:1]):
        raise SlamError("--medium and --frame are for slamjax tables; survey files state both")
    return Reading(select or "", survey, metadata.medium, metadata.frame, metadata.fwhm, n_jobs=n_jobs)


def check_survey_output(output: Path, model: Path, spectra: list[Path]) -> None:
    """Raise unless labels can be written there, and the inputs exist."""
    from slamjax.survey.runner import check_survey_output

    check_survey_output(output)
    check_inputs(output, [model, *spectra[:LOOKED_FOR]])


def run_survey(
    call: Callable[..., SurveyReport],
    engine: Any,
    spectra: list[Path],
    output: Path,
    *,
    doing: str,
    cluster: Cluster,
    shard: str | None,
    **options: Any,
) -> None:
    """`slamjax.fit_survey` or `slamjax.sample_survey`, by whoever the options name, and what it did."""
    from slamjax.survey.parts import shard_of

    part = None if shard is None else shard_of(shard)
    note_kept_parts(output, part)
    with cluster.client(output) as client, progress_bar(f"{doing} stars") as on_progress:
        paths = [str(path) for path in spectra]
        report = call(engine, paths, output, shard=part, client=client, on_progress=on_progress, **options)
    say_report(report, output)


def note_kept_parts(output: Path, shard: tuple[int, int] | None) -> None:
    """A stopped run says that its finished parts are kept."""
    from slamjax.survey.parts import folder_of

    folder = folder_of(output, shard)

    def note() -> str:
        count = len(list(folder.glob("[0-9]*.part")))
        if not count:
            shutil.rmtree(folder, ignore_errors=True)
            return ""
        return f"{count} finished parts are kept in {folder}, the same command continues"

    note_if_stopped(note)


def say_report(report: SurveyReport, output: Path) -> None:
    """What a run did, and what is worth looking at; the report's file has all of it."""
    collected = report.collected
    if collected is not None:
        say_collected(collected)
    if report.retries:
        say_error(f"{report.retries} pieces were done again because a worker died", style="yellow")
    say_set_aside(report.set_aside)
    if report.done_now:
        said = (
            f"{report.done_now} stars in {report.seconds:.0f} s ({report.done_now / max(report.seconds, 1e-9):.3g}/s)"
        )
        spent = {} if collected is None else collected.seconds
        workers = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in spent.items())
        say(f"{said}; workers: {workers}" if workers else said)
    if collected is None:
        say(f"{report.pieces} pieces are finished; when those of all shards are: slamjax collect -o {output}")
        return
    worst = [f"{report.names[number]} ({share:.0%})" for number, share in collected.worst[:_NAMED]]
    if report.pieces > _NAMED and worst:
        say(f"most flags: {', '.join(worst)}")
    say_written(output)


def say_collected(collected: Collected) -> None:
    """Flags of a table that was written, and the files with the most rows without labels."""
    say(counted_flags(collected.n, collected.n_good, collected.flags))
    for problem in collected.problems[:_NAMED]:
        say_error(str(problem), style="yellow")


def say_set_aside(pieces: Sequence[str]) -> None:
    """The pieces that no worker survived."""
    for piece in pieces[:_NAMED]:
        say_error(f"set aside, because workers died of it: {piece}", style="yellow")
    if pieces:
        say_error("the same command tries what was set aside again; its parts are kept for that", style="yellow")
