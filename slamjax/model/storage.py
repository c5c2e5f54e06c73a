"""Model files: HDF5 with a schema version, a checksum and provenance; data only, never a pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from slamjax._util.files import existing_file
from slamjax._util.seal import Seal
from slamjax.emulators.base import Emulator
from slamjax.emulators.polynomial import PolynomialEmulator
from slamjax.emulators.scaling import LabelScaling
from slamjax.emulators.svr import KernelEmulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.errors import SlamError
from slamjax.model.hdf5 import Contents, read_hdf5, write_hdf5
from slamjax.model.info import ModelInfo, TrainingRecord
from slamjax.model.soundness import check_parts
from slamjax.noise.calibration import Calibration
from slamjax.noise.intervals import LocalIntervals
from slamjax.noise.label_means import LabelMeans
from slamjax.noise.likeness import Likeness
from slamjax.noise.models import DiagonalNoise, LowRankNoise, Noise
from slamjax.preprocessing.recipe import Recipe

FORMAT = "slamjax model"
#: Raised when a reader of the old layout would misread the new one. 2: several noise models, named in the header.
#: 3: compressed emulators. 4: polynomial emulators, kernels of some labels. 5: one checksum of the whole file, none of
#: each array. 6: photon noise as stated. 7: kernels and distances with a metric.
SCHEMA = 7
#: Fields of `Calibration` whose names in files are older than those in the code.
_STORED = {"interval95_factor": "label_reach", "neighbour_distance": "spacing"}
#: Fields of `Calibration` that are arrays, in groups of their own.
_CALIBRATION_ARRAYS: dict[str, type[Any]] = {
    "likeness": Likeness,
    "intervals": LocalIntervals,
    "means": LabelMeans,
}
_EMULATORS: dict[str, type[Any]] = {kind.kind: kind for kind in (KernelEmulator, PolynomialEmulator)}
_NOISES: dict[str, type[Any]] = {kind.kind: kind for kind in (DiagonalNoise, LowRankNoise)}


@dataclasses.dataclass(frozen=True, eq=False)
class ModelParts:
    """What a file holds of a model."""

    emulator: Emulator
    noise: Noise
    training_labels: TrainingLabels
    info: ModelInfo


def write_parts(model: ModelParts, path: str | os.PathLike[str]) -> None:
    """Write a model to ``path``; the file appears whole or not at all."""
    arrays, header = _to_arrays(model)
    header_text = json.dumps(header, sort_keys=True, default=_plain)
    stored = {name: _storable(array) for name, array in arrays.items()}
    stored["header"] = np.asarray(np.bytes_(header_text.encode()))
    write_hdf5(path, stored, {"format": FORMAT, "schema": SCHEMA})


def read_parts(path: str | os.PathLike[str]) -> ModelParts:
    """Read a model file.

    Raises
    ------
    SlamError
        If it is missing, truncated, damaged (a checksum differs), no model file, of a newer schema, or holds what no
        training makes: shapes that disagree, numbers that are not finite, widths that are not positive.
    """
    source = existing_file(path)
    try:
        contents = read_hdf5(source)
        if not _is_text(contents.attributes.get("format"), FORMAT):
            raise SlamError(f"{source} is an HDF5 file but not a slamjax model; give one that slamjax train wrote")
        schema = int(contents.attributes["schema"])
        if schema > SCHEMA:
            raise SlamError(
                f"{source} has model schema {schema}; this slamjax reads up to {SCHEMA}: upgrade slamjax to read it"
            )
        arrays = contents.arrays
        if contents.sealed is Seal.NONE:
            _check_arrays(contents, source)
        header = json.loads(bytes(arrays.pop("header")).decode())
        parts = _from_arrays(arrays, header)
        check_parts(parts.emulator, parts.noise, parts.training_labels, parts.info)
        return parts
    except SlamError as error:
        raise SlamError(str(error) if str(source) in str(error) else f"{source} is no sound model: {error}") from error
    except (OSError, RuntimeError, ArithmeticError, LookupError, AttributeError, ValueError, TypeError) as error:
        raise SlamError(f"{source} cannot be read as a slamjax model ({error}); it is truncated or damaged") from error
    except MemoryError as error:
        raise SlamError(f"{source} does not fit into memory; it is damaged, or a model for a larger machine") from error


def _is_text(given: Any, text: str) -> bool:
    return isinstance(given, str) and given == text


def _check_arrays(contents: Contents, source: Path) -> None:
    """Files of an older slamjax without a seal have a checksum of each array."""
    for name, values in contents.arrays.items():
        if contents.digests[name] != _digest(values):
            raise SlamError(f"{source} is damaged: the checksum of {name!r} does not match; copy the file again")


def _without_infinity(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: None stands for it."""
    return {name: None if value == float("inf") else value for name, value in values.items()}


def _calibration(header: dict[str, Any]) -> Calibration:
    if "calibration" not in header:  # schema 1
        return Calibration(float(header["chi2_limit"]))
    values: dict[str, Any] = {n: float("inf") if v is None else v for n, v in header["calibration"].items()}
    names = {stored: name for name, stored in _STORED.items()}
    if "model_factor" in values:  # schemas 2 to 5
        stated = values.pop("model_factor") != 1
        values |= {"photons_as_stated": stated, "photon_chi2": float(stated)}
    return Calibration(**{names.get(key, key): value for key, value in values.items()})


