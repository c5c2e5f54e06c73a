"""Posteriors as ArviZ InferenceData and NetCDF files: the only module that knows ArviZ."""

from __future__ import annotations

import importlib
import io
import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slamjax._util.files import atomic_path, check_writable
from slamjax._util.seal import MARK, Seal, read_seal_at_end, sealed_at_end
from slamjax.errors import SlamError
from slamjax.sampling.diagnostics import Diagnostics

if TYPE_CHECKING:
    from arviz import InferenceData

#: Bytes of arrays that any file may declare, and bytes per byte of the file beyond that.
_SMALL, _MOST_PER_BYTE = 2**26, 100
#: Prefix of attributes that are neither text nor number.
_AS_JSON = "json:"
#: Attributes that ArviZ adds beside our own provenance.
_ARVIZ_ATTRS = frozenset(
    {"created_at", "arviz_version", "creation_library", "creation_library_version", "creation_library_language"}
)
#: Prefix of the variables that hold `Posterior.stars`.
_STAR = "star_"
#: Attribute with the order of these variables, a name per line.
_ORDER = "star_columns"


def check_posterior_path(path: str | os.PathLike[str]) -> None:
    """Raise unless a posterior can be written to a file; ask before long work.

    Parameters
    ----------
    path : path

    Raises
    ------
    SlamError
        If no file can be written there, or ArviZ or h5netcdf is not installed.

    Examples
    --------
    >>> from slamjax.sampling import check_posterior_path
    >>> check_posterior_path("posterior.nc")
    """
    check_writable(path)
    _arviz()


def to_inference_data(posterior: Any) -> InferenceData:
    """A `Posterior` as groups posterior, sample_stats and constant_data; dimension star has the rows of the input."""
    names, quality = posterior.label_names, posterior.diagnostics
    per_star, per_label = ["star"], ["star", "label"]
    constant = {
        "flags": posterior.flags,
        "khat": posterior.khat,
        "sampler": posterior.sampler.astype(str),
        "rhat": quality.rhat,
        "ess_bulk": quality.ess_bulk,
        "ess_tail": quality.ess_tail,
        **{f"{_STAR}{name}": values for name, values in posterior.stars.items()},
    }
    result = _arviz().from_dict(
        posterior={name: posterior[name] for name in names},
        sample_stats={"lp": posterior.log_density, "diverging": posterior.diverging},
        constant_data=constant,
        coords={"star": posterior.stars["row"], "label": list(names)},
        dims=dict.fromkeys((*names, "lp", "diverging"), per_star)
        | {name: per_label if np.ndim(values) == 2 else per_star for name, values in constant.items()},
    )
    for name, unit in zip(names, posterior.label_units, strict=True):
        result.posterior[name].attrs["unit"] = unit
    # some versions of h5netcdf give variables back by name
    result.constant_data.attrs[_ORDER] = "\n".join(posterior.stars)
    result.posterior.attrs.update({key: _to_attr(value) for key, value in posterior.attrs.items()})
    return result


def write_netcdf(posterior: Any, path: str | os.PathLike[str]) -> None:
    """Write a `Posterior`; the file appears whole or not at all.

    It is made in memory, because HDF5's library can end a process that closes a file on a full disk, and sealed,
    because it can hang on a damaged one.
    """
    import h5netcdf
    from xarray.backends import H5NetCDFStore

    data = to_inference_data(posterior)
    memory = io.BytesIO()
    with h5netcdf.File(memory, "w") as file:
        file.attrs["seal"] = MARK
        for group in data.groups():
            dataset = data[group]
            for name in dataset.variables:
                dataset[name].encoding = {"zlib": True} if dataset[name].dtype.kind in "fiub" else {}
            dataset.dump_to_store(H5NetCDFStore(file.create_group(group), mode="a"))
    with atomic_path(path) as temporary:
        temporary.write_bytes(sealed_at_end(memory.getvalue()))


def read_netcdf(path: Path) -> dict[str, Any]:
    """The fields of the `Posterior` in a file."""
    if read_seal_at_end(path) is Seal.BROKEN:
        raise SlamError(
            f"{path} is damaged: the checksum of the file does not match; copy it again, or, if another program "
            "changed it, read it with ArviZ"
        )
    try:
        data = _arviz().from_netcdf(str(path), engine="h5netcdf")
        _check_size(data, path)
        data.load()
        data.close()
        if not {"posterior", "sample_stats", "constant_data"} <= set(data.groups()):
            raise SlamError(f"{path} is not a posterior written by slamjax: it lacks groups; give another file")
        fields = _fields(data)
        _check_shapes(fields, path)
    except SlamError:
        raise
    except Exception as error:  # of a file without a seal, or of another program: errors of many types
        raise SlamError(f"{path} cannot be read as NetCDF ({error}); is it complete?") from error
    return fields


