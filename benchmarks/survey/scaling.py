"""What does a piece of a survey cost, and a star, with 1, 2 and 4 processes? How many workers can one client feed?

XP-like stars in pieces of several sizes, each process on one core (four share two where there are no more). Seconds of
a run are fitted as a · pieces + b · stars; so are the CPU seconds of the client, whose process has the scheduler, and
which also watches its workers every second. What grows with the number of parts and of workers is measured with very
many empty ones. From all of this follows what LAMOST and Gaia XP would take, and what would break first; `--lamost-ms`
gives the milliseconds of a core for a LAMOST spectrum (default: those of ``lamost_files.json`` in `--out`).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.stars import parse_options
from benchmarks.survey.many_parts import cost_of_parts, dispatch
from benchmarks.survey.measured import apart
from benchmarks.survey.projection import Costs, Survey, projected
from benchmarks.survey.xp_like import write_model, write_stars
from slamjax.survey import clients, collect_shards
from slamjax.survey.parts import shard_folders

PROCESSES, SIZES = (1, 2, 4), (64, 512, 4096)
#: Of the surveys that are projected, and of the readers of their files.
N_LAMOST, N_XP = 10_000_000, 220_000_000
LAMOST_PIECE, LAMOST_BYTES, XP_PIECE = 512, 110_000, 4096


def pin(dask_worker: Any) -> list[int]:
    """Each process has one core, from before JAX begins: it has as many threads as it sees cores."""
    cores = sorted(os.sched_getaffinity(0))
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), {cores[int(dask_worker.name) % len(cores)]})
    return sorted(os.sched_getaffinity(0))


def once(client: Any, fitter: slamjax.Fitter, paths: list[str], size: int, folder: Path) -> dict[str, Any]:
    """One run: seconds from the first piece to the last, the client's CPU seconds in between, and collecting."""
    output, cpu = folder / "labels.parquet", [0.0]

    def told(done: int, total: int) -> None:
        cpu.append(time.process_time())

    report = slamjax.fit_survey(fitter, paths, output, piece_size=size, shard=(1, 1), client=client, on_progress=told)
    parts = [path.stat().st_size for kept in shard_folders(output) for path in kept.glob("*.part")]
    began = time.perf_counter()
    collect_shards(shard_folders(output), output)
    collecting = time.perf_counter() - began
    shutil.rmtree(output)
    return {
        "stars": report.done_now,
        "pieces": report.pieces,
        "seconds": report.seconds,
        "writing": report.writing,
        "client": cpu[-1] - cpu[1],
        "collecting": collecting,
        "bytes": sum(parts),
    }


def fitted(runs: Sequence[dict[str, Any]], what: str, of: Sequence[str] = ("pieces", "stars")) -> list[float]:
    """a, b, … of a · pieces + b · stars + …, none negative; each run counts by its relative error."""
    spent = np.array([run[what] for run in runs])
    counts = np.array([[run[name] for name in of] for run in runs], float)
    return [float(one) for one in nnls(counts / spent[:, None], np.ones(len(runs)))[0]]


def lamost_ms(given: int, out: Path) -> float | None:
    """Milliseconds of a core for a LAMOST spectrum: as given, or as measured."""
    path = out / "lamost_files.json"
    if given or not path.exists():
        return given or None
    stored = json.loads(path.read_text())
    run = stored["results"]["runs"][-1]
    return 1000 * run["seconds"] * stored["settings"]["workers"] / run["stars"]