def _calibration_arrays(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """None each in files that were written before there was one; older readers pass over these arrays."""
    found: dict[str, Any] = {}
    for group, kind in _CALIBRATION_ARRAYS.items():
        values = {name: array if array.ndim else float(array) for name, array in _group(arrays, group).items()}
        found[group] = kind(**values) if values else None
    return found


def _plain(value: Any) -> Any:
    """A NumPy number as Python's, which is what JSON knows."""
    return value.item() if isinstance(value, np.generic) else str(value)


def _digest(values: Any) -> str:
    array = np.ascontiguousarray(values)
    return hashlib.sha256(f"{array.dtype.str}{array.shape}".encode() + array.tobytes()).hexdigest()


def _group(arrays: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """Arrays whose names begin with ``name/``, without it."""
    return {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}


def _storable(array: np.ndarray) -> np.ndarray:
    return np.char.encode(array, "utf-8") if array.dtype.kind == "U" else array


def _text(array: np.ndarray) -> np.ndarray:
    return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array


def _to_arrays(model: ModelParts) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    emulator, info = model.emulator, model.info
    if getattr(emulator, "kind", None) not in _EMULATORS:
        raise SlamError(f"a {type(emulator).__name__} cannot be saved; save the model it was made from")
    emulator_arrays, emulator_header = emulator.to_arrays()
    arrays = {f"emulator/{name}": array for name, array in emulator_arrays.items()}
    arrays |= {
        "scaling/center": emulator.scaling.center,
        "scaling/width": emulator.scaling.width,
        "domain/stars": model.training_labels.stars,
        "domain/low": model.training_labels.low,
        "domain/high": model.training_labels.high,
        "domain/reach": model.training_labels.max_distance,
        **({} if model.training_labels.metric is None else {"domain/metric": model.training_labels.metric}),
        "info/wave": info.wave,
        "info/cv_scores": info.cv_scores,
        "record/rows": info.record.rows,
        "record/digests": info.record.digests,
    }
    arrays |= {f"noise/{name}": array for name, array in vars(model.noise).items()}
    for group, columns in (
        ("identifiers", info.record.identifiers),
        ("pixels", {name: np.asarray(info.pixels[name]) for name in info.pixels.colnames}),
        ("candidates", {name: np.asarray(info.candidates[name]) for name in info.candidates.colnames}),
    ):
        arrays |= {f"{group}/{name}": column for name, column in columns.items()}
    calibration = dict(vars(info.calibration))
    for group in _CALIBRATION_ARRAYS:
        held = calibration.pop(group)
        arrays |= {
            f"{group}/{name}": np.asarray(values) for name, values in ({} if held is None else vars(held)).items()
        }
    header = emulator_header | {
        "emulator": emulator.kind,
        "label_names": info.label_names,
        "label_units": info.label_units,
        "label_log": emulator.scaling.log,
        "noise": model.noise.kind,
        "wave_unit": info.wave_unit,
        "medium": info.medium,
        "frame": info.frame,
        "fwhm": info.fwhm.tolist() if isinstance(info.fwhm, np.ndarray) else info.fwhm,
        "recipe": info.recipe.to_list(),
        "pixels": info.pixels.colnames,
        "candidates": info.candidates.colnames,
        "source": info.record.source,
        "has_errors": info.has_errors,
        "calibration": _without_infinity({_STORED.get(k, k): v for k, v in calibration.items()}),
        "provenance": info.provenance,
        "velocity_scale": info.velocity_scale,
        "flux_unit": info.flux_unit,
    }
    return {name: np.asarray(array) for name, array in arrays.items()}, header


def _from_arrays(arrays: dict[str, np.ndarray], header: dict[str, Any]) -> ModelParts:
    if not isinstance(header["recipe"], list):
        raise SlamError("its recipe is no list of steps")
    scaling = LabelScaling(arrays["scaling/center"], arrays["scaling/width"], tuple(header["label_log"]))
    kind = _EMULATORS[header.get("emulator", "kernel")]
    emulator: Emulator = kind.from_arrays(_group(arrays, "emulator"), header, scaling)
    domain = _group(arrays, "domain")
    domain["max_distance"] = domain.pop("reach")
    training_labels = TrainingLabels(**domain)  # with a metric from schema 7 on
    record = TrainingRecord(
        source=header["source"],
        rows=arrays["record/rows"],
        digests=_text(arrays["record/digests"]),
        identifiers={name: _text(column) for name, column in _group(arrays, "identifiers").items()},
    )
    info = ModelInfo(
        label_names=tuple(header["label_names"]),
        label_units=tuple(header["label_units"]),
        wave=arrays["info/wave"],
        wave_unit=header["wave_unit"],
        medium=header["medium"],
        frame=header["frame"],
        fwhm=np.asarray(header["fwhm"]) if isinstance(header["fwhm"], list) else header["fwhm"],
        recipe=Recipe.from_list(header["recipe"]),
        pixels=Table({name: _text(arrays[f"pixels/{name}"]) for name in header["pixels"]}),
        candidates=Table({name: _text(arrays[f"candidates/{name}"]) for name in header["candidates"]}),
        cv_scores=arrays["info/cv_scores"],
        record=record,
        has_errors=header["has_errors"],
        calibration=dataclasses.replace(_calibration(header), **_calibration_arrays(arrays)),
        provenance=header["provenance"],
        velocity_scale=float(header.get("velocity_scale", 1.0)),
        flux_unit=header.get("flux_unit"),
    )
    noise: Noise = _NOISES[header.get("noise", "diagonal")](**_group(arrays, "noise"))
    factor = header.get("calibration", {}).get("model_factor", 1)
    if factor != 1 and isinstance(noise, LowRankNoise):  # schemas 2 to 5 multiplied photon noise, too
        noise = noise.inflated(1, 1 / factor)
    return ModelParts(emulator, noise, training_labels, info)