def _check_size(data: Any, path: Path) -> None:
    """Raise SlamError if the file declares more than it can hold."""
    declared = sum(data[group].nbytes for group in data.groups())
    if declared > _SMALL + _MOST_PER_BYTE * path.stat().st_size:
        raise SlamError(
            f"{path} declares arrays of {declared / 2**30:.3g} GiB, more than a file of its size can hold; it is "
            "damaged"
        )


def _check_shapes(fields: dict[str, Any], path: Path) -> None:
    """Raise SlamError unless all arrays are of the same stars, draws and labels."""
    labels = fields["labels"]
    n_stars, n_labels = labels.shape[2:]
    wanted = {
        "log_density": labels.shape[:3],
        "diverging": labels.shape[:3],
        **dict.fromkeys(("khat", "sampler", "flags"), (n_stars,)),
    }
    given = {name: fields[name].shape for name in wanted}
    given |= {name: values.shape for name, values in vars(fields["diagnostics"]).items()}
    wanted |= dict.fromkeys(vars(fields["diagnostics"]), (n_stars, n_labels))
    given |= {f"{_STAR}{name}": values.shape[:1] for name, values in fields["stars"].items()}
    wanted |= {f"{_STAR}{name}": (n_stars,) for name in fields["stars"]}
    for name, shape in wanted.items():
        if given[name] != shape:
            raise SlamError(f"{path}: {name} has shape {given[name]}, not {shape}; it is damaged")
    numbers = {name: fields[name] for name in ("labels", "log_density", "khat")} | vars(fields["diagnostics"])
    for name, values in numbers.items():
        if values.dtype.kind != "f":
            raise SlamError(f"{path}: {name} holds {values.dtype} instead of numbers; it is damaged")
    if not np.issubdtype(fields["flags"].dtype, np.integer) or "row" not in fields["stars"]:
        raise SlamError(f"{path} is not a posterior written by slamjax: it lacks flags or rows; give another file")


def _fields(data: Any) -> dict[str, Any]:
    posterior, constant = data.posterior, data.constant_data
    names = tuple(str(name) for name in constant["label"].values)
    return {
        "label_names": names,
        "label_units": tuple(str(posterior[name].attrs["unit"]) for name in names),
        "labels": np.stack([posterior[name].values for name in names], axis=-1),
        "log_density": data.sample_stats["lp"].values,
        "diverging": data.sample_stats["diverging"].values.astype(bool),
        "diagnostics": Diagnostics(*(constant[name].values for name in ("rhat", "ess_bulk", "ess_tail"))),
        "khat": constant["khat"].values,
        "sampler": constant["sampler"].values.astype(str),
        "flags": constant["flags"].values,
        "stars": {name: _as_text(constant[f"{_STAR}{name}"].values) for name in _star_columns(constant)},
        "attrs": {key: _from_attr(value) for key, value in posterior.attrs.items() if key not in _ARVIZ_ATTRS},
    }


def _star_columns(constant: Any) -> list[str]:
    """Names of `Posterior.stars` in the order in which they were written."""
    names = [str(name).removeprefix(_STAR) for name in constant.data_vars if str(name).startswith(_STAR)]
    order = constant.attrs.get(_ORDER, "").split("\n")
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def _arviz() -> Any:
    """ArviZ, if all that posterior files need is there."""
    try:
        with warnings.catch_warnings():  # once a day ArviZ announces its next generation, which is kept out below
            warnings.filterwarnings("ignore", r"\s*ArviZ is undergoing", FutureWarning)
            try:
                arviz = importlib.import_module("arviz")
            except OSError:  # it writes into the user's cache folder as it is imported
                arviz = _import_with_other_cache("arviz")
        importlib.import_module("h5netcdf")
    except OSError as error:
        raise SlamError(f"posterior files need ArviZ, which cannot be loaded: {error}") from error
    except ImportError as error:
        raise SlamError(
            f"posterior files need ArviZ and h5netcdf ({error}); install them with: pip install 'slamjax[posteriors]'"
        ) from error
    if not hasattr(arviz, "InferenceData"):  # ArviZ 1 has other functions under the same names
        raise SlamError(
            f"posterior files need ArviZ below 1, not {arviz.__version__}; pip install 'slamjax[posteriors]' brings it"
        )
    return arviz


def _import_with_other_cache(name: str) -> Any:
    """A module whose import writes into the user's cache folder, where that is read-only or full."""
    variable = "XDG_CACHE_HOME"
    before = os.environ.get(variable)
    with tempfile.TemporaryDirectory(prefix="slamjax-") as folder:
        os.environ[variable] = folder
        try:
            return importlib.import_module(name)
        finally:
            if before is None:
                del os.environ[variable]
            else:
                os.environ[variable] = before


def _as_text(values: np.ndarray) -> np.ndarray:
    return values.astype(str) if values.dtype.kind == "O" else values


def _to_attr(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else _AS_JSON + json.dumps(value)


def _from_attr(value: Any) -> Any:
    """The attribute as it was before `_to_attr`, and before NetCDF made it NumPy's."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str) and value.startswith(_AS_JSON):
        return json.loads(value.removeprefix(_AS_JSON))
    return value
