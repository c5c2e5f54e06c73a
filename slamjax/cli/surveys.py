"""What commands on surveys share: checks before a run, what is kept when it is stopped, and what it did."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from slamjax.cli.console import counted_flags, say, say_error, say_written
from slamjax.cli.files import check_inputs
from slamjax.cli.interrupts import note_if_stopped

if TYPE_CHECKING:
    from slamjax.survey import SurveyReport
    from slamjax.survey.collect import Collected

#: Inputs that are looked for before a run: of very many files some may be missing, and have rows that say so.
_LOOKED_FOR = 100
#: Worst pieces and files that are named.
_NAMED = 3


def check_survey_output(output: Path, model: Path, spectra: list[Path]) -> None:
    """Raise unless labels can be written there, and the inputs exist."""
    from slamjax.survey.run import check_survey_output

    check_survey_output(output)
    check_inputs(output, [model, *spectra[:_LOOKED_FOR]])


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
    """What a run did, and what is worth looking at."""
    if report.collected is None:
        say(f"{report.pieces} pieces are finished; when those of all shards are: slamjax collect -o {output}")
        return
    say_collected(report.collected)
    if report.retries:
        say_error(f"{report.retries} pieces were done again because a worker died", style="yellow")
    for piece in report.set_aside:
        say_error(f"set aside, because workers died of it: {piece}", style="yellow")
    if report.done_now:
        spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in report.collected.seconds.items())
        rate = report.done_now / max(report.seconds, 1e-9)
        say(f"{report.done_now} stars in {report.seconds:.0f} s ({rate:.3g}/s); workers: {spent}")
    worst = [f"{report.names[number]} ({share:.0%})" for number, share in report.collected.worst[:_NAMED]]
    if report.pieces > _NAMED and worst:
        say(f"most flags: {', '.join(worst)}")
    say_written(output)


def say_collected(collected: Collected) -> None:
    """Flags of a table that was written, and the first files that gave no spectrum."""
    say(counted_flags(collected.n, collected.n_good, collected.flags))
    for problem in collected.problems[:_NAMED]:
        say_error(problem, style="yellow")
