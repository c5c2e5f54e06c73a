"""Model files: HDF5 with a schema version, checksums and provenance; data only, never a pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from typing import Any

import h5py
import numpy as np
from astropy.table import Table

from slamjax._util.files import atomic_path, existing_file
from slamjax._util.seal import BLOCK, is_whole, seal
from slamjax.emulators.base import Emulator
from slamjax.emulators.polynomial import PolynomialEmulator
from slamjax.emulators.scaling import LabelScaling
from slamjax.emulators.svr import KernelBlock, KernelEmulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.errors import SlamError
from slamjax.model.info import ModelInfo, TrainingRecord
from slamjax.noise.calibration import Calibration
from slamjax.noise.models import DiagonalNoise, LowRankNoise, Noise
from slamjax.preprocessing.recipe import Recipe

FORMAT = "slamjax model"
#: Raised when a reader of the old layout would misread the new one. 2: several noise models, named in the header.
#: 3: compressed emulators. 4: polynomial emulators, kernels of some labels.
SCHEMA = 4
#: Fields of `Calibration` whose names in files are older than those in the code.
_STORED = {"interval95_factor": "label_reach", "neighbour_distance": "spacing"}
_NOISES: dict[str, type[Any]] = {"diagonal": DiagonalNoise, "lowrank": LowRankNoise}


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
    with atomic_path(path) as temporary:
        with h5py.File(temporary, "w", userblock_size=BLOCK) as file:
            file.attrs["format"] = FORMAT
            file.attrs["schema"] = SCHEMA
            for name, array in arrays.items():
                options = {"compression": "gzip", "shuffle": True} if array.size > 4096 else {}
                stored = file.create_dataset(name, data=_storable(array), **options)
                stored.attrs["sha256"] = _digest(stored[()])
            text = json.dumps(header, sort_keys=True, default=_plain)
            stored = file.create_dataset("header", data=np.bytes_(text.encode()))
            stored.attrs["sha256"] = _digest(stored[()])
        seal(temporary)


def read_parts(path: str | os.PathLike[str]) -> ModelParts:
    """Read a model file.

    Raises
    ------
    SlamError
        If it is missing, truncated, damaged (a checksum differs), no model file, or of a newer schema.
    """
    source = existing_file(path)
    try:
        if not is_whole(source):
            raise SlamError(f"{source} is damaged: the checksum of the file does not match; copy the file again")
        with h5py.File(source, "r") as file:
            if file.attrs.get("format") != FORMAT:
                raise SlamError(f"{source} is an HDF5 file but not a slamjax model; give one that slamjax train wrote")
            schema = int(file.attrs["schema"])
            if schema > SCHEMA:
                raise SlamError(
                    f"{source} has model schema {schema}; this slamjax reads up to {SCHEMA}: upgrade slamjax to read it"
                )
            arrays: dict[str, np.ndarray] = {}
            file.visititems(lambda name, item: _collect(arrays, name, item, str(source)))
        header = json.loads(bytes(arrays.pop("header")).decode())
        return _from_arrays(arrays, header)
    except SlamError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise SlamError(f"{source} cannot be read as a slamjax model ({error}); it is truncated or damaged") from error


def _collect(arrays: dict[str, np.ndarray], name: str, item: Any, source: str) -> None:
    if isinstance(item, h5py.Dataset):
        values = item[()]
        if item.attrs.get("sha256") != _digest(values):
            raise SlamError(f"{source} is damaged: the checksum of {name!r} does not match; copy the file again")
        arrays[name] = values


def _without_infinity(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: None stands for it."""
    return {name: None if value == float("inf") else value for name, value in values.items()}


def _calibration(header: dict[str, Any]) -> Calibration:
    if "calibration" not in header:  # schema 1
        return Calibration(float(header["chi2_limit"]))
    found: dict[str, Any] = {n: float("inf") if v is None else v for n, v in header["calibration"].items()}
    names = {stored: name for name, stored in _STORED.items()}
    return Calibration(**{names.get(key, key): value for key, value in found.items()})


def _plain(value: Any) -> Any:
    """A NumPy number as Python's, which is what JSON knows."""
    return value.item() if isinstance(value, np.generic) else str(value)


def _digest(values: Any) -> str:
    array = np.ascontiguousarray(values)
    return hashlib.sha256(f"{array.dtype.str}{array.shape}".encode() + array.tobytes()).hexdigest()


def _storable(array: np.ndarray) -> np.ndarray:
    return np.char.encode(array, "utf-8") if array.dtype.kind == "U" else array


def _text(array: np.ndarray) -> np.ndarray:
    return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array


