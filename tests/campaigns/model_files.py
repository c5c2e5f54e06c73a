"""Model files: damaged at random, and made to be wrong under a valid seal. Each is refused, or the model is the same.

What is crafted keeps the seal: HDF5 that declares terabytes, that leads out of the file, or that holds what no training
makes. Values that are wrong but possible (another coefficient) cannot be told from right ones and are not tried.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from helpers import DATA
from models import giants_model, held_out, quadratic_model, searched_model

from campaigns.frame import Campaign, Outcome, Report, judged
from campaigns.mutations import damaged
from slamjax._util.seal import seal
from slamjax.fitting import fit
from slamjax.model import Model
from slamjax.noise import LowRankNoise
from slamjax.views import describe

_OLD = sorted((DATA / "old_models").glob("*.h5"))
#: Arrays whose values must be above 0, or not negative: what zeros and negative numbers are tried in.
_POSITIVE = ("scaling/width", "flux_scale", "gamma")
_NOT_NEGATIVE = ("model_variance", "photon_scale", "domain/reach", "emulator/order")
_TABLES = ("info/cv_scores", "pixels/", "candidates/", "record/", "identifiers/")


def prepare(folder: Path) -> None:
    giants_model().write(folder / "svr.h5")
    searched_model().write(folder / "searched.h5")
    quadratic_model().write(folder / "quadratic.h5")
    model = giants_model()
    n = model.wave.size
    rng = np.random.default_rng(0)
    noise = LowRankNoise(
        model.noise.model_variance, rng.normal(0, 1e-3, (n, 4)), np.ones(n), rng.normal(0, 0.1, (n, 2))
    )
    Model(model.host_emulator, noise, model.training_labels, model.info).write(folder / "lowrank.h5")
    for path in _OLD:
        shutil.copy(path, folder)


@cache
def _files(folder: Path) -> list[Path]:
    return [*(folder / f"{name}.h5" for name in ("svr", "searched", "quadratic", "lowrank"))]


@cache
def _expected(path: Path) -> tuple[Any, Any]:
    return _used(Model.read(path))


def _used(model: Model) -> tuple[Any, Any]:
    """What a model says of some stars: fluxes, and a fit's table."""
    stars = held_out()[:2]
    table = fit(model, stars)
    fitted = [np.asarray(table[name]) for name in (*model.label_names, "chi2", "flags", "teff_err", "teff_err95")]
    return np.asarray(model.emulator(held_out().values(model.label_names))), fitted


def attempt(number: int, folder: Path) -> Report:
    rng = np.random.default_rng(number)
    target = folder / "attempt.h5"
    target.unlink(missing_ok=True)
    if number % 5 == 0:  # sealed files
        source = _files(folder)[int(rng.integers(4))]
        target.write_bytes(damaged(source.read_bytes(), rng))
        return judged(lambda: _same(target, source), named=target.name)
    if number % 50 == 1:  # an older slamjax's without a seal
        source = folder / _OLD[int(rng.integers(len(_OLD)))].name
        target.write_bytes(damaged(source.read_bytes(), rng))
        return judged(lambda: _read_only(target), named=target.name)
    source = _files(folder)[int(rng.integers(4))]
    shutil.copy(source, target)
    what = _craft(target, rng, folder)
    seal(target)
    report = judged(lambda: _same(target, source), named=target.name)
    return Report(report.outcome, f"{source.stem}: {what}: {report.detail}")


def _read_only(target: Path) -> Report:
    describe(Model.read(target))
    return Report(Outcome.SAME)


def _same(target: Path, source: Path) -> Report:
    model = Model.read(target)
    describe(model)
    flux, fitted = _used(model)
    known, expected = _expected(source)
    same = np.array_equal(flux, known, equal_nan=True)
    same &= all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(fitted, expected, strict=True))
    return Report(Outcome.SAME if same else Outcome.WRONG, "loaded")


def _craft(path: Path, rng: np.random.Generator, folder: Path) -> str:
    """Change the file in one of many ways; returns which."""
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        if rng.random() < 0.35:
            return _craft_header(file, rng)
        if rng.random() < 0.05:
            return _craft_attributes(file, rng)
        name = str(rng.choice([one for one in names if one != "header"]))
        change = _CHANGES[int(rng.integers(len(_CHANGES)))]
        change(file, name, rng, folder)
        return f"{name}: {change.__name__.strip('_')}"


