"""Labels that are known from elsewhere, with errors: checked, in the model's units and order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from slamjax.errors import SlamError
from slamjax.model.named_labels import LabelledModel, in_unit, label_index, warn_outside

#: Errors by which a known label may be outside the training range without a warning.
_FAR = 3.0

Known = Float[np.ndarray, "*batch label"]


def known_labels(model: LabelledModel, labels: Mapping[str, Any]) -> tuple[Known, Known]:
    """Values and errors (..., L); an unconstrained label of a star has 0 and infinity.

    Parameters
    ----------
    model : Model
    labels : mapping of label to (value, error)
        Numbers, arrays of N stars or Quantities. NaN, or an error that is not finite, leaves the label of that star
        unconstrained.

    Raises
    ------
    SlamError
        For a name that is not a label of the model, a unit that cannot be converted, or an error that is not positive.

    Warns
    -----
    SlamWarning
        Of values more than three errors outside the training range.
    """
    loc, scale = known_values(model, model.info.label_units, labels)
    warn_outside(model, np.where(np.isfinite(scale), loc, np.nan), reach=_FAR * scale, stacklevel=3)
    return loc, scale


def known_values(model: Any, units: Sequence[str], labels: Mapping[str, Any]) -> tuple[Known, Known]:
    """The same of anything that has ``label_names``, in these ``units``, without a look at any training range."""
    if not labels:
        raise SlamError("the prior names no label; leave it out or give {label: (value, error)}")
    for name in labels:
        label_index(model, name)
    pairs = [
        _value_and_error(name, labels[name], unit) if name in labels else (np.zeros(()), np.full((), np.inf))
        for name, unit in zip(model.label_names, units, strict=True)
    ]
    try:
        shape = np.broadcast_shapes(*(value.shape for value, _ in pairs))
    except ValueError:
        raise SlamError("the prior's labels have different numbers of stars; they must agree") from None
    loc, scale = (
        np.stack([np.broadcast_to(part, shape) for part in parts], axis=-1) for parts in zip(*pairs, strict=True)
    )
    return loc, scale


def value_and_error(name: str, pair: Any) -> tuple[Any, Any]:
    """The two parts of a known label."""
    if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
        raise SlamError(f"the prior of {name!r} is {pair!r}; give a pair (value, error)")
    value, error = pair
    return value, error


def _value_and_error(name: str, pair: Any, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation in the model's unit; an unconstrained star has 0 and infinity."""
    value, error = (in_unit(part, unit, name) for part in value_and_error(name, pair))
    try:
        value, error = np.broadcast_arrays(value, error)
    except ValueError:
        raise SlamError(f"the prior of {name!r} has {value.shape} values and {error.shape} errors") from None
    if np.any(error <= 0):
        raise SlamError(f"the prior of {name!r} has an error that is not positive; give standard deviations")
    constrained = np.isfinite(value) & np.isfinite(error)
    return np.where(constrained, value, 0), np.where(constrained, error, np.inf)
