"""What shapes a spectrum beside its labels: velocity, broadening, rotation, continuum; absent, fixed, free or known.

    P_n(λ) × [ emulator(θ) ⊗ G(v, σ) ⊗ R(v sin i) ]

the form in which LASP and ULySS fit spectra (Koleva et al. 2009, A&A 501, 1269, eq. 1; Luo et al. 2015, RAA 15, 1095).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from slamjax.errors import SlamError

#: Velocities in the order in which they stand behind the labels.
VELOCITIES = ("rv", "sigma_v", "vsini")
#: Those that enter a spectrum by their square, as widths do.
WIDTHS = ("sigma_v", "vsini")


@dataclass(frozen=True)
class Free:
    """Anything between two bounds, in km/s, all alike."""

    low: float
    high: float


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian prior, in km/s: known to be ``mean`` ± ``sd`` from elsewhere."""

    mean: float
    sd: float


#: None: not in the model; a number: fixed, km/s; "free": within the default bounds.
Velocity: TypeAlias = Free | Gaussian | float | Literal["free"] | None

#: Bounds of "free", km/s.
DEFAULT_BOUNDS = {"rv": Free(-600.0, 600.0), "sigma_v": Free(0.0, 300.0), "vsini": Free(0.0, 400.0)}
#: A Gaussian prior is cut this many standard deviations from its mean.
CUT = 5.0


@dataclass(frozen=True)
class Nuisances:
    """Which nuisances a fit or a sampler has, and what is known of each; hashable.

    Parameters
    ----------
    rv : None, number, "free", `Free` or `Gaussian`
        Radial velocity that is left in the spectra, km/s, positive receding.
    sigma_v : the same
        Standard deviation of a Gaussian in velocity, km/s, beyond the resolution of the training spectra.
    vsini : the same
        Projected rotation v sin i, km/s; linear limb darkening of 0.6 (Gray 2005, ch. 18).
    polynomial : int, optional
        Degree of a polynomial in λ that multiplies the model; 0 is a scale alone.
    polynomial_sd : float
        Standard deviation of the Gaussian prior of each coefficient: the first about 1, the others about 0. The
        polynomial is a sum of Legendre's on the model's range.

    "free" is −600 … 600, 0 … 300 and 0 … 400 km/s. Narrower bounds leave more pixels to the fit: those that the
    largest allowed velocity may bring in from beyond the spectrum's ends do not count. With
    `Gaussian` the bounds are five standard deviations from the mean.

    Raises
    ------
    SlamError
        If a bound, a prior or a degree makes no sense.
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
            elif value is not None and not isinstance(value, Free | Gaussian):
                object.__setattr__(self, name, _number(name, value))
            self._check(name)
        if self.polynomial is not None and not (
            isinstance(self.polynomial, int) and not isinstance(self.polynomial, bool) and 0 <= self.polynomial <= 40
        ):
            raise SlamError(f"polynomial is {self.polynomial!r}; give a degree from 0 to 40, or None")
        if not (np.isfinite(self.polynomial_sd) and self.polynomial_sd > 0):
            raise SlamError(f"polynomial_sd is {self.polynomial_sd}; give a number above 0")

    def _check(self, name: str) -> None:
        given = getattr(self, name)
        if isinstance(given, Free):
            if not (np.isfinite([given.low, given.high]).all() and given.low < given.high):
                raise SlamError(f"{name} is free from {given.low} to {given.high}; give finite bounds, low < high")
        elif isinstance(given, Gaussian) and not (np.isfinite([given.mean, given.sd]).all() and given.sd > 0):
            raise SlamError(f"{name} is known to be {given.mean} ± {given.sd}; give finite numbers, sd > 0")
        if given is None:
            return
        low, high = self.bounds(name)
        if name in WIDTHS and (low < 0 or (isinstance(given, Gaussian) and given.mean < 0)):
            raise SlamError(f"{name} is a width, at least 0 km/s; {given} is not")
        if max(abs(low), abs(high)) > 30_000:
            raise SlamError(f"{name} reaches {max(abs(low), abs(high)):g} km/s; give less than 30,000")

    def bounds(self, name: str) -> tuple[float, float]:
        """The smallest and the largest value of a velocity, km/s; (0, 0) where it is absent."""
        given = getattr(self, name)
        if given is None:
            return 0.0, 0.0
        if isinstance(given, Free):
            return given.low, given.high
        if isinstance(given, Gaussian):
            low = given.mean - CUT * given.sd
            return max(low, 0.0) if name in WIDTHS else low, given.mean + CUT * given.sd
        return float(given), float(given)

    @property
    def free(self) -> tuple[str, ...]:
        """Velocities that are fitted or sampled, in order."""
        return tuple(name for name in VELOCITIES if isinstance(getattr(self, name), Free | Gaussian))

    @property
    def present(self) -> tuple[str, ...]:
        """Velocities that the model has, fixed ones included."""
        return tuple(name for name in VELOCITIES if getattr(self, name) is not None)

    @property
    def n_coefficients(self) -> int:
        """Coefficients of the polynomial, 0 without one."""
        return 0 if self.polynomial is None else self.polynomial + 1

    @property
    def anything(self) -> bool:
        """Whether there is any nuisance."""
        return bool(self.present) or self.polynomial is not None

    def start(self, name: str) -> float:
        """Where a search begins, km/s, if nothing better is known: a fixed value, the mean, rest, a narrow width."""
        given = getattr(self, name)
        low, high = self.bounds(name)
        if isinstance(given, Gaussian):
            return given.mean
        if isinstance(given, Free):
            return float(np.clip(0.0, low, high)) if name == "rv" else low + 0.15 * (high - low)
        return high

    def without_polynomial(self) -> Nuisances:
        """The velocities alone."""
        return replace(self, polynomial=None)

    def __str__(self) -> str:
        parts = [f"{name} {_described(getattr(self, name))}" for name in self.present]
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


def _described(given: Velocity) -> str:
    if isinstance(given, Free):
        return f"{given.low:g} to {given.high:g} km/s"
    if isinstance(given, Gaussian):
        return f"{given.mean:g} ± {given.sd:g} km/s"
    return f"{given:g} km/s"
