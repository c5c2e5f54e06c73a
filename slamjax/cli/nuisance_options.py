"""Options for what shapes a spectrum besides its labels, and how their texts are parsed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slamjax.errors import SlamError

if TYPE_CHECKING:
    from slamjax.forward import Free, Gaussian, Nuisances

_NUISANCES = "Nuisances"
_VELOCITY, _MAGNITUDE, _NUMBER = "KM/S", "MAG", "NUMBER"


@dataclass(frozen=True)
class NuisanceOptions:
    """What shapes a spectrum beside its labels, as text."""

    rv: Annotated[
        str | None,
        typer.Option(
            metavar=_VELOCITY,
            help='Radial velocity: "free", a range as -300:300, a prior as 20+-5, or a fixed number.',
            rich_help_panel=_NUISANCES,
        ),
    ] = None
    sigma_v: Annotated[
        str | None,
        typer.Option(metavar=_VELOCITY, help="Gaussian broadening, given like --rv.", rich_help_panel=_NUISANCES),
    ] = None
    vsini: Annotated[
        str | None,
        typer.Option(
            metavar=_VELOCITY, help="Projected rotation v sin i, given like --rv.", rich_help_panel=_NUISANCES
        ),
    ] = None
    resolution: Annotated[
        str | None,
        typer.Option(
            metavar=_NUMBER,
            help="Resolving power λ / FWHM of the spectra: a range as 1500:2200, a prior as 1800+-100, or a number.",
            rich_help_panel=_NUISANCES,
        ),
    ] = None
    extinction: Annotated[
        str | None,
        typer.Option(
            metavar=_MAGNITUDE,
            help="Extinction A_V, given like --rv; for models without a continuum in their recipe.",
            rich_help_panel=_NUISANCES,
        ),
    ] = None
    r_v: Annotated[
        str | None,
        typer.Option(
            metavar=_NUMBER, help="R_V of the extinction, given like --rv; 3.1 by default.", rich_help_panel=_NUISANCES
        ),
    ] = None
    polynomial: Annotated[
        int | None,
        typer.Option(
            metavar="DEGREE",
            help="Multiply the model by a polynomial in wavelength, whose coefficients are fitted.",
            rich_help_panel=_NUISANCES,
        ),
    ] = None

    def nuisances(self) -> Nuisances:
        from slamjax.forward import Nuisances

        return Nuisances(
            rv=velocity("--rv", self.rv),
            sigma_v=velocity("--sigma-v", self.sigma_v),
            vsini=velocity("--vsini", self.vsini),
            polynomial=self.polynomial,
            resolution=velocity("--resolution", self.resolution),
            extinction=velocity("--extinction", self.extinction),
            r_v=velocity("--r-v", self.r_v),
        )


def velocity(flag: str, text: str | None) -> Free | Gaussian | Literal["free"] | float | None:
    """A nuisance that is free, free within a range, known within errors, fixed, or absent."""
    from slamjax.forward import Free, Gaussian

    if text is None:
        return None
    try:
        if text == "free":
            return "free"
        if "+-" in text:
            return Gaussian(*(float(part) for part in text.split("+-")))
        if ":" in text:
            return Free(*(float(part) for part in text.split(":")))
        return float(text)
    except (TypeError, ValueError):
        raise SlamError(
            f'{flag} is {text!r}; give "free", a range such as -300:300, a known value such as 20+-5, or a number; '
            "velocities are in km/s, extinction in mag"
        ) from None
