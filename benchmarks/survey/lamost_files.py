"""How many LAMOST-like files a second does a survey label, velocities included, and is every broken one told?

`--miles` is the MILES table, `--files` a folder of real LAMOST files, which are written over and over with fresh noise;
one in fifty is broken: cut, empty, no FITS, without a good pixel, without a column. The model is that of
``benchmarks/accuracy/lamost.py``, trained once (`--model` names another). Two processes read and fit. A file is told of
if its row has a ``problem`` or the flag NO_DATA. The files, 2 GB for 20,000, stay in `--cache` unless `--keep` is 0.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import slamjax
from benchmarks.accuracy import lamost
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.stars import fingerprint, parse_options
from benchmarks.survey.lamost_like import write_files
from benchmarks.survey.measured import apart, in_gib, survey
from slamjax.survey import clients

STEPS = ("reading", "preparing", "fitting")


def trained(miles: Path, cache: Path) -> Path:
    """The file of the MILES model of ``benchmarks/accuracy/lamost.py``, trained unless it is in the cache."""
    stars = slamjax.read_table(miles).select(lamost.SELECTION)
    stars = lamost.with_label_errors(stars[np.isfinite(stars.values(lamost.LABELS)).all(axis=1)])
    key = fingerprint(stars, lamost.LABELS, (lamost.RECIPE, lamost.SETTINGS, lamost.LABEL_ERRORS))
    path = cache / f"{key}-miles.h5"
    if not path.exists():
        print("training the MILES model", flush=True)
        lamost.train(stars).write(path)
    return path


def judged(labels: slamjax.LabelTable, paths: list[str], broken: dict[int, str]) -> dict[str, Any]:
    """Which files have not exactly one row, and which broken ones are not told, or good ones are."""
    names = [Path(path).name for path in paths]
    rows = Counter(map(str, labels["file"]))
    told = (np.asarray(labels["problem"]) != "") | (np.asarray(labels["flags"]) & slamjax.Flag.NO_DATA != 0)
    of = dict(zip(map(str, labels["file"]), told.tolist(), strict=True))
    flagged = np.array([number not in broken for number in range(len(paths))]) & (np.asarray(labels["flags"]) != 0)
    return {
        "not one row": [name for name in names if rows[name] != 1],
        "in order": list(map(str, labels["file"])) == names,
        "told": Counter(kind for number, kind in broken.items() if of.get(names[number])),
        "broken": Counter(broken.values()),
        "missed": [f"{names[number]} ({kind})" for number, kind in broken.items() if not of.get(names[number])],
        "good but told": [name for number, name in enumerate(names) if number not in broken and of.get(name)],
        "good with flags": int(flagged.sum()),
    }


def main() -> None:
    options = parse_options(
        __doc__ or "",
        miles=None,
        files=None,
        model=None,
        n_files=20_000,
        broken_every=50,
        workers=2,
        piece_size=512,
        keep=1,
    )
    if options.files is None or (options.miles is None and options.model is None):
        raise SystemExit("give --files FOLDER (LAMOST files) and --miles miles.fits, or --model model.h5")
    load, n = current_load(), options.n_files
    options.cache.mkdir(parents=True, exist_ok=True)
    model = options.model or apart(trained, options.miles, options.cache)
    place = options.cache / "survey" / f"lamost-{n}-{options.broken_every}-{options.seed}"
    paths, broken = write_files(options.files, place, n, options.broken_every, options.seed)
    print(f"{n:,} files are in {place}, {len(broken)} of them broken", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="slamjax-lamost-"))
    try:
        with clients.local(options.workers) as client:
            # the first run compiles, in each worker
            few = paths[: min(n, options.piece_size * options.workers)]
            runs = [
                survey(client, model, _listed(some, folder), folder / "labels.fits", piece_size=options.piece_size)
                for some in (few, paths[: max(1, n // 10)], paths)
            ][1:]
        found = judged(slamjax.read_labels(folder / "labels.fits"), paths, broken)
    finally:
        shutil.rmtree(folder)
        if not options.keep:
            shutil.rmtree(place)
    rows = [
        (
            f"{run['stars']:,}",
            run["rate"],
            in_gib(run["gib"]),
            *(f"{run[step] / sum(run[name] for name in STEPS):.0%}" for step in STEPS),
            f"{run['writing'] / run['seconds']:.1%}",
        )
        for run in runs
    ]
    columns = ["files", "files/s", "peak GiB: workers, client", *STEPS, "client: writing"]
    kinds = [(kind, count, found["told"][kind]) for kind, count in found["broken"].items()]
    text = [
        f"By {options.workers} processes, in pieces of {options.piece_size} files. Reading, preparing and fitting are "
        "shares of the workers' time, writing of the whole; fitting includes velocities.",
        markdown_table(columns, rows),
        markdown_table(["broken", "files", "told"], kinds),
        f"{_count(found['not one row'])} of {n:,} files have not exactly one row; rows are "
        f"{'' if found['in order'] else '**not** '}in the order of the files. {_count(found['missed'])} of "
        f"{len(broken)} broken files are not told; {_count(found['good but told'])} of {n - len(broken):,} good ones "
        f"are. {found['good with flags']:,} good ones have some flag.",
    ]
    settings = {"files": n, "broken": len(broken), "workers": options.workers, "piece size": options.piece_size}
    write_results(options.out, "lamost_files", settings, {"runs": runs, "judged": found}, text, load)


def _listed(paths: list[str], folder: Path) -> str:
    """The ``@list`` of paths."""
    path = folder / "paths.txt"
    path.write_text("\n".join(paths) + "\n")
    return f"@{path}"


def _count(names: list[str]) -> str:
    """How many, and the first of them in bold, for there should be none."""
    return f"**{len(names)}** ({', '.join(names[:3])})" if names else "0"


if __name__ == "__main__":
    main()
