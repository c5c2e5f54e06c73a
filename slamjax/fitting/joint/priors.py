"""Priors of a joint fit: labels of single stars that are known from elsewhere, and functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from slamjax.errors import SlamError
from slamjax.fitting.prior import Prior, StarPrior
from slamjax.model.joint import JointModel
from slamjax.model.known_labels import known_values


def known_of_stars(model: JointModel, given: Mapping[str, Any], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Values and errors (n, L) of labels that are known of n stars; 0 and infinity of one that is not."""
    value, error = known_values(model, model.label_units, given)
    try:
        whole = (n, len(model.label_names))
        return np.broadcast_to(value, whole), np.broadcast_to(error, whole)
    except ValueError:
        raise SlamError(
            f"the prior has {len(value)} values of a label; give one, or one for each of {n} stars"
        ) from None


def star_prior(model: JointModel, given: Any, n: int) -> tuple[Prior | None, StarPrior | None]:
    """The prior, and what it has of each of n stars."""
    if given is None:
        return None, None
    value, inverse_variance = np.zeros((n, len(model.label_names))), np.zeros((n, len(model.label_names)))
    functions: tuple[Any, ...] = ()
    if callable(given):
        functions = (given,)
    elif isinstance(given, Mapping):
        value, error = known_of_stars(model, given, n)
        inverse_variance = 1 / np.square(error)
    else:
        raise SlamError(f"prior is {given!r}; give {{label: (value, error)}} or a function ln p of the labels")
    return Prior((), functions), StarPrior(np.ones(n), value, inverse_variance)  # type: ignore[arg-type]
