"""Values of hyper-parameters: what may be given, and checks of single values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from slamjax.errors import SlamError

#: A number, several to choose among, or (random search) an object with ``rvs``, such as ``scipy.stats.loguniform``.
Choice: TypeAlias = Any


def options_of(choice: Choice) -> Any:
    """The values of a choice as a list, or its distribution."""
    if hasattr(choice, "rvs"):
        return choice
    if isinstance(choice, str) or np.ndim(choice) == 0:
        return [choice]
    if len(choice) == 0:
        raise SlamError("a list of hyper-parameters is empty; give at least one value")
    return list(choice)


def check_choice(name: str, choice: Choice, check: Callable[[str, Any], Any]) -> None:
    """Check every value; draws of a distribution are checked in the search."""
    options = options_of(choice)
    if isinstance(options, list):
        for value in options:
            check(name, value)


def positive(name: str, value: Any) -> float:
    """The value as a number above 0."""
    number = _number(name, value)
    if number <= 0:
        raise SlamError(f"{name} is {number:g}; give a number above 0")
    return number


def not_negative(name: str, value: Any) -> float:
    """The value as a number of 0 or more."""
    number = _number(name, value)
    if number < 0:
        raise SlamError(f"{name} is {number:g}; give 0 or more")
    return number


def valid_gamma(name: str, value: Any) -> float | str:
    """A number above 0, "scale" or "auto"."""
    if not isinstance(value, str):
        return positive(name, value)
    if value not in ("scale", "auto"):
        raise SlamError(f"{name} is {value!r}; give a number above 0, 'scale' or 'auto'")
    return value


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise SlamError(f"{name} is {value!r}; give a number") from error
    if not np.isfinite(number):
        raise SlamError(f"{name} is {value}; give a finite number")
    return number
