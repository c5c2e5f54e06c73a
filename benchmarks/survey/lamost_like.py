"""Any number of LAMOST-like files: real ones with fresh noise, some of them broken in the ways that files are."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io import fits

#: Files of a folder: more make folders slow.
FOLDER = 1000


def _cut(data: bytes, share: float) -> bytes:
    """Cut short; a whole number of FITS blocks or not, as it comes."""
    return data[: int(share * len(data))]


def _column(data: bytes, name: str, value: float) -> bytes:
    """The same file with one value in all pixels of a column."""
    with fits.open(io.BytesIO(data)) as hdus:
        hdus["COADD"].data[name] = value
        return _bytes(hdus)


def _renamed(data: bytes, name: str) -> bytes:
    """The same file with a column of another name."""
    with fits.open(io.BytesIO(data)) as hdus:
        hdus["COADD"].columns.change_name(name, f"NO_{name}")
        return _bytes(hdus)


def _bytes(hdus: fits.HDUList) -> bytes:
    target = io.BytesIO()
    hdus.writeto(target, output_verify="silentfix+ignore")
    return target.getvalue()


#: How a file is broken.
BREAKS: dict[str, Callable[[bytes], bytes]] = {
    "cut in the data": lambda data: _cut(data, 0.5),
    "cut in the header": lambda data: _cut(data, 0.03),
    "empty": lambda _: b"",
    "not FITS": lambda _: b"<html><body>503 Service Unavailable</body></html>\n",
    "zeros": lambda data: bytes(len(data)),
    "flux all NaN": lambda data: _column(data, "FLUX", np.nan),
    "ivar all zero": lambda data: _column(data, "IVAR", 0),
    "all pixels masked away by NaN ivar": lambda data: _column(data, "IVAR", np.nan),
    "no flux column": lambda data: _renamed(data, "FLUX"),
    "no ivar column": lambda data: _renamed(data, "IVAR"),
    "no wavelengths": lambda data: _column(data, "WAVELENGTH", 0),
}


class _Template:
    """A real file, whose flux is replaced in place: faster than to write FITS anew."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        with fits.open(path) as hdus:
            row, table = hdus["COADD"].data[0], hdus["COADD"]
            self.flux, ivar = np.array(row["FLUX"], float), np.array(row["IVAR"], float)
            self.start = table.fileinfo()["datLoc"]
            for column in table.columns:
                if column.name == "FLUX":
                    break
                self.start += column.dtype.itemsize
        good = np.isfinite(ivar) & (ivar > 0)
        self.sigma = np.where(good, 1 / np.sqrt(np.where(good, ivar, 1)), 0)
        if self._with(self.flux) != self.data:
            raise SystemExit(f"{path} is not laid out as LAMOST's files since DR8 are; leave it out")

    def _with(self, flux: np.ndarray) -> bytes:
        values = flux.astype(">f4").tobytes()
        return self.data[: self.start] + values + self.data[self.start + len(values) :]

    def noisy(self, rng: np.random.Generator) -> bytes:
        """The file with its noise once more."""
        return self._with(self.flux + self.sigma * rng.normal(size=self.flux.shape))


def write_files(real: Path, folder: Path, n: int, every: int, seed: int) -> tuple[list[str], dict[int, str]]:
    """Paths of ``n`` files, and how those are broken that are: one in ``every``. Those that are there stay."""
    templates = [_Template(path) for path in sorted(real.glob("*.fits"))]
    if not templates:
        raise SystemExit(f"there is no *.fits in {real}")
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / "made.json"
    wanted = {"files": n, "every": every, "seed": seed, "of": len(templates), "breaks": list(BREAKS)}
    there = made.exists() and json.loads(made.read_text()) == wanted
    paths, broken = [], {}
    for number in range(n):
        path = folder / f"{number // FOLDER:04d}" / f"spec-{number:07d}.fits"
        paths.append(str(path))
        if number % every == every // 2:
            broken[number] = list(BREAKS)[number // every % len(BREAKS)]
        if there:
            continue
        path.parent.mkdir(exist_ok=True)
        data = templates[number % len(templates)].noisy(np.random.default_rng([seed, number]))
        path.write_bytes(BREAKS[broken[number]](data) if number in broken else data)
        if (number + 1) % 5000 == 0:
            print(f"{number + 1:,} files made", flush=True)
    made.write_text(json.dumps(wanted))
    return paths, broken
