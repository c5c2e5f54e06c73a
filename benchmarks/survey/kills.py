"""Does a survey survive kill -9? Of random workers every few seconds, then of the client itself at random moments.

And a disk that is full, for the parts or for the table, and larger when the command is repeated?

Every run must end with the table of an undisturbed one, number by number, and leave nothing else behind.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.stars import parse_options
from benchmarks.survey.full_disk import on_full_disk
from benchmarks.survey.xp_like import write_model, write_stars
from slamjax.survey import clients


def same(one: Path, other: Path) -> bool:
    """Whether two label tables hold the same numbers."""
    first, second = slamjax.read_labels(one), slamjax.read_labels(other)
    if first.colnames != second.colnames:
        return False
    values = [
        [np.asarray(getattr(table[name], "value", table[name])) for name in first.colnames] for table in (first, second)
    ]
    return all(a.tobytes() == b.tobytes() for a, b in zip(*values, strict=True))


def kill_workers(client: Any, every: float, ended: threading.Event, killed: list[int], rng: random.Random) -> None:
    """kill -9 of a random worker, again and again."""
    while not ended.wait(every):
        pids = sorted(client.run(os.getpid).values())
        for pid in rng.sample(pids, min(1, len(pids))):  # none, where one has died of the last signal
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)


def main() -> None:
    options = parse_options(__doc__, n_stars=40_000, pieces=200, every=15, client_kills=20)
    load, place, rng = current_load(), options.cache / "survey", random.Random(options.seed)
    model = place / "xp.h5"
    place.mkdir(parents=True, exist_ok=True)
    write_model(model)
    paths = write_stars(place / "kills", options.n_stars, options.seed)
    size = -(-options.n_stars // options.pieces)
    folder = Path(tempfile.mkdtemp())
    fitter = slamjax.Fitter(slamjax.Model.read(model))
    began = time.perf_counter()
    slamjax.fit_survey(fitter, paths, folder / "whole.fits", piece_size=size)
    alone = time.perf_counter() - began

    killed: list[int] = []
    ended = threading.Event()
    with clients.local(2) as client:
        thread = threading.Thread(target=kill_workers, args=(client, options.every, ended, killed, rng))
        thread.start()
        try:
            report = slamjax.fit_survey(fitter, paths, folder / "killed.fits", piece_size=size, client=client)
        finally:
            ended.set()
            thread.join()
        aside = len(report.set_aside)
        if aside:  # killed three times by chance: the same call tries them again
            slamjax.fit_survey(fitter, paths, folder / "killed.fits", piece_size=size, client=client)
    workers_same = same(folder / "killed.fits", folder / "whole.fits")
    print(
        f"{len(killed)} workers killed, {report.retries} pieces done again, {aside} set aside, same: {workers_same}",
        flush=True,
    )

    command = [sys.executable, "-m", "slamjax", "fit", model, *paths, "-o", folder / "again.fits"]
    command += ["--piece-size", size]
    deaths = 0
    for _ in range(options.client_kills):
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(rng.uniform(0, 2 * alone / options.client_kills))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            deaths += 1
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    client_same = same(folder / "again.fits", folder / "whole.fits")
    print(f"the client killed {deaths} times, same: {client_same}", flush=True)
    wanted = {f"{name}.fits{end}" for name in ("whole", "killed", "again") for end in ("", ".report.json")}
    left = sorted(path.name for path in folder.iterdir() if path.name not in wanted)
    whole = folder / "whole.fits"
    command = ["fit", model, *paths, "--piece-size", size]
    sizes = whole.stat().st_size, model.stat().st_size
    disks = on_full_disk(command, *sizes, options.pieces, folder, lambda table: same(table, whole))
    shutil.rmtree(folder)
    rows = [
        (
            name,
            one["parts"],
            f"{'' if one['sentence'] else '**no sentence** '}{one['said'].replace(str(folder), '…')}",
            "the same" if one["same"] else "**another one**",
            len(one["left"]),
        )
        for name, one in disks.items()
    ]
    text = [
        f"{options.n_stars:,} stars in {options.pieces} pieces. {len(killed)} workers were killed, one every "
        f"{options.every} s: {report.retries} pieces were done again, {aside} set aside and tried once more; the table "
        f"is {'the same' if workers_same else '**another one**'}. The client was killed {deaths} times: the table is "
        f"{'the same' if client_same else '**another one**'}, and {len(left)} other files were left.",
        "A disk that is too small, and the same command once there is room:",
        markdown_table(["fits on it", "parts kept", "what the run said", "table in the end", "other files left"], rows),
    ]
    results = {"killed": len(killed), "retries": report.retries, "aside": aside, "deaths": deaths, "left": left}
    results |= {"workers_same": workers_same, "client_same": client_same, "full disk": disks}
    write_results(options.out, "kills", {"stars": options.n_stars, "pieces": options.pieces}, results, text, load)


if __name__ == "__main__":
    main()
