"""Parts of a label table as they are kept in a `Checkpoint`, and what identifies the run that they belong to."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from astropy.table import MaskedColumn
from astropy.units import Quantity, Unit

from slamjax._util.checkpoint import digest
from slamjax._version import __version__
from slamjax.fitting.fitter import Fitter
from slamjax.io import LabelTable
from slamjax.model.model import Model


def model_digest(model: Model) -> str:
    """Of all that a model predicts, and how it prepares spectra."""
    return digest(
        model.host_emulator, model.noise, model.training_labels, str(model.recipe), repr(model.info.calibration)
    )


def fit_fingerprint(fitter: Fitter, files: Sequence[str | os.PathLike[str]], **options: Any) -> dict[str, str]:
    """What identifies a fit of files: digests of the model, the options, and names, sizes and times of the files."""
    nuisances = fitter.nuisances and (str(fitter.nuisances), fitter.nuisances.polynomial_sd)
    return {
        "model": model_digest(fitter.model),
        "files": digest(list(map(_identity, files))),
        "optimiser": digest(repr(fitter.optimiser), fitter.n_starts),
        "nuisances": digest(nuisances),
        "prior": digest(None if fitter.prior is None else fitter.prior.identity(), fitter.posterior_mean),
        "compress": str(fitter.compress),
        "memory": str(fitter.memory),
        **{name: digest(value) for name, value in options.items()},
        "precision": str(jax.dtypes.canonicalize_dtype(float)),
        "version": __version__,
    }


def _identity(path: str | os.PathLike[str]) -> tuple[str, int, int]:
    """A file, unless it was changed."""
    try:
        stat = Path(path).stat()
    except OSError:
        return str(path), -1, -1
    return str(path), stat.st_size, stat.st_mtime_ns


def table_to_arrays(table: LabelTable | None, **notes: Any) -> dict[str, np.ndarray]:
    """A table (None for no rows) and notes, as `Checkpoint.write` takes them."""
    arrays: dict[str, np.ndarray] = {}
    table = LabelTable() if table is None else table
    units: list[str | None] = []
    for k, column in enumerate(table.itercols()):
        units.append(column.unit.to_string() if isinstance(column, Quantity) else None)
        values = np.asarray(column.value if isinstance(column, Quantity) else np.ma.getdata(column))
        arrays[f"column{k}"] = values.astype(str) if values.dtype == object else values
        if isinstance(column, MaskedColumn):
            arrays[f"mask{k}"] = np.ma.getmaskarray(column)
    about = {"names": table.colnames, "units": units, "meta": dict(table.meta), "notes": notes}
    arrays["about"] = np.array(json.dumps(about))
    return arrays


def arrays_to_table(arrays: dict[str, np.ndarray]) -> tuple[LabelTable | None, dict[str, Any]]:
    """The table and the notes of `table_to_arrays`."""
    about = json.loads(str(arrays["about"]))
    if not about["names"]:
        return None, about["notes"]
    table = LabelTable(meta=about["meta"])
    for k, (name, unit) in enumerate(zip(about["names"], about["units"], strict=True)):
        values = arrays[f"column{k}"]
        if f"mask{k}" in arrays:
            table[name] = MaskedColumn(values, mask=arrays[f"mask{k}"])
        else:
            table[name] = values if unit is None else values * Unit(unit)
    return table, about["notes"]
