"""Steps that bring spectra to another grid: rest frame, medium and pixels, in one resampling."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from astropy import units as u
from jaxtyping import Float

from slamjax._util.constants import LIGHT
from slamjax.errors import SlamError, SlamWarning
from slamjax.preprocessing.steps import check_unit
from slamjax.spectra.resampling import pixel_edges, resample
from slamjax.spectra.spectra import Medium, Spectra
from slamjax.spectra.wavelengths import to_air, to_vacuum

#: No star moves faster; a catalogue's 9999 is no velocity.
_FASTEST = 5000.0


def onto_grid(
    spectra: Spectra,
    wave: Float[np.ndarray, " pixel"],
    unit: u.UnitBase | str,
    medium: Medium = "unknown",
    velocity: Float[np.ndarray, " star"] | None = None,
) -> Spectra:
    """The spectra on another grid, flux conserved.

    Parameters
    ----------
    spectra : Spectra
    wave : (P',) rising wavelengths in ``unit``, measured in ``medium``
        An unknown medium, of either, is taken to be the other's.
    velocity : (N,) km/s, optional
        By which each star recedes, positive away from us: ``wave`` is then in its rest frame. A velocity that is not
        finite gives a spectrum without a good pixel.
    """
    edges = pixel_edges(wave) * u.Unit(unit).to(u.AA)
    both_known = "unknown" not in (medium, spectra.medium)
    if velocity is not None:
        known = np.isfinite(velocity) & (np.abs(velocity) < _FASTEST)
        beta = np.where(known, velocity, 0)[:, None] / LIGHT
        # the shift is of vacuum wavelengths; where no medium is known its factor is the same within 1e-7
        in_air = (medium if medium != "unknown" else spectra.medium) == "air"
        edges = (to_vacuum(edges) if in_air else edges) * np.sqrt((1 + beta) / (1 - beta))
        edges = to_air(edges) if in_air else edges
    if both_known and medium != spectra.medium:
        edges = to_vacuum(edges) if medium == "air" else to_air(edges)
    edges = edges * u.AA.to(spectra.wave_unit)
    ivar = spectra.ivar if velocity is None else np.where(known[:, None], spectra.ivar, 0)
    if spectra.n_pix < 2:
        raise SlamError(f"{spectra.source} has a single pixel, which cannot be brought to another grid")
    flux, ivar = resample(spectra.wave, spectra.flux, ivar, edges)
    fwhm = None if spectra.fwhm is None else spectra.fwhm * u.Unit(spectra.wave_unit).to(unit)
    return dataclasses.replace(
        spectra,
        wave=np.asarray(wave, float),
        flux=flux,
        ivar=ivar,
        wave_unit=u.Unit(unit),
        medium=medium if medium != "unknown" else spectra.medium,
        frame="rest" if velocity is not None else spectra.frame,
        fwhm=fwhm,
    )


def table_velocity(spectra: Spectra, column: str) -> np.ndarray:
    """(N,) km/s from a column of the table, in whatever unit of velocity it states."""
    values = spectra.values(column)
    stated = spectra.table[column].unit
    if stated is not None:
        try:
            values = values * u.Unit(stated).to(u.km / u.s)
        except u.UnitConversionError as error:
            raise SlamError(f"column {column!r} of {spectra.source} is in {stated}, which is no velocity") from error
    unknown = ~(np.abs(values) < _FASTEST)
    if unknown.any():
        warnings.warn(
            f"{int(unknown.sum())} of {len(values)} spectra of {spectra.source} have no velocity in column {column!r} "
            f"(first: row {spectra.rows[unknown][0]}); they have no good pixel in the rest frame",
            SlamWarning,
            stacklevel=3,
        )
    return values


@dataclass(frozen=True)
class RestFrame:
    """Doppler shift to the star's rest frame by a velocity from the table, on the same wavelengths.

    λ_rest = λ √((1 − β) / (1 + β)), β = v / c; the flux is resampled, its integral conserved.
    """

    velocity: str = "rv"
    name: ClassVar[str] = "rest_frame"

    def __call__(self, spectra: Spectra) -> Spectra:
        velocity = table_velocity(spectra, self.velocity)
        return onto_grid(spectra, spectra.wave, spectra.wave_unit, spectra.medium, velocity)

    def __str__(self) -> str:
        return f"rest frame by column {self.velocity}"


@dataclass(frozen=True)
class Resample:
    """A grid from ``low`` to ``high``: steps of ``spacing``, or, if ``log``, of ``spacing`` in ln λ.

    ``medium`` converts wavelengths; ``velocity`` names a column of km/s by which spectra are shifted to rest in the
    same resampling.
    """

    low: float
    high: float
    spacing: float
    unit: str = "nm"
    log: bool = False
    medium: Medium = "unknown"
    velocity: str = ""
    name: ClassVar[str] = "resample"

    def __post_init__(self) -> None:
        check_unit(self.unit)
        if not (0 < self.low < self.high and self.spacing > 0):
            raise SlamError(
                f"a grid of {self.low:g} to {self.high:g} {self.unit} in steps of {self.spacing:g} holds nothing; give "
                "0 < low < high and spacing > 0"
            )
        if self.medium not in ("vacuum", "air", "unknown"):
            raise SlamError(f"medium is {self.medium!r}; give vacuum or air, or leave it out")

    @property
    def wave(self) -> np.ndarray:
        """(P,) the grid, in ``unit``."""
        low, high = (np.log(self.low), np.log(self.high)) if self.log else (self.low, self.high)
        grid = low + self.spacing * np.arange(int((high - low) / self.spacing + 1e-6) + 1)
        return np.exp(grid) if self.log else grid

    def __call__(self, spectra: Spectra) -> Spectra:
        velocity = table_velocity(spectra, self.velocity) if self.velocity else None
        return onto_grid(spectra, self.wave, self.unit, self.medium, velocity)

    def __str__(self) -> str:
        step = f"{self.spacing:g} in ln wavelength" if self.log else f"{self.spacing:g} {self.unit}"
        words = [f"resampled to {self.low:g} to {self.high:g} {self.unit} in steps of {step}"]
        if self.medium != "unknown":
            words.append(f"{self.medium} wavelengths")
        if self.velocity:
            words.append(f"rest frame by column {self.velocity}")
        return ", ".join(words)
