"""Finished batches of a long run, kept in a folder: the same call goes on where one was stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from slamjax._util.files import atomic_path
from slamjax._version import __version__
from slamjax.errors import SlamError
from slamjax.model.model import Model
from slamjax.sampling.batches import Options, Result
from slamjax.spectra.spectra import Spectra

_STAMP = "run.json"


@dataclass(frozen=True)
class Checkpoint:
    """A folder of one run's batches, each written whole or not at all."""

    folder: Path

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        model: Model,
        spectra: Spectra,
        prior: Any,
        fixed: Any,
        options: Options,
        seed: int,
        memory: float,
    ) -> Checkpoint:
        """The folder of this very run; one of another run is refused, never mixed in."""
        path = Path(folder)
        asked = {
            "model": _digest(
                model.host_emulator, model.noise, model.training_labels, str(model.recipe), repr(model.info.calibration)
            ),
            "spectra": _digest(spectra.digests(), spectra.ivar, spectra.rows, spectra.wave),
            "prior": _digest(prior),
            "fixed": _digest(fixed),
            "options": repr((options, seed, memory)),
            "precision": str(jax.dtypes.canonicalize_dtype(float)),
            "version": __version__,
        }
        stamp = path / _STAMP
        if stamp.exists():
            try:
                found = json.loads(stamp.read_text())
            except (OSError, ValueError):
                found = {}
            changed = sorted(key for key in asked if found.get(key) != asked[key])
            if changed:
                raise SlamError(
                    f"{path} holds the finished parts of another run (different {', '.join(changed)}); repeat that "
                    "command to finish it, or delete the folder"
                )
            return cls(path)
        if path.exists() and any(path.iterdir()):
            raise SlamError(f"{path} is a folder of other files; give another name")
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise SlamError(f"cannot make the folder {path}: {error.strerror or error}") from error
        with atomic_path(stamp) as temporary:
            temporary.write_text(json.dumps(asked))
        return cls(path)

    def read(self, start: int) -> Result | None:
        """The batch that begins with star ``start``, if it is finished."""
        path = self._path(start)
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return Result(**{field.name: arrays[field.name] for field in dataclasses.fields(Result)})
        except (OSError, ValueError, KeyError) as error:
            raise SlamError(f"{path} cannot be read ({error}); delete it, and its stars are sampled again") from error

    def write(self, start: int, result: Result) -> None:
        with atomic_path(self._path(start)) as temporary, open(temporary, "wb") as file:
            np.savez(file, **{field.name: getattr(result, field.name) for field in dataclasses.fields(result)})

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, start: int) -> Path:
        return self.folder / f"stars-{start:08d}.npz"


def _digest(*values: Any) -> str:
    """Of all arrays and words in nested containers and pytrees."""
    digest = hashlib.sha256()
    for leaf, path in ((leaf, path) for path, leaf in jax.tree_util.tree_flatten_with_path(values)[0]):
        array = np.asarray(leaf)
        text = array.astype(str) if array.dtype == object else array
        digest.update(f"{jax.tree_util.keystr(path)} {text.dtype} {text.shape}".encode())
        digest.update(np.ascontiguousarray(text).tobytes())
    digest.update(str(jax.tree_util.tree_structure(values)).encode())
    return digest.hexdigest()[:16]
