"""Does a table that is read in ten parts take longer than one that is read at once?

The embedded sample over and over, fitted from disk after compilation: one `slamjax.Fitter` serves all parts.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.stars import calibrated_model, load_stars, parse_options

#: Ten parts may take this many times what one part takes.
WANTED = 1.05
PARTS = 10


def main() -> None:
    options = parse_options(__doc__, n_stars=10_000, repeats=3)
    load = current_load()
    train, stars = load_stars(options)
    model = calibrated_model(train, options.cache)
    fitter = slamjax.Fitter(model)
    size = {"one part": options.n_stars, "ten parts": options.n_stars // PARTS}
    seconds: dict[str, list[float]] = {name: [] for name in size}
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "stars.fits"
        slamjax.write_table(stars[np.resize(np.arange(len(stars)), options.n_stars)], table)
        for turn in range(options.repeats + 1):  # alternating, so that a machine that slows down does so for both
            for name, rows in size.items():
                start = time.perf_counter()
                slamjax.fit_table(fitter, table, part_size=rows)
                if turn:  # the first compiles
                    seconds[name].append(time.perf_counter() - start)
            print({name: taken[-1:] for name, taken in seconds.items()}, flush=True)
    median = {name: float(np.median(taken)) for name, taken in seconds.items()}
    ratio = median["ten parts"] / median["one part"]
    text = [
        f"`slamjax.fit_table` of {options.n_stars:,} stars after compilation, median of {options.repeats} runs:\n\n"
        + markdown_table(["rows read at once", "seconds"], [(f"{size[n]:,}", f"{s:.2f}") for n, s in median.items()])
        + f"\n\nTen parts take {ratio:.3f} times as long as one, wanted at most {WANTED:g}."
    ]
    settings = {"spectra": "embedded sample, repeated", "stars": options.n_stars}
    write_results(options.out, "ten_parts", settings, {"seconds": seconds, "ratio": ratio}, text, load)


if __name__ == "__main__":
    main()