def _put(file: h5py.File, name: str, values: Any, **options: Any) -> None:
    del file[name]
    file.create_dataset(name, data=values, **options)


def _change_one(file: h5py.File, name: str, rng: np.random.Generator, value: float) -> None:
    if file[name].size and file[name].dtype.kind == "f" and not any(part in name for part in _TABLES):
        values = np.array(file[name][()], float)
        values.reshape(-1)[int(rng.integers(values.size))] = value
        _put(file, name, values)


def _nan(file, name, rng, folder):
    _change_one(file, name, rng, np.nan)


def _infinite(file, name, rng, folder):
    if "model_variance" not in name:
        _change_one(file, name, rng, rng.choice([np.inf, -np.inf]))


def _zero(file, name, rng, folder):
    name = _one_of(file, _POSITIVE, rng)
    _put(file, name, np.zeros_like(file[name][()]))


def _negative(file, name, rng, folder):
    name = _one_of(file, (*_POSITIVE, *_NOT_NEGATIVE), rng)
    _put(file, name, -1 - np.abs(file[name][()]))


def _one_of(file: h5py.File, endings: tuple[str, ...], rng: np.random.Generator) -> str:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if name.endswith(endings) else None)
    return str(rng.choice(names))


def _shorter(file, name, rng, folder):
    if file[name].ndim and len(file[name]):
        _put(file, name, file[name][:-1])


def _longer(file, name, rng, folder):
    if file[name].ndim and len(file[name]):
        _put(file, name, np.concatenate([file[name][:], file[name][:1]]))


def _transposed(file, name, rng, folder):
    if file[name].ndim > 1 and len(set(file[name].shape)) > 1:
        _put(file, name, np.swapaxes(file[name][()], 0, -1))


def _more_axes(file, name, rng, folder):
    _put(file, name, file[name][()][None] if rng.random() < 0.5 else np.asarray(file[name][()]).reshape(-1)[..., None])


def _empty(file, name, rng, folder):
    _put(file, name, np.zeros(0))


def _scalar(file, name, rng, folder):
    _put(file, name, 1.0) if file[name].ndim else _put(file, name, [1.0, 2.0])


def _missing(file, name, rng, folder):
    del file[name]


def _unknown_array(file, name, rng, folder):
    file.create_dataset(f"noise/{name}", data=[1.0])


def _text(file, name, rng, folder):
    if file[name].dtype.kind != "S":
        _put(file, name, np.full(file[name].shape, b"nan"))


def _complex(file, name, rng, folder):
    _put(file, name, np.ones(file[name].shape, complex))


def _compound(file, name, rng, folder):
    _put(file, name, np.zeros(file[name].shape, [("a", float), ("b", "S3")]))


def _objects(file, name, rng, folder):
    del file[name]
    kind = [h5py.string_dtype(), h5py.ref_dtype, h5py.vlen_dtype(float), np.dtype("V8")][int(rng.integers(4))]
    file.create_dataset(name, (3,), kind)


def _subarrays(file, name, rng, folder):
    del file[name]
    file.create_dataset(name, (3,), np.dtype((float, (2, 2))))


def _no_space(file, name, rng, folder):
    _put(file, name, h5py.Empty("f8"))


def _terabytes(file, name, rng, folder):
    del file[name]
    shape = [(10**12,), (10**6, 10**6), (2**62, 2, 2), (4 * 10**8,)][int(rng.integers(4))]
    file.create_dataset(name, shape, "f8", chunks=(1000,) + (1,) * (len(shape) - 1))


def _compressed_gigabytes(file, name, rng, folder):
    """Gigabytes of zeros in some megabytes."""
    del file[name]
    data = file.create_dataset(name, (2**28,), "f8", chunks=(2**22,), compression="gzip", compression_opts=1)
    data[: 2**22] = 0.0


def _huge_chunk(file, name, rng, folder):
    del file[name]
    file.create_dataset(name, (10,), "f8", chunks=(2**28,), maxshape=(None,))


def _long_strings(file, name, rng, folder):
    del file[name]
    file.create_dataset(name, (3,), f"S{2**31 - 1}", chunks=(1,))


