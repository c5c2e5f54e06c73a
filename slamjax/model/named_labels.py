"""Labels in physical units as users give them: by position, by name, or as columns of a table.

Everything that takes labels in physical units resolves them here. It happens on the host; what JAX traces passes
through unchanged.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from astropy import units as u
from astropy.table import Row, Table

from slamjax.errors import SlamError, SlamWarning
from slamjax.model.info import ModelInfo
from slamjax.spectra.columns import float_values
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.tables import as_table, is_dataframe
from slamjax.spectra.units import known_unit, label_unit
from slamjax.typing import Labels

#: Labels in physical units: an array (..., L) in the model's order, a mapping of names to values, or a table (Table,
#: DataFrame, Spectra) with a column per label.
LabelsLike: TypeAlias = Any
#: Units of plain numbers: astropy converts none into the other.
_NUMBERS = (u.dimensionless_unscaled, u.dex)
#: Part of a label's range by which rounding may leave it.
_ROUNDING = 1e-6


class LabelledModel(Protocol):
    """What `slamjax.Model` has of this."""

    @property
    def label_names(self) -> tuple[str, ...]: ...
    @property
    def label_range(self) -> np.ndarray: ...
    @property
    def info(self) -> ModelInfo: ...
    @property
    def host_emulator(self) -> Any: ...


def labels_of(model: LabelledModel, given: LabelsLike, named: Mapping[str, Any] | None = None) -> Labels | list[Any]:
    """Labels (..., L) in the model's units and order.

    Parameters
    ----------
    model : Model
    given : array (..., L), mapping, table, or None
        Quantities, and columns that state a unit, are converted. Values of a mapping are broadcast against each other.
        A table may have other columns, too.
    named : mapping of label to values, optional
        Instead of ``given``.

    Returns
    -------
    (..., L) array, of JAX where JAX arrays were given; lists with traced values are handed on

    Raises
    ------
    SlamError
        If a label is missing or unknown, a unit cannot be converted, or shapes disagree.
    """
    if given is not None and named:
        raise SlamError("labels are given both together and by name; give them in one way")
    columns = dict(named) if given is None and named else _columns(model, given)
    if columns is None:
        return _by_position(model, given)
    for name in columns:
        label_index(model, name)
    missing = [name for name in model.label_names if name not in columns]
    if missing:
        raise SlamError(f"label {', '.join(missing)} is not given; this model needs {', '.join(model.label_names)}")
    values = [
        in_unit(columns[name], unit, name) for name, unit in zip(model.label_names, model.info.label_units, strict=True)
    ]
    xp = jnp if any(isinstance(value, jax.Array) for value in values) else np
    try:
        return xp.stack(xp.broadcast_arrays(*values), axis=-1)
    except ValueError as error:
        shapes = ", ".join(f"{name} {value.shape}" for name, value in zip(model.label_names, values, strict=True))
        raise SlamError(f"labels have shapes that do not fit together: {shapes}") from error


def warn_outside(model: LabelledModel, labels: Any, *, reach: Any = 0.0, stacklevel: int = 2) -> None:
    """Warn of labels (..., L) beyond the training range; NaN and what JAX traces are passed over.

    Parameters
    ----------
    model : Model
    labels : (..., L) array
        In the model's units.
    reach : (..., L) array or float
        How far from the range they may be.
    stacklevel : int
        As of `warnings.warn`, counted from the caller.
    """
    if is_traced(model.host_emulator.intercept) or is_traced(labels):
        return
    values = np.asarray(labels, float).reshape(-1, len(model.label_names))
    low, high = model.label_range.T
    beyond = np.maximum(low - values, values - high) - np.reshape(
        np.broadcast_to(reach, np.shape(labels)), values.shape
    )
    outside = beyond > _ROUNDING * (high - low)
    if not outside.any():
        return
    told = []
    for k in np.flatnonzero(outside.any(axis=0)):
        name, unit = model.label_names[k], model.info.label_units[k]
        farthest = values[np.argmax(np.where(outside[:, k], beyond[:, k], -np.inf)), k]
        who = name if len(values) == 1 else f"{name} of {int(outside[:, k].sum())} of {len(values)} points"
        what = f"= {farthest:.6g}" if len(values) == 1 else f"(as far as {farthest:.6g})"
        told.append(f"{who} {what} is outside the training range {low[k]:.6g} to {high[k]:.6g} {unit}".rstrip())
    warnings.warn(
        f"{'; '.join(told)}: the model knows no such spectra, and what it predicts there means nothing",
        SlamWarning,
        stacklevel=stacklevel + 1,
    )


def label_index(model: LabelledModel, name: str) -> int:
    """Position of a label, by its name; raises SlamError if the model has none of it."""
    if name not in model.label_names:
        near = difflib.get_close_matches(str(name), model.label_names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SlamError(f"{name!r} is not a label of this model; it has {', '.join(model.label_names)}{hint}")
    return model.label_names.index(name)


def in_unit(values: Any, unit: str, name: str) -> Any:
    """Numbers of a label in the model's unit, as an array of floats; JAX arrays stay what they are.

    A Quantity is converted, a column of a table if both units are known; the masked are NaN.

    Raises
    ------
    SlamError
        For a unit that cannot be converted, or what holds no numbers.
    """
    if isinstance(values, jax.Array):
        return values if jnp.issubdtype(values.dtype, jnp.floating) else values.astype(float)
    try:
        own = known_unit(getattr(values, "unit", None)) if isinstance(values, np.ndarray) else None
        if isinstance(values, u.Quantity):
            numbers = float_values(values.value)
        else:
            numbers = float_values(values) if isinstance(values, np.ndarray) else np.asarray(values, dtype=float)
            own = own if known_unit(unit) is not None else None
    except (TypeError, ValueError):
        raise SlamError(f"{name!r} does not hold numbers") from None
    return numbers if own is None else np.asarray(_converted(numbers, own, unit, name), float)


def is_traced(values: Any) -> bool:
    """Whether any part of it is traced by JAX."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree_util.tree_leaves(values))


