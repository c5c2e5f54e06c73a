"""Priors of a joint fit: labels of single stars that are known from elsewhere, and functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from slamjax.errors import SlamError
from slamjax.fitting.prior import Prior, StarPrior
from slamjax.model.joint import JointModel


def star_prior(model: JointModel, given: Any, n: int) -> tuple[Prior | None, StarPrior | None]:
    """The prior, and what it has of each of n stars."""
    if given is None:
        return None, None
    names = model.label_names
    value, weight = np.zeros((n, len(names))), np.zeros((n, len(names)))
    functions: tuple[Any, ...] = ()
    if callable(given):
        functions = (given,)
    elif isinstance(given, Mapping):
        for name, pair in given.items():
            if name not in names:
                raise SlamError(f"the prior names {name!r}; the labels are {', '.join(names)}")
            try:
                known, error = (np.broadcast_to(np.asarray(part, float), (n,)) for part in pair)
            except (TypeError, ValueError):
                raise SlamError(
                    f"the prior of {name!r} is {pair!r}; give (value, error), numbers or one for each of {n} stars"
                ) from None
            sound = np.isfinite(known) & np.isfinite(error)
            if np.any(sound & ~(error > 0)):
                raise SlamError(f"the prior of {name!r} has an error that is not above 0")
            k = names.index(name)
            value[:, k], weight[:, k] = (
                np.where(sound, known, 0),
                np.where(sound, 1 / np.square(np.where(sound, error, 1)), 0),
            )
    else:
        raise SlamError(f"prior is {given!r}; give {{label: (value, error)}} or a function ln p of the labels")
    return Prior((), functions), StarPrior(np.ones(n), value, weight)  # type: ignore[arg-type]
