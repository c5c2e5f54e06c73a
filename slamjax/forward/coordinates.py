"""How nuisances stand among the parameters of a fit: the value in physical units of a parameter, and back.

Parameters are such that a spectrum depends on them smoothly and to first order: widths are squared, and a resolving
power R counts by σ² of the Gaussian that takes the model's own R₀ to it,

    σ² = (c / 2 √(2 ln 2))² (1 / R² − 1 / R₀²).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from slamjax._util.constants import FWHM, LIGHT

#: Widths below this fraction of a pixel are replaced by it in slopes: that of √s is infinite at 0.
NARROW = 0.02


class Coordinate(Protocol):
    """A nuisance's parameter p and its value v(p), numbers or arrays, NumPy's or JAX's."""

    def parameter(self, value: Any) -> Any: ...
    def value(self, parameter: Any) -> Any: ...
    def slope(self, parameter: Any) -> Any:
        """dv / dp."""
        ...

    def error(self, parameter: Any, sigma: Any) -> Any:
        """Error of the value for an error of the parameter, both at least 0."""
        ...

    def of_other(self, other: Any) -> tuple[float, float]:
        """f and g of p = f q + g, for the parameter q of the same value under another model."""
        ...


@dataclass(frozen=True)
class Linear:
    """v = scale · p."""

    scale: float = 1.0

    def parameter(self, value: Any) -> Any:
        return value / self.scale

    def value(self, parameter: Any) -> Any:
        return self.scale * parameter

    def slope(self, parameter: Any) -> Any:
        return self.scale + 0 * parameter

    def error(self, parameter: Any, sigma: Any) -> Any:
        return self.scale * sigma

    def of_other(self, other: Any) -> tuple[float, float]:
        return other.scale / self.scale, 0.0


@dataclass(frozen=True)
class Width:
    """v = scale · √p."""

    scale: float

    def parameter(self, value: Any) -> Any:
        scaled = value / self.scale
        return scaled * scaled

    def value(self, parameter: Any) -> Any:
        return self.scale * _module(parameter).sqrt(parameter)

    def slope(self, parameter: Any) -> Any:
        module = _module(parameter)
        return self.scale / (2 * module.sqrt(module.maximum(parameter, NARROW**2)))

    def error(self, parameter: Any, sigma: Any) -> Any:
        """σ / 2v, but at most √σ, the width that the data allow where none is measured."""
        known = np.isfinite(sigma)
        finite = np.where(known, sigma, 1)
        bounded = np.square(finite) / (4 * np.maximum(parameter, finite / 4))
        return np.where(known, self.scale * np.sqrt(bounded), np.inf)

    def of_other(self, other: Any) -> tuple[float, float]:
        return (other.scale / self.scale) ** 2, 0.0


@dataclass(frozen=True)
class ResolvingPower:
    """p = (σ / scale)² of the module's equation; ``own`` is R₀."""

    scale: float
    own: float

    @property
    def _factor(self) -> float:
        return (LIGHT / FWHM / self.scale) ** 2

    def parameter(self, value: Any) -> Any:
        """At least 0: no spectrum is sharper than the model."""
        module = _module(value)
        return module.maximum(self._factor * (1 / module.square(value) - 1 / self.own**2), 0)

    def value(self, parameter: Any) -> Any:
        return 1 / _module(parameter).sqrt(parameter / self._factor + 1 / self.own**2)

    def slope(self, parameter: Any) -> Any:
        return -0.5 * self.value(parameter) ** 3 / self._factor

    def error(self, parameter: Any, sigma: Any) -> Any:
        return np.abs(self.slope(parameter)) * sigma

    def of_other(self, other: Any) -> tuple[float, float]:
        return (other.scale / self.scale) ** 2, self._factor * (1 / other.own**2 - 1 / self.own**2)


def _module(value: Any) -> Any:
    return jnp if isinstance(value, jax.Array) else np
