"""How many survey files per second are read and prepared, and how much of that is FITS? specutils for comparison.

Copies of LAMOST files (`--files`: a folder of them) in a temporary folder, which the system has in its cache. Beside
them, in the same run and one process: opening each file with astropy and reading two headers, which slamjax does too,
and taking its arrays with astropy as well, which slamjax does by itself. specutils has no loader of LAMOST files; its
loader of SDSS ``spec`` files is timed on copies of one (`--spec`).
"""

from __future__ import annotations

import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from specutils import Spectrum

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.stars import parse_options

CROPS = Path(__file__).parents[2] / "tests" / "data" / "surveys"
CONTINUUM = "gaussian:50nm"
REPEATS = 3
OPENED, BARE = "astropy.io.fits, opened", "astropy.io.fits, arrays"


def copies(files: Sequence[Path], n: int, folder: Path) -> list[Path]:
    """n files, the given ones over and over."""
    folder.mkdir()
    made = [folder / f"{k:05d}-{files[k % len(files)].name}" for k in range(n)]
    for k, path in enumerate(made):
        shutil.copy(files[k % len(files)], path)
    return made


def opened(paths: Sequence[Path]) -> None:
    """The least that reading takes: open the file, and read the first two headers."""
    for path in paths:
        with fits.open(path, memmap=False) as hdus:
            hdus[0].header.get("RA"), hdus[1].header.get("NAXIS2")


def bare(paths: Sequence[Path], columns: Sequence[str]) -> None:
    """Open, and take the arrays."""
    for path in paths:
        with fits.open(path, memmap=False) as hdus:
            for name in columns:
                np.asarray(hdus[1].data[name], float)


def by_specutils(paths: Sequence[Path]) -> None:
    for path in paths:
        Spectrum.read(path, format="SDSS-III/IV spec")


def seconds_of(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Median seconds of each call, run in turn so that other load on the machine affects all alike."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPEATS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            found[name].append(time.perf_counter() - start)
            print(f"{name}: {found[name][-1]:.2f} s", flush=True)
    return {name: float(np.median(values)) for name, values in found.items()}


def main() -> None:
    options = parse_options(__doc__, files=None, spec=None, n_files=2000, n_spec=300)
    load = current_load()
    lamost = sorted(options.files.glob("*.fits") if options.files else CROPS.glob("37*.fits"))
    spec = options.spec or CROPS / "spec-3586-55181-0500.fits"
    recipe = slamjax.Recipe.make(continuum=CONTINUUM)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cards that do not keep the standard
        paths = copies(lamost, options.n_files, Path(folder) / "lamost")
        specs = copies([spec], options.n_spec, Path(folder) / "sdss")
        spectra = slamjax.read(paths)  # starts the processes, fills the cache
        slamjax.read(specs, n_jobs=1)
        by_specutils(specs[:1])
        of_lamost = seconds_of(
            {
                OPENED: lambda: opened(paths),
                BARE: lambda: bare(paths, ("FLUX", "IVAR", "WAVELENGTH", "ANDMASK")),
                "slamjax.read, 1 process": lambda: slamjax.read(paths, n_jobs=1),
                "slamjax.read, 2 processes": lambda: slamjax.read(paths, n_jobs=2),
                f"preparation ({CONTINUUM})": lambda: recipe(spectra),
            }
        )
        of_spec = seconds_of(
            {
                OPENED: lambda: opened(specs),
                BARE: lambda: bare(specs, ("flux", "ivar", "loglam", "and_mask")),
                "slamjax.read, 1 process": lambda: slamjax.read(specs, n_jobs=1),
                "specutils, 1 process": lambda: by_specutils(specs),
            }
        )
    rows = [
        (
            kind,
            name,
            n / seconds,
            *(f"{of[part] / seconds:.0%}" if "1 process" in name else "–" for part in (OPENED, BARE)),
        )
        for kind, n, of in (("LAMOST", len(paths), of_lamost), ("SDSS spec", len(specs), of_spec))
        for name, seconds in of.items()
    ]
    both = of_lamost["slamjax.read, 2 processes"] + of_lamost[f"preparation ({CONTINUUM})"]
    text = [
        markdown_table(["files", "", "files per second", "opening takes of it", "astropy's arrays take of it"], rows)
        + f"\n\n{len(paths):,} LAMOST files are read by two processes and prepared in {both:.1f} s: "
        f"{len(paths) / both:,.0f} per second. specutils takes "
        f"{of_spec['specutils, 1 process'] / of_spec['slamjax.read, 1 process']:.1f} times slamjax's time."
    ]
    settings = {
        "LAMOST files": len(paths),
        "of them different": len(lamost),
        "pixels": spectra.n_pix,
        "kB a file": round(lamost[0].stat().st_size / 1e3),
        "SDSS files": len(specs),
        "kB an SDSS file": round(spec.stat().st_size / 1e3),
        "repeats": REPEATS,
    }
    write_results(options.out, "reading_speed", settings, {"lamost": of_lamost, "spec": of_spec}, text, load)


if __name__ == "__main__":
    main()