def _to_arrays(model: ModelParts) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    emulator, info = model.emulator, model.info
    arrays, emulator_header = _emulator_arrays(emulator)
    arrays |= {
        "scaling/center": emulator.scaling.center,
        "scaling/width": emulator.scaling.width,
        "emulator/intercept": emulator.intercept,
        "emulator/flux_mean": emulator.flux_mean,
        "emulator/flux_scale": emulator.flux_scale,
        "domain/stars": model.training_labels.stars,
        "domain/low": model.training_labels.low,
        "domain/high": model.training_labels.high,
        "domain/reach": model.training_labels.max_distance,
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
    header = emulator_header | {
        "label_names": info.label_names,
        "label_units": info.label_units,
        "label_log": emulator.scaling.log,
        "noise": next(name for name, kind in _NOISES.items() if isinstance(model.noise, kind)),
        "wave_unit": info.wave_unit,
        "medium": info.medium,
        "frame": info.frame,
        "fwhm": info.fwhm,
        "recipe": info.recipe.to_list(),
        "pixels": info.pixels.colnames,
        "candidates": info.candidates.colnames,
        "source": info.record.source,
        "has_errors": info.has_errors,
        "calibration": _without_infinity({_STORED.get(k, k): v for k, v in vars(info.calibration).items()}),
        "provenance": info.provenance,
    }
    return {name: np.asarray(array) for name, array in arrays.items()}, header


def _emulator_arrays(emulator: Emulator) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an emulator of each kind has beside what all have."""
    if isinstance(emulator, PolynomialEmulator):
        return {"emulator/basis": emulator.basis}, {"emulator": "polynomial", "exponents": emulator.exponents}
    if not isinstance(emulator, KernelEmulator):
        raise SlamError(f"a {type(emulator).__name__} cannot be saved; save the model it was made from")
    arrays = {"emulator/support": emulator.support}
    for name in ("order", "basis"):
        if getattr(emulator, name) is not None:
            arrays[f"emulator/{name}"] = getattr(emulator, name)
    for number, block in enumerate(emulator.blocks):
        arrays |= {f"emulator/block{number}/{name}": getattr(block, name) for name in ("gamma", "coef0", "dual")}
    blocks = [{"kernel": block.kernel, "degree": block.degree, "labels": block.labels} for block in emulator.blocks]
    return arrays, {"emulator": "kernel", "blocks": blocks}


def _emulator_of(arrays: dict[str, np.ndarray], header: dict[str, Any], scaling: LabelScaling) -> Emulator:
    common = {name: arrays[f"emulator/{name}"] for name in ("intercept", "flux_mean", "flux_scale")}
    match header.get("emulator", "kernel"):
        case "polynomial":
            exponents = tuple(tuple(int(power) for power in one) for one in header["exponents"])
            return PolynomialEmulator(scaling, arrays["emulator/basis"], **common, exponents=exponents)
        case "kernel":
            blocks = tuple(
                KernelBlock(
                    **{name: arrays[f"emulator/block{number}/{name}"] for name in ("gamma", "coef0", "dual")},
                    kernel=block["kernel"],
                    degree=int(block["degree"]),
                    labels=tuple(int(label) for label in block.get("labels", ())),  # from schema 4 on
                )
                for number, block in enumerate(header["blocks"])
            )
            return KernelEmulator(
                scaling,
                arrays["emulator/support"],
                blocks,
                **common,
                order=arrays.get("emulator/order"),
                basis=arrays.get("emulator/basis"),
            )
    raise ValueError(f"unknown emulator {header['emulator']!r}")


def _from_arrays(arrays: dict[str, np.ndarray], header: dict[str, Any]) -> ModelParts:
    scaling = LabelScaling(arrays["scaling/center"], arrays["scaling/width"], tuple(header["label_log"]))
    emulator = _emulator_of(arrays, header, scaling)
    training_labels = TrainingLabels(*(arrays[f"domain/{name}"] for name in ("stars", "low", "high", "reach")))
    prefix = "identifiers/"
    record = TrainingRecord(
        source=header["source"],
        rows=arrays["record/rows"],
        digests=_text(arrays["record/digests"]),
        identifiers={
            name.removeprefix(prefix): _text(column) for name, column in arrays.items() if name.startswith(prefix)
        },
    )
    info = ModelInfo(
        label_names=tuple(header["label_names"]),
        label_units=tuple(header["label_units"]),
        wave=arrays["info/wave"],
        wave_unit=header["wave_unit"],
        medium=header["medium"],
        frame=header["frame"],
        fwhm=header["fwhm"],
        recipe=Recipe.from_list(header["recipe"]),
        pixels=Table({name: _text(arrays[f"pixels/{name}"]) for name in header["pixels"]}),
        candidates=Table({name: _text(arrays[f"candidates/{name}"]) for name in header["candidates"]}),
        cv_scores=arrays["info/cv_scores"],
        record=record,
        has_errors=bool(header["has_errors"]),
        calibration=_calibration(header),
        provenance=header["provenance"],
    )
    kind = _NOISES[header.get("noise", "diagonal")]
    noise: Noise = kind(**{field.name: arrays[f"noise/{field.name}"] for field in dataclasses.fields(kind)})
    return ModelParts(emulator, noise, training_labels, info)