def main() -> None:
    options = parse_options(__doc__ or "", n_stars=24_576, repeats=2, parts=2000, lamost_ms=0)
    load, place = current_load(), options.cache / "survey"
    place.mkdir(parents=True, exist_ok=True)
    model = place / "xp.h5"
    apart(write_model, model)
    paths = apart(write_stars, place / "scaling", options.n_stars, options.seed)
    fitter = slamjax.Fitter(slamjax.Model.read(model))
    runs: dict[int, list[dict[str, Any]]] = {}
    folder = Path(tempfile.mkdtemp(prefix="slamjax-scaling-"))
    try:
        for processes in PROCESSES:
            with clients.local(processes, dashboard=False) as client:
                cores = client.run(pin)
                print(f"{processes} processes on cores {sorted(map(str, cores.values()))}", flush=True)
                for size in SIZES:  # compile
                    few = min(size * processes, options.n_stars)
                    once(client, fitter, apart(write_stars, place / "scaling", few, options.seed), size, folder)
                runs[processes] = []
                for size in SIZES * options.repeats:
                    run = once(client, fitter, paths, size, folder)
                    runs[processes].append({"size": size} | run)
                    rate = run["stars"] / run["seconds"]
                    print(f"pieces of {size}: {run['seconds']:.1f} s, {rate:.0f} stars/s", flush=True)
        parts = apart(cost_of_parts, options.parts)
        print(f"{options.parts:,} small parts: {parts['seconds a part']:.1e} s a part to collect", flush=True)
    finally:
        shutil.rmtree(folder)
    ways = {workers: apart(dispatch, workers) for workers in (4, 64)}
    every = [run for some in runs.values() for run in some]
    spent = {n: fitted(some, "seconds") for n, some in runs.items()}
    client_piece, client_star, idle = fitted(every, "client", ("pieces", "stars", "seconds"))
    writing_piece, writing_star = fitted(every, "writing")
    collect_star = fitted(every, "collecting")[1]
    growth = max(0.0, (ways[64] - ways[4]) / 60)
    costs = Costs(
        client_piece,
        client_star,
        idle,
        growth,
        parts["seconds a part"],
        collect_star,
        parts["bytes of memory a part"],
        sum(run["bytes"] for run in every) / sum(run["stars"] for run in every),
    )
    size_of_star = sum(Path(path).stat().st_size for path in paths) / options.n_stars
    surveys = [Survey("Gaia XP", N_XP, XP_PIECE, 1000 * (spent[1][0] / XP_PIECE + spent[1][1]), size_of_star)]
    of_lamost = lamost_ms(options.lamost_ms, options.out)
    if of_lamost is None:
        print("no lamost_files.json in --out and no --lamost-ms: LAMOST is left out")
    else:
        surveys.insert(0, Survey("LAMOST", N_LAMOST, LAMOST_PIECE, of_lamost, LAMOST_BYTES))
    by_size = {
        n: [float(np.median([r["stars"] / r["seconds"] for r in some if r["size"] == size])) for size in SIZES]
        for n, some in runs.items()
    }
    text = [
        f"{options.n_stars:,} XP-like stars by processes of one core each, stars a second in pieces of several sizes:",
        markdown_table(
            ["processes", *(f"pieces of {size:,}" for size in SIZES), "a piece, ms", "a star, ms"],
            [(n, *rates, 1000 * spent[n][0], 1000 * spent[n][1]) for n, rates in by_size.items()],
        ),
        f"Of the client's CPU time, a piece takes {1000 * client_piece:.1f} ms, a star {1e6 * client_star:.1f} µs and "
        f"each second {1000 * idle:.0f} ms "
        f"(of these, writing parts {1000 * writing_piece:.1f} ms and {1e6 * writing_star:.1f} µs). To give out an "
        f"empty piece takes {1000 * ways[4]:.1f} ms with 4 workers and {1000 * ways[64]:.1f} ms with 64.",
        *projected(surveys, costs),
    ]
    settings = {"stars": options.n_stars, "repeats": options.repeats, "small parts": options.parts}
    results = {"runs": runs, "spent": spent, "costs": vars(costs), "dispatch": ways, "parts": parts}
    results["surveys"] = [vars(one) for one in surveys]
    write_results(options.out, "scaling", settings, results, text, load)


if __name__ == "__main__":
    main()