def _columns(model: LabelledModel, given: Any) -> dict[str, Any] | None:
    """Values by name, of a mapping all and of a table the model's labels; None for an array."""
    if given is None:
        raise SlamError(f"no labels are given; this model needs {', '.join(model.label_names)}")
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, Spectra):
        given = given.table
    if isinstance(given, Row):
        return {name: given[name] for name in given.colnames if name in model.label_names}
    if is_dataframe(given) or (isinstance(given, np.ndarray) and given.dtype.names):
        given = as_table(given, "the table of labels")
    if isinstance(given, Table):
        return {name: given[name] for name in given.colnames if name in model.label_names}
    if hasattr(given, "index") and hasattr(given, "to_dict"):  # a row of a DataFrame
        return {name: value for name, value in given.to_dict().items() if name in model.label_names}
    return None


def _by_position(model: LabelledModel, given: Any) -> Labels | list[Any]:
    """An array or list of labels in the model's order."""
    names, units = model.label_names, model.info.label_units
    if isinstance(given, list | tuple):
        if is_traced(given):
            return list(given)
        if len(given) == len(names) and any(isinstance(value, u.Quantity) for value in given):
            return labels_of(model, dict(zip(names, given, strict=True)))
    try:
        labels = given if isinstance(given, jax.Array | u.Quantity) else np.asarray(given, dtype=float)
    except (TypeError, ValueError) as error:
        raise SlamError(f"labels are not numbers ({error}); give {', '.join(names)}") from error
    if not labels.shape or labels.shape[-1] != len(names):
        raise SlamError(f"labels have shape {labels.shape}; their last axis must be {', '.join(names)}")
    if isinstance(labels, u.Quantity):
        return np.stack([in_unit(labels[..., k], units[k], name) for k, name in enumerate(names)], axis=-1)
    return labels


def _converted(numbers: np.ndarray, own: Any, unit: str, name: str) -> Any:
    wanted = known_unit(unit) or u.dimensionless_unscaled
    if own == wanted:
        return numbers
    if own.is_equivalent(wanted):
        return own.to(wanted, numbers)
    if label_unit(own) in _NUMBERS and label_unit(unit) in _NUMBERS:
        return numbers
    cure = "" if known_unit(unit) else "; give plain numbers"
    raise SlamError(f"{name!r} is given in {own}, but the model's label is in {unit or 'no unit'}{cure}")