def _external_file(file, name, rng, folder):
    shape = file[name].shape
    del file[name]
    outside = folder / "outside.bin"
    outside.write_bytes(bytes(8 * max(1, int(np.prod(shape)))))
    file.create_dataset(name, shape or (1,), "f8", external=[(str(outside), 0, h5py.h5f.UNLIMITED)])


def _external_pipe(file, name, rng, folder):
    pipe = folder / "pipe"
    if not pipe.exists():
        os.mkfifo(pipe)
    del file[name]
    file.create_dataset(name, (8,), "f8", external=[(str(pipe), 0, 64)])


def _virtual(file, name, rng, folder):
    del file[name]
    layout = h5py.VirtualLayout(shape=(8,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(folder / "svr.h5"), "info/wave", shape=(61,))[:8]
    file.create_virtual_dataset(name, layout)


def _external_link(file, name, rng, folder):
    del file[name]
    file[name] = h5py.ExternalLink(str(folder / "svr.h5"), rng.choice([name, "/"]))


def _soft_link(file, name, rng, folder):
    del file[name]
    file[name] = h5py.SoftLink(str(rng.choice([f"/{name}", "/", "/info", "/info/wave", "/nowhere"])))


def _loop(file, name, rng, folder):
    file[f"{name}_loop"] = file[str(rng.choice(["/", "/emulator", "/info"]))]


def _group(file, name, rng, folder):
    del file[name]
    file.create_group(name)


def _deep_groups(file, name, rng, folder):
    group = file
    for _ in range(2000):
        group = group.create_group("a")


def _named_type(file, name, rng, folder):
    del file[name]
    file[name] = np.dtype("f8")


_CHANGES: list[Callable[..., None]] = [
    _nan, _infinite, _zero, _negative, _shorter, _longer, _transposed, _more_axes, _empty, _scalar, _missing,
    _unknown_array, _text, _complex, _compound, _objects, _subarrays, _no_space, _terabytes, _compressed_gigabytes,
    _huge_chunk, _long_strings, _external_file, _external_pipe, _virtual, _external_link, _soft_link, _loop, _group,
    _deep_groups, _named_type,
]  # fmt: skip

_HEADER_VALUES: list[Any] = [
    "", "x", -1, 0.5, 10**30, [], [[]], [1, 2], ["a"] * 7, [None], {}, {"a": 1}, [{}], "9" * 5000, float("nan"),
    [float("nan")] * 4, True,
]  # fmt: skip
#: Keys of the header whose other values are possible ones: only what is of a wrong kind is tried.
_ANY_TEXT = {"source": str, "provenance": dict, "has_errors": bool}


def _craft_header(file: h5py.File, rng: np.random.Generator) -> str:
    text = bytes(file["header"][()]).decode()
    header = json.loads(text)
    key = str(rng.choice(list(header)))
    value = _HEADER_VALUES[int(rng.integers(len(_HEADER_VALUES)))]
    if isinstance(value, _ANY_TEXT.get(key, type(None))) or (key == "fwhm" and value in (0.5, 10**30, True)):
        value = -1
    if key == "recipe" and value == []:
        value = "x"
    kind = rng.integers(6)
    if kind == 0:
        del header[key]
    elif kind == 1 and isinstance(header[key], dict) and header[key] and key != "provenance":
        key = f"{key}/{inner}" if (inner := str(rng.choice(list(header[key])))) else key
        header[key.split("/")[0]][inner] = value if not isinstance(value, float) or np.isnan(value) else -1
    elif kind == 2:
        text = ["[" * 200_000, "{" * 10, "", "null", "[]", '"' + "\\ud800" + '"', "9" * 10_000][int(rng.integers(7))]
        _put(file, "header", np.bytes_(text.encode()))
        return f"header is {text[:20]!r}"
    else:
        header[key] = value
    _put(file, "header", np.bytes_(json.dumps(header).encode()))
    return f"header {key} = {str(value)[:40]!r}"


def _craft_attributes(file: h5py.File, rng: np.random.Generator) -> str:
    name = str(rng.choice(["format", "schema"]))
    values = [b"x", 99, -1, [1, 2], np.zeros((3, 3)), h5py.Empty("f8"), "slamjax model\x00", float("nan"), 10**30]
    value = values[int(rng.integers(len(values) - 1))]
    file.attrs[name] = value
    return f"attribute {name} = {value!r}"


CAMPAIGN = Campaign("model files", attempt, prepare, tried=1000, short=60)
