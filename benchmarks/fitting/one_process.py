"""How many stars a second does ``slamjax.fit`` take in one process, from spectra as read to labels?

``--size lamost``: LAMOST spectra (``--files``, a folder) over and over with fresh noise, in the observed frame, under a
model of MILES stars (``--miles``): velocities are measured, and refined with the labels. ``--size xp``: the embedded
giants under a model of a thousand others with low-rank noise. All has compiled before.

``--against DIR`` also measures the slamjax in DIR, another checkout, on the same stars under the same model. Both take
turns, so that what else the machine does slows both. For ratios on a busy machine: ``OMP_NUM_THREADS=1 taskset -c 0``
before the command, and the seconds of the CPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import slamjax
from benchmarks.accuracy import lamost
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.stars import LABELS, parse_options
from benchmarks.survey.xp_like import write_model

#: Stars that are fitted, by size.
STARS = {"lamost": 416, "xp": 8192}


class Worker:
    """A process that measures one checkout of slamjax whenever it is asked to."""

    def __init__(self, checkout: Path, model: Path, labels: Path, n: int, seed: int, files: list[str]) -> None:
        script = Path(__file__).with_name("one_process_worker.py")
        command = [sys.executable, str(script), str(model), str(labels), str(n), str(seed), *files]
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.labels = labels
        about = self._answer()
        self.first = float(about["first"])
        if not Path(about["slamjax"]).is_relative_to(checkout):
            raise SystemExit(f"{checkout} has no slamjax; {about['slamjax']} was imported")

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the process that measures has ended; what it said is above")
        return dict(json.loads(line))

    def measure(self) -> dict[str, list[float]]:
        """Seconds by stage, [wall, CPU]."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def lamost_model(path: Path, miles: Path) -> None:
    """A model of MILES stars as `benchmarks.accuracy.lamost` trains it, unless it is there."""
    if not path.exists():
        stars = slamjax.read_table(miles).select(lamost.SELECTION)
        stars = stars[np.isfinite(stars.values(lamost.LABELS)).all(axis=1)]
        lamost.train(lamost.with_label_errors(stars)).write(path)


def compared(labels: tuple[str, ...], ours: Path, theirs: Path) -> dict[str, Any]:
    """Differences of two tables of labels in units of their errors, and of their flags."""
    with np.load(ours) as one, np.load(theirs) as other:
        names = [name for name in (*labels, "rv") if name in one.files]
        difference = {name: np.abs(one[name] - other[name]) / other[f"{name}_err"] for name in names}
        flags = int(np.sum(one["flags"] != other["flags"]))
    return {
        "flags": flags,
        **{
            name: {
                "median": float(np.nanmedian(values)),
                "99 %": float(np.nanquantile(values, 0.99)),
                "largest": float(np.nanmax(values)),
                "beyond 0.01": int(np.sum(~(values <= 0.01))),
            }
            for name, values in difference.items()
        },
    }


def main() -> None:
    options = parse_options(
        __doc__ or "", size="lamost", miles=None, files=None, against=None, model=None, n_stars=0, repeats=5
    )
    if options.size not in STARS:
        raise SystemExit(f"--size is {options.size}; give {' or '.join(STARS)}")
    load, is_xp = current_load(), options.size == "xp"
    n = options.n_stars or STARS[options.size]
    place = options.cache / "one_process"
    place.mkdir(parents=True, exist_ok=True)
    files: list[str] = []
    if not is_xp:
        if options.miles is None or options.files is None:
            raise SystemExit("give --miles miles.fits and --files FOLDER (LAMOST files), or --size xp")
        files = sorted(str(path.resolve()) for path in options.files.glob("*.fits"))
    model = options.model or place / f"{options.size}.h5"  # kept: its age does not matter for speed
    if is_xp:
        write_model(model)
    else:
        lamost_model(model, options.miles)
    checkouts = {"this": Path(slamjax.__file__).parents[1]}
    if options.against is not None:
        checkouts["other"] = options.against.resolve()
    workers = {
        name: Worker(checkout, model, place / f"{name}.npz", n, options.seed, files)
        for name, checkout in checkouts.items()
    }
    runs: dict[str, list[dict[str, list[float]]]] = {name: [] for name in workers}
    for turn in range(options.repeats):
        for name in list(workers)[:: 1 if turn % 2 == 0 else -1]:
            runs[name].append(workers[name].measure())
            print(name, runs[name][-1], flush=True)
    for worker in workers.values():
        worker.close()
    typical = {
        name: {stage: np.median([run[stage] for run in found], axis=0).tolist() for stage in found[0]}
        for name, found in runs.items()
    }
    rows = [
        (
            f"{name}, {stage}",
            1000 * wall / n,
            1000 * cpu / n,
            n / wall,
            n / cpu,
        )
        for name, stages in typical.items()
        for stage, (wall, cpu) in stages.items()
    ]
    sections = [
        f"{n:,} stars of {len(files) or 'the embedded sample'}{' LAMOST files' if files else ''}; `preparing once` and "
        "`velocities` (`slamjax.measure_rv`, with what it prepares) are parts of `all`, timed alone; medians of "
        f"{options.repeats} turns:",
        markdown_table(["", "wall ms a star", "CPU ms a star", "stars/s", "stars per s of CPU"], rows),
    ]
    results: dict[str, Any] = {"runs": runs, "first": {name: worker.first for name, worker in workers.items()}}
    if "other" in workers:
        ratios = {
            stage: [
                float(np.median([b[stage][clock] / a[stage][clock] for a, b in zip(*runs.values(), strict=True)]))
                for clock in range(2)
            ]
            for stage in typical["this"]
        }
        difference = compared(LABELS if is_xp else lamost.LABELS, workers["this"].labels, workers["other"].labels)
        results |= {"times as fast": ratios, "difference": difference}
        sections += [
            "Times as fast as the other checkout, medians over turns: "
            + "; ".join(f"{stage} {wall:.2f} (CPU {cpu:.2f})" for stage, (wall, cpu) in ratios.items())
            + f". Flags differ for {difference['flags']} stars. Differences in units of errors:",
            markdown_table(
                ["", *next(row for row in difference.values() if isinstance(row, dict))],
                [(name, *row.values()) for name, row in difference.items() if isinstance(row, dict)],
            ),
        ]
    settings = {"size": options.size, "stars": n, "turns": options.repeats}
    write_results(options.out, f"one_process_{options.size}", settings, results, sections, load)


if __name__ == "__main__":
    main()
