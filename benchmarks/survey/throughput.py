"""How many XP-like stars a second does a survey fit by two processes, compared with the bare Fitter? Is memory flat?

Real giants over and over with fresh noise, in Parquet. The Fitter has its stars in memory, one process and the same
cores; it is timed before and after the survey. Peaks are those of the operating system, first after a tenth of the
stars. All have compiled before.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.stars import parse_options
from benchmarks.survey.measured import apart, in_gib, survey
from benchmarks.survey.xp_like import write_model, write_stars
from slamjax.survey import clients

#: Wanted: stars a second relative to the bare Fitter, and GiB of each process.
WANTED, MOST_GIB = 0.85, 1.5


def bare(model: Path, paths: list[str], n: int) -> float:
    """Stars a second of the Fitter alone."""
    spectra, fitter = slamjax.read_table(paths[0], slice(0, n)), slamjax.Fitter(slamjax.Model.read(model))
    fitter.fit(spectra, on_progress=False)
    began = time.perf_counter()
    fitter.fit(spectra, on_progress=False)
    return len(spectra) / (time.perf_counter() - began)


def described(runs: Sequence[dict[str, Any]], rates: Sequence[float]) -> tuple[float, list[str]]:
    """The rate of the last run relative to the bare Fitter's, and the tables."""
    ratio = runs[-1]["rate"] / max(rates)  # other work on the machine only ever makes the Fitter slower
    rows = [
        (
            f"{run['stars']:,}",
            run["rate"],
            in_gib(run["gib"]),
            *(run[name] for name in ("reading", "preparing", "fitting", "writing")),
        )
        for run in runs
    ]
    text = [
        markdown_table(
            ["stars", "stars/s", "peak GiB: workers, client", "reading, s", "preparing, s", "fitting, s", "writing, s"],
            rows,
        )
        + f"\n\nThe bare Fitter: {rates[0]:.0f} stars/s before, {rates[1]:.0f} after. The survey has {ratio:.2f} of "
        f"the faster rate, wanted {WANTED:g}; each process should stay under {MOST_GIB:g} GiB. Seconds are sums over "
        "workers."
    ]
    return ratio, text


def main() -> None:
    options = parse_options(__doc__, n_stars=1_000_000, workers=2, bare_stars=20_000)
    load, place = current_load(), options.cache / "survey"
    model = place / "xp.h5"
    place.mkdir(parents=True, exist_ok=True)
    apart(write_model, model)
    few, some, all_stars = (
        apart(write_stars, place / f"{name}", n, options.seed)
        for name, n in (("few", 4096 * options.workers), ("tenth", options.n_stars // 10), ("all", options.n_stars))
    )
    n_bare = min(options.bare_stars, options.n_stars)
    rates = [apart(bare, model, all_stars, n_bare)]
    with clients.local(options.workers) as client:
        runs = [survey(client, model, paths, place / "labels.parquet") for paths in (few, some, all_stars)][1:]
    rates.append(apart(bare, model, all_stars, n_bare))
    shutil.rmtree(place / "labels.parquet", ignore_errors=True)
    (place / "labels.parquet.report.json").unlink(missing_ok=True)
    ratio, text = described(runs, rates)
    settings = {"stars": options.n_stars, "workers": options.workers, "bare stars": n_bare}
    write_results(options.out, "throughput", settings, {"runs": runs, "bare": rates, "ratio": ratio}, text, load)


if __name__ == "__main__":
    main()
