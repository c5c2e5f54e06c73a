"""Nuisance parameters of a spectrum: velocity, broadening, rotation, continuum; absent, fixed, free or with a prior.

    P_n(λ) × [ emulator(θ) ⊗ G(v, σ) ⊗ R(v sin i) ]

the form that LASP and ULySS fit (Koleva et al. 2009, A&A 501, 1269, eq. 1; Luo et al. 2015, RAA 15, 1095).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from slamjax.errors import SlamError

#: Velocities in the order in which they follow the labels among the parameters.
VELOCITIES = ("rv", "sigma_v", "vsini")
#: Widths, which enter a spectrum by their square.
WIDTHS = ("sigma_v", "vsini")


@dataclass(frozen=True)
class Free:
    """A uniform prior between two bounds, in km/s.

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

    def bounds(self, is_width: bool) -> tuple[float, float]:
        """Smallest and largest value, km/s."""
        return self.low, self.high

    def start(self, is_width: bool) -> float:
        """Where a search begins, km/s: a narrow width, or zero velocity."""
        if is_width:
            return self.low + 0.15 * (self.high - self.low)
        return float(np.clip(0.0, self.low, self.high))

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g} km/s"


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian prior, in km/s: ``mean`` ± ``sd`` are known from elsewhere.

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

    def bounds(self, is_width: bool) -> tuple[float, float]:
        """Smallest and largest value, km/s."""
        low = self.mean - CUT * self.sd
        return max(low, 0.0) if is_width and self.mean >= 0 else low, self.mean + CUT * self.sd

    def start(self, is_width: bool) -> float:
        """Where a search begins, km/s."""
        return self.mean

    def __str__(self) -> str:
        return f"{self.mean:g} ± {self.sd:g} km/s"


@dataclass(frozen=True)
class _Fixed:
    """A velocity that is fixed, km/s."""

    value: float

    is_free: ClassVar[bool] = False
    is_gaussian: ClassVar[bool] = False

    def problem(self) -> str:
        return ""

    def bounds(self, is_width: bool) -> tuple[float, float]:
        return self.value, self.value

    def start(self, is_width: bool) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:g} km/s"


#: None: not in the model; a number: fixed, km/s; "free": within the default bounds.
Velocity: TypeAlias = Free | Gaussian | float | Literal["free"] | None

#: Bounds of "free", km/s.
DEFAULT_BOUNDS = {"rv": Free(-600.0, 600.0), "sigma_v": Free(0.0, 300.0), "vsini": Free(0.0, 400.0)}
#: A Gaussian prior is cut this many standard deviations from its mean.
CUT = 5.0


@dataclass(frozen=True)
class Nuisances:
    """Nuisance parameters of a fit or a sampler, and their priors; hashable.

    Parameters
    ----------
    rv : None, number, "free", `Free` or `Gaussian`
        Residual radial velocity of the spectra, km/s, positive for receding stars. None: not in the model; a number:
        fixed.
    sigma_v : same as rv
        Standard deviation of Gaussian broadening, km/s, beyond the resolution of the training spectra.
    vsini : same as rv
        Projected rotation velocity v sin i, km/s; linear limb darkening of 0.6 (Gray 2005, ch. 18).
    polynomial : int, optional
        Degree of a polynomial in λ that multiplies the model; 0 is a scale factor.
    polynomial_sd : float
        Standard deviation of the Gaussian prior of each coefficient: the first about 1, the others about 0. The
        terms are Legendre polynomials on the model's range.

    Notes
    -----
    "free" is −600 … 600, 0 … 300 and 0 … 400 km/s. Narrower bounds leave more pixels to the fit: pixels that flux from
    beyond the spectrum's ends could reach at the largest allowed velocity are not used. With `Gaussian` the bounds are
    five standard deviations from the mean.

    Raises
    ------
    SlamError
        For an impossible bound, prior or degree.

    Examples
    --------
    >>> import slamjax
    >>> print(slamjax.Nuisances(rv="free", vsini=slamjax.Gaussian(20, 5), polynomial=3))
    rv -600 to 600 km/s, vsini 20 ± 5 km/s, polynomial of degree 3
    """

    rv: Velocity = None
    sigma_v: Velocity = None
    vsini: Velocity = None
    polynomial: int | None = None
    polynomial_sd: float = 1.0

    def __post_init__(self) -> None:
        for name in VELOCITIES:
            value = getattr(self, name)
            if isinstance(value, str):
                if value != "free":
                    raise SlamError(f"{name} is {value!r}; give 'free', a number in km/s, Free, Gaussian or None")
                object.__setattr__(self, name, DEFAULT_BOUNDS[name])
            elif value is not None and not hasattr(value, "is_free"):
                object.__setattr__(self, name, _number(name, value))
            self._check(name)
        if self.polynomial is not None and not (
            isinstance(self.polynomial, int) and not isinstance(self.polynomial, bool) and 0 <= self.polynomial <= 40
        ):
            raise SlamError(f"polynomial is {self.polynomial!r}; give a degree from 0 to 40, or None")
        if not (np.isfinite(self.polynomial_sd) and self.polynomial_sd > 0):
            raise SlamError(f"polynomial_sd is {self.polynomial_sd}; give a number above 0")

    def _check(self, name: str) -> None:
        prior = self.prior(name)
        if prior is None:
            return
        if prior.problem():
            raise SlamError(f"{name} {prior.problem()}")
        low, high = prior.bounds(name in WIDTHS)
        if name in WIDTHS and low < 0:
            raise SlamError(f"{name} is a width and must be at least 0 km/s; {prior} is not")
        if max(abs(low), abs(high)) > 30_000:
            raise SlamError(f"{name} reaches {max(abs(low), abs(high)):g} km/s; give less than 30,000")

    def prior(self, name: str) -> Free | Gaussian | _Fixed | None:
        """The prior of a velocity; None if it is absent."""
        value = getattr(self, name)
        return _Fixed(value) if isinstance(value, float) else value

    def bounds(self, name: str) -> tuple[float, float]:
        """Smallest and largest value of a velocity, km/s; (0, 0) if it is absent."""
        prior = self.prior(name)
        return (0.0, 0.0) if prior is None else prior.bounds(name in WIDTHS)

    def start(self, name: str) -> float:
        """Where the search of a velocity begins, km/s; 0 if it is absent."""
        prior = self.prior(name)
        return 0.0 if prior is None else prior.start(name in WIDTHS)

    @property
    def free(self) -> tuple[str, ...]:
        """Names of the velocities that are fitted or sampled, in order."""
        priors = {name: self.prior(name) for name in VELOCITIES}
        return tuple(name for name, prior in priors.items() if prior is not None and prior.is_free)

    @property
    def present(self) -> tuple[str, ...]:
        """Names of the velocities in the model, fixed ones included."""
        return tuple(name for name in VELOCITIES if getattr(self, name) is not None)

    @property
    def n_coefficients(self) -> int:
        """Number of polynomial coefficients; 0 without a polynomial."""
        return 0 if self.polynomial is None else self.polynomial + 1

    @property
    def anything(self) -> bool:
        """Whether there is any nuisance parameter."""
        return bool(self.present) or self.polynomial is not None

    def __str__(self) -> str:
        parts = [f"{name} {self.prior(name)}" for name in self.present]
        if self.polynomial is not None:
            parts.append(f"polynomial of degree {self.polynomial}")
        return ", ".join(parts) or "none"


def _number(name: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise SlamError(f"{name} is {value!r}; give 'free', a number in km/s, Free, Gaussian or None")
    return number
