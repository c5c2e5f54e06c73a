"""What a run did: a summary of its finished parts, an object for the caller, and a JSON file beside the output."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from slamjax._util.files import atomic_path
from slamjax._version import __version__
from slamjax.flags import Flag
from slamjax.io import LabelTable
from slamjax.survey.work import Problem

#: Worst pieces, files with problems, and different warnings that are told.
_WORST, _FILES, MOST_WARNINGS = 5, 20, 10


@dataclass(frozen=True)
class Collected:
    """What finished parts hold, those of a whole run or of a shard.

    Attributes
    ----------
    n : rows
    n_good : rows without flags
    flags : rows with each flag
    worst : pieces with the largest share of flagged rows, as (number, share), worst first
    problems : files with rows that have no labels because of them, at most twenty, those with the most rows first
    seconds : that processes were reading, preparing and fitting or sampling for
    spectra : that were read; a selection leaves out some
    fitted : rows with labels
    n_problems : rows with a problem
    retries : how often a worker died with a piece
    set_aside : pieces that killed every worker they were given to; the same command tries them again
    warnings : different ones, at most ten
    began, ended : when the first part was begun and the last one finished, in seconds since 1970
    names : of the worst pieces
    """

    n: int
    n_good: int
    flags: Mapping[str, int]
    worst: tuple[tuple[int, float], ...]
    problems: tuple[Problem, ...]
    seconds: Mapping[str, float]
    spectra: int
    fitted: int
    n_problems: int
    retries: int
    set_aside: tuple[str, ...]
    warnings: tuple[str, ...]
    began: float
    ended: float
    names: Mapping[int, str]


@dataclass(frozen=True)
class SurveyReport:
    """What a run did.

    Attributes
    ----------
    pieces : in all, of this shard
    done_now : spectra that this call worked on, the others were finished before
    seconds : of this call, from the first piece to the last
    writing : seconds that this process was writing parts and the table for
    retries : how often a worker died with a piece, which was done again
    set_aside : pieces that killed every worker they were given to; the same call tries them again
    collected : what was written; None for a shard
    names : of the worst pieces
    file : with all of this and more, as JSON

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
    names: Mapping[int, str] = field(default_factory=dict)
    file: Path | None = None


def counts_of(table: LabelTable | None) -> dict[str, Any]:
    """What is counted of a part's rows."""
    if table is None:
        return {"good": 0, "fitted": 0, "flags": {}, "problems": 0}
    flags = np.asarray(table["flags"])
    labels = [np.asarray(table[name], float) for name in table.label_names if name in table.colnames]
    problems = np.asarray(table["problem"]) != "" if "problem" in table.colnames else np.zeros(len(table), bool)
    each = {flag.name or "": int(np.sum(flags & flag != 0)) for flag in Flag}
    return {
        "good": int(np.sum(flags == 0)),
        "fitted": int(np.isfinite(labels).all(axis=0).sum()),
        "flags": {name: count for name, count in each.items() if count},
        "problems": int(problems.sum()),
    }


def collected_of(abouts: Iterable[tuple[int, Mapping[str, Any]]]) -> Collected:
    """A summary of parts, from their numbers and what they say of themselves."""
    parts = dict(abouts)
    counts = [about["counts"] for about in parts.values()]
    flags = {flag.name or "": sum(one["flags"].get(flag.name, 0) for one in counts) for flag in Flag}
    flagged = {k: 1 - about["counts"]["good"] / about["rows"] for k, about in parts.items() if about["rows"]}
    worst = sorted(((share, k) for k, share in flagged.items() if share), reverse=True)[:_WORST]
    seconds: dict[str, float] = {}
    files: dict[str, Problem] = {}
    for about in parts.values():
        for name, value in about["seconds"].items():
            seconds[name] = seconds.get(name, 0.0) + value
        for file, rows, text in about["problems"]:
            before = files.get(file, Problem(file, 0, text))
            files[file] = dataclasses.replace(before, rows=before.rows + rows)
    texts = dict.fromkeys(text for about in parts.values() for text in about["warnings"])
    return Collected(
        n=sum(about["rows"] for about in parts.values()),
        n_good=sum(one["good"] for one in counts),
        flags={name: count for name, count in flags.items() if count},
        worst=tuple((k, share) for share, k in worst),
        problems=tuple(sorted(files.values(), key=lambda one: -one.rows)[:_FILES]),
        seconds=seconds,
        spectra=sum(about["n"] for about in parts.values()),
        fitted=sum(one["fitted"] for one in counts),
        n_problems=sum(one["problems"] for one in counts),
        retries=sum(about["deaths"] for about in parts.values()),
        set_aside=tuple(about["piece"] for about in parts.values() if about["set_aside"]),
        warnings=tuple(texts)[:MOST_WARNINGS],
        began=min((about["began"] for about in parts.values()), default=0.0),
        ended=max((about["ended"] for about in parts.values()), default=0.0),
        names={k: parts[k]["piece"] for _, k in worst},
    )


def report_path(output: Path, shard: tuple[int, int] | None = None) -> Path:
    """The file of a run's report, beside its output."""
    part = "" if shard is None else f".shard-{shard[0]}-of-{shard[1]}"
    return output.parent / f"{output.name}{part}.report.json"


def write_report(
    output: Path,
    run: Mapping[str, str],
    parts: Collected,
    *,
    pieces: int,
    rate: float | None,
    writing: float,
    shard: tuple[int, int] | None = None,
) -> Path:
    """Write what was done.

    Parameters
    ----------
    output, shard : of the run
    run : what identifies it
    parts : a summary of its parts
    pieces : in all, of this shard
    rate : stars a second
    writing : seconds of this process
    """
    files = [{"file": one.file, "rows": one.rows, "problem": one.text} for one in parts.problems]
    about = {
        "slamjax": __version__,
        "task": run["task"],
        "model": run["model"],
        "output": output.name,
        "shard": None if shard is None else f"{shard[0]}/{shard[1]}",
        "inputs": int(run["inputs"]),
        "pieces": pieces,
        "spectra": parts.spectra,
        "rows": parts.n,
        "fitted": parts.fitted,
        "without_flags": parts.n_good,
        "stars_per_second": None if rate is None else round(rate, 3),
        "seconds": {name: round(value, 3) for name, value in {**parts.seconds, "writing": writing}.items()},
        "retries": parts.retries,
        "set_aside": list(parts.set_aside),
        "flags": dict(parts.flags),
        "problems": {"rows": parts.n_problems, "files": files},
        "warnings": list(parts.warnings),
        "began": _instant(parts.began),
        "ended": _instant(datetime.now(UTC).timestamp()),
    }
    path = report_path(output, shard)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _instant(seconds: float) -> str:
    """ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
