"""Steps that bring spectra to another grid: rest frame, medium and pixels, in one resampling."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from astropy import units as u
from jaxtyping import Float

from slamjax.errors import SlamError, SlamWarning
from slamjax.preprocessing.steps import set_lengths
from slamjax.spectra.covariance import refuse_covariance
from slamjax.spectra.length_units import in_length_unit, length_unit, stated_unit
from slamjax.spectra.resampling import pixel_edges, resample
from slamjax.spectra.spectra import Medium, Spectra
from slamjax.spectra.wavelengths import doppler_shift, to_air, to_vacuum

#: km/s: no star is faster; catalogues write 9999 for an unknown velocity.
_MAX_VELOCITY = 5000.0


def onto_grid(
    spectra: Spectra,
    wave: Float[np.ndarray, " pixel"],
    unit: u.UnitBase | str | None = None,
    medium: Medium = "unknown",
    velocity: Float[np.ndarray, " star"] | None = None,
) -> Spectra:
    """The spectra on another grid, with flux conserved.

    Parameters
    ----------
    spectra : Spectra
    wave : (P',) increasing wavelengths in ``unit`` and ``medium``
    unit : astropy unit or str
        May be left out if ``wave`` is a Quantity.
    medium : "vacuum", "air" or "unknown"
        If it is unknown, here or in ``spectra``, both are taken to be in the same medium.
    velocity : (N,) km/s, optional
        Radial velocities, positive for receding stars: ``wave`` is then in the stars' rest frame. A spectrum with an
        unknown velocity (NaN) gets no good pixel.

    Raises
    ------
    SlamError
        If the spectra have a single pixel, or the wavelengths no unit.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax import Spectra
    >>> from slamjax.preprocessing import onto_grid
    >>> spectra = Spectra(np.linspace(400, 500, 101), np.ones((1, 101)), wave_unit="nm")
    >>> onto_grid(spectra, np.arange(4200.0, 4801, 100), "Angstrom", velocity=np.array([30.0])).flux
    array([[1., 1., 1., 1., 1., 1., 1.]])
    """
    refuse_covariance(spectra, "a resampling to other pixels")
    if spectra.n_pix < 2:
        raise SlamError(f"{spectra.source} has a single pixel, which cannot be brought to another grid")
    given = stated_unit(wave) if unit is None else unit
    if given is None:
        raise SlamError('the new wavelengths have no unit; give unit="Angstrom", unit="nm" or a Quantity')
    new_unit = length_unit(given, "of the new wavelengths")
    wave = np.asarray(in_length_unit(wave, new_unit), float)
    edges = pixel_edges(wave) * new_unit.to(u.AA)
    ivar = spectra.ivar
    if velocity is not None:
        known = np.isfinite(velocity) & (np.abs(velocity) < _MAX_VELOCITY)
        ivar = np.where(known[:, None], ivar, 0)
        # vacuum wavelengths are shifted; if the medium is unknown, the factor is wrong by less than 1e-7
        in_air = (medium if medium != "unknown" else spectra.medium) == "air"
        edges = doppler_shift(to_vacuum(edges) if in_air else edges, np.where(known, velocity, 0)[:, None])
        edges = to_air(edges) if in_air else edges
    if "unknown" not in (medium, spectra.medium) and medium != spectra.medium:
        edges = to_vacuum(edges) if medium == "air" else to_air(edges)
    flux, ivar = resample(spectra.wave, spectra.flux, ivar, edges * u.AA.to(spectra.wave_unit))
    return dataclasses.replace(
        spectra,
        wave=wave,
        flux=flux,
        ivar=ivar,
        wave_unit=new_unit,
        medium=medium if medium != "unknown" else spectra.medium,
        frame="rest" if velocity is not None else spectra.frame,
        fwhm=spectra.fwhm_at(wave, new_unit),
    )


def table_velocity(spectra: Spectra, column: str) -> Float[np.ndarray, " star"]:
    """(N,) km/s from a column of the table, converted from its unit; warns of unknown velocities.

    Raises
    ------
    SlamError
        If the column does not exist or is in a unit that is no velocity.
    """
    values = spectra.values(column)
    unit = spectra.table[column].unit
    if unit is not None:
        try:
            values = values * u.Unit(unit).to(u.km / u.s)
        except u.UnitConversionError as error:
            raise SlamError(f"column {column!r} of {spectra.source} is in {unit}, which is no velocity") from error
    unknown = ~(np.abs(values) < _MAX_VELOCITY)
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
    """Shift to the star's rest frame by a velocity from the table, on the same wavelengths.

    λ_rest = λ √((1 − β) / (1 + β)), β = v / c; the flux is resampled and conserved.

    Parameters
    ----------
    velocity : str
        Column of radial velocities, in km/s or the unit it states.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.table import Table
    >>> from slamjax import Spectra
    >>> from slamjax.preprocessing import RestFrame
    >>> wave = np.linspace(400, 500, 101)
    >>> star = Spectra(wave, np.ones((1, 101)), table={"rv": [30.0]}, wave_unit="nm", frame="observed")
    >>> RestFrame("rv")(star).frame
    'rest'
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
    """Resample to a grid that is uniform in wavelength or in its logarithm.

    Parameters
    ----------
    low, high : float or Quantity
        First and last wavelength, in ``unit``.
    spacing : float
        Step in ``unit``, or in ln λ if ``log``.
    unit : str
        Needed unless Quantities bring it.
    log : bool
    medium : "vacuum", "air" or "unknown"
        Medium of the new wavelengths; spectra are converted.
    velocity : str
        Column of radial velocities, in km/s or the unit it states, by which spectra are shifted to the rest frame in
        the same resampling; empty for no shift.

    Raises
    ------
    SlamError
        If there is no unit, the grid is empty or a value is not allowed.

    Examples
    --------
    >>> from slamjax.preprocessing import Resample
    >>> Resample(400.0, 402.0, 0.5, "nm").wave
    array([400. , 400.5, 401. , 401.5, 402. ])
    >>> import slamjax
    >>> train, _ = slamjax.datasets.load_xp_giants()
    >>> Resample(400.0, 900.0, 4.0, "nm")(train[:2]).n_pix
    126
    """

    low: float
    high: float
    spacing: float
    unit: str = ""
    log: bool = False
    medium: Medium = "unknown"
    velocity: str = ""
    name: ClassVar[str] = "resample"

    def __post_init__(self) -> None:
        set_lengths(self, "low", "high", *(() if self.log else ("spacing",)))
        if not (0 < self.low < self.high and self.spacing > 0):
            raise SlamError(
                f"a grid of {self.low:g} to {self.high:g} {self.unit} in steps of {self.spacing:g} holds nothing; give "
                "0 < low < high and spacing > 0"
            )
        if self.medium not in ("vacuum", "air", "unknown"):
            raise SlamError(f"medium is {self.medium!r}; give vacuum or air, or leave it out")

    @property
    def wave(self) -> Float[np.ndarray, " pixel"]:
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
