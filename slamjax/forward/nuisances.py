"""Nuisance parameters of a spectrum: velocity, broadening, rotation, extinction, continuum; absent, fixed or free.

    P_n(λ) × 10^(−0.4 A(λ)) × [ emulator(θ) ⊗ G(v, σ) ⊗ R(v sin i) ]

without the extinction the form that LASP and ULySS fit (Koleva et al. 2009, A&A 501, 1269, eq. 1; Luo et al. 2015, RAA
15, 1095).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from slamjax.errors import SlamError
from slamjax.forward.nuisance_priors import Fixed
from slamjax.forward.nuisance_priors import Free as Free
from slamjax.forward.nuisance_priors import Gaussian as Gaussian

#: Velocities in the order in which they follow the labels among the parameters.
VELOCITIES = ("rv", "sigma_v", "vsini")
#: Widths, which enter a spectrum by their square.
WIDTHS = ("sigma_v", "vsini")
#: What stands among the parameters as the square of a width.
SQUARES = (*WIDTHS, "resolution")
#: What shifts or broadens a spectrum, in the grid of ln λ.
MOVING = (*VELOCITIES, "resolution")
#: Everything that may follow the labels among the parameters, in this order, with its unit.
UNITS = dict.fromkeys(VELOCITIES, "km / s") | {"resolution": "", "extinction": "mag", "r_v": ""}
#: The same as people write them.
_WRITTEN = {"km / s": " km/s", "mag": " mag", "": ""}

#: None: not in the model; a number: fixed; "free": within the default bounds.
Velocity: TypeAlias = Free | Gaussian | float | Literal["free"] | None

#: Bounds of "free".
DEFAULT_BOUNDS = {
    "rv": Free(-600.0, 600.0), "sigma_v": Free(0.0, 300.0), "vsini": Free(0.0, 400.0), "extinction": Free(0.0, 3.0),
    "r_v": Free(2.0, 6.0),
}  # fmt: skip
#: A_V / E(B−V) of the diffuse interstellar medium, which is taken where none is given.
R_V = 3.1
#: Range of R_V of the stars whose extinction the curve was made from (Cardelli, Clayton & Mathis 1989).
_R_V_RANGE = (2.0, 6.0)


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
    resolution : None, number, `Free` or `Gaussian`
        Resolving power R = λ / FWHM of the spectra in the middle of the model's range, in place of what they state: a
        Gaussian in ln λ that takes the model's own resolution, which must be stated, to R. No R is above the model's.
    extinction : None, number, "free", `Free` or `Gaussian`
        A_V in mag beyond that of the training spectra, by the curve of Cardelli, Clayton & Mathis (1989) with
        O'Donnell's (1994) optical coefficients, from 0.303 to 3.33 µm. For models that keep the shape of the continuum.
    r_v : number, "free", `Free` or `Gaussian`, optional
        R_V = A_V / E(B−V) of the extinction, 3.1 by default, from 2 to 6.

    Notes
    -----
    "free" is −600 … 600, 0 … 300 and 0 … 400 km/s; 0 … 3 mag and R_V = 2 … 6. Narrower bounds of velocities leave more
    pixels to the fit: pixels that flux from beyond the spectrum's ends could reach at the largest allowed velocity are
    not used. With `Gaussian` the bounds are five standard deviations from the mean.

    Raises
    ------
    SlamError
        For an impossible bound, prior or degree.

    Examples
    --------
    >>> import slamjax
    >>> print(slamjax.Nuisances(rv="free", vsini=slamjax.Gaussian(20, 5), polynomial=3))
    rv -600 to 600 km/s, vsini 20 ± 5 km/s, polynomial of degree 3
    >>> print(slamjax.Nuisances(extinction=slamjax.Gaussian(0.4, 0.1)))
    extinction 0.4 ± 0.1 mag, r_v 3.1
    """

    rv: Velocity = None
    sigma_v: Velocity = None
    vsini: Velocity = None
    polynomial: int | None = None
    polynomial_sd: float = 1.0
    resolution: Velocity = None
    extinction: Velocity = None
    r_v: Velocity = None

    def __post_init__(self) -> None:
        if self.extinction is not None and self.r_v is None:
            object.__setattr__(self, "r_v", R_V)
        for name in UNITS:
            value = getattr(self, name)
            if isinstance(value, str):
                if value != "free" or name not in DEFAULT_BOUNDS:
                    raise SlamError(f"{name} is {value!r}; give {_choices(name)}")
                object.__setattr__(self, name, DEFAULT_BOUNDS[name])
            elif value is not None and not hasattr(value, "is_free"):
                object.__setattr__(self, name, _number(name, value))
            self._check(name)
        if self.resolution is not None and self.sigma_v is not None:
            raise SlamError("resolution and sigma_v are both given, which broaden lines alike; leave one out")
        if self.r_v is not None and self.extinction is None:
            raise SlamError("r_v is given without an extinction; give extinction, or leave r_v out")
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
        low, high = self.bounds(name)
        if name in WIDTHS and low < 0:
            raise SlamError(f"{name} is a width and must be at least 0 km/s; {prior} km/s is not")
        if name in VELOCITIES and max(abs(low), abs(high)) > 30_000:
            raise SlamError(f"{name} reaches {max(abs(low), abs(high)):g} km/s; give less than 30,000")
        if name == "resolution" and low <= 0:
            raise SlamError(f"resolution, λ / FWHM, reaches {low:g}; give numbers above 0")
        if name == "r_v" and not _R_V_RANGE[0] <= low <= high <= _R_V_RANGE[1]:
            raise SlamError(f"r_v reaches from {low:g} to {high:g}; the extinction curve is known from 2 to 6")

    def prior(self, name: str) -> Free | Gaussian | Fixed | None:
        """The prior of a nuisance parameter; None if it is absent."""
        value = getattr(self, name)
        return Fixed(value) if isinstance(value, float) else value

    def bounds(self, name: str) -> tuple[float, float]:
        """Smallest and largest value of a nuisance parameter, in its unit; (0, 0) if it is absent."""
        prior = self.prior(name)
        if prior is None:
            return 0.0, 0.0
        low, high = prior.bounds(name in WIDTHS)
        if prior.is_gaussian and name == "r_v":
            return max(low, _R_V_RANGE[0]), min(high, _R_V_RANGE[1])
        return (max(low, high / _WIDEST), high) if prior.is_gaussian and name == "resolution" else (low, high)

    def start(self, name: str) -> float:
        """Where the search of a nuisance parameter begins; 0 if it is absent."""
        prior, about = self.prior(name), {"resolution": np.inf, "r_v": R_V}
        return 0.0 if prior is None else prior.start(name in WIDTHS, about.get(name, 0.0))

    @property
    def free(self) -> tuple[str, ...]:
        """Names of the parameters that are fitted or sampled, in order."""
        priors = {name: self.prior(name) for name in UNITS}
        return tuple(name for name, prior in priors.items() if prior is not None and prior.is_free)

    @property
    def present(self) -> tuple[str, ...]:
        """Names of the parameters in the model, fixed ones included; without the polynomial."""
        return tuple(name for name in UNITS if getattr(self, name) is not None)

    @property
    def moving(self) -> tuple[str, ...]:
        """Those that shift or broaden a spectrum."""
        return tuple(name for name in self.present if name in MOVING)

    @property
    def n_coefficients(self) -> int:
        """Number of polynomial coefficients; 0 without a polynomial."""
        return 0 if self.polynomial is None else self.polynomial + 1

    @property
    def anything(self) -> bool:
        """Whether there is any nuisance parameter."""
        return bool(self.present) or self.polynomial is not None

    def __str__(self) -> str:
        parts = [f"{name} {self.prior(name)}{_WRITTEN[UNITS[name]]}" for name in self.present]
        if self.polynomial is not None:
            parts.append(f"polynomial of degree {self.polynomial}")
        return ", ".join(parts) or "none"


#: With a Gaussian prior, the largest of the allowed resolving powers over the smallest.
_WIDEST = 4.0


def _choices(name: str) -> str:
    unit = {"resolution": "", "r_v": ""}.get(name, f" in{_WRITTEN[UNITS[name]]}")
    first = "'free', " if name in DEFAULT_BOUNDS else ""
    return f"{first}a number{unit}, Free, Gaussian or None"


def _number(name: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise SlamError(f"{name} is {value!r}; give {_choices(name)}")
    return number
