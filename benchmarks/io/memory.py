"""Does fitting a table from disk need more memory for more stars? Peak memory of `slamjax fit` for tables of two sizes.

Simulated spectra of APOGEE's size (see large_spectra.py), the same few hundred over and over. Each fit runs in a
separate process, so that peaks are separate; pages of the file that the system caches are counted too.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.stars import LABELS, parse_options
from benchmarks.fitting.large_spectra import giants
from slamjax.spectra.spectra import Spectra

#: GiB that the peak must stay under.
LIMIT = 4.0
_WATCH = """
import json, resource, sys
import slamjax
slamjax.fit_table(slamjax.Fitter(slamjax.Model.read(sys.argv[1]), n_starts=1), sys.argv[2])
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))
"""


def repeated(stars: Spectra, n: int, path: Path) -> None:
    """A table of n spectra, the given ones over and over, written part by part."""
    some = stars[:256]
    first = path.with_suffix(".first")
    slamjax.write_table(some, first)
    with fits.open(first) as hdus, path.open("wb") as file:
        sheet, waves = hdus["SPECTRA"], hdus["WAVELENGTH"]
        header = sheet.header.copy()
        for keyword in ("CHECKSUM", "DATASUM"):
            header.remove(keyword, ignore_missing=True)
        header["NAXIS2"] = n
        hdus[0].writeto(file)
        file.write(header.tostring().encode())
        rows = np.asarray(sheet.data)  # as they stand in the file
        for start in range(0, n, len(some)):
            file.write(rows[: min(len(some), n - start)].tobytes())
        file.write(bytes(-n * rows.dtype.itemsize % 2880))
        waves = fits.BinTableHDU(waves.data, waves.header, name=waves.name)
    fits.append(str(path), waves.data, waves.header, verify=False)
    first.unlink()


def main() -> None:
    options = parse_options(__doc__, n_pixels=8575, n_stars=40_000)
    load = current_load()
    stars = giants(options.n_pixels, options.seed)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.h5"
        slamjax.train(
            stars[:1000],
            LABELS,
            emulator=slamjax.SVR(C=1.0, epsilon=0.1, gamma=0.1),
            search=slamjax.SearchSpec(folds=2),
            noise="diagonal",
        ).write(model)
        for n in (options.n_stars // 4, options.n_stars):
            table = Path(folder) / f"{n}.fits"
            repeated(stars, n, table)
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", _WATCH, str(model), str(table)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(done.stderr[-2000:])
            seconds = time.perf_counter() - start
            size = table.stat().st_size / 2**30
            rows.append({"stars": n, "file_gib": size, "peak_gib": float(done.stdout.split()[-1]), "seconds": seconds})
            print(rows[-1], flush=True)
            table.unlink()
    growth = rows[1]["peak_gib"] / rows[0]["peak_gib"]
    text = [
        f"Peak memory of `slamjax.fit_table` (one start, exact and compressed model and JAX included), wanted under "
        f"{LIMIT:g} GiB whatever the number of stars:\n\n"
        + markdown_table(
            ["stars", "table, GiB", "peak memory, GiB", "seconds with compilation"],
            [(f"{r['stars']:,}", f"{r['file_gib']:.2f}", f"{r['peak_gib']:.2f}", f"{r['seconds']:.0f}") for r in rows],
        )
        + f"\n\nFour times the stars take {growth:.2f} times the memory."
    ]
    settings = {"spectra": "simulated", "pixels": options.n_pixels, "training stars": 1000}
    write_results(options.out, "memory", settings, {"runs": rows, "growth": growth}, text, load)


if __name__ == "__main__":
    main()
