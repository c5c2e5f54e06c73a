"""Priors of a nuisance parameter: uniform between bounds, Gaussian, or one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

#: A Gaussian prior is cut this many standard deviations from its mean.
CUT = 5.0


@dataclass(frozen=True)
class Free:
    """A uniform prior between two bounds, in km/s or the nuisance's own unit.

    Parameters
    ----------
    low, high : float

    Examples
    --------
    >>> import slamjax
    >>> slamjax.Nuisances(sigma_v=slamjax.Free(0, 100)).bounds("sigma_v")
    (0, 100)
    """

    low: float
    high: float

    is_free: ClassVar[bool] = True
    is_gaussian: ClassVar[bool] = False

    def problem(self) -> str:
        """What is wrong with the numbers; empty if nothing is."""
        sound = np.isfinite([self.low, self.high]).all() and self.low < self.high
        return "" if sound else f"is free from {self.low} to {self.high}; give finite bounds, low < high"

    def bounds(self, is_positive: bool) -> tuple[float, float]:
        """Smallest and largest value."""
        return self.low, self.high

    def start(self, is_width: bool, about: float = 0.0) -> float:
        """Where a search begins: at a narrow width, or as near to ``about`` as allowed."""
        if is_width:
            return self.low + 0.15 * (self.high - self.low)
        return float(np.clip(about, self.low, self.high))

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian prior, in km/s or the nuisance's own unit: ``mean`` ± ``sd`` are known from elsewhere.

    Parameters
    ----------
    mean, sd : float

    Examples
    --------
    >>> import slamjax
    >>> slamjax.Nuisances(vsini=slamjax.Gaussian(30, 5)).bounds("vsini")
    (5.0, 55.0)
    """

    mean: float
    sd: float

    is_free: ClassVar[bool] = True
    is_gaussian: ClassVar[bool] = True

    def problem(self) -> str:
        """What is wrong with the numbers; empty if nothing is."""
        sound = np.isfinite([self.mean, self.sd]).all() and self.sd > 0
        return "" if sound else f"has a Gaussian prior {self.mean} ± {self.sd}; give finite numbers, sd > 0"

    def bounds(self, is_positive: bool) -> tuple[float, float]:
        """Smallest and largest value."""
        low = self.mean - CUT * self.sd
        return max(low, 0.0) if is_positive and self.mean >= 0 else low, self.mean + CUT * self.sd

    def start(self, is_width: bool, about: float = 0.0) -> float:
        """Where a search begins."""
        return self.mean

    def __str__(self) -> str:
        return f"{self.mean:g} ± {self.sd:g}"


@dataclass(frozen=True)
class Fixed:
    """A value that is fixed."""

    value: float

    is_free: ClassVar[bool] = False
    is_gaussian: ClassVar[bool] = False

    def problem(self) -> str:
        return ""

    def bounds(self, is_positive: bool) -> tuple[float, float]:
        return self.value, self.value

    def start(self, is_width: bool, about: float = 0.0) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:g}"
