"""What the campaigns of killed, stopped and competing commands share: small runs, and what their outputs hold."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import slamjax
from campaigns import frame
from campaigns.frame import Finished, Outcome, Report
from slamjax._util.checkpoint import digest
from slamjax.fitting.checkpoint import model_digest

DATA = frame.TESTS / "data"
#: Every command that writes, the name of its output, and whether its finished parts are kept.
KINDS = ("fit", "sample", "train", "read")
OUTPUTS = {"read": "spectra.fits", "train": "model.h5", "fit": "labels.fits", "sample": "posterior.nc"}
KEPT = ("fit", "sample")
#: Seconds that a command may take on a busy machine.
PATIENCE = 240.0


def arguments(kind: str, folder: Path, output: Path) -> list[object]:
    """The command line of a run, which takes a few seconds."""
    small = ["--wave-range", "500", "540", "--folds", "2", "--C", "10", "--epsilon", "0.05", "--gamma", "0.1"]
    match kind:
        case "read":
            return ["read", *sorted((folder / "files").iterdir()), "-o", output]
        case "train":
            labels = ["--labels", "teff,logg,fe_h", "--n-train", 90, "--select", "logg < 3.6 & teff > 3600"]
            return ["train", DATA / "xp_giants.fits", "-o", output, *labels, *small]
        case "fit":
            return ["fit", folder / "giants.h5", folder / "many.fits", "-o", output, "--memory", "3e-4"]
        case _:
            options = ["--sampler", "importance", "--draws", 50, "--memory", "2e-3"]
            return ["sample", folder / "giants.h5", folder / "few.fits", "-o", output, *options]


def prepare(folder: Path) -> None:
    """The inputs, for all campaigns."""
    shared = _shared(folder)
    if (shared / "giants.h5").exists():
        return
    for name in ("files", "expected"):
        (shared / name).mkdir(parents=True, exist_ok=True)
    for name in ("3709013.fits", "3703110.fits"):
        for copy in range(6):
            shutil.copy(DATA / "surveys" / name, shared / "files" / f"{copy}-{name}")
    giants = slamjax.read_table(DATA / "xp_giants.fits")
    giants = giants.on_pixels((giants.wave > 480) & (giants.wave < 560))
    for table, n in (("many.fits", 5000), ("few.fits", 64)):
        slamjax.write_table(giants[np.arange(n) % len(giants)], shared / table)
    prepare_kind("train", folder)
    shutil.copy(shared / "expected" / OUTPUTS["train"], shared / "giants.h5")


def prepare_kind(kind: str, folder: Path) -> float:
    """Seconds that an uninterrupted run takes, whose output is then in ``expected``; it is made at the first call."""
    done = _shared(folder) / f"{kind}.json"
    if not done.exists():
        done.write_text(json.dumps(_seconds(kind, folder)))
    return float(json.loads(done.read_text()))


def _seconds(kind: str, folder: Path) -> float:
    """Of a run that writes its expected output; of a second one if the first compiled."""
    before = set(_programs(folder).glob("*"))
    began = time.monotonic()
    done = run(kind, folder, _shared(folder) / "expected" / OUTPUTS[kind])
    if done.code != 0:
        raise RuntimeError(f"{kind}: {done}")
    return time.monotonic() - began if set(_programs(folder).glob("*")) == before else _seconds(kind, folder)


def _shared(folder: Path) -> Path:
    """Folder of what the campaigns share, beside those of each."""
    return folder.parent / "runs"


def _programs(folder: Path) -> Path:
    """Where compiled programs are kept: beside JAX's own cache, if there is one, or else with the campaigns."""
    jaxs = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    return (Path(jaxs).parent if jaxs else _shared(folder)) / "programs"


def run(
    kind: str, folder: Path, output: Path, during: Callable[[subprocess.Popen[bytes]], object] | None = None
) -> Finished:
    """Run a command, with programs kept in the campaign's folder."""
    with environment(folder):
        return frame.command(*arguments(kind, _shared(folder), output), seconds=PATIENCE, during=during)


@contextmanager
def environment(folder: Path) -> Iterator[None]:
    """Compiled programs in the folder, and none kept by JAX."""
    before, programs = dict(os.environ), _programs(folder)
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    os.environ["SLAMJAX_CACHE"] = str(programs)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass(frozen=True)
class Attempt:
    """One attempt: a command, a place for its output, and a moment."""

    kind: str
    folder: Path
    output: Path
    moment: float
    rng: random.Random

    @classmethod
    def make(cls, number: int, folder: Path, kinds: tuple[str, ...] = KINDS) -> Attempt:
        rng = random.Random(number)
        kind = kinds[number % len(kinds)]
        place = folder / f"attempt{number}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        seconds = prepare_kind(kind, folder)
        return cls(kind, folder, place / OUTPUTS[kind], rng.uniform(0.0, 1.05 * seconds), rng)

    def expected(self) -> str:
        return contents(_shared(self.folder) / "expected" / OUTPUTS[self.kind])

    def strangers(self) -> list[str]:
        """Files beside the output."""
        return sorted(path.name for path in self.output.parent.iterdir() if path != self.output)

    def run(self, during: Callable[[subprocess.Popen[bytes]], object] | None = None) -> Finished:
        return run(self.kind, self.folder, self.output, during)

    def finish(self, seen: str) -> Report:
        """The same command must end well, with what an uninterrupted run gives, and leave nothing else."""
        if self.output.exists() and contents(self.output) != self.expected():
            return Report(Outcome.WRONG, f"{seen}: the output is not that of a whole run")
        again = self.run()
        if again.code != 0:
            report = frame.judged_command(again)
            return Report(report.outcome, f"{seen}; then: {report.detail}")
        if contents(self.output) != self.expected():
            return Report(Outcome.WRONG, f"{seen}; then another result than that of an uninterrupted run")
        if self.strangers():
            return Report(Outcome.RAW, f"{seen}; then left {self.strangers()}")
        shutil.rmtree(self.output.parent)
        return Report(Outcome.SAME, seen)


def contents(path: Path) -> str:
    """Digest of all numbers and words in an output, without the time at which it was written."""
    match path.suffix:
        case ".h5":
            model = slamjax.Model.read(path)
            return model_digest(model) + digest(model.info.cv_scores, model.info.record.digests)
        case ".nc":
            posterior = slamjax.Posterior.read(path)
            fields = (posterior.labels, posterior.log_density, posterior.flags, posterior.khat, posterior.stars)
            return digest(fields) + digest(repr(posterior))
        case _:
            table = slamjax.read_labels(path) if "labels" in path.name else None
            if table is None:
                spectra = slamjax.read_table(path)
                return digest(spectra.flux, spectra.ivar, spectra.wave, [str(x) for x in spectra.table["file"]])
            columns = {name: np.asarray(getattr(table[name], "value", table[name])) for name in table.colnames}
            return hashlib.sha256(
                b"".join(name.encode() + np.ascontiguousarray(column).tobytes() for name, column in columns.items())
            ).hexdigest()
