"""Finished batches of a long run, kept in a folder, so that the same call continues where a run was stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from slamjax._util.files import atomic_path
from slamjax._version import __version__
from slamjax.errors import SlamError
from slamjax.model.model import Model
from slamjax.sampling.batches import BatchDraws
from slamjax.spectra.spectra import Spectra

_STAMP = "run.json"


@dataclass(frozen=True)
class Checkpoint:
    """A folder with the batches of one run; no partial files are left in it."""

    folder: Path

    @classmethod
    def open(cls, folder: str | os.PathLike[str], run: Mapping[str, str]) -> Checkpoint:
        """The folder of this very run, see `fingerprint`; the folder of another run is refused."""
        path = Path(folder)
        stamp = path / _STAMP
        if stamp.exists():
            try:
                written = json.loads(stamp.read_text())
            except (OSError, ValueError):
                written = {}
            changed = sorted(key for key in run if written.get(key) != run[key])
            if changed:
                raise SlamError(
                    f"{path} holds the finished batches of another run (different {', '.join(changed)}); repeat that "
                    "run to finish it, or delete the folder"
                )
            return cls(path)
        if path.exists() and any(path.iterdir()):
            raise SlamError(f"{path} is a folder with other files in it; give another name")
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise SlamError(f"cannot make the folder {path}: {error.strerror or error}") from error
        with atomic_path(stamp) as temporary:
            temporary.write_text(json.dumps(dict(run)))
        return cls(path)

    def read(self, start: int) -> BatchDraws | None:
        """The batch that begins with star ``start``, if it is finished."""
        path = self._path(start)
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return BatchDraws(**{field.name: arrays[field.name] for field in dataclasses.fields(BatchDraws)})
        except (OSError, ValueError, KeyError) as error:
            raise SlamError(f"{path} cannot be read ({error}); delete it to sample its stars again") from error

    def write(self, start: int, draws: BatchDraws) -> None:
        """Keep a finished batch."""
        with atomic_path(self._path(start)) as temporary, open(temporary, "wb") as file:
            np.savez(file, **vars(draws))

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, start: int) -> Path:
        return self.folder / f"stars-{start:08d}.npz"


def fingerprint(model: Model, spectra: Spectra, **settings: Any) -> dict[str, str]:
    """What identifies a run: digests of the model, the spectra and all settings."""
    parts = (model.host_emulator, model.noise, model.training_labels, str(model.recipe), repr(model.info.calibration))
    return {
        "model": _digest(*parts),
        "spectra": _digest(spectra.digests(), spectra.ivar, spectra.rows, spectra.wave),
        **{name: _digest(value) for name, value in settings.items()},
        "precision": str(jax.dtypes.canonicalize_dtype(float)),
        "version": __version__,
    }


def _digest(*values: Any) -> str:
    """Of all arrays, numbers and words in nested containers and pytrees."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(values)[0]:
        array = np.asarray(leaf)
        text = array.astype(str) if array.dtype == object else array
        digest.update(f"{jax.tree_util.keystr(path)} {text.dtype} {text.shape}".encode())
        digest.update(np.ascontiguousarray(text).tobytes())
    digest.update(str(jax.tree_util.tree_structure(values)).encode())
    return digest.hexdigest()[:16]
