"""From what a piece and a star cost to whole surveys: workers, hours, and what breaks first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.common.reporting import markdown_table

#: Hours in which a survey should be done; GiB of the client; files that a folder should not exceed; MB/s of a disk.
HOURS, CLIENT_GIB, FOLDER, DISK = 24.0, 16.0, 1_000_000, 1000.0


@dataclass(frozen=True)
class Costs:
    """Seconds of the client for a piece, a star, a second (it watches its workers), and a piece for each worker that
    there is; of collecting a part and a star; bytes of the client's memory for a part, and of a star in parts."""

    piece: float
    star: float
    idle: float
    per_worker: float
    collect_part: float
    collect_star: float
    memory_part: float
    part_star: float


@dataclass(frozen=True)
class Survey:
    """Spectra, those of a piece, milliseconds of a core for one, and bytes of one in its file."""

    name: str
    n: int
    piece: int
    ms: float
    size: float

    @property
    def pieces(self) -> int:
        return -(-self.n // self.piece)

    @property
    def core_hours(self) -> float:
        return self.n * self.ms / 3.6e6

    @property
    def of_piece(self) -> float:
        """Seconds of a worker for a piece."""
        return self.piece * self.ms / 1000


def fed(survey: Survey, costs: Costs) -> int:
    """Workers W at which the client is always busy: W (p + s n + g W) = (1 − idle) t, t a worker's seconds a piece."""
    fixed, t = costs.piece + costs.star * survey.piece, (1 - min(costs.idle, 0.9)) * survey.of_piece
    if costs.per_worker <= 0:
        return int(t / fixed)
    root = (fixed**2 + 4 * costs.per_worker * t) ** 0.5
    return int((root - fixed) / (2 * costs.per_worker))


def projected(surveys: Sequence[Survey], costs: Costs) -> list[str]:
    """Tables and sentences."""
    rows = []
    for one in surveys:
        most = fed(one, costs)
        collecting = one.pieces * costs.collect_part + one.n * costs.collect_star
        rows.append(
            (
                f"{one.name}, {one.n:,}",
                one.ms,
                one.core_hours,
                one.core_hours / HOURS,
                f"{most:,}",
                one.core_hours / max(most, 1),
                f"{one.pieces:,}",
                one.n * costs.part_star / 1e9,
                collecting / 3600,
                one.pieces * costs.memory_part / 2**30,
                max(1, most) * one.size / one.ms / 1000,
            )
        )
    header = ["survey", "ms a star", "core hours", f"cores for {HOURS:g} h", "cores that one client feeds"]
    header += ["hours with these", "parts", "parts, GB", "collecting, h", "collecting: GiB more", "reading, MB/s"]
    return ["Projected from these figures, one process a core:", markdown_table(header, rows)] + [
        f"{one.name}: {_first(one, costs)}" for one in surveys
    ]


def _first(one: Survey, costs: Costs) -> str:
    """What breaks first as cores are added, and what is near its limit whatever their number."""
    most = fed(one, costs)
    disk = int(DISK * 1000 * one.ms / one.size)
    breaks = "the client, which cannot take in and give out pieces faster" if most <= disk else "the reading of files"
    told = (
        f"with more and more cores, {breaks}, is first to limit, at {min(most, disk):,} cores (client {most:,}; a file "
        f"system of {DISK:,.0f} MB/s {disk:,}). Then pieces are to be larger, or the run split into shards, each with "
        f"a client of its own. The scheduler never holds more tasks than there are workers."
    )
    over = []
    if one.pieces > FOLDER:
        over.append(f"{one.pieces:,} parts are more than the {FOLDER:,} that a folder should have")
    memory = one.pieces * costs.memory_part / 2**30
    if memory > CLIENT_GIB:
        over.append(f"collecting needs {memory:.0f} GiB")
    collecting = (one.pieces * costs.collect_part + one.n * costs.collect_star) / 3600
    if collecting > 0.1 * one.core_hours / max(1, min(most, disk)):
        over.append(f"collecting, by one process, takes {collecting:.1f} h, beside the fits' with so many cores")
    return told + (f" Besides: {'; '.join(over)}." if over else " Folder, memory and time of collecting are no limit.")
