"""What the survey benchmarks have in common: processes of their own, memory peaks, and what a run took."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import slamjax


def apart(function: Any, *arguments: Any) -> Any:
    """Call a function in a process of its own, whose memory goes with it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_gib() -> float:
    """The most memory that this process has had in use; unlike ``ru_maxrss``, nothing of the process that began it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(kib) / 2**20


def survey(client: Any, model: Path, inputs: Any, output: Path, **more: Any) -> dict[str, Any]:
    """What a run by the workers of a client took; seconds by kind of work are sums over workers."""
    began = time.perf_counter()
    report = slamjax.fit_survey(slamjax.Fitter(slamjax.Model.read(model)), inputs, output, client=client, **more)
    seconds = time.perf_counter() - began
    peaks = [*client.run(peak_gib).values(), peak_gib()]
    spent = {**report.collected.seconds, "writing": report.writing} if report.collected else {}
    rate = report.done_now / seconds
    found = {"stars": report.done_now, "pieces": report.pieces, "seconds": seconds, "rate": rate, "gib": peaks} | spent
    print(f"{report.done_now:,} in {seconds:.0f} s, {rate:.0f} a second", flush=True)
    return found


def in_gib(peaks: list[float]) -> str:
    """Peaks of workers and client in a cell of a table."""
    return ", ".join(f"{gib:.2f}" for gib in peaks)
