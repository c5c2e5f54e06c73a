"""Posteriors as ArviZ InferenceData and NetCDF files: the only module that knows ArviZ."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slamjax._util.files import check_writable
from slamjax.errors import SlamError
from slamjax.sampling.diagnostics import Diagnostics

if TYPE_CHECKING:
    from arviz import InferenceData

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


def write_netcdf(posterior: Any, path: Path) -> None:
    """Write a `Posterior`."""
    to_inference_data(posterior).to_netcdf(str(path), engine="h5netcdf")


def read_netcdf(path: Path) -> dict[str, Any]:
    """The fields of the `Posterior` in a file."""
    try:
        data = _arviz().from_netcdf(str(path), engine="h5netcdf")
        data.load()
        data.close()
    except (OSError, ValueError, KeyError) as error:
        raise SlamError(f"{path} cannot be read as NetCDF ({error}); is it complete?") from error
    if not {"posterior", "sample_stats", "constant_data"} <= set(data.groups()):
        raise SlamError(f"{path} is not a posterior written by slamjax: it lacks groups; give another file")
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
        arviz = importlib.import_module("arviz")
        importlib.import_module("h5netcdf")
    except ImportError as error:
        raise SlamError(
            f"posterior files need ArviZ and h5netcdf ({error}); install them with: pip install 'slamjax[posteriors]'"
        ) from error
    if not hasattr(arviz, "InferenceData"):  # ArviZ 1 has other functions under the same names
        raise SlamError(
            f"posterior files need ArviZ below 1, not {arviz.__version__}; pip install 'slamjax[posteriors]' brings it"
        )
    return arviz


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
